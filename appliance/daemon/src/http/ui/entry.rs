//! Logging in and out, the first person, and the theme.

use super::{Ask, Visit, form::Form, reply, session};
use crate::{
    auth::{AuthError, Token},
    http::error::Error,
};
use http::{Method, StatusCode};
use rackberry_web::views::{Contrast, FirstRunPage, LoginPage, Theme};
use warp::reply::Response;

/// GET and POST of `/login`.
pub(super) async fn login(ask: &Ask, form: &Form) -> Response {
    if ask.state.auth.code().is_some() {
        return reply::see_other("/first-run");
    }
    if ask.method != Method::POST {
        return match session::person(ask).await {
            Ok(Some(_)) => reply::see_other("/"),
            _ => login_page(ask, StatusCode::OK, "", ""),
        };
    }
    let user = form.get("user").trim();
    if !session::form_token_fits(&ask.headers, form.get("csrf")) {
        return login_page(ask, StatusCode::UNPROCESSABLE_ENTITY, user, "This page was open for too long. Try again.");
    }
    match ask.state.auth.login(user, form.get("password"), ask.ends.peer).await {
        Ok(token) => enter(ask, &token).await,
        Err(error) => match refusal(error) {
            Ok((status, sentence)) => login_page(ask, status, user, &sentence),
            Err(error) => reply::failed(&ask.headers, &error, None, None),
        },
    }
}

/// What the page says about a refusal; an error that is none of the person's passes through.
fn refusal(error: AuthError) -> Result<(StatusCode, String), Error> {
    let sentence = error.to_string();
    match error {
        AuthError::WrongPassword { .. } | AuthError::WrongCode { .. } | AuthError::NotFirst | AuthError::Field(..) => {
            Ok((StatusCode::UNPROCESSABLE_ENTITY, sentence))
        }
        AuthError::TooMany => Ok((StatusCode::TOO_MANY_REQUESTS, sentence)),
        AuthError::WrongToken | AuthError::Hash | AuthError::Store(_) => Err(error.into()),
    }
}

/// Begins the session; one that the browser had before ends.
async fn enter(ask: &Ask, token: &Token) -> Response {
    if let Ok(Some(former)) = session::person(ask).await
        && let Err(error) = ask.state.auth.logout(&former).await
    {
        tracing::warn!(error = crate::chain(&error), "a former session could not be ended");
    }
    reply::with_cookie(reply::see_other("/"), &session::begin(token))
}

fn login_page(ask: &Ask, status: StatusCode, user: &str, problem: &str) -> Response {
    let (csrf, cookie) = match session::form_token(&ask.headers) {
        Ok(token) => token,
        Err(error) => return reply::failed(&ask.headers, &error, None, None),
    };
    let (theme, contrast) = session::look(&ask.headers);
    let page = LoginPage {
        box_name: ask.box_name(),
        // What is in the rack is nobody's business before they are logged in.
        summary: String::new(),
        theme,
        contrast,
        csrf,
        user: user.to_owned(),
        problem: problem.to_owned(),
        first_run: false,
    };
    let response = ask.html(status, rackberry_web::login(&page));
    cookie.iter().fold(response, |response, cookie| reply::with_cookie(response, cookie))
}

/// GET and POST of `/first-run`.
pub(super) async fn first_run(ask: &Ask, form: &Form) -> Response {
    if ask.state.auth.code().is_none() {
        return reply::see_other("/login");
    }
    let mut page = FirstRunPage { box_name: ask.box_name(), ..FirstRunPage::default() };
    if ask.method != Method::POST {
        return first_run_page(ask, StatusCode::OK, page);
    }
    page.code = form.get("code").trim().to_owned();
    page.user = form.get("user").trim().to_owned();
    let refused = StatusCode::UNPROCESSABLE_ENTITY;
    if !session::form_token_fits(&ask.headers, form.get("csrf")) {
        page.code_problem = "This page was open for too long. Try again.".to_owned();
        return first_run_page(ask, refused, page);
    }
    let password = form.get("password");
    if password != form.get("password2") {
        page.password_problem = "The two passwords differ.".to_owned();
        return first_run_page(ask, refused, page);
    }
    let error = match ask.state.auth.first_run(&page.code, &page.user, password, ask.ends.peer).await {
        Ok(token) => return enter(ask, &token).await,
        Err(error) => error,
    };
    let field = match &error {
        AuthError::Field(field, _) => *field,
        _ => "code",
    };
    let (status, sentence) = match refusal(error) {
        Ok(refusal) => refusal,
        Err(error) => return reply::failed(&ask.headers, &error, None, None),
    };
    match field {
        "user" => page.user_problem = sentence,
        "password" => page.password_problem = sentence,
        _ => page.code_problem = sentence,
    }
    first_run_page(ask, status, page)
}

fn first_run_page(ask: &Ask, status: StatusCode, mut page: FirstRunPage) -> Response {
    let (csrf, cookie) = match session::form_token(&ask.headers) {
        Ok(token) => token,
        Err(error) => return reply::failed(&ask.headers, &error, None, None),
    };
    (page.theme, page.contrast) = session::look(&ask.headers);
    page.csrf = csrf;
    let response = ask.html(status, rackberry_web::first_run(&page));
    cookie.iter().fold(response, |response, cookie| reply::with_cookie(response, cookie))
}

/// `POST /logout`.
pub(super) async fn logout(visit: &Visit) -> Response {
    match visit.ask.state.auth.logout(&visit.person).await {
        Ok(()) => reply::with_cookie(reply::see_other("/login"), &session::end()),
        Err(error) => visit.failed(&error.into(), None),
    }
}

/// `POST /theme`.
pub(super) fn theme(visit: &Visit) -> Response {
    let theme = Theme::from_key(visit.form.get("theme"));
    let contrast = Contrast::from_key(visit.form.get("contrast"));
    reply::with_cookie(reply::see_other(reply::local(visit.form.get("back"))), &session::keep_look(theme, contrast))
}
