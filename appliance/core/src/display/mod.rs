//! The display of the box (128x64 or 128x32 pixels of one bit): a [`StatusView`] and the time in, a picture out.
//!
//! | module | one sentence |
//! |---|---|
//! | `view` | what may be shown, in words that are ready to be drawn |
//! | `page` | which page is shown now |
//! | `tall`, `strip` | the pages on 64 and on 32 rows |
//! | `canvas` | text, bars, glyphs and codes inside an area that nothing leaves |
//! | `picture` | pixels as panels, people and files want them |
//!
//! Every string may hold anything: what is not ASCII becomes `?`, what does not fit is cut. Faces are the X11 "misc-fixed"
//! ones that embedded-graphics carries.

mod canvas;
mod glyphs;
mod page;
mod picture;
mod strip;
mod tall;
#[cfg(test)]
mod tests;
mod view;

pub use picture::{Panel, Picture};
pub use view::{Alarm, Installing, Network, Notice, StatusView, Step, Turned};

use canvas::Canvas;
use embedded_graphics::{pixelcolor::BinaryColor, prelude::DrawTarget};
use std::time::Duration;

/// A page stays for this many ticks, unless a person turned it.
pub const PAGE_TICKS: u64 = 6;
/// So long after the last press of the button pages turn by themselves again.
pub const TURNED_TICKS: u64 = 30;
/// The picture goes down and comes back in this many ticks, so that no pixel wears out before the others.
const SHIFT_TICKS: u64 = 480;
/// Text and code swap sides after this many ticks.
const SWAP_TICKS: u64 = 600;
/// Without news for this long the panel is dimmed.
const DIM_AFTER: Duration = Duration::from_secs(300);

/// Draws what `view` says at `tick`, in seconds since any moment, on a dark `target` of at least 128x32 pixels; a smaller one
/// stays dark.
///
/// # Errors
/// Whatever the target gives.
pub fn draw<D>(view: &StatusView, tick: u64, target: &mut D) -> Result<(), D::Error>
where
    D: DrawTarget<Color = BinaryColor>,
{
    let size = target.bounding_box().size;
    if size.width < 128 || size.height < 32 {
        return Ok(());
    }
    let page = page::choose(view, tick);
    if size.height < 64 {
        let slack = strip::SLACK;
        let canvas = Canvas::new(target, shift(tick, slack), 128, 32 - slack);
        strip::draw(&page, view, tick, canvas)
    } else {
        let slack = tall::SLACK;
        let canvas = Canvas::new(target, shift(tick, slack), 128, 64 - slack);
        tall::draw(&page, view, tick, canvas)
    }
}

/// The picture of `view` at `tick` on a panel.
#[must_use]
pub fn picture(view: &StatusView, tick: u64, panel: Panel) -> Picture {
    let mut picture = Picture::new(panel);
    let Ok(()) = draw(view, tick, &mut picture);
    picture
}

/// Whether the panel is dimmed, so long after anything last changed or was pressed.
#[must_use]
pub fn dimmed(without_news: Duration) -> bool {
    without_news >= DIM_AFTER
}

/// What the status light does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Light {
    /// All is well.
    Steady,
    /// Installs run: on and off each second.
    Slow,
    /// A person is wanted: four times as fast.
    Fast,
    Off,
}

impl Light {
    /// What the light says of `view`.
    #[must_use]
    pub fn of(view: &StatusView) -> Light {
        match &view.notice {
            Some(Notice::Stopped { .. }) => return Light::Off,
            Some(Notice::Starting { .. } | Notice::Update { .. }) => return Light::Slow,
            Some(Notice::Consent { .. } | Notice::Offer { .. } | Notice::Hold { .. } | Notice::ResetMarked) => {
                return Light::Fast;
            }
            None => {}
        }
        let troubled = !view.alarms.is_empty() || view.installs.iter().any(|install| install.step.failed());
        match (&view.network, troubled) {
            (_, true) => Light::Fast,
            (Network::Waiting { .. }, false) => Light::Slow,
            (Network::Up { .. }, false) if view.installs.is_empty() => Light::Steady,
            (Network::Up { .. }, false) => Light::Slow,
        }
    }

    /// Whether it is lit, so long after any moment.
    #[must_use]
    pub fn lit(self, at: Duration) -> bool {
        match self {
            Light::Steady => true,
            Light::Slow => at.as_secs().is_multiple_of(2),
            Light::Fast => (at.as_millis() / 250).is_multiple_of(2),
            Light::Off => false,
        }
    }
}

/// How far down the picture stands: from 0 to `slack` and back.
fn shift(tick: u64, slack: i32) -> i32 {
    let steps = u64::from(slack.unsigned_abs()) * 2;
    if steps == 0 {
        return 0;
    }
    let step = tick % SHIFT_TICKS * steps / SHIFT_TICKS;
    i32::try_from(step.min(steps - step)).unwrap_or(0)
}

/// Whether text and code have swapped sides.
fn swapped(tick: u64) -> bool {
    !(tick / SWAP_TICKS).is_multiple_of(2)
}
