//! Images, profiles and the history of everything.

use super::{Ask, Visit, form, history, reply, session, view};
use crate::{
    auth::Person,
    http::{
        State, actions,
        api::{self, images as images_api},
        error::Error,
        multipart::{Part, Parts},
    },
    inventory::EventFilter,
    origin::{
        desk::{Fetch, FetchState},
        proof::Papers,
        signature::LONGEST,
    },
};
use bytes::{Buf, Bytes};
use futures_util::{Stream, StreamExt as _};
use http::StatusCode;
use rackberry_core::{
    event::Actor,
    image::{Compression, Image, Verdict},
    text::CleanText,
    time::WallTime,
};
use rackberry_web::{
    format,
    views::{
        ActivityPage, FetchForm, ImageRow, ImagesPage, MediumPlace, MediumRow, ProfileRow, ProfilesPage, Progress,
        Section, Trust, Watch,
    },
};
use warp::reply::Response;

/// Lines of history on one page.
const EVENTS: usize = 100;

/// `GET /images`; also the answer to a removal that was refused, with the reason.
pub(super) async fn images(visit: &Visit, status: StatusCode, problem: String) -> Response {
    let state = &visit.ask.state;
    let snapshot = state.inventory.snapshot();
    let mut images: Vec<&Image> = snapshot.images.values().map(AsRef::as_ref).collect();
    images.sort_by(|a, b| a.name.as_str().cmp(b.name.as_str()));
    let (used_bytes, free_bytes) = storage(state, &images).await;
    let page = ImagesPage {
        shell: visit.shell(Section::Images, Watch::Alarms, snapshot.version),
        rows: actions::shown(state)
            .iter()
            .map(|fetch| fetch_row(state, fetch))
            .chain(images.into_iter().map(|image| image_row(state, image)))
            .collect(),
        used_bytes,
        free_bytes,
        problem,
        form: FetchForm::default(),
    };
    visit.page(status, rackberry_web::images(&page))
}

/// Bytes that images take, and bytes that are free beside them; 0 if the file system does not say.
async fn storage(state: &State, images: &[&Image]) -> (u64, u64) {
    let used = images.iter().fold(0u64, |sum, image| sum.saturating_add(image.size_bytes));
    let folder = state.state_dir.clone();
    // A card that stalls must not hold up the runtime.
    let free = tokio::task::spawn_blocking(move || {
        rustix::fs::statvfs(folder.as_path()).map(|fs| fs.f_bavail.saturating_mul(fs.f_frsize)).unwrap_or(0)
    });
    (used, free.await.unwrap_or(0))
}

/// What is fetched, as a row of its own before it is an image.
fn fetch_row(state: &State, fetch: &Fetch) -> ImageRow {
    let done = fetch.done_bytes;
    let percent = |size: u64| u8::try_from(done.saturating_mul(100) / size.max(1)).unwrap_or(100);
    let left = |size: u64| size.saturating_sub(done).saturating_mul(1000).checked_div(fetch.rate);
    let message = fetch.message.as_ref().map(ToString::to_string).unwrap_or_default();
    let over = fetch.state.over();
    let of = fetch.size_bytes.map(|size| format!(" of {}", format::bytes(size))).unwrap_or_default();
    let task = match (message.is_empty(), fetch.state) {
        (false, _) => message.clone(),
        (true, FetchState::Waiting) => "Others go first".to_owned(),
        (true, _) => format!("{}{of}", format::bytes(done)),
    };
    let users = state.catalog.iter().filter(|profile| profile.needs().any(|name| name == fetch.name.as_str()));
    ImageRow {
        id: format!("fetch-{}", fetch.id),
        name: fetch.name.to_string(),
        kind: "from a web address".to_owned(),
        bytes: if over { 0 } else { fetch.size_bytes.unwrap_or(0) },
        digest: String::new(),
        origin: fetch.url.to_string(),
        trust: if over {
            Trust::Refused { why: message }
        } else {
            Trust::Importing(Progress {
                percent: fetch.size_bytes.map(percent),
                task,
                rate: Some(fetch.rate).filter(|rate| *rate > 0),
                left_ms: fetch.size_bytes.and_then(left),
                silent_ms: 0,
            })
        },
        used_by: users.map(|profile| profile.title.clone()).collect(),
        hosts: 0,
        keep: String::new(),
        fetch: if over { String::new() } else { fetch.id.to_string() },
    }
}

