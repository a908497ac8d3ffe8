//! Images, profiles and the history of everything.

use super::{Visit, form, history, reply, session, view};
use crate::{
    http::{State, actions, api, error::Error},
    inventory::EventFilter,
};
use http::StatusCode;
use rackberry_core::{
    image::{Compression, Image, Verdict},
    text::CleanText,
    time::WallTime,
};
use rackberry_web::views::{ActivityPage, ImageRow, ImagesPage, ProfileRow, ProfilesPage, Section, Trust, Watch};
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
        rows: images.into_iter().map(|image| image_row(state, image)).collect(),
        used_bytes,
        free_bytes,
        problem,
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

fn image_row(state: &State, image: &Image) -> ImageRow {
    let snapshot = state.inventory.snapshot();
    let users: Vec<_> =
        state.catalog.iter().filter(|profile| profile.needs().any(|name| name == image.name.as_str())).collect();
    let runs_it = |entry: &&std::sync::Arc<crate::inventory::HostEntry>| {
        let installed = entry.host.installed.as_ref();
        installed.is_some_and(|installed| users.iter().any(|profile| profile.name == installed.profile.as_str()))
    };
    let reading = snapshot.active_installs().find(|install| install.plan.image.digest == image.digest);
    let packed = match image.compression {
        Compression::None => "",
        Compression::Gzip => ", gzip",
        Compression::Xz => ", xz",
        Compression::Zstd => ", zstd",
        Compression::Bzip2 => ", bzip2",
    };
    let kind = image.kind.title();
    ImageRow {
        id: image.digest.to_string(),
        name: image.name.to_string(),
        kind: format!("{kind}{packed}"),
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
        keep: reading.map(|install| format!("{} reads it now", install.plan.hostname)).unwrap_or_default(),
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
