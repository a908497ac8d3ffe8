//! What the box's own hardware says: supply voltage, temperature, the wear and the errors of its card, and what of it people
//! have to hear.
//!
//! Read from sysfs every two seconds; what is not there says nothing, so that a PC has no alarm for what it cannot know.

use crate::inventory::{Inventory, Telemetry};
use rackberry_core::{
    event::{Actor, EventKind},
    text::CleanText,
};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use tokio::sync::watch;

/// Between two looks.
const EVERY: Duration = Duration::from_secs(2);
/// An undervoltage is told for so long after it was last seen: it comes and goes within seconds, with the load.
const AFTERGLOW: Duration = Duration::from_secs(60);
/// In thousandths of a degree. A Pi slows down by itself from 80 on.
const WARM: i64 = 75_000;
const HOT: i64 = 82_000;
/// It has to cool down by so much before it counts as cooler.
const COOLED: i64 = 4_000;
/// An eMMC's wear in tenths of its life, as JEDEC's EXT_CSD counts: 9 is 80 to 90 %.
const WORN: u8 = 9;
/// What the state needs to go on for a while: the log of a long transaction, the next backup.
const SCARCE: u64 = 16 << 20;

/// The alarms' keys.
pub const POWER: &str = "power";
pub const HEAT: &str = "heat";
pub const WEAR: &str = "card-wear";
pub const ERRORS: &str = "card-errors";
pub const READ_ONLY: &str = "card-readonly";
pub const FULL: &str = "card-full";

/// One look; `None` and empty where the hardware does not say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Readings {
    /// The supply is below 4.63 V right now.
    pub undervoltage: Option<bool>,
    /// Of the processor, in thousandths of a degree Celsius.
    pub temperature: Option<i64>,
    /// The most used part of each eMMC, in tenths of its life, 11 for beyond it; and whether its reserve runs out.
    pub wear: BTreeMap<String, (u8, bool)>,
    /// Errors that each ext4 has met since it was last checked.
    pub errors: BTreeMap<String, u64>,
    /// The state folder's file system takes no writes.
    pub read_only: bool,
    /// Bytes free for the state, if the file system says.
    pub free: Option<u64>,
}

/// The box's sensors as others ask them; clones are of the same box.
#[derive(Debug, Clone)]
pub struct Sensors(watch::Receiver<Readings>);

impl Default for Sensors {
    fn default() -> Self {
        Sensors(watch::channel(Readings::default()).1)
    }
}

impl Sensors {
    /// What was read last.
    #[must_use]
    pub fn readings(&self) -> Readings {
        self.0.borrow().clone()
    }

    /// Why nothing heavy may begin now, as an update or an import; none if it may.
    #[must_use]
    pub fn refusal(&self) -> Option<&'static str> {
        let low = self.0.borrow().undervoltage == Some(true);
        low.then_some(
            "The box's supply voltage is too low: what is written now could be damaged. Use a stronger power supply or a better \
             cable, and try again.",
        )
    }
}

/// Looks at the hardware below `sys` until `stop` turns true; news become alarms.
pub fn watch(
    sys: PathBuf,
    state_dir: PathBuf,
    inventory: Inventory,
    mut stop: watch::Receiver<bool>,
) -> (Sensors, impl Future<Output = ()> + Send) {
    let (readings, sensors) = watch::channel(Readings::default());
    let run = async move {
        let mut told = Told::default();
        loop {
            let (sys, state_dir) = (sys.clone(), state_dir.clone());
            // A card that stalls holds up a thread of its own, and nobody else.
            let look = tokio::task::spawn_blocking(move || read(&sys, &state_dir));
            let look = tokio::select! {
                look = look => look,
                _ = stop.wait_for(|stop| *stop) => return,
            };
            if let Ok(look) = look {
                let look = told.steady(look, Instant::now());
                for (key, text) in told.news(&look) {
                    tell(&inventory, key, text);
                }
                readings.send_if_modified(|now| std::mem::replace(now, look.clone()) != look);
            }
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                () = tokio::time::sleep(EVERY) => {}
            }
        }
    };
    (Sensors(sensors), run)
}

fn tell(inventory: &Inventory, key: &'static str, text: Option<String>) {
    let text = text.map(|text| CleanText::new(&text));
    if let Some(text) = text.clone() {
        tracing::warn!("{text}");
        inventory.later(move |tx| tx.record(None, None, Actor::Box, EventKind::Alarm { text }).map(drop));
    }
    inventory.telemetry(Telemetry::Condition { key, text });
}

/// What was told before, so that only news are.
#[derive(Debug, Default)]
struct Told {
    low: Option<Instant>,
    texts: BTreeMap<&'static str, String>,
    heat: u8,
}

