//! `rackberry.toml`: one table of settings is the parser, the sample file, `config show` and the check at once.
//!
//! An empty file works. Unknown keys are refused, and every problem is reported with its line, not only the first.

mod oled;
mod settings;
mod subnet;
pub(crate) mod values;

pub use oled::{Bus, Controller, GpioBackend, Oled};
pub(crate) use values::MOST_TIME_SERVERS;
pub use values::TimeServer;

use crate::origin::url::Url;
use rackberry_core::{
    dhcp::{Mode, Subnet},
    install::{ConsentRule, Limits},
    option::DhcpOption,
};
use settings::SETTINGS;
use std::{collections::BTreeMap, fmt::Write as _, net::SocketAddr, path::PathBuf, time::Duration};
use toml::de::{DeTable, DeValue};
use values::scalar;

/// The line of a byte of the text, from 1.
pub(crate) fn line_at(toml: &str, offset: usize) -> usize {
    1 + toml.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}

/// Settings, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The interface to serve; found by itself if none.
    pub interface: Option<String>,
    /// Whether the link is told the box's name.
    pub mdns: bool,
    /// The machine's own if none.
    pub mdns_name: Option<String>,
    pub dhcp_mode: Mode,
    /// First and last address given out; the upper half of the subnet if none.
    pub dhcp_pool: Option<(std::net::Ipv4Addr, std::net::Ipv4Addr)>,
    pub dhcp_lease: Duration,
    pub dhcp_gateway: Option<std::net::Ipv4Addr>,
    pub dhcp_dns: Vec<std::net::Ipv4Addr>,
    pub dhcp_domain: Option<String>,
    pub dhcp_ntp: Vec<std::net::Ipv4Addr>,
    /// Requests for addresses nobody knows of get a NAK in server mode, not silence.
    pub dhcp_authoritative: bool,
    /// BOOTP clients without a reservation get an address as well.
    pub dhcp_dynamic_bootp: bool,
    /// Sent to all clients of the link's own subnet that want them.
    pub dhcp_options: Vec<DhcpOption>,
    /// Subnets with settings of their own: those behind relays, and perhaps the link's own.
    pub dhcp_subnets: Vec<Subnet>,
    /// The unit of the ladder's probe: DISCOVERs go out at 0, 1, 2 and 4 times this.
    pub dhcp_probe_unit: Duration,
    /// How long after the last probe answers are awaited.
    pub dhcp_probe_listen: Duration,
    /// Between two probes once running.
    pub dhcp_probe_every: Duration,
    /// How long an address is tried out before its first offer; zero: not at all.
    pub dhcp_conflict: Duration,
    /// How long a look for other servers goes unanswered before a new lease is promised in auto and pxe-only.
    pub dhcp_look: Duration,
    pub dhcp_port: u16,
    pub dhcp_proxy_port: u16,
    pub tftp_port: u16,
    pub tftp_sessions: usize,
    pub tftp_sessions_per_host: usize,
    /// Whether 1 follows block 65535, and not 0.
    pub tftp_rollover_to_one: bool,
    pub boot_port: u16,
    /// 0: no second port.
    pub boot_alias_port: u16,
    pub discovery: bool,
    pub max_hosts: usize,
    pub kernel_args: String,
    pub assets: PathBuf,
    pub page_listen: SocketAddr,
    /// Whether host names are answered.
    pub names: Serve,
    pub names_port: u16,
    /// Asked for other names, before those that the lease names.
    pub names_forward: Vec<std::net::Ipv4Addr>,
    /// Whether the time is answered.
    pub time_serve: Serve,
    pub time_port: u16,
    /// Where installers send their logs; 0: nowhere.
    pub syslog_port: u16,
    /// Asked for the time, before those that the lease names.
    pub time_servers: Vec<TimeServer>,
    pub idle_to_disk: Option<Duration>,
    pub idle_power_off: Option<Duration>,
    pub arm_ttl: Duration,
    pub max_writes: usize,
    pub max_writes_per_image: usize,
    pub stagger: Duration,
    /// When somebody at the box has to say yes.
    pub consent: ConsentRule,
    /// How long the display waits for it.
    pub consent_patience: Duration,
    /// Files are fetched from private addresses, too.
    pub import_private: bool,
    /// Mirrors whose packages are kept, by the name in their path.
    pub cache_mirrors: BTreeMap<String, Url>,
    pub cache_bytes: u64,
    pub gpio: GpioBackend,
    /// N of `/dev/gpiochipN`.
    pub gpio_chip: u8,
    pub oled: Oled,
}

/// Whether the box serves something beside booting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Serve {
    Off,
    /// While the box gives addresses: nobody else leads a machine to it.
    Auto,
    /// Beside another DHCP server as well.
    On,
}

