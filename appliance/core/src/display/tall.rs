//! The pages on 64 rows, of which the lowest [`SLACK`] are left free for the picture to move.

use super::{
    Alarm, Installing, Network, Notice, PAGE_TICKS, StatusView, Step,
    canvas::{BIG, BODY, BOLD, CODE_SIDE, Canvas, DARK, HEAD, LIT, SMALL, code, wrap},
    glyphs,
    page::{self, Page},
    swapped,
};
use embedded_graphics::{pixelcolor::BinaryColor, prelude::DrawTarget};
use std::net::Ipv4Addr;

/// Rows the picture may move by.
pub(super) const SLACK: i32 = 3;
/// Rows between two lines of the small face, and the last line.
const PITCH: i32 = 9;
const LAST: i32 = 53;
/// Beside a code.
const COLUMN: i32 = 68;

pub(super) fn draw<D>(page: &Page<'_>, view: &StatusView, tick: u64, mut canvas: Canvas<'_, D>) -> Result<(), D::Error>
where
    D: DrawTarget<Color = BinaryColor>,
{
    match page {
        Page::Notice(notice) => self::notice(&mut canvas, notice, &view.version),
        Page::Alarm(alarm, n, count) => self::alarm(&mut canvas, alarm, (*n, *count), view, tick),
        Page::Details(alarm) => details(&mut canvas, alarm, tick),
        Page::NoNetwork(why) => no_network(&mut canvas, why, view, tick),
        Page::Ready => ready(&mut canvas, view, tick),
        Page::Code(code) => first_code(&mut canvas, code, view),
        Page::OneInstall(install) => one_install(&mut canvas, install),
        Page::Installs => installs(&mut canvas, view),
    }
}

