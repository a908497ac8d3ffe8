//! Images: listed, taken in, removed.

use super::{
    Call, Upload,
    table::{Access, Answer, Body, Kind, Route, Schema, Verb, json, may, must},
};
use crate::{
    http::{State, error::Error},
    media::{Import, ImportError, alarm_key},
    origin::proof::Papers,
};
use bytes::Bytes;
use futures_util::StreamExt as _;
use rackberry_core::{
    event::Actor,
    image::{Digest, Image},
    profile::Profile,
    text::CleanText,
};
use serde::Deserialize;
use std::{sync::Arc, time::Duration};

/// Of a refused upload so many bytes are taken in and thrown away, so that its sender gets to read why.
const DRAIN: usize = 256 << 20;
/// And no longer than this.
const DRAIN_FOR: Duration = Duration::from_secs(10);

const KIND: Kind = Kind::Word(&["disk", "iso", "tree", "kernel", "initrd", "squashfs", "efi", "unknown"]);
const SYSTEM: Kind = Kind::Word(&[
    "debian",
    "ubuntu",
    "rhel",
    "rocky",
    "alma",
    "centos",
    "fedora",
    "fedora-coreos",
    "flatcar",
    "suse",
    "alpine",
    "arch",
    "nixos",
    "proxmox",
    "esxi",
    "windows",
    "memtest",
]);

pub(super) static IMAGE: Schema = Schema {
    name: "Image",
    about: "Imported media.",
    fields: &[
        must("digest", Kind::Text, "SHA-256 of the file as it is kept and served."),
        must("name", Kind::Text, "Unique on a box."),
        must("kind", KIND, "Told by its content."),
        may("system", SYSTEM, "Whose it is, if its content says so."),
        may("version", Kind::Text, "As its content names it."),
        may("label", Kind::Text, "What the disc or tree calls itself."),
        may("unread", Kind::Text, "Why its content could not be looked at; absent if it was."),
        must("size_bytes", Kind::Number, "Of the file as it is served."),
        must("compression", Kind::Word(&["none", "gzip", "xz", "zstd", "bzip2"]), "Told by its first bytes."),
        may("raw_bytes", Kind::Number, "Once unpacked, if that was found out."),
        must("origin", Kind::Text, "Where it came from."),
        must("verdict", Kind::Object, "What vouches for it."),
        may("arch", Kind::Text, "The architecture it is for, if that is known."),
        may("came", Kind::Text, "SHA-256 of the file as it came, where it is kept unpacked."),
        may("sums", Kind::Text, "SHA-256 of the list of sums beside the file that every piece is compared with."),
        must("imported_wall", Kind::Number, "When, in milliseconds since 1970; 0 if the box did not know."),
    ],
    open: false,
};

pub(super) static ROUTES: &[Route] = &[
    Route {
        verb: Verb::Get,
        path: "/v1/images",
        access: Access::Viewer,
        name: "listImages",
        command: "image list",
        summary: "Every image.",
        query: &[],
        body: Body::None,
        answer: Answer::List(&IMAGE),
        run: |call| json(list(call)),
    },
    Route {
        verb: Verb::Post,
        path: "/v1/images",
        access: Access::Admin,
        name: "importImage",
        command: "image import",
        summary: "Takes an image in.",
        query: &[
            must("name", Kind::Text, "What people and profiles call it."),
            may("sha256", Kind::Text, "It is refused unless it has this digest."),
            may("origin", Kind::Text, "Where it came from; `upload` if not given."),
        ],
        body: Body::Bytes("The image as it is, packed or not."),
        answer: Answer::One(&IMAGE),
        run: |call| json(import(call)),
    },
    Route {
        verb: Verb::Post,
        path: "/v1/images/{image}/verify",
        access: Access::Admin,
        name: "verifyImage",
        command: "image verify",
        summary: "Reads an image's file again and compares it with its digest; refused if it is damaged.",
        query: &[],
        body: Body::None,
        answer: Answer::One(&IMAGE),
        run: |call| json(verify(call)),
    },
    Route {
        verb: Verb::Post,
        path: "/v1/prune",
        access: Access::Admin,
        name: "pruneImages",
        command: "image prune",
        summary: "Names the images that no profile names and no install reads; with `yes` removes them.",
        query: &[],
        body: Body::Json(&[may("yes", Kind::Flag, "Removes them.")]),
        answer: Answer::List(&IMAGE),
        run: |call| json(prune(call)),
    },
    Route {
        verb: Verb::Delete,
        path: "/v1/images/{image}",
        access: Access::Admin,
        name: "removeImage",
        command: "image rm",
        summary: "Removes an image that no install under way and no host that boots it needs.",
        query: &[],
        body: Body::None,
        answer: Answer::One(&IMAGE),
        run: |call| json(remove(call)),
    },
];