impl std::str::FromStr for Serve {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word {
            "off" => Ok(Serve::Off),
            "auto" => Ok(Serve::Auto),
            "on" => Ok(Serve::On),
            _ => Err("takes off, auto or on".to_owned()),
        }
    }
}

/// One problem of a settings file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// From 1.
    pub line: usize,
    /// `table.key`, or empty for a syntax error.
    pub key: String,
    pub what: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.key.is_empty() {
            write!(f, "line {}: {}", self.line, self.what)
        } else {
            write!(f, "line {}: {}: {}", self.line, self.key, self.what)
        }
    }
}

/// A settings file with problems, all of them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the settings have {} problem(s):\n{}", .0.len(), .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct InvalidConfig(pub Vec<Problem>);

/// A packet's subnet is found by looking at each.
const MOST_SUBNETS: usize = 256;

/// The setting that takes a display.
const CONSENT: &str = "install.consent";

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    Default,
    /// Set in the file, at this line.
    File(usize),
}

/// A setting as `config show` prints it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    pub key: String,
    pub value: String,
    pub origin: Origin,
}

impl Default for Config {
    fn default() -> Self {
        let mut config = Config {
            interface: None,
            mdns: true,
            mdns_name: None,
            dhcp_mode: Mode::Auto,
            dhcp_pool: None,
            dhcp_lease: Duration::ZERO,
            dhcp_gateway: None,
            dhcp_dns: Vec::new(),
            dhcp_domain: None,
            dhcp_ntp: Vec::new(),
            dhcp_authoritative: false,
            dhcp_dynamic_bootp: false,
            dhcp_options: Vec::new(),
            dhcp_subnets: Vec::new(),
            dhcp_probe_unit: Duration::ZERO,
            dhcp_probe_listen: Duration::ZERO,
            dhcp_probe_every: Duration::ZERO,
            dhcp_conflict: Duration::ZERO,
            dhcp_look: Duration::ZERO,
            dhcp_port: 0,
            dhcp_proxy_port: 0,
            tftp_port: 0,
            tftp_sessions: 0,
            tftp_sessions_per_host: 0,
            tftp_rollover_to_one: false,
            boot_port: 0,
            boot_alias_port: 0,
            discovery: false,
            max_hosts: 0,
            kernel_args: String::new(),
            assets: PathBuf::new(),
            page_listen: SocketAddr::from(([0, 0, 0, 0], 0)),
            names: Serve::Auto,
            names_port: 0,
            names_forward: Vec::new(),
            time_serve: Serve::Auto,
            time_port: 0,
            syslog_port: 0,
            time_servers: Vec::new(),
            idle_to_disk: None,
            idle_power_off: None,
            arm_ttl: Duration::ZERO,
            max_writes: 0,
            max_writes_per_image: 0,
            stagger: Duration::ZERO,
            consent: ConsentRule::Never,
            consent_patience: Duration::ZERO,
            import_private: false,
            cache_mirrors: BTreeMap::new(),
            cache_bytes: 0,
            gpio: GpioBackend::Rppal,
            gpio_chip: 0,
            oled: Oled::default(),
        };
        // The table holds every default once; a test proves that each of them is accepted.
        let _ = config.apply(&sample(), &mut Vec::new());
        config
    }
}

impl Config {
    /// How much runs at once.
    #[must_use]
    pub fn limits(&self) -> Limits {
        Limits { per_box: self.max_writes, per_image: self.max_writes_per_image, stagger: self.stagger }
    }

    /// Reads a settings file's text.
    ///
    /// # Errors
    /// [`InvalidConfig`] with every problem found.
    pub fn parse(toml: &str) -> Result<Config, InvalidConfig> {
        Self::parse_shown(toml).map(|(config, _)| config)
    }

    /// Reads a settings file's text and says of every setting where its value comes from.
    ///
    /// # Errors
    /// [`InvalidConfig`] with every problem found.
    pub fn parse_shown(toml: &str) -> Result<(Config, Vec<Shown>), InvalidConfig> {
        let mut config = Config::default();
        let mut shown: Vec<Shown> = SETTINGS
            .iter()
            .map(|setting| Shown {
                key: format!("{}.{}", setting.table, setting.key),
                value: setting.default.to_owned(),
                origin: Origin::Default,
            })
            .collect();
        config.apply(toml, &mut shown).map(|()| (config, shown))
    }

    /// Reads what can be read: a setting with a mistake stands at its default, and the mistake is told.
    ///
    /// For a box without a keyboard, which has to come up to tell anything.
    #[must_use]
    pub fn parse_leniently(toml: &str) -> (Config, Vec<Problem>) {
        let mut config = Config::default();
        let problems = config.apply(toml, &mut []).err().map_or_else(Vec::new, |InvalidConfig(problems)| problems);
        // Half a subnet would serve addresses that nobody meant.
        if problems.iter().any(|problem| problem.key.starts_with("dhcp.subnet")) {
            config.dhcp_subnets.clear();
        }
        (config, problems)
    }

