//! The pages on 32 rows, of which the lowest is left free for the picture to move.

use super::{
    Network, Notice, StatusView, Step,
    canvas::{BODY, BOLD, Canvas, DARK, HEAD, LIT, SMALL, wrap},
    glyphs,
    page::{self, Page},
    swapped,
    tall::{line, saved},
};
use embedded_graphics::{pixelcolor::BinaryColor, prelude::DrawTarget};

/// Rows the picture may move by.
pub(super) const SLACK: i32 = 1;
/// The last line.
const LAST: i32 = 23;
/// So long two lines of an alarm stay before the next two.
const READ_TICKS: u64 = 3;

pub(super) fn draw<D>(page: &Page<'_>, view: &StatusView, tick: u64, mut canvas: Canvas<'_, D>) -> Result<(), D::Error>
where
    D: DrawTarget<Color = BinaryColor>,
{
    let canvas = &mut canvas;
    match page {
        Page::Notice(notice) => self::notice(canvas, notice, view, tick),
        Page::Alarm(alarm, ..) => {
            let ink = if tick.is_multiple_of(2) {
                canvas.fill(0, 0, 128, 11, LIT)?;
                DARK
            } else {
                LIT
            };
            canvas.text(2, 1, "!", BODY, ink)?;
            canvas.part(12, 0, 114, 11).text(0, 1, &alarm.title, BODY, ink)?;
            two_lines(canvas, 13, &alarm.text, tick)
        }
        Page::Details(alarm) => canvas.part(1, 0, 126, 31).wrapped(0, &alarm.text, 8, 0, 3),
        Page::NoNetwork(why) => {
            band(canvas, "No network yet", "", tick)?;
            two_lines(canvas, 13, why, tick)
        }
        Page::Ready => {
            let Network::Up { address, mode } = &view.network else { return Ok(()) };
            band(canvas, &view.name, &page::hosts(view), tick)?;
            // This page stands for hours: its ends swap, so that no pixel is lit all the time.
            let (mode, well) = (page::mode(mode), page::well(view));
            if swapped(tick) {
                canvas.right(127, 11, &address.to_string(), HEAD, LIT)?;
                canvas.part(1, 0, 126, 31).ends(LAST, &well, mode, LIT)
            } else {
                canvas.text(1, 11, &address.to_string(), HEAD, LIT)?;
                canvas.part(1, 0, 126, 31).ends(LAST, mode, &well, LIT)
            }
        }
        Page::Code(code) => {
            canvas.text(1, 0, "One-time code", SMALL, LIT)?;
            canvas.middle(8, code, BOLD)?;
            canvas.part(1, 0, 127, 31).text(0, LAST, view.url.trim_start_matches("http://"), SMALL, LIT)
        }
        Page::OneInstall(install) => {
            let word = match &install.step {
                Step::Busy => install.percent.map(|percent| format!("{}%", percent.min(100))).unwrap_or_default(),
                Step::Quiet(span) => format!("quiet {span}"),
                Step::Failed(word) => word.clone(),
                Step::Armed => "Armed".to_owned(),
            };
            let face = if word.len() < 5 { HEAD } else { SMALL };
            canvas.part(1, 0, 70, 11).text(0, 0, &install.name, BODY, LIT)?;
            canvas.part(60, 0, 67, 13).right(67, 0, &word, face, LIT)?;
            if matches!(install.step, Step::Failed(_) | Step::Armed) {
                return two_lines(canvas, 13, &install.task, tick);
            }
            if let Some(percent) = install.percent {
                canvas.bar(0, 13, 128, 8, percent)?;
            }
            canvas.part(1, 0, 126, 31).ends(LAST, &install.task, &install.left, LIT)
        }
        Page::Installs => {
            let installs = page::worst_first(view);
            // Where no sum is due a third install stands in its place.
            let shown = if installs.len() <= 3 && view.done == 0 { 3 } else { 2 };
            let (shown, rest) = installs.split_at(installs.len().min(shown));
            for (y, install) in (0..).step_by(11).zip(shown) {
                line(canvas, y, install)?;
            }
            let Some((more, word)) = page::sum(rest, view.done) else { return Ok(()) };
            canvas.fill(0, 21, 128, 10, LIT)?;
            canvas.part(3, 0, 122, 31).ends(22, &more, &word, DARK)
        }
    }
}