/// Where a profile's medium is, for the page.
fn medium_row(stand: actions::MediumStand) -> MediumRow {
    MediumRow {
        name: stand.name,
        title: stand.title,
        place: match stand.place {
            actions::Place::OnTheBox => MediumPlace::Here,
            actions::Place::Coming => MediumPlace::Coming,
            actions::Place::NeedsInternet => MediumPlace::NeedsInternet,
            actions::Place::YoursToFind => MediumPlace::YoursToFind,
        },
        help: stand.help.trim_end_matches('.').to_owned(),
    }
}

fn image_row(state: &State, image: &Image) -> ImageRow {
    let snapshot = state.inventory.snapshot();
    let users: Vec<_> = state.catalog.iter().filter(|profile| images_api::names(profile, image)).collect();
    let runs_it = |entry: &&std::sync::Arc<crate::inventory::HostEntry>| {
        let installed = entry.host.installed.as_ref();
        installed.is_some_and(|installed| users.iter().any(|profile| profile.name == installed.profile.as_str()))
    };
    let packed = match image.compression {
        Compression::None => "",
        Compression::Gzip => ", gzip",
        Compression::Xz => ", xz",
        Compression::Zstd => ", zstd",
        Compression::Bzip2 => ", bzip2",
    };
    let system = image.system.map(|system| match &image.version {
        Some(version) => format!("{} {version}", system.title()),
        None => system.title().to_owned(),
    });
    let arch = image.arch.map(|arch| arch.to_string());
    let known = [Some(format!("{}{packed}", image.kind.title())), system, arch];
    let mut kind = known.into_iter().flatten().collect::<Vec<_>>().join(" · ");
    if let Some(unread) = &image.unread {
        kind = format!("{kind}. {unread}");
    }
    ImageRow {
        id: image.digest.to_string(),
        name: image.name.to_string(),
        kind,
        bytes: image.size_bytes,
        digest: image.digest.to_string(),
        origin: image.origin.to_string(),
        trust: match &image.verdict {
            Verdict::Unsigned => Trust::Unsigned,
            Verdict::DigestGiven => Trust::DigestOnly { source: "the digest given at import".to_owned() },
            Verdict::Signed { key, signer, expires_wall } => {
                Trust::Signed { by: signed_by(key, signer, *expires_wall, state.inventory.clock().wall()) }
            }
        },
        used_by: users.iter().map(|profile| profile.title.clone()).collect(),
        hosts: u64::try_from(snapshot.hosts.values().filter(runs_it).count()).unwrap_or(u64::MAX),
        keep: snapshot.who_needs(image.digest).map(|who| format!("needed by {who}")).unwrap_or_default(),
        fetch: String::new(),
    }
}

/// Whose key it was, and whether its time is over.
fn signed_by(key: &CleanText, signer: &CleanText, expires: Option<WallTime>, now: WallTime) -> String {
    let expires = expires.map_or_else(String::new, |expires| {
        let over = now >= WallTime::FIRST && now > expires;
        let day: String = rackberry_web::format::iso(u64::try_from(expires.0).unwrap_or(0)).chars().take(10).collect();
        if over { format!(", a key that ended on {day}") } else { format!(", a key that ends on {day}") }
    });
    format!("{signer}, {key}{expires}")
}

