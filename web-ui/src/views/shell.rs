//! What surrounds every page: navigation, the box's own state, the alarm, the person and their theme.

use crate::render::{Markup, query};

/// Which entry of the navigation is current.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Section {
    Hosts,
    Profiles,
    Images,
    Activity,
    Updates,
    /// None of them, as on error pages.
    #[default]
    Elsewhere,
}

impl Section {
    pub(crate) fn here(self, name: &str) -> Markup {
        let own = match self {
            Self::Hosts => "hosts",
            Self::Profiles => "profiles",
            Self::Images => "images",
            Self::Activity => "activity",
            Self::Updates => "updates",
            Self::Elsewhere => "",
        };
        Markup::fixed(if own == name { " aria-current=\"page\"" } else { "" })
    }
}

/// Light or dark; `System` follows the browser.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Theme {
    #[default]
    System,
    Light,
    Dark,
}

/// Normal or high contrast; `System` follows the browser.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Contrast {
    #[default]
    System,
    More,
}

impl Theme {
    /// The value the theme form sends: `system`, `light` or `dark`.
    pub fn key(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }

    /// Reads a form value; everything unknown follows the system.
    pub fn from_key(key: &str) -> Self {
        match key {
            "light" => Self::Light,
            "dark" => Self::Dark,
            _ => Self::System,
        }
    }

    pub(crate) fn is(self, key: &str) -> bool {
        self.key() == key
    }
}

impl Contrast {
    /// The value the theme form sends: `system` or `more`.
    pub fn key(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::More => "more",
        }
    }

    /// Reads a form value; everything unknown follows the system.
    pub fn from_key(key: &str) -> Self {
        match key {
            "more" => Self::More,
            _ => Self::System,
        }
    }

    pub(crate) fn is(self, key: &str) -> bool {
        self.key() == key
    }
}

/// The attributes of `<html>` that carry the choice.
pub(crate) fn look(theme: Theme, contrast: Contrast) -> Markup {
    Markup::fixed(match (theme, contrast) {
        (Theme::System, Contrast::System) => "",
        (Theme::Light, Contrast::System) => " data-theme=\"light\"",
        (Theme::Dark, Contrast::System) => " data-theme=\"dark\"",
        (Theme::System, Contrast::More) => " data-contrast=\"more\"",
        (Theme::Light, Contrast::More) => " data-theme=\"light\" data-contrast=\"more\"",
        (Theme::Dark, Contrast::More) => " data-theme=\"dark\" data-contrast=\"more\"",
    })
}

/// Which news a page asks the event stream for; alarms come to all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Watch {
    #[default]
    Alarms,
    /// The rows of the list.
    Hosts,
    /// The live part of the page of the host with this id.
    Host(String),
}

/// A link inside the box: `href` has to start with one `/`, everything else leads to the start page.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Link {
    pub label: String,
    pub href: String,
}

impl Link {
    pub(crate) fn local(&self) -> &str {
        local(&self.href)
    }
}

/// A path on this box, or `/` for anything that could lead elsewhere.
pub(crate) fn local(href: &str) -> &str {
    let rest = href.strip_prefix('/');
    match rest {
        Some(rest) if !rest.starts_with(['/', '\\']) && !href.contains(char::is_control) => href,
        _ => "/",
    }
}

/// The one alarm at the top of every page; it stays until settled.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Alarm {
    /// What its button settles; empty if nothing can be settled.
    pub id: String,
    /// Something is broken, not only unusual.
    pub severe: bool,
    /// What happened, for example `Another DHCP server answered, so we stepped back.`
    pub title: String,
    /// What we did and what to do.
    pub text: String,
    pub links: Vec<Link>,
}

impl Alarm {
    pub(crate) fn data(&self) -> &'static str {
        if self.severe { "failed" } else { "armed" }
    }

    pub(crate) fn offers(&self) -> bool {
        !self.links.is_empty() || !self.id.is_empty()
    }

    pub(crate) fn shape(&self) -> Markup {
        Markup::glyph(self.data())
    }
}

/// Everything around the page itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shell {
    pub section: Section,
    /// For example `rackberry.local`.
    pub box_name: String,
    /// The interface we serve on, for example `eth0`.
    pub interface: String,
    /// Our address there; empty while there is none.
    pub address: String,
    /// How the box behaves on the network right now, in one sentence.
    pub mode: String,
    /// Where its time is from, or what is wrong with it, in one sentence; may be empty.
    pub time: String,
    pub version: String,
    /// The size of the box's display, `128x64` or `128x32`; empty if it has none.
    pub display: String,
    pub hosts: u64,
    pub profiles: u64,
    pub images: u64,
    pub alarm: Option<Alarm>,
    /// Good news about what the person just did, shown once.
    pub toast: String,
    pub theme: Theme,
    pub contrast: Contrast,
    /// Who is signed in; empty hides the sign-out button.
    pub user: String,
    pub csrf: String,
    /// Path and query of this page, where the theme form returns to.
    pub back: String,
    pub watch: Watch,
    /// Id of the last event this page already shows; the stream goes on after it. May be empty.
    pub stream_position: String,
}

impl Shell {
    pub(crate) fn look(&self) -> Markup {
        look(self.theme, self.contrast)
    }

    pub(crate) fn back_path(&self) -> &str {
        local(&self.back)
    }

    /// Rows of the display's picture, which keep its place until it is there.
    pub(crate) fn display_rows(&self) -> u32 {
        if self.display == "128x32" { 32 } else { 64 }
    }

    /// The address of the event stream with what this page wants of it.
    pub(crate) fn stream(&self) -> String {
        let show = match &self.watch {
            Watch::Alarms => "alarms".to_owned(),
            Watch::Hosts => "hosts".to_owned(),
            Watch::Host(id) => format!("host&host={}", query(id)),
        };
        let last = match self.stream_position.as_str() {
            "" => String::new(),
            last => format!("&last={}", query(last)),
        };
        format!("/events/stream?show={show}{last}")
    }
}

/// An error page: what happened, what we did, what to do. Without a shell it stands alone (nobody is signed in).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ErrorPage {
    pub shell: Option<Shell>,
    pub happened: String,
    pub did: String,
    pub todo: String,
    /// Where to go on; none leads to the hosts.
    pub link: Option<Link>,
}
