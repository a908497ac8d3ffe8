//! `rackberry.toml`: one table of settings is the parser, the sample file, `config show` and the check at once.
//!
//! An empty file works. Unknown keys are refused, and every problem is reported with its line, not only the first.

mod subnet;

use rackberry_core::{
    dhcp::{Mode, Subnet},
    install::Limits,
    option::DhcpOption,
};
use std::{fmt::Write as _, net::SocketAddr, path::PathBuf, time::Duration};
use toml::de::{DeTable, DeValue};

/// Settings, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The interface to serve; found by itself if none.
    pub interface: Option<String>,
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
    pub boot_port: u16,
    /// 0: no second port.
    pub boot_alias_port: u16,
    pub discovery: bool,
    pub max_hosts: usize,
    pub kernel_args: String,
    pub assets: PathBuf,
    pub page_listen: SocketAddr,
    pub idle_to_disk: Option<Duration>,
    pub idle_power_off: Option<Duration>,
    pub arm_ttl: Duration,
    pub max_writes: usize,
    pub max_writes_per_image: usize,
    pub stagger: Duration,
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

/// A value as TOML writes it, as far as settings use it.
enum Scalar<'a> {
    Text(&'a str),
    Number(u64),
    Switch(bool),
    List(Vec<&'a str>),
    Table(Vec<(&'a str, &'a str)>),
}

/// One setting: the only place that knows its key, default, meaning and parser.
struct Setting {
    table: &'static str,
    key: &'static str,
    /// As TOML writes it.
    default: &'static str,
    help: &'static str,
    set: fn(&mut Config, Scalar<'_>) -> Result<(), String>,
}

fn text(value: Scalar<'_>) -> Result<String, String> {
    match value {
        Scalar::Text(text) => Ok(text.to_owned()),
        _ => Err("takes a text in quotes".to_owned()),
    }
}

fn switch(value: Scalar<'_>) -> Result<bool, String> {
    match value {
        Scalar::Switch(on) => Ok(on),
        _ => Err("takes true or false".to_owned()),
    }
}

fn number(value: Scalar<'_>, least: u64, most: u64) -> Result<u64, String> {
    match value {
        Scalar::Number(n) if (least..=most).contains(&n) => Ok(n),
        _ => Err(format!("takes a whole number from {least} to {most}")),
    }
}

fn port(value: Scalar<'_>, least: u64) -> Result<u16, String> {
    number(value, least, 65_535).and_then(|n| u16::try_from(n).map_err(|error| error.to_string()))
}

fn count(value: Scalar<'_>, most: u64) -> Result<usize, String> {
    number(value, 1, most).and_then(|n| usize::try_from(n).map_err(|error| error.to_string()))
}

fn address(text: &str) -> Result<std::net::Ipv4Addr, String> {
    text.trim().parse().map_err(|_| format!("\"{text}\" is no IPv4 address; write it as 192.168.77.1"))
}

fn addresses(value: Scalar<'_>) -> Result<Vec<std::net::Ipv4Addr>, String> {
    match value {
        Scalar::List(list) => list.into_iter().map(address).collect(),
        _ => Err("takes a list, for example [\"192.168.77.1\"]".to_owned()),
    }
}

fn pool(range: &str) -> Result<(std::net::Ipv4Addr, std::net::Ipv4Addr), String> {
    let (first, last) = range.split_once('-').ok_or("takes FIRST-LAST")?;
    let (first, last) = (address(first)?, address(last)?);
    if first > last { Err("the first address lies behind the last".to_owned()) } else { Ok((first, last)) }
}

fn options(value: Scalar<'_>) -> Result<Vec<DhcpOption>, String> {
    let Scalar::Table(pairs) = value else {
        return Err("takes a table, for example { 42 = \"192.168.77.1\" }".to_owned());
    };
    let read = |(code, text): (&str, &str)| DhcpOption::parse(&format!("{code}={text}")).map_err(|e| e.to_string());
    pairs.into_iter().map(read).collect()
}

fn optional<T>(text: &str, read: impl FnOnce(&str) -> Result<T, String>) -> Result<Option<T>, String> {
    if text.is_empty() { Ok(None) } else { read(text).map(Some) }
}

/// A day; longer waits are no settings but mistakes.
const DAY: u64 = 86_400;
/// A packet's subnet is found by looking at each.
const MOST_SUBNETS: usize = 256;

const SETTINGS: &[Setting] = &[
    Setting {
        table: "network",
        key: "interface",
        default: "\"\"",
        help: "The interface to serve. Empty: the one wired interface that is up and not virtual.",
        set: |c, v| text(v).map(|name| c.interface = (!name.is_empty()).then_some(name)),
    },
    Setting {
        table: "dhcp",
        key: "mode",
        default: "\"auto\"",
        help: "auto | observe | proxy | pxe-only | server. auto never gives an address where another server does.",
        set: |c, v| {
            c.dhcp_mode = text(v)?.parse().map_err(|_| "takes auto, observe, proxy, pxe-only or server")?;
            Ok(())
        },
    },
    Setting {
        table: "dhcp",
        key: "pool",
        default: "\"\"",
        help: "First and last address given out, for example 192.168.77.100-192.168.77.250. Empty: the upper half of the subnet.",
        set: |c, v| optional(&text(v)?, pool).map(|range| c.dhcp_pool = range),
    },
    Setting {
        table: "dhcp",
        key: "lease_s",
        default: "3600",
        help: "How long an address is given in server mode, in seconds. In auto and pxe-only it is 600.",
        set: |c, v| number(v, 60, 365 * DAY).map(|s| c.dhcp_lease = Duration::from_secs(s)),
    },
    Setting {
        table: "dhcp",
        key: "gateway",
        default: "\"\"",
        help: "The router told to hosts. Empty: this machine's own default gateway, if it lies in the subnet.",
        set: |c, v| optional(&text(v)?, address).map(|a| c.dhcp_gateway = a),
    },
    Setting {
        table: "dhcp",
        key: "dns",
        default: "[]",
        help: "Name servers told to hosts.",
        set: |c, v| addresses(v).map(|list| c.dhcp_dns = list),
    },
    Setting {
        table: "dhcp",
        key: "domain",
        default: "\"\"",
        help: "The domain name told to hosts.",
        set: |c, v| text(v).map(|name| c.dhcp_domain = (!name.is_empty()).then_some(name)),
    },
    Setting {
        table: "dhcp",
        key: "ntp",
        default: "[]",
        help: "Time servers told to hosts.",
        set: |c, v| addresses(v).map(|list| c.dhcp_ntp = list),
    },
    Setting {
        table: "dhcp",
        key: "options",
        default: "{}",
        help: "More options for hosts, by number: { 42 = \"192.168.77.1\", 26 = \"hex:05dc\" }; addresses, text or hex.",
        set: |c, v| options(v).map(|list| c.dhcp_options = list),
    },
    Setting {
        table: "dhcp",
        key: "dynamic_bootp",
        default: "false",
        help: "Clients that know no DHCP (BOOTP) get an address for good. Off: only those with a fixed address.",
        set: |c, v| switch(v).map(|on| c.dhcp_dynamic_bootp = on),
    },
    Setting {
        table: "dhcp",
        key: "authoritative",
        default: "false",
        help: "In server mode: who wants an address that this box knows nothing of is refused, not met with silence.",
        set: |c, v| switch(v).map(|on| c.dhcp_authoritative = on),
    },
    Setting {
        table: "dhcp",
        key: "probe_unit_ms",
        default: "2000",
        help: "Looking for another DHCP server at start: questions at 0, 1, 2 and 4 times this, in milliseconds.",
        set: |c, v| number(v, 10, 60_000).map(|ms| c.dhcp_probe_unit = Duration::from_millis(ms)),
    },
    Setting {
        table: "dhcp",
        key: "probe_listen_ms",
        default: "10000",
        help: "How long answers are awaited after the last question, in milliseconds.",
        set: |c, v| number(v, 10, 120_000).map(|ms| c.dhcp_probe_listen = Duration::from_millis(ms)),
    },
    Setting {
        table: "dhcp",
        key: "probe_every_s",
        default: "600",
        help: "Seconds between two such looks while serving.",
        set: |c, v| number(v, 1, DAY).map(|s| c.dhcp_probe_every = Duration::from_secs(s)),
    },
    Setting {
        table: "dhcp",
        key: "look_ms",
        default: "3500",
        help: "In auto and pxe-only: how long the first client after a quiet time waits, in milliseconds, while another server could say that it is here. Some try an address out for 3 seconds before they speak; 0: no wait.",
        set: |c, v| number(v, 0, 4500).map(|ms| c.dhcp_look = Duration::from_millis(ms)),
    },
    Setting {
        table: "dhcp",
        key: "conflict_ms",
        default: "300",
        help: "How long to wait for somebody who uses an address already before it is offered, in milliseconds; 0: do not ask.",
        set: |c, v| number(v, 0, 3000).map(|ms| c.dhcp_conflict = Duration::from_millis(ms)),
    },
    Setting {
        table: "dhcp",
        key: "port",
        default: "67",
        help: "UDP.",
        set: |c, v| port(v, 1).map(|p| c.dhcp_port = p),
    },
    Setting {
        table: "dhcp",
        key: "proxy_port",
        default: "4011",
        help: "UDP; where PXE clients ask for their boot file.",
        set: |c, v| port(v, 1).map(|p| c.dhcp_proxy_port = p),
    },
    Setting {
        table: "tftp",
        key: "port",
        default: "69",
        help: "UDP.",
        set: |c, v| port(v, 1).map(|p| c.tftp_port = p),
    },
    Setting {
        table: "tftp",
        key: "sessions",
        default: "64",
        help: "Transfers at once.",
        set: |c, v| count(v, 10_000).map(|n| c.tftp_sessions = n),
    },
    Setting {
        table: "tftp",
        key: "sessions_per_host",
        default: "2",
        help: "Transfers at once to one address.",
        set: |c, v| count(v, 10_000).map(|n| c.tftp_sessions_per_host = n),
    },
    Setting {
        table: "boot",
        key: "port",
        default: "80",
        help: "TCP; scripts, loaders, images and agents.",
        set: |c, v| port(v, 1).map(|p| c.boot_port = p),
    },
    Setting {
        table: "boot",
        key: "alias_port",
        default: "8080",
        help: "A second port for the same; 0 for none.",
        set: |c, v| port(v, 0).map(|p| c.boot_alias_port = p),
    },
    Setting {
        table: "boot",
        key: "discovery",
        default: "true",
        help: "Machines never seen before boot the RAM OS, which looks at their hardware. Off: they go to their own disk.",
        set: |c, v| switch(v).map(|on| c.discovery = on),
    },
    Setting {
        table: "boot",
        key: "max_hosts",
        default: "4096",
        help: "Hosts that may enter the list by themselves.",
        set: |c, v| count(v, 1_000_000).map(|n| c.max_hosts = n),
    },
    Setting {
        table: "boot",
        key: "kernel_args",
        default: "\"console=tty0 console=ttyS0,115200 quiet\"",
        help: "More arguments for the RAM OS's kernel.",
        set: |c, v| text(v).map(|args| c.kernel_args = args),
    },
    Setting {
        table: "boot",
        key: "assets",
        default: "\"/usr/share/rackberry\"",
        help: "Where loaders, RAM OS and catalogue lie.",
        set: |c, v| text(v).map(|path| c.assets = path.into()),
    },
    Setting {
        table: "page",
        key: "listen",
        default: "\"0.0.0.0:8000\"",
        help: "TCP; the page and the API. A socket that systemd passes under the name \"page\" comes before this.",
        set: |c, v| {
            let given = text(v)?;
            c.page_listen =
                given.parse().map_err(|_| format!("\"{given}\" is no address and port; write 0.0.0.0:8000"))?;
            Ok(())
        },
    },
    Setting {
        table: "ramos",
        key: "idle_to_disk_s",
        default: "300",
        help: "A host that waits in the RAM OS and has a system on its disk goes on to it after this many seconds; 0: never.",
        set: |c, v| number(v, 0, 365 * DAY).map(|s| c.idle_to_disk = (s > 0).then(|| Duration::from_secs(s))),
    },
    Setting {
        table: "ramos",
        key: "idle_power_off_s",
        default: "0",
        help: "A host that waits in the RAM OS switches off after this many seconds; 0: never.",
        set: |c, v| number(v, 0, 365 * DAY).map(|s| c.idle_power_off = (s > 0).then(|| Duration::from_secs(s))),
    },
    Setting {
        table: "install",
        key: "arm_ttl_s",
        default: "7200",
        help: "How long the permission to erase waits for its host, in seconds.",
        set: |c, v| number(v, 10, DAY).map(|s| c.arm_ttl = Duration::from_secs(s)),
    },
    Setting {
        table: "install",
        key: "max_writes",
        default: "16",
        help: "Images written at once.",
        set: |c, v| count(v, 10_000).map(|n| c.max_writes = n),
    },
    Setting {
        table: "install",
        key: "max_writes_per_image",
        default: "16",
        help: "Of these, from the same image.",
        set: |c, v| count(v, 10_000).map(|n| c.max_writes_per_image = n),
    },
    Setting {
        table: "install",
        key: "stagger_ms",
        default: "0",
        help: "Between the starts of two writes, in milliseconds.",
        set: |c, v| number(v, 0, 3_600_000).map(|ms| c.stagger = Duration::from_millis(ms)),
    },
];

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
            boot_port: 0,
            boot_alias_port: 0,
            discovery: false,
            max_hosts: 0,
            kernel_args: String::new(),
            assets: PathBuf::new(),
            page_listen: SocketAddr::from(([0, 0, 0, 0], 0)),
            idle_to_disk: None,
            idle_power_off: None,
            arm_ttl: Duration::ZERO,
            max_writes: 0,
            max_writes_per_image: 0,
            stagger: Duration::ZERO,
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

    fn apply(&mut self, toml: &str, shown: &mut [Shown]) -> Result<(), InvalidConfig> {
        let line = |offset: usize| 1 + toml.bytes().take(offset).filter(|byte| *byte == b'\n').count();
        let (document, errors) = DeTable::parse_recoverable(toml);
        let mut problems: Vec<Problem> = errors
            .iter()
            .map(|error| Problem {
                line: line(error.span().map_or(0, |span| span.start)),
                key: String::new(),
                what: error.message().to_owned(),
            })
            .collect();
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

fn scalar<'a>(value: &'a DeValue<'_>) -> Result<Scalar<'a>, String> {
    match value {
        DeValue::String(text) => Ok(Scalar::Text(text.as_ref())),
        DeValue::Boolean(on) => Ok(Scalar::Switch(*on)),
        DeValue::Integer(digits) => u64::from_str_radix(digits.as_str(), digits.radix())
            .map(Scalar::Number)
            .map_err(|_| format!("\"{}\" is no whole number from 0", digits.as_str())),
        DeValue::Array(list) => list
            .iter()
            .map(|item| item.get_ref().as_str().ok_or_else(|| "takes a list of texts in quotes".to_owned()))
            .collect::<Result<_, _>>()
            .map(Scalar::List),
        DeValue::Table(pairs) => pairs
            .iter()
            .map(|(key, item)| {
                let text = item.get_ref().as_str().ok_or_else(|| "takes texts in quotes as values".to_owned())?;
                Ok((key.get_ref().as_ref(), text))
            })
            .collect::<Result<_, _>>()
            .map(Scalar::Table),
        DeValue::Float(_) | DeValue::Datetime(_) => Err(format!("takes no {}", value.type_str())),
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
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_and_the_sample_mean_the_same() {
        let (config, shown) = Config::parse_shown(&sample()).unwrap();
        assert_eq!(config, Config::parse("").unwrap());
        assert_eq!((config.boot_port, config.dhcp_mode, config.discovery), (80, Mode::Auto, true));
        assert!(shown.iter().all(|shown| matches!(shown.origin, Origin::File(_))));
    }

    #[test]
    fn the_sample_file_in_the_documentation_is_this_one() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/rackberry.toml");
        let written = std::fs::read_to_string(file).unwrap_or_default();
        if written != sample() && std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(file, sample()).unwrap();
            return;
        }
        assert_eq!(written, sample(), "run once with UPDATE_GOLDEN=1 and read the difference");
    }

    #[test]
    fn every_problem_is_named_with_its_line() {
        let toml = "[dhcp]\nmode = \"full\"\npol = \"x\"\nlease_s = 1\n\n[bot]\nport = 1\n[tftp]\nport = 70000\n";
        let InvalidConfig(problems) = Config::parse(toml).unwrap_err();
        let found: Vec<(usize, &str)> = problems.iter().map(|p| (p.line, p.key.as_str())).collect();
        assert_eq!(found, [(2, "dhcp.mode"), (3, "dhcp.pol"), (4, "dhcp.lease_s"), (6, "bot"), (9, "tftp.port")]);
    }

    #[test]
    fn a_syntax_error_has_a_line_too() {
        let InvalidConfig(problems) = Config::parse("[dhcp]\nmode = \n").unwrap_err();
        assert_eq!(problems.first().unwrap().line, 2);
    }

    #[test]
    fn subnets_are_read_with_all_their_settings() {
        let toml = "[dhcp]\nmode = \"server\"\n[[dhcp.subnet]]\nnetwork = \"10.2.0.0/16\"\npool = \"10.2.1.0-10.2.1.9\"\n\
                    gateway = \"10.2.0.1\"\nlease_s = 900\ndynamic_bootp = true\noptions = { 42 = \"10.2.0.1\", 26 = \"hex:05dc\" }\n\
                    [[dhcp.subnet]]\nnetwork = \"10.3.0.0/24\"\n";
        let config = Config::parse(toml).unwrap();
        let [one, other] = config.dhcp_subnets.as_slice() else { panic!("{:?}", config.dhcp_subnets) };
        assert_eq!((one.prefix, one.lease, one.dynamic_bootp), (16, Some(Duration::from_secs(900)), true));
        assert_eq!(one.options.iter().map(|o| (o.code(), o.value().len())).collect::<Vec<_>>(), [(26, 2), (42, 4)]);
        assert_eq!((other.pool, other.router), (None, None));
        let commented = sample().replace("# [[dhcp.subnet]]", "[[dhcp.subnet]]");
        let shown: String = commented
            .lines()
            .map(|line| line.strip_prefix("# ").filter(|rest| rest.contains("  # ")).unwrap_or(line).to_owned() + "\n")
            .collect();
        assert_eq!(Config::parse(&shown).unwrap().dhcp_subnets.len(), 1, "the example works once it is uncommented");
    }

    #[test]
    fn every_problem_of_a_subnet_is_named() {
        for (toml, line, key) in [
            ("[[dhcp.subnet]]\npool = \"10.2.1.0-10.2.1.9\"\n", 1, "dhcp.subnet"),
            ("[[dhcp.subnet]]\nnetwork = \"10.2.0.1/16\"\n", 2, "dhcp.subnet.network"),
            ("[[dhcp.subnet]]\nnetwork = \"10.2.0.0\"\n", 2, "dhcp.subnet.network"),
            ("[[dhcp.subnet]]\nnetwork = \"10.2.0.0/16\"\npool = \"10.3.0.1-10.3.0.2\"\n", 1, "dhcp.subnet.pool"),
            ("[[dhcp.subnet]]\nnetwork = \"10.2.0.0/16\"\ngateway = \"10.3.0.1\"\n", 1, "dhcp.subnet.gateway"),
            ("[[dhcp.subnet]]\nnetwork = \"10.2.0.0/16\"\ncolour = \"red\"\n", 3, "dhcp.subnet.colour"),
            ("[[dhcp.subnet]]\nnetwork = \"10.2.0.0/16\"\noptions = { 53 = \"x\" }\n", 3, "dhcp.subnet.options"),
            ("[dhcp]\nsubnet = 7\n", 2, "dhcp.subnet"),
            ("[dhcp]\noptions = { 300 = \"x\" }\n", 2, "dhcp.options"),
        ] {
            let InvalidConfig(problems) = Config::parse(toml).unwrap_err();
            let found: Vec<_> = problems.iter().map(|p| (p.line, p.key.as_str())).collect();
            assert_eq!(found, [(line, key)], "{toml}");
        }
        let twice = "[[dhcp.subnet]]\nnetwork = \"10.2.0.0/16\"\n[[dhcp.subnet]]\nnetwork = \"10.2.3.0/24\"\n";
        let InvalidConfig(problems) = Config::parse(twice).unwrap_err();
        assert!(problems.first().unwrap().what.contains("overlap"));
    }

    #[test]
    fn the_boxs_own_part_is_left_to_the_box() {
        assert!(Config::parse("[box]\nhostname = \"rackberry\"\n").is_ok());
    }
}