/// `POST /images/import`: a form with a file and what vouches for it, from a page without scripts. Its sender is who `person` is;
/// whether their own page sent it stands in the form, before the file.
pub(super) async fn import<B: Buf>(
    ask: Ask,
    person: Person,
    body: impl Stream<Item = Result<B, warp::Error>> + Send,
) -> Response {
    let pieces = body.map(|piece| piece.map(|mut piece| piece.copy_to_bytes(piece.remaining())));
    let mut pieces = std::pin::pin!(pieces);
    let taken = take_in(&ask, &person, &mut pieces).await;
    if taken.is_err() {
        actions::update::drain(&mut pieces).await;
    }
    let visit = Visit { ask, form: super::Form::default(), person };
    match taken {
        Ok(image) => {
            reply::with_cookie(reply::see_other("/images"), &session::say(&format!("{} is imported.", image.name)))
        }
        Err(error @ Error::Forbidden(_)) => reply::failed(&visit.ask.headers, &error, None, None),
        Err(error) => {
            error.log(error.status());
            images(&visit, StatusCode::UNPROCESSABLE_ENTITY, error.to_string()).await
        }
    }
}

async fn take_in(
    ask: &Ask,
    person: &Person,
    pieces: &mut (impl Stream<Item = Result<Bytes, warp::Error>> + Unpin),
) -> Result<Image, Error> {
    super::may_change(person)?;
    let state = &ask.state;
    let (mut form, mut own, mut whole) = (Parts::new(&ask.headers)?, false, false);
    let (mut name, mut sha256, mut key_name, mut arriving) = (String::new(), String::new(), String::new(), None);
    let (mut papers, mut paper) = (Papers::default(), None);
    while let Some(piece) = pieces.next().await {
        let bytes = piece.map_err(|error| Error::Invalid(format!("The upload broke off: {error}.")))?;
        for part in form.feed(&bytes)? {
            match part {
                Part::Field { name: field, value } => match field.as_str() {
                    "csrf" => own |= session::same(&value, &person.csrf),
                    "name" => name = value,
                    "sha256" => sha256 = value,
                    "key_name" => key_name = value,
                    _ => {}
                },
                Part::File { .. } if !own => return Err(super::too_old()),
                Part::File { name: field, .. } if PAPERS.contains(&field.as_str()) => paper = Some(field),
                Part::File { .. } if arriving.is_some() => {
                    return Err(Error::Invalid("Send one image alone.".to_owned()));
                }
                Part::File { file, .. } => {
                    paper = None;
                    papers.name = if file.is_empty() { name.clone() } else { file };
                    arriving = Some((images_api::check(state, &name, &sha256)?, images_api::start(state).await?));
                }
                Part::Data(bytes) => match &paper {
                    Some(field) => add(&mut papers, field, &bytes)?,
                    None => {
                        if let Some((checked, import)) = arriving.take() {
                            arriving = Some((checked, images_api::write(import, bytes).await?));
                        }
                    }
                },
                Part::End => whole = true,
            }
        }
    }
    match (own, whole, arriving) {
        (false, ..) => Err(super::too_old()),
        (true, true, Some((checked, import))) => {
            let actor = Actor::User(person.name.clone());
            if papers.key.is_none() {
                papers.key = actions::key_of(state, Some(key_name)).await?;
            }
            images_api::keep(state, actor, import, checked, CleanText::new("upload"), papers).await
        }
        (true, ..) => Err(Error::Invalid("The upload broke off. Send the file again.".to_owned())),
    }
}

/// The files of the form that are no image.
const PAPERS: [&str; 3] = ["checksums", "signature", "key"];

/// More of one of them.
fn add(papers: &mut Papers, field: &str, bytes: &[u8]) -> Result<(), Error> {
    let paper = match field {
        "checksums" => &mut papers.checksums,
        "signature" => &mut papers.signature,
        _ => &mut papers.key,
    };
    let paper = paper.get_or_insert_default();
    if paper.len() + bytes.len() > LONGEST {
        return Err(Error::Invalid(format!("The file of the {field} is too long to be one.")));
    }
    paper.extend_from_slice(bytes);
    Ok(())
}