fn band<D>(canvas: &mut Canvas<'_, D>, left: &str, right: &str, tick: u64) -> Result<(), D::Error>
where
    D: DrawTarget<Color = BinaryColor>,
{
    let ink = canvas.band(0, 0, 128, 11, swapped(tick))?;
    let right_width = 5 * i32::try_from(right.len()).unwrap_or(0);
    canvas.part(2, 0, 122 - right_width, 11).text(0, 1, left, BODY, ink)?;
    canvas.part(0, 0, 126, 11).right(126, 2, right, SMALL, ink)
}

/// Text of any length, two lines at a time.
fn two_lines<D>(canvas: &mut Canvas<'_, D>, y: i32, text: &str, tick: u64) -> Result<(), D::Error>
where
    D: DrawTarget<Color = BinaryColor>,
{
    let lines = wrap(text, 25).len();
    let screens = u64::try_from(lines.div_ceil(2)).unwrap_or(1).max(1);
    let skipped = usize::try_from(tick / READ_TICKS % screens).unwrap_or(0) * 2;
    canvas.part(1, 0, 126, 31).wrapped(y, text, 9, skipped, 2)
}

fn notice<D>(canvas: &mut Canvas<'_, D>, notice: &Notice, view: &StatusView, tick: u64) -> Result<(), D::Error>
where
    D: DrawTarget<Color = BinaryColor>,
{
    match notice {
        Notice::Starting { percent } => {
            canvas.glyph(1, 3, glyphs::LOGO, 1, LIT)?;
            canvas.text(22, 4, "Rackberry", HEAD, LIT)?;
            canvas.part(96, 0, 31, 31).right(31, 8, &view.version, SMALL, LIT)?;
            canvas.bar(0, 24, 128, 7, *percent)
        }
        Notice::Consent { host, mac, digits, disk, seconds_left, button } => {
            let how = if *button { "Press to erase" } else { "Type to erase" };
            canvas.part(1, 0, 126, 8).ends(0, how, &format!("{seconds_left} s"), LIT)?;
            let digits: String = digits.chars().take(4).collect();
            canvas.part(1, 0, 80, 31).text(0, 9, host, BODY, LIT)?;
            canvas.right(127, 9, &digits, BOLD, LIT)?;
            // Address and disk in turns: both have to be read before the time is over.
            let line = if (tick / READ_TICKS).is_multiple_of(2) { mac } else { disk };
            canvas.part(1, 0, 127, 31).text(0, LAST, line, SMALL, LIT)
        }
        Notice::Hold { what, held } => {
            canvas.middle(0, what, HEAD)?;
            canvas.bar(14, 15, 100, 7, *held)?;
            canvas.middle(LAST, "let go to leave it", SMALL)
        }
        Notice::ResetMarked => {
            canvas.middle(0, "Factory reset", HEAD)?;
            canvas.middle(15, "At the next start this", SMALL)?;
            canvas.middle(LAST, "box forgets everything.", SMALL)
        }
        Notice::Offer { from, to, seconds_left } => {
            canvas.part(1, 0, 126, 8).ends(0, "Press to update", &format!("{seconds_left} s"), LIT)?;
            canvas.part(1, 0, 126, 31).text(0, 10, &format!("{from} to {to}"), BODY, LIT)?;
            canvas.text(1, LAST, "From the USB stick", SMALL, LIT)
        }
        Notice::Update { from, to, percent } => {
            canvas.text(1, 0, "Updating", BODY, LIT)?;
            canvas.right(127, 1, &format!("{from} to {to}"), SMALL, LIT)?;
            canvas.bar(0, 12, 128, 8, *percent)?;
            canvas.text(1, LAST, "Keep the power on.", SMALL, LIT)
        }
        Notice::Stopped { off, at } => {
            canvas.middle(0, if *off { "Goodbye" } else { "Stopped" }, HEAD)?;
            canvas.middle(14, if *off { "Unplug in 20 s" } else { "Not serving" }, SMALL)?;
            canvas.middle(LAST, &saved(at), SMALL)
        }
    }
}