async fn list(call: Call) -> Result<Vec<Image>, Error> {
    let snapshot = call.state.inventory.snapshot();
    Ok(snapshot.images.values().map(|image| (**image).clone()).collect())
}

/// What is asked for beside the bytes.
struct Wanted {
    name: String,
    sha256: String,
    origin: String,
}

/// Takes an image as a stream: nothing is held in memory, and a broken-off upload leaves nothing.
async fn import(call: Call) -> Result<Image, Error> {
    let wanted = Wanted { name: call.query("name"), sha256: call.query("sha256"), origin: call.query("origin") };
    let Call { state, actor, upload, .. } = call;
    let Some(mut body) = upload else { return Err(Error::Mistake("an import without its bytes".to_owned())) };
    let taken = take_in(state, actor, wanted, &mut body).await;
    if taken.is_err() {
        drain(&mut body).await;
    }
    taken
}

/// Takes the rest of what somebody sends, for a while: whoever still sends reads no answer.
pub(super) async fn drain(body: &mut Upload) {
    let _ = tokio::time::timeout(DRAIN_FOR, async {
        let mut left = DRAIN;
        while let Some(Ok(piece)) = body.next().await {
            left = left.saturating_sub(piece.len());
            if left == 0 {
                return;
            }
        }
    })
    .await;
}

/// A name and a digest that an import may have.
pub(in crate::http) struct Checked {
    pub name: CleanText,
    pub digest: Option<Digest>,
}

/// Checks what is said of an import before any of its bytes is taken.
///
/// # Errors
/// [`Error::Fields`], [`Error::Conflict`].
pub(in crate::http) fn check(state: &State, name: &str, sha256: &str) -> Result<Checked, Error> {
    if let Some(why) = state.sensors.refusal() {
        return Err(Error::Conflict(why.to_owned()));
    }
    let name = CleanText::new(name);
    if name.is_empty() {
        return Err(Error::Fields(vec![("name".to_owned(), "An image needs a name.".to_owned())]));
    }
    let digest = match sha256.trim() {
        "" => None,
        text => Some(
            text.parse::<Digest>().map_err(|error| Error::Fields(vec![("sha256".to_owned(), format!("{error}."))]))?,
        ),
    };
    if let Some(other) = state.inventory.snapshot().image_by_name(name.as_str())
        && !digest.is_some_and(|digest| other.is(&digest))
    {
        return Err(Error::Conflict(format!(
            "There is an image named {name} already. Remove it, or choose another name."
        )));
    }
    Ok(Checked { name, digest })
}

/// A new import, and what to write into it off the runtime.
pub(in crate::http) async fn start(state: &State) -> Result<Import, Error> {
    let unique = crate::auth::Token::random()?.hex();
    let media = state.media.clone();
    blocking(move || Import::start(&media, &unique)).await
}

/// Writes on.
pub(in crate::http) async fn write(mut import: Import, bytes: Bytes) -> Result<Import, Error> {
    blocking(move || import.write(&bytes).map(|()| import)).await
}

async fn take_in(state: State, actor: Actor, wanted: Wanted, body: &mut Upload) -> Result<Image, Error> {
    let checked = check(&state, &wanted.name, &wanted.sha256)?;
    let mut incoming = start(&state).await?;
    while let Some(piece) = body.next().await {
        let bytes = piece.map_err(|error| Error::Invalid(format!("The upload broke off: {error}.")))?;
        incoming = write(incoming, bytes).await?;
    }
    let origin = CleanText::new(if wanted.origin.is_empty() { "upload" } else { &wanted.origin });
    keep(&state, actor, incoming, checked, origin, Papers::default()).await
}

