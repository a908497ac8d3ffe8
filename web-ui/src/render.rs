//! One function for each page and each fragment of the event stream. A template that fails (it cannot for lack of
//! data, only for lack of memory) becomes a plain page, never a panic.

use std::borrow::Cow;
use std::fmt;

use askama::Template;

use crate::assets::{URLS, Urls};
use crate::views::{
    ActivityPage, Alarm, EnrolPage, ErrorPage, FetchPage, FirstRunPage, HostPage, HostRow, HostView, HostsPage,
    ImagesPage, InstallDialog, InstallPage, LivePage, LoginPage, OtherSlot, ParamKind, ProfilesPage, Shell,
    UpdatesPage,
};

/// A piece of HTML made from fixed texts only; askama writes it as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Markup(Cow<'static, str>);

impl fmt::Display for Markup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl askama::filters::HtmlSafe for Markup {}

impl Markup {
    pub(crate) fn fixed(html: &'static str) -> Self {
        Self(Cow::Borrowed(html))
    }

    /// A filled shape of a state.
    pub(crate) fn glyph(name: &'static str) -> Self {
        let icons = &URLS.icons;
        Self(format!("<svg viewBox=\"0 0 16 16\" aria-hidden=\"true\"><use href=\"{icons}#g-{name}\"/></svg>").into())
    }

    /// A line drawing beside a text.
    pub(crate) fn icon(name: &'static str) -> Self {
        let icons = &URLS.icons;
        Self(
            format!(
                "<svg class=\"i\" viewBox=\"0 0 16 16\" aria-hidden=\"true\"><use href=\"{icons}#i-{name}\"/></svg>"
            )
            .into(),
        )
    }

    pub(crate) fn chip(data: &'static str, shape: &'static str, word: &'static str) -> Self {
        let shape = Self::glyph(shape);
        Self(format!("<span class=\"chip\" data-state=\"{data}\">{shape}{word}</span>").into())
    }

    /// Ties a control to its hint (`<id>-h`) and its error (`<id>-e`); `id` is ours, never a stranger's.
    pub(crate) fn described(id: &str, hint: bool, problem: bool) -> Self {
        let hint_id = if hint { format!("{id}-h") } else { String::new() };
        let problem_id = if problem { format!("{id}-e") } else { String::new() };
        let invalid = if problem { " aria-invalid=\"true\"" } else { "" };
        match format!("{hint_id} {problem_id}").trim() {
            "" => Self::fixed(""),
            ids => Self(format!(" aria-describedby=\"{ids}\"{invalid}").into()),
        }
    }
}

/// Addresses of the assets, for templates.
pub(crate) fn urls() -> &'static Urls {
    &URLS
}

/// An icon by name, for templates.
pub(crate) fn icon(name: &'static str) -> Markup {
    Markup::icon(name)
}

/// A state's shape by name, for templates.
pub(crate) fn glyph(name: &'static str) -> Markup {
    Markup::glyph(name)
}

/// An id that is safe in element ids and event names: signs other than ASCII letters, digits and `-` become `-`.
/// The stream's events are called `host-<key>` and `host-<key>-live`.
pub fn key(id: &str) -> String {
    id.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect()
}

/// A text as one part of a query or path (RFC 3986 unreserved signs stay).
pub(crate) fn query(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            other => {
                out.push('%');
                for nibble in [other >> 4, other & 15] {
                    out.push(char::from_digit(nibble.into(), 16).unwrap_or('0').to_ascii_uppercase());
                }
            }
        }
    }
    out
}

const PLAIN: &str = "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Rackberry</title></head><body><main><h1>This page could not be drawn.</h1><p>Nothing was changed. Load it again; if that does not help, restart the box.</p></main></body></html>";

fn draw(template: &impl Template) -> String {
    template.render().unwrap_or_else(|_| PLAIN.to_owned())
}

macro_rules! pages {
    ($($(#[$doc:meta])* $file:literal $name:ident $fun:ident ( $($arg:ident : $type:ty),* );)*) => {$(
        #[derive(Template)]
        #[template(path = $file)]
        struct $name<'a> { $($arg: &'a $type),* }

        $(#[$doc])*
        pub fn $fun($($arg: &$type),*) -> String {
            draw(&$name { $($arg),* })
        }
    )*};
}

pages! {
    /// `GET /login`.
    "login.html" LoginTemplate login(page: LoginPage);
    /// `GET /first-run`.
    "first-run.html" FirstRunTemplate first_run(page: FirstRunPage);
    /// `GET /`, with `?q=` and `?state=`.
    "hosts.html" HostsTemplate hosts(page: HostsPage);
    /// The list below the heading: event `hosts`, when hosts come or go. Made from the unfiltered page.
    "hosts-list.html" HostsListTemplate hosts_list(page: HostsPage);
    /// One row of the list: event `host-<key>`. It holds no token, so one text serves all sessions.
    "host-row.html" HostRowTemplate host_row(row: HostRow);
    /// `GET /hosts/enrol`.
    "enrol.html" EnrolTemplate enrol(page: EnrolPage);
    /// `GET /hosts/{id}`.
    "host.html" HostTemplate host(page: HostPage);
    /// The live part of a host's page: event `host-<key>-live`. It holds no token either.
    "host-live.html" HostLiveTemplate host_live(host: HostView);
    /// `GET /hosts/{id}/install`, a page of its own.
    "install.html" InstallTemplate install(page: InstallPage);
    /// The dialog alone, for a request that carries `HX-Request`.
    "install-dialog.html" InstallDialogTemplate install_dialog(dialog: InstallDialog);
    /// `GET /hosts/{id}/live`.
    "live.html" LiveTemplate live(page: LivePage);
    /// `GET /images`.
    "images.html" ImagesTemplate images(page: ImagesPage);
    /// `POST /images/fetch` and `GET /profiles/{profile}/media/{medium}`.
    "fetch.html" FetchTemplate fetch(page: FetchPage);
    /// `GET /profiles`.
    "profiles.html" ProfilesTemplate profiles(page: ProfilesPage);
    /// `GET /activity`.
    "activity.html" ActivityTemplate activity(page: ActivityPage);
    /// `GET /updates`.
    "updates.html" UpdatesTemplate updates(page: UpdatesPage);
}

/// An error with the navigation around it.
struct Framed<'a> {
    shell: &'a Shell,
    error: &'a ErrorPage,
}

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorTemplate<'a> {
    page: Framed<'a>,
}

#[derive(Template)]
#[template(path = "error-alone.html")]
struct ErrorAloneTemplate<'a> {
    error: &'a ErrorPage,
}

/// Any failure: what happened, what we did, what to do.
pub fn error(page: &ErrorPage) -> String {
    match &page.shell {
        Some(shell) => draw(&ErrorTemplate { page: Framed { shell, error: page } }),
        None => draw(&ErrorAloneTemplate { error: page }),
    }
}

/// A path that leads nowhere; `path` is what was asked for.
pub fn not_found(shell: Option<&Shell>, path: &str) -> String {
    error(&ErrorPage {
        shell: shell.cloned(),
        happened: "There is no such page.".to_owned(),
        did: format!("Nothing was changed. You asked for {path}"),
        todo: "A host that was forgotten or an image that was removed has no page any more.".to_owned(),
        link: None,
    })
}

#[derive(Template)]
#[template(path = "alarm.html")]
struct AlarmTemplate<'a> {
    card: Option<&'a Alarm>,
}

/// The alarm card: event `alarm`. Without an alarm it is a comment, as browsers drop events without data.
pub fn alarm(card: Option<&Alarm>) -> String {
    draw(&AlarmTemplate { card })
}
