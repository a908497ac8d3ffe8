//! Media from elsewhere: by an address that somebody types, or as a profile names it. How big it is comes first.

use super::{Visit, form, library, reply, session};
use crate::http::{
    actions::{self, Place, Wish},
    error::Error,
};
use http::StatusCode;
use rackberry_web::{
    format,
    views::{FetchForm, FetchMedium, FetchPage, Section, Watch},
};
use warp::reply::Response;

/// How big a file is and what is free, as a sentence.
async fn size(visit: &Visit, url: &str) -> Result<String, Error> {
    let (size, room) = visit.ask.state.fetches.size(url, false).await?;
    let free = format!("{} are free for images.", format::bytes(room));
    Ok(match size {
        Some(size) => format!("It has {}; {free}", format::bytes(size)),
        None => format!("Its server does not say how big it is; {free}"),
    })
}

fn show(visit: &Visit, status: StatusCode, page: FetchPage) -> Response {
    let version = visit.ask.state.inventory.snapshot().version;
    let page = FetchPage { shell: visit.shell(Section::Images, Watch::Alarms, version), ..page };
    visit.page(status, rackberry_web::fetch(&page))
}

/// Each mistake in a sentence.
fn sentence(error: &Error) -> String {
    match error {
        Error::Fields(fields) => fields.iter().map(|(_, why)| why.as_str()).collect::<Vec<_>>().join(" "),
        other => crate::chain(other),
    }
}

/// `POST /images/fetch`: says how big it is, or begins.
pub(super) async fn wish(visit: &Visit) -> Response {
    let text = |name: &str| visit.form.get(name).trim().to_owned();
    let form = FetchForm {
        url: text("url"),
        name: Some(text("name")).filter(|name| !name.is_empty()).unwrap_or_else(|| stem(&text("url"))),
        sha256: text("sha256"),
        checksums: text("checksums"),
        signature: text("signature"),
        key: text("key"),
    };
    let (size, problem) = match answer(visit, &form).await {
        Ok(Next::Begun(name)) => {
            return reply::with_cookie(reply::see_other("/images"), &session::say(&format!("{name} is fetched.")));
        }
        Ok(Next::Size(size)) => (size, String::new()),
        Err(error) => (String::new(), sentence(&error)),
    };
    let status = if problem.is_empty() { StatusCode::OK } else { StatusCode::UNPROCESSABLE_ENTITY };
    let title = "From a web address".to_owned();
    show(visit, status, FetchPage { title, form, size, problem, ..FetchPage::default() })
}

enum Next {
    Begun(String),
    Size(String),
}

async fn answer(visit: &Visit, form: &FetchForm) -> Result<Next, Error> {
    let given = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    let sha256 = given(&form.sha256).map(|text| text.parse()).transpose();
    let wish = Wish {
        name: form.name.clone(),
        urls: vec![form.url.clone()],
        sha256: sha256.map_err(|error| Error::Fields(vec![("sha256".to_owned(), format!("{error}."))]))?,
        checksums: given(&form.checksums),
        signature: given(&form.signature),
        key: given(&form.key),
        as_it_is: false,
        allow_private: false,
    };
    if visit.form.get("go") == "begin" {
        let begun = actions::fetch(&visit.ask.state, wish, visit.actor()).await?;
        return Ok(Next::Begun(begun.name.to_string()));
    }
    // What is wrong with the rest is told now, too.
    let order = actions::order(&visit.ask.state, wish).await?;
    order.check().map_err(crate::origin::desk::DeskError::from)?;
    Ok(Next::Size(size(visit, &form.url).await?))
}

/// The file's name in an address, without its endings.
fn stem(url: &str) -> String {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    path.rsplit('/').next().unwrap_or_default().split('.').next().unwrap_or_default().to_owned()
}

/// `GET /profiles/{profile}/media/{medium}`.
pub(super) async fn medium(visit: &Visit, profile: &str, medium: &str) -> Response {
    page(visit, profile, medium, None).await
}

/// `POST` of the same: fetches it.
pub(super) async fn get_it(visit: &Visit, profile: &str, medium: &str) -> Response {
    let (name, wanted) = (form::decode(profile.as_bytes()), form::decode(medium.as_bytes()));
    match actions::get_it(&visit.ask.state, &name, &wanted, false, visit.actor()).await {
        Ok(fetch) => {
            let said = format!("{} is fetched.", fetch.name);
            reply::with_cookie(reply::see_other("/images"), &session::say(&said))
        }
        Err(error) => page(visit, profile, medium, Some(error)).await,
    }
}

async fn page(visit: &Visit, profile: &str, medium: &str, refused: Option<Error>) -> Response {
    let (profile, medium) = (form::decode(profile.as_bytes()), form::decode(medium.as_bytes()));
    let state = &visit.ask.state;
    let stand = state
        .catalog
        .get(&profile)
        .and_then(|known| actions::media(state, known).into_iter().find(|stand| stand.name == medium));
    let Some(stand) = stand else { return super::not_found(visit) };
    let (size, problem) = match (refused, stand.place) {
        (Some(error), _) => (String::new(), sentence(&error)),
        (None, Place::NeedsInternet) => match size(visit, &stand.url).await {
            Ok(size) => (size, String::new()),
            Err(error) => (String::new(), sentence(&error)),
        },
        (None, Place::OnTheBox) => (String::new(), "It is on the box already.".to_owned()),
        (None, Place::Coming) => (String::new(), "It is being fetched already.".to_owned()),
        (None, Place::YoursToFind) => (String::new(), "No address is known of it here.".to_owned()),
    };
    let status = if problem.is_empty() { StatusCode::OK } else { StatusCode::UNPROCESSABLE_ENTITY };
    let form = FetchForm { url: stand.url, ..FetchForm::default() };
    let medium = Some(FetchMedium { profile, name: stand.name, vouched: stand.vouched });
    let title = format!("Get {}", stand.title);
    show(visit, status, FetchPage { title, form, medium, size, problem, ..FetchPage::default() })
}

/// `POST /fetches/{id}/cancel`.
pub(super) async fn cancel(visit: &Visit, id: &str) -> Response {
    let none = || Error::NotFound(format!("There is no fetch {}.", rackberry_core::text::clean(id, 20)));
    let cancelled = match id.parse() {
        Ok(id) => visit.ask.state.fetches.cancel(id).await.map_err(Error::from),
        Err(_) => Err(none()),
    };
    match cancelled {
        Ok(fetch) => {
            let said = format!("{} is not fetched any more.", fetch.name);
            reply::with_cookie(reply::see_other("/images"), &session::say(&said))
        }
        Err(error) => library::images(visit, StatusCode::UNPROCESSABLE_ENTITY, error.to_string()).await,
    }
}