    fn apply(&mut self, toml: &str, shown: &mut [Shown]) -> Result<(), InvalidConfig> {
        let line = |offset: usize| line_at(toml, offset);
        let (document, errors) = DeTable::parse_recoverable(toml);
        let mut problems: Vec<Problem> = errors
            .iter()
            .map(|error| Problem {
                line: line(error.span().map_or(0, |span| span.start)),
                key: String::new(),
                what: error.message().to_owned(),
            })
            .collect();
        let mut consent_at = 1;
        for (table, content) in document.get_ref() {
            let name = table.get_ref().as_ref();
            // On the SD card the same file carries the box's own part; elsewhere it has no meaning.
            if name == "box" {
                continue;
            }
            let at = line(table.span().start);
            let Some(keys) = content.get_ref().as_table().filter(|_| SETTINGS.iter().any(|s| s.table == name)) else {
                problems.push(Problem { line: at, key: name.to_owned(), what: unknown_table() });
                continue;
            };
            for (key, value) in keys {
                let full = format!("{name}.{}", key.get_ref());
                let at = line(key.span().start);
                if full == "dhcp.subnet" {
                    self.read_subnets(value.get_ref(), at, &line, &mut problems);
                    continue;
                }
                let Some(setting) = SETTINGS.iter().find(|s| s.table == name && s.key == key.get_ref().as_ref()) else {
                    problems.push(Problem { line: at, key: full, what: unknown_key(name) });
                    continue;
                };
                if full == CONSENT {
                    consent_at = at;
                }
                let set = scalar(value.get_ref()).and_then(|value| (setting.set)(self, value));
                if let Err(what) = set {
                    problems.push(Problem { line: at, key: full.clone(), what });
                }
                if let Some(shown) = shown.iter_mut().find(|shown| shown.key == full) {
                    shown.value = toml.get(value.span()).unwrap_or_default().to_owned();
                    shown.origin = Origin::File(at);
                }
            }
        }
        if self.consent != ConsentRule::Never && self.oled.controller.is_none() {
            let what = "needs a display that shows what is asked: set oled.controller, or nobody could ever confirm";
            problems.push(Problem { line: consent_at, key: CONSENT.to_owned(), what: what.to_owned() });
            // Read leniently, a mistake leaves a setting at its default.
            self.consent = ConsentRule::Never;
        }
        problems.sort_by_key(|problem| problem.line);
        if problems.is_empty() { Ok(()) } else { Err(InvalidConfig(problems)) }
    }

    fn read_subnets(
        &mut self,
        value: &DeValue<'_>,
        at: usize,
        line: &dyn Fn(usize) -> usize,
        problems: &mut Vec<Problem>,
    ) {
        let mut wrong = |what: String| problems.push(Problem { line: at, key: "dhcp.subnet".to_owned(), what });
        let Some(tables) = subnet::tables(value) else {
            return wrong("takes tables, each headed [[dhcp.subnet]]".to_owned());
        };
        if tables.len() > MOST_SUBNETS {
            return wrong(format!("at most {MOST_SUBNETS} are served"));
        }
        self.dhcp_subnets =
            tables.into_iter().map(|(start, table)| subnet::read(table, line(start), line, problems)).collect();
        if let Some((one, other)) = subnet::overlap(&self.dhcp_subnets).filter(|_| problems.is_empty()) {
            let what = format!("{}/{} and {}/{} overlap", one.network, one.prefix, other.network, other.prefix);
            problems.push(Problem { line: at, key: "dhcp.subnet".to_owned(), what });
        }
    }
}

fn unknown_table() -> String {
    let mut names: Vec<&str> = SETTINGS.iter().map(|setting| setting.table).collect();
    names.dedup();
    format!("there is no such part; there are [{}]", names.join("], ["))
}

fn unknown_key(table: &str) -> String {
    let names: Vec<&str> = SETTINGS.iter().filter(|s| s.table == table).map(|s| s.key).collect();
    format!("there is no such setting; [{table}] has {}", names.join(", "))
}

/// The sample file: every setting with its meaning and its default.
#[must_use]
pub fn sample() -> String {
    let mut out = String::from(
        "# rackberry.toml: an empty file works; every setting here stands at its default.\n\
         # `rackberry check-config FILE` names every mistake, `rackberry config show` where each value comes from.\n",
    );
    let mut table = "";
    for setting in SETTINGS {
        if setting.table != table {
            if table == "dhcp" {
                out.push_str(&subnet::sample());
            }
            table = setting.table;
            // Writing to a String cannot fail.
            let _ = write!(out, "\n[{table}]\n");
        }
        let _ = writeln!(out, "# {}\n{} = {}", setting.help, setting.key, setting.default);
    }
    out
}

#[cfg(test)]
mod tests;