/// Makes a whole file an image, once its papers are found to be its.
pub(in crate::http) async fn keep(
    state: &State,
    actor: Actor,
    import: Import,
    checked: Checked,
    origin: CleanText,
    papers: Papers,
) -> Result<Image, Error> {
    let wall = state.inventory.clock().wall();
    let Checked { name, digest } = checked;
    let finished = tokio::task::spawn_blocking(move || {
        let mut file = import.reader().map_err(Error::Import)?;
        let refused = |error| Error::Invalid(format!("The file is not taken: {}.", crate::chain(&error)));
        let vouched = papers.check(&mut file, digest, wall).map_err(refused)?;
        let image = import.finish(name, origin, vouched.wanted, wall).map_err(Error::Import)?;
        Ok::<_, Error>(vouched.of(image))
    });
    let image = finished.await.map_err(|error| Error::Mistake(error.to_string()))??;
    let stored = state
        .inventory
        .transact(move |tx| {
            tx.settle_alarm(&alarm_key(&image.digest), actor.clone())?;
            tx.put_image(image, actor)
        })
        .await?;
    Ok((*stored).clone())
}

async fn blocking<T: Send + 'static>(
    act: impl FnOnce() -> Result<T, ImportError> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(act).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(Error::Import(error)),
        Err(error) => Err(Error::Mistake(error.to_string())),
    }
}

async fn verify(call: Call) -> Result<Image, Error> {
    let name = call.part("image");
    let Call { state, .. } = call;
    let snapshot = state.inventory.snapshot();
    let image = name
        .parse::<Digest>()
        .ok()
        .and_then(|digest| snapshot.images.get(&digest))
        .or_else(|| snapshot.image_by_name(&name))
        .cloned()
        .ok_or_else(|| Error::NotFound(format!("There is no image {}.", rackberry_core::text::clean(&name, 60))))?;
    let media = state.media.clone();
    let wanted = image.digest;
    let found = blocking(move || media.digest_of(&wanted)).await?;
    if found == image.digest {
        return Ok((*image).clone());
    }
    Err(Error::Conflict(format!(
        "The file of {} is damaged: it has the digest {found} now. Remove the image, import it again, and look at the \
         health of the disk.",
        image.name
    )))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Prune {
    #[serde(default)]
    yes: bool,
}

async fn prune(call: Call) -> Result<Vec<Image>, Error> {
    let Prune { yes } = call.json()?;
    let Call { state, actor, .. } = call;
    let snapshot = state.inventory.snapshot();
    let read = |image: &Image| snapshot.who_needs(image.digest).is_some();
    let named = |image: &Image| state.catalog.iter().any(|profile| names(profile, image));
    let mut unused: Vec<Image> =
        snapshot.images.values().filter(|image| !named(image) && !read(image)).map(|image| (**image).clone()).collect();
    unused.sort_by(|a, b| a.name.as_str().cmp(b.name.as_str()));
    if yes {
        for image in &unused {
            remove_image(&state, &image.digest.to_string(), actor.clone()).await?;
        }
    }
    Ok(unused)
}

/// Whether a profile cannot do without this image.
pub(in crate::http) fn names(profile: &Profile, image: &Image) -> bool {
    profile.needs().any(|name| name == image.name.as_str())
}

async fn remove(call: Call) -> Result<Image, Error> {
    let name = call.part("image");
    let Call { state, actor, .. } = call;
    remove_image(&state, &name, actor).await.map(|image| (*image).clone())
}

/// Removes an image that no install under way and no host that boots it from the network needs.
///
/// # Errors
/// If it is unknown or in use.
pub async fn remove_image(state: &State, name: &str, actor: Actor) -> Result<Arc<Image>, Error> {
    let name = name.to_owned();
    let removed = state
        .inventory
        .transact(move |tx| {
            let by_digest = name.parse::<Digest>().ok().and_then(|digest| tx.image(digest));
            let image = by_digest.or_else(|| tx.state().image_by_name(&name).cloned()).ok_or_else(|| {
                Error::NotFound(format!("There is no image {}.", rackberry_core::text::clean(&name, 60)))
            })?;
            if let Some(who) = tx.state().who_needs(image.digest) {
                return Err(Error::Conflict(format!(
                    "{} cannot be removed, as it is needed by {who}. Let that end or call it off first.",
                    image.name
                )));
            }
            tx.settle_alarm(&alarm_key(&image.digest), actor.clone())?;
            tx.remove_image(image.digest, actor)?;
            Ok::<_, Error>(image)
        })
        .await?;
    let (media, gone) = (state.media.clone(), removed.clone());
    let unlinked = tokio::task::spawn_blocking(move || media.remove(&gone)).await;
    state.media.forget(&removed.digest).await;
    if let Ok(Err(error)) = unlinked {
        tracing::warn!(error = crate::chain(&error), "an image left its file behind");
    }
    Ok(removed)
}