impl Told {
    /// Evens out what comes and goes.
    fn steady(&mut self, mut look: Readings, now: Instant) -> Readings {
        if look.undervoltage == Some(true) {
            self.low = Some(now);
        }
        if self.low.is_some_and(|low| now.duration_since(low) < AFTERGLOW) {
            look.undervoltage = Some(true);
        }
        if let Some(degrees) = look.temperature {
            let level = |offset: i64| match degrees + offset {
                HOT.. => 2,
                WARM.. => 1,
                _ => 0,
            };
            self.heat = self.heat.clamp(level(0), level(COOLED));
        }
        look
    }

    /// Alarms whose text is another one now; none for those that are over.
    fn news(&mut self, look: &Readings) -> Vec<(&'static str, Option<String>)> {
        let now = conditions(look, self.heat);
        let mut news: Vec<(&'static str, Option<String>)> =
            self.texts.keys().filter(|key| !now.contains_key(*key)).map(|key| (*key, None)).collect();
        let changed = now.iter().filter(|(key, text)| self.texts.get(*key) != Some(text));
        news.extend(changed.map(|(key, text)| (*key, Some(text.clone()))));
        self.texts = now;
        news
    }
}

/// The alarms that one look asks for, by their keys.
fn conditions(look: &Readings, heat: u8) -> BTreeMap<&'static str, String> {
    let mut found = BTreeMap::new();
    if look.undervoltage == Some(true) {
        let text = "The box's supply voltage is too low: it may crash or damage its card. Use a stronger power supply or a \
                    better cable. Updates and imports wait.";
        found.insert(POWER, text.to_owned());
    }
    match heat {
        0 => {}
        1 => {
            found.insert(HEAT, "The box is warm: its processor has 75 °C or more. Give it air.".to_owned());
        }
        _ => {
            let text = "The box is too hot: its processor has 82 °C or more and runs slower. Give it air, or a fan.";
            found.insert(HEAT, text.to_owned());
        }
    }
    let worn = look.wear.iter().find(|(_, (tenths, reserve))| *tenths >= WORN || *reserve);
    if let Some((disk, (tenths, _))) = worn {
        let used = if *tenths > 10 { "all".to_owned() } else { format!("about {} %", u32::from(*tenths) * 10) };
        let text =
            format!("The box's card {disk} wears out: {used} of its life is used. Make a backup, and replace it.");
        found.insert(WEAR, text);
    }
    if let Some((disk, count)) = look.errors.iter().find(|(_, count)| **count > 0) {
        let text = format!(
            "The file system on {disk} has met {count} errors: the card may be failing. Make a backup, and replace it."
        );
        found.insert(ERRORS, text);
    }
    if look.read_only {
        let text = "The box's card has turned read-only: nothing new is stored. DHCP goes on from memory, images are still \
                    served, and reports of installs wait. Make a backup, and replace the card.";
        found.insert(READ_ONLY, text.to_owned());
    } else if look.free.is_some_and(|free| free < SCARCE) {
        let text = "Less than 16 MB are left for the box's state. Remove files of your own or images \
                    that nobody uses.";
        found.insert(FULL, text.to_owned());
    }
    found
}

/// Reads everything below `sys`, and asks the file system of the state folder.
fn read(sys: &Path, state_dir: &Path) -> Readings {
    let state = rustix::fs::statvfs(state_dir).ok();
    Readings {
        undervoltage: undervoltage(sys),
        temperature: temperature(sys),
        wear: each(&sys.join("block")).filter_map(|disk| Some((name(&disk), wear(&disk.join("device"))?))).collect(),
        errors: each(&sys.join("fs/ext4"))
            .filter_map(|system| Some((name(&system), text(&system.join("errors_count"))?.parse().ok()?)))
            .collect(),
        read_only: state.as_ref().is_some_and(|state| state.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY))
            || gave_up(state_dir).unwrap_or(false),
        free: state.map(|state| state.f_bavail.saturating_mul(state.f_frsize)),
    }
}

/// A file system that met errors takes no more writes, and newer kernels say so among its options alone (proc(5), mountinfo).
fn gave_up(folder: &Path) -> Option<bool> {
    let device = rustix::fs::stat(folder).ok()?.st_dev;
    let device = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
    let mounts = text(Path::new("/proc/self/mountinfo"))?;
    let mount = mounts.lines().find(|line| line.split(' ').nth(2) == Some(&device))?;
    let options = mount.rsplit(' ').next()?;
    Some(options.split(',').any(|option| option == "ro" || option == "emergency_ro"))
}

/// By the kernel's driver (raspberrypi-hwmon), else by the firmware's word as Raspberry Pi's own kernel shows it.
fn undervoltage(sys: &Path) -> Option<bool> {
    let supply =
        each(&sys.join("class/hwmon")).find(|sensor| text(&sensor.join("name")).as_deref() == Some("rpi_volt"));
    if let Some(alarm) = supply.and_then(|supply| text(&supply.join("in0_lcrit_alarm"))) {
        return Some(alarm == "1");
    }
    let throttled = text(&sys.join("devices/platform/soc/soc:firmware/get_throttled"))?;
    let bits = u32::from_str_radix(throttled.trim_start_matches("0x"), 16).ok()?;
    Some(bits & 1 == 1)
}