/// A band with the box's name, on pages that stand for hours: every other while it is dark, or it would burn in.
fn band<D>(canvas: &mut Canvas<'_, D>, name: &str, tick: u64) -> Result<(), D::Error>
where
    D: DrawTarget<Color = BinaryColor>,
{
    let width = canvas.width;
    let ink = canvas.band(0, 0, width, 12, swapped(tick))?;
    canvas.text(4, 1, name, BODY, ink)
}

fn ready<D>(canvas: &mut Canvas<'_, D>, view: &StatusView, tick: u64) -> Result<(), D::Error>
where
    D: DrawTarget<Color = BinaryColor>,
{
    let Network::Up { address, mode } = &view.network else { return Ok(()) };
    let Some(code) = code(&view.url) else { return ready_without_code(canvas, *address, mode, view, tick) };
    let (text, field) = if swapped(tick) { (60, 0) } else { (0, 70) };
    canvas.code(field, 1, &code)?;
    let mut column = canvas.part(text, 0, COLUMN, LAST + 8);
    band(&mut column.part(0, 0, 66, 12), &view.name, tick)?;
    let below = self::address(&mut column, *address)?;
    column.text(2, below + 1, page::mode(mode), SMALL, LIT)?;
    column.text(2, 44, &page::hosts(view), SMALL, LIT)?;
    column.text(2, LAST, &page::well(view), SMALL, LIT)
}

/// On one line up to 11 signs, else on two, split after the second dot; the row below it.
fn address<D>(column: &mut Canvas<'_, D>, address: Ipv4Addr) -> Result<i32, D::Error>
where
    D: DrawTarget<Color = BinaryColor>,
{
    let whole = address.to_string();
    if whole.len() <= 11 {
        column.text(2, 14, &whole, BODY, LIT)?;
        return Ok(25);
    }
    let [a, b, c, d] = address.octets();
    column.text(2, 14, &format!("{a}.{b}."), BODY, LIT)?;
    column.text(2, 24, &format!("{c}.{d}"), BODY, LIT)?;
    Ok(34)
}

fn ready_without_code<D>(
    canvas: &mut Canvas<'_, D>,
    address: Ipv4Addr,
    mode: &str,
    view: &StatusView,
    tick: u64,
) -> Result<(), D::Error>
where
    D: DrawTarget<Color = BinaryColor>,
{
    band(canvas, &view.name, tick)?;
    canvas.text(1, 14, &address.to_string(), HEAD, LIT)?;
    // What fits no line is broken where it comes, as an address is typed from here.
    canvas.part(1, 0, 127, LAST).wrapped(28, &view.url, 8, 0, 2)?;
    canvas.part(1, 0, 126, LAST + 8).ends(45, page::mode(mode), &page::hosts(view), LIT)?;
    canvas.text(1, LAST, &page::well(view), SMALL, LIT)
}

fn no_network<D>(canvas: &mut Canvas<'_, D>, why: &str, view: &StatusView, tick: u64) -> Result<(), D::Error>
where
    D: DrawTarget<Color = BinaryColor>,
{
    band(canvas, &view.name, tick)?;
    canvas.text(1, 14, "No network yet", HEAD, LIT)?;
    canvas.part(1, 0, 127, LAST + 8).wrapped(LAST - 2 * PITCH - 7, why, PITCH - 1, 0, 4)
}

fn first_code<D>(canvas: &mut Canvas<'_, D>, code: &str, view: &StatusView) -> Result<(), D::Error>
where
    D: DrawTarget<Color = BinaryColor>,
{
    canvas.text(1, 0, "First login", HEAD, LIT)?;
    canvas.middle(15, code, BIG)?;
    canvas.text(1, 37, "One-time code, at", SMALL, LIT)?;
    canvas.part(1, 0, 127, LAST + 8).wrapped(45, &view.url, 8, 0, 2)
}

fn one_install<D>(canvas: &mut Canvas<'_, D>, install: &Installing) -> Result<(), D::Error>
where
    D: DrawTarget<Color = BinaryColor>,
{
    let (figure, room) = match (&install.step, install.percent) {
        (Step::Busy, Some(percent)) => (format!("{}%", percent.min(100)), 84),
        (Step::Busy | Step::Armed | Step::Quiet(_) | Step::Failed(_), _) => (String::new(), 128),
    };
    let mut names = canvas.part(1, 0, room, 21);
    names.text(0, 1, &install.name, BODY, LIT)?;
    names.text(0, 12, &install.title, SMALL, LIT)?;
    canvas.right(127, 0, &figure, BIG, LIT)?;
    match (&install.step, install.percent) {
        (Step::Busy | Step::Quiet(_), Some(percent)) => canvas.bar(0, 24, 128, 12, percent)?,
        (Step::Busy | Step::Quiet(_), None) => canvas.text(1, 26, &install.task, BODY, LIT)?,
        (Step::Failed(word), _) => canvas.text(1, 23, word, HEAD, LIT)?,
        (Step::Armed, _) => canvas.text(1, 23, "Armed", HEAD, LIT)?,
    }
    let mut lines = canvas.part(1, 0, 126, LAST + 8);
    match &install.step {
        Step::Busy if install.percent.is_none() => {}
        Step::Busy => lines.ends(42, &install.task, &install.rate, LIT)?,
        Step::Quiet(span) => lines.text(0, 42, &format!("No news for {span}"), SMALL, LIT)?,
        Step::Failed(_) | Step::Armed => return lines.wrapped(38, &install.task, 8, 0, 3),
    }
    let (done, all) = install.tasks;
    let tasks = if all == 0 { String::new() } else { format!("{done}/{all}") };
    let left = if install.left.is_empty() { String::new() } else { format!("{} left", install.left) };
    lines.ends(LAST, &left, &tasks, LIT)
}

/// A state, a name cut at 9 signs, and a bar or a word. Strips use it as well.
pub(super) fn line<D>(canvas: &mut Canvas<'_, D>, y: i32, install: &Installing) -> Result<(), D::Error>
where
    D: DrawTarget<Color = BinaryColor>,
{
    let (glyph, word) = match &install.step {
        Step::Armed => (glyphs::ARMED, "Armed".to_owned()),
        Step::Busy => (glyphs::BUSY, String::new()),
        Step::Quiet(span) => (glyphs::QUIET, format!("quiet {span}")),
        Step::Failed(word) => (glyphs::FAILED, word.clone()),
    };
    canvas.glyph(0, y, glyph, 1, LIT)?;
    let name: String = install.name.chars().take(9).collect();
    canvas.text(11, y, &name, SMALL, LIT)?;
    let mut rest = canvas.part(59, y, 68, 8);
    match (&install.step, install.percent) {
        (Step::Busy, Some(percent)) => {
            rest.bar(0, 0, 47, 8, percent)?;
            rest.right(68, 0, &format!("{}%", percent.min(100)), SMALL, LIT)
        }
        (Step::Busy, None) => rest.right(68, 0, &install.task, SMALL, LIT),
        (Step::Armed | Step::Quiet(_) | Step::Failed(_), _) => rest.right(68, 0, &word, SMALL, LIT),
    }
}

fn installs<D>(canvas: &mut Canvas<'_, D>, view: &StatusView) -> Result<(), D::Error>
where
    D: DrawTarget<Color = BinaryColor>,
{
    let installs = page::worst_first(view);
    let (shown, rest) = installs.split_at(installs.len().min(4));
    for (y, install) in (0..).step_by(12).zip(shown) {
        line(canvas, y, install)?;
    }
    let Some((more, word)) = page::sum(rest, view.done) else { return Ok(()) };
    canvas.fill(0, 49, 128, 12, LIT)?;
    canvas.part(3, 0, 122, LAST + 8).ends(51, &more, &word, DARK)
}

fn alarm<D>(
    canvas: &mut Canvas<'_, D>,
    alarm: &Alarm,
    (n, count): (usize, usize),
    view: &StatusView,
    tick: u64,
) -> Result<(), D::Error>
where
    D: DrawTarget<Color = BinaryColor>,
{
    // Lit and dark swap each second, so that it is seen from afar.
    let ink = if tick.is_multiple_of(2) {
        canvas.fill(0, 0, 128, 16, LIT)?;
        DARK
    } else {
        canvas.frame(0, 0, 128, 16)?;
        LIT
    };
    canvas.glyph(3, 2, glyphs::ALARM, 1, ink)?;
    canvas.part(19, 0, 108, 16).text(0, 3, &alarm.title, BODY, ink)?;
    let mut lines = canvas.part(2, 0, 126, LAST + 8);
    lines.wrapped(18, &alarm.text, 8, 0, 4)?;
    let place = if count > 1 { format!("{}/{count}", n + 1) } else { String::new() };
    let advice = if view.button { "Press: details" } else { "See the web page" };
    lines.ends(LAST, advice, &place, LIT)
}

fn details<D>(canvas: &mut Canvas<'_, D>, alarm: &Alarm, tick: u64) -> Result<(), D::Error>
where
    D: DrawTarget<Color = BinaryColor>,
{
    let lines = wrap(&alarm.text, 25).len();
    let mut area = canvas.part(2, 0, 126, LAST + 8);
    if lines <= 5 {
        area.text(0, 0, &alarm.title, BODY, LIT)?;
        area.wrapped(14, &alarm.text, PITCH, 0, 5)
    } else {
        // Long ones a screen at a time, as long as a page stays.
        let screens = u64::try_from(lines.div_ceil(7)).unwrap_or(1).max(1);
        let skipped = usize::try_from(tick / PAGE_TICKS % screens).unwrap_or(0) * 7;
        area.wrapped(0, &alarm.text, 8, skipped, 7)
    }
}

fn notice<D>(canvas: &mut Canvas<'_, D>, notice: &Notice, version: &str) -> Result<(), D::Error>
where
    D: DrawTarget<Color = BinaryColor>,
{
    match notice {
        Notice::Starting { percent } => {
            canvas.glyph(2, 10, glyphs::LOGO, 2, LIT)?;
            canvas.text(42, 12, "Rackberry", BOLD, LIT)?;
            canvas.text(43, 30, &format!("{version}  starting"), SMALL, LIT)?;
            canvas.bar(0, 54, 128, 7, *percent)
        }
        Notice::Consent { host, mac, digits, disk, seconds_left, button } => {
            let how = if *button { "Press to erase" } else { "Type to erase" };
            canvas.part(1, 0, 126, 8).ends(0, how, &format!("{seconds_left} s"), LIT)?;
            canvas.text(1, 8, host, BODY, LIT)?;
            canvas.text(1, 18, mac, SMALL, LIT)?;
            for (x, digit) in (22..).step_by(22).zip(digits.chars().take(4)) {
                canvas.frame(x, 28, 18, 22)?;
                canvas.text(x + 4, 29, digit.encode_utf8(&mut [0; 4]), BIG, LIT)?;
            }
            canvas.text(1, LAST, disk, SMALL, LIT)
        }
        Notice::Hold { what, held } => {
            canvas.middle(2, what, HEAD)?;
            canvas.middle(20, "Hold on to do it,", SMALL)?;
            canvas.middle(29, "let go to leave it.", SMALL)?;
            canvas.bar(14, 44, 100, 10, *held)
        }
        Notice::ResetMarked => {
            canvas.middle(2, "Factory reset", HEAD)?;
            canvas.fill(14, 18, 100, 1, LIT)?;
            canvas.middle(24, "At the next start", SMALL)?;
            canvas.middle(33, "this box forgets all", SMALL)?;
            canvas.middle(42, "hosts and images.", SMALL)
        }
        Notice::Offer { from, to, seconds_left } => {
            canvas.part(1, 0, 126, 8).ends(0, "Press to update", &format!("{seconds_left} s"), LIT)?;
            canvas.part(1, 0, 126, 63).text(0, 14, &format!("{from} to {to}"), BODY, LIT)?;
            canvas.text(1, 32, "From the USB stick.", SMALL, LIT)?;
            canvas.text(1, 43, "The box starts again.", SMALL, LIT)?;
            canvas.text(1, LAST, "Without a press: nothing", SMALL, LIT)
        }
        Notice::Update { from, to, percent } => {
            canvas.text(1, 0, "Updating", HEAD, LIT)?;
            canvas.right(127, 3, &format!("{}%", percent.min(&100)), BODY, LIT)?;
            canvas.text(1, 16, &format!("{from} to {to}"), BODY, LIT)?;
            canvas.bar(0, 29, 128, 10, *percent)?;
            canvas.text(1, 44, "Then the box restarts.", SMALL, LIT)?;
            canvas.text(1, LAST, "Keep the power on.", SMALL, LIT)
        }
        Notice::Stopped { off, at } => {
            let (first, second) = if *off { ("Goodbye", "Unplug in 20 s") } else { ("Stopped", "Not serving") };
            canvas.middle(6, first, BOLD)?;
            canvas.middle(25, second, HEAD)?;
            canvas.fill(14, 42, 100, 1, LIT)?;
            canvas.middle(47, &saved(at), SMALL)
        }
    }
}

/// That nothing is lost.
pub(super) fn saved(at: &str) -> String {
    if at.is_empty() { "All saved".to_owned() } else { format!("All saved at {at}") }
}

const _: () = assert!(CODE_SIDE <= 61 && COLUMN + CODE_SIDE <= 128);
