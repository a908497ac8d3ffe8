//! The versions of the box, and how another one gets there.

use super::{Ask, Visit, reply, session};
use crate::{
    auth::{Person, Role},
    http::{
        actions::update as actions,
        error::Error,
        multipart::{Part, Parts},
    },
    update::{self, OtherState, Outcome, Status, Step, UpdatesError, View},
};
use bytes::{Buf, Bytes};
use futures_util::{Stream, StreamExt as _};
use http::StatusCode;
use rackberry_web::views::{BundleView, CardView, OtherSlot, Section, UpdatesPage, Watch, WorkView};
use warp::reply::Response;

/// `GET /updates`; also the answer to what was refused, with the reason.
pub(super) async fn show(visit: &Visit, status: StatusCode, problem: String) -> Response {
    let state = &visit.ask.state;
    let (card, elsewhere) = match state.updates.view().await {
        Ok(view) => (Some(card(&view, visit.person.role == Role::Admin)), String::new()),
        Err(UpdatesError::NotACard) => {
            let apart = "This box does not run from its own SD card. Its updates come as packages (apt install rackberry), or as \
                         a newer program in place of this one.";
            (None, apart.to_owned())
        }
        Err(error) => {
            tracing::warn!(error = crate::chain(&error), "how the card stands cannot be shown");
            (None, error.to_string())
        }
    };
    let shell = visit.shell(Section::Updates, Watch::Alarms, state.inventory.snapshot().version);
    visit.page(status, rackberry_web::updates(&UpdatesPage { shell, card, elsewhere, problem }))
}

fn card(view: &View, admin: bool) -> CardView {
    let View { status, kept, work, stick } = view;
    let Status { slot, version, trying, other, floor: _, development_key, last, told: _ } = status;
    let work = work.as_ref().map(|work| WorkView {
        step: match work.step {
            Step::Verify => "Checking the signature".to_owned(),
            Step::Write => format!("Writing slot {}", other.slot),
            Step::ReadBack => format!("Reading slot {} back", other.slot),
            Step::Restart => "The box starts again".to_owned(),
        },
        percent: work.percent,
        restarts: work.step == Step::Restart,
        failed: work.failed.clone(),
    });
    // What failed just now says so itself.
    let told = work.as_ref().is_some_and(|work| !work.failed.is_empty());
    let failed = last.as_ref().filter(|last| last.outcome == Outcome::Failed && !told);
    CardView {
        version: version.to_string(),
        slot: slot.to_string(),
        trying: *trying,
        development_key: *development_key,
        other: match other.state {
            OtherState::Empty => OtherSlot::Empty,
            OtherState::Ready => OtherSlot::Ready,
            OtherState::Failed => OtherSlot::Failed,
        },
        other_version: other.version.map(|version| version.to_string()).unwrap_or_default(),
        bundle: kept.as_ref().map(|kept| BundleView {
            version: kept.header.version.to_string(),
            bytes: kept.bytes,
            notes: kept.header.notes.clone(),
        }),
        work,
        last_failure: failed.map(|last| update::sentence(last, *version)).unwrap_or_default(),
        stick: stick.clone(),
        admin,
    }
}

/// `POST /updates/{install, drop, rollback}`.
pub(super) async fn order(visit: &Visit, verb: &str) -> Response {
    let state = &visit.ask.state;
    let done = match verb {
        "install" => actions::install(state, visit.actor()).await.map(drop),
        "drop" => actions::forget(state).await,
        "rollback" => actions::roll_back(state, visit.actor()).await,
        _ => return super::not_found(visit),
    };
    let news = if verb == "drop" { "The update is dropped." } else { "" };
    answer(visit, done, news).await
}

async fn answer(visit: &Visit, done: Result<(), Error>, news: &str) -> Response {
    match done {
        Ok(()) if news.is_empty() => reply::see_other("/updates"),
        Ok(()) => reply::with_cookie(reply::see_other("/updates"), &session::say(news)),
        Err(error) => {
            error.log(error.status());
            show(visit, StatusCode::UNPROCESSABLE_ENTITY, error.to_string()).await
        }
    }
}

/// `POST /updates/load`: a form with a file, which goes into the store as it arrives. Its sender is who `person` is; whether their
/// own page sent it stands in the form, before the file.
pub(super) async fn load<B: Buf>(
    ask: Ask,
    person: Person,
    body: impl Stream<Item = Result<B, warp::Error>> + Send,
) -> Response {
    let pieces = body.map(|piece| piece.map(|mut piece| piece.copy_to_bytes(piece.remaining())));
    let mut pieces = std::pin::pin!(pieces);
    let taken = take_in(&ask, &person, &mut pieces).await;
    if taken.is_err() {
        actions::drain(&mut pieces).await;
    }
    if let Err(error @ Error::Forbidden(_)) = &taken {
        return reply::failed(&ask.headers, error, None, None);
    }
    let visit = Visit { ask, form: super::Form::default(), person };
    answer(&visit, taken, "The update is loaded, and its signature holds.").await
}

async fn take_in(
    ask: &Ask,
    person: &Person,
    pieces: &mut (impl Stream<Item = Result<Bytes, warp::Error>> + Unpin),
) -> Result<(), Error> {
    super::may_change(person)?;
    let (mut form, mut own, mut files, mut whole) = (Parts::new(&ask.headers)?, false, 0, false);
    let mut arriving = actions::Arriving::default();
    while let Some(piece) = pieces.next().await {
        let bytes = piece.map_err(|error| Error::Invalid(format!("The upload broke off: {error}.")))?;
        for part in form.feed(&bytes)? {
            match part {
                Part::Field { name, value } => own |= name == "csrf" && session::same(&value, &person.csrf),
                // The first byte of a file already drops the one that waits.
                Part::File { .. } if !own => return Err(super::too_old()),
                Part::File { .. } if files > 0 => return Err(Error::Invalid("Send one update file alone.".to_owned())),
                Part::File { .. } => files += 1,
                Part::Data(bytes) => arriving.write(&ask.state, bytes).await?,
                Part::End => whole = true,
            }
        }
    }
    match (own, whole) {
        (false, _) => Err(super::too_old()),
        (true, false) => Err(Error::Invalid("The upload broke off. Send the file again.".to_owned())),
        (true, true) => arriving.keep(&ask.state).await.map(drop),
    }
}