/// The hottest zone of the processor.
fn temperature(sys: &Path) -> Option<i64> {
    each(&sys.join("class/thermal"))
        .filter(|zone| text(&zone.join("type")).is_some_and(|kind| kind.starts_with("cpu")))
        .filter_map(|zone| text(&zone.join("temp"))?.parse().ok())
        .max()
}

/// An eMMC tells of its life; an SD card does not.
fn wear(device: &Path) -> Option<(u8, bool)> {
    let hex = |word: &str| u8::from_str_radix(word.trim_start_matches("0x"), 16).ok();
    let used = text(&device.join("life_time"))?.split_whitespace().filter_map(hex).max()?;
    let reserve = text(&device.join("pre_eol_info")).as_deref().and_then(hex).is_some_and(|state| state >= 2);
    Some((used, reserve))
}

fn each(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok).map(|entry| entry.path())
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn text(path: &Path) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(root: &Path, path: &str, content: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    #[test]
    fn a_machine_without_sensors_has_no_alarm() {
        let folder = tempfile::tempdir().unwrap();
        let look = read(folder.path(), folder.path());
        let look = Readings { free: None, ..look };
        assert_eq!(look, Readings::default());
        assert_eq!(Told::default().news(&look), []);
    }

    #[test]
    fn each_sensor_of_a_pi_becomes_its_alarm() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        put(root, "class/hwmon/hwmon0/name", "cpu_thermal\n");
        put(root, "class/hwmon/hwmon1/name", "rpi_volt\n");
        put(root, "class/hwmon/hwmon1/in0_lcrit_alarm", "1\n");
        put(root, "class/thermal/thermal_zone0/type", "cpu-thermal\n");
        put(root, "class/thermal/thermal_zone0/temp", "82700\n");
        put(root, "class/thermal/thermal_zone1/type", "iwlwifi\n");
        put(root, "class/thermal/thermal_zone1/temp", "99000\n");
        put(root, "block/mmcblk0/device/life_time", "0x02 0x0b\n");
        put(root, "block/mmcblk0/device/pre_eol_info", "0x01\n");
        put(root, "fs/ext4/mmcblk0p5/errors_count", "3\n");
        let look = read(root, root);
        assert_eq!(look.temperature, Some(82_700));
        let mut told = Told::default();
        let look = told.steady(Readings { free: Some(SCARCE - 1), ..look }, Instant::now());
        let news = told.news(&look);
        let keys: Vec<&str> = news.iter().map(|(key, _)| *key).collect();
        assert_eq!(keys, [ERRORS, FULL, WEAR, HEAT, POWER]);
        assert!(news.iter().any(|(_, text)| text.as_deref().is_some_and(|text| text.contains("all of its life"))));
        assert_eq!(told.news(&look), [], "only news are told");
    }

    #[test]
    fn the_firmwares_word_counts_where_there_is_no_driver() {
        let folder = tempfile::tempdir().unwrap();
        for (word, low) in [("50005", true), ("0x50000", false), ("0", false)] {
            put(folder.path(), "devices/platform/soc/soc:firmware/get_throttled", word);
            assert_eq!(undervoltage(folder.path()), Some(low), "{word}");
        }
    }

    #[test]
    fn a_dip_of_the_voltage_is_told_for_a_minute_and_then_is_over() {
        let mut told = Told::default();
        let dip = |low| Readings { undervoltage: Some(low), ..Readings::default() };
        let start = Instant::now();
        let seen = told.steady(dip(true), start);
        assert_eq!(told.news(&seen).len(), 1);
        let seen = told.steady(dip(false), start + Duration::from_secs(59));
        assert_eq!((seen.undervoltage, told.news(&seen)), (Some(true), vec![]));
        let seen = told.steady(dip(false), start + Duration::from_secs(60));
        assert_eq!((seen.undervoltage, told.news(&seen)), (Some(false), vec![(POWER, None)]));
    }

    #[test]
    fn heat_is_told_at_75_and_82_degrees_and_taken_back_when_it_cooled_by_four() {
        let mut told = Told::default();
        let mut levels = Vec::new();
        for degrees in [74, 75, 74, 72, 82, 80, 78, 77, 71, 70] {
            told.steady(Readings { temperature: Some(degrees * 1000), ..Readings::default() }, Instant::now());
            levels.push(told.heat);
        }
        assert_eq!(levels, [0, 1, 1, 1, 2, 2, 2, 1, 1, 0]);
    }
}