/// `POST /images/{id}/remove`.
pub(super) async fn remove_image(visit: &Visit, id: &str) -> Response {
    let id = form::decode(id.replace('+', "%2B").as_bytes());
    match api::remove_image(&visit.ask.state, &id, visit.actor()).await {
        Ok(image) => {
            reply::with_cookie(reply::see_other("/images"), &session::say(&format!("{} is removed.", image.name)))
        }
        Err(error @ (Error::NotFound(_) | Error::Conflict(_))) => {
            images(visit, StatusCode::UNPROCESSABLE_ENTITY, error.to_string()).await
        }
        Err(error) => visit.failed(&error, Some(("Images", "/images".to_owned()))),
    }
}

/// `GET /profiles`.
pub(super) fn profiles(visit: &Visit) -> Response {
    let state = &visit.ask.state;
    let snapshot = state.inventory.snapshot();
    let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    let row = |profile: &rackberry_core::profile::Profile| {
        let image = profile.needs().next().and_then(|name| snapshot.image_by_name(name));
        let runs_it = |entry: &&std::sync::Arc<crate::inventory::HostEntry>| {
            entry.host.installed.as_ref().is_some_and(|installed| installed.profile.as_str() == profile.name)
        };
        ProfileRow {
            id: profile.name.clone(),
            name: profile.title.clone(),
            summary: view::sentence(&profile.description),
            method: actions::method(profile.way).to_owned(),
            arches: profile.arch.to_string(),
            min_memory_bytes: profile.min_memory_mb << 20,
            min_disk_bytes: image.and_then(|image| image.raw_bytes).unwrap_or(0),
            params: count(profile.parameters.len()),
            missing: actions::missing(&snapshot, profile).unwrap_or_default(),
            media: actions::media(state, profile).into_iter().map(medium_row).collect(),
            hosts: count(snapshot.hosts.values().filter(runs_it).count()),
            changed: state.state_dir.join("catalog").join(&profile.name).is_dir(),
        }
    };
    let page = ProfilesPage {
        shell: visit.shell(Section::Profiles, Watch::Alarms, snapshot.version),
        rows: state.catalog.iter().map(|profile| row(profile)).collect(),
    };
    visit.page(StatusCode::OK, rackberry_web::profiles(&page))
}

/// `GET /activity`, with `?host=&before=`.
pub(super) async fn activity(visit: &Visit) -> Response {
    let state = &visit.ask.state;
    let snapshot = state.inventory.snapshot();
    let host = match visit.ask.query.get("host") {
        "" => None,
        name => match actions::find_host(state, name) {
            Ok(host) => Some(host),
            Err(error) => return visit.failed(&error, Some(("Activity", "/activity".to_owned()))),
        },
    };
    let filter = EventFilter {
        host: host.as_ref().map(|host| host.id),
        before: visit.ask.query.get("before").parse().ok(),
        // One more than shown tells whether there are older ones.
        limit: EVENTS + 1,
        ..EventFilter::default()
    };
    let read: Result<_, Error> = state.inventory.read(move |reader| reader.events(&filter)).await.map_err(Error::from);
    let mut events = match read {
        Ok(events) => events,
        Err(error) => return visit.failed(&error, None),
    };
    let more = events.len() > EVENTS;
    events.truncate(EVENTS);
    let named = host.is_none().then_some(snapshot.as_ref());
    let page = ActivityPage {
        shell: visit.shell(Section::Activity, Watch::Alarms, snapshot.version),
        rows: events.iter().map(|event| history::row(event, named)).collect(),
        host_name: host.as_ref().map(|host| host.name.to_string()).unwrap_or_default(),
        host_id: host.as_ref().map(|host| host.id.to_string()).unwrap_or_default(),
        older: events.last().filter(|_| more).map(|event| event.seq.to_string()).unwrap_or_default(),
    };
    visit.page(StatusCode::OK, rackberry_web::activity(&page))
}
