//! The table of all settings but the subnets, in the order of the sample file.

use super::{
    Config,
    values::{DAY, Scalar, address, addresses, count, number, optional, options, pool, port, switch, text},
};
use std::time::Duration;

/// One setting: the only place that knows its key, default, meaning and parser.
pub(super) struct Setting {
    pub table: &'static str,
    pub key: &'static str,
    /// As TOML writes it.
    pub default: &'static str,
    pub help: &'static str,
    pub set: fn(&mut Config, Scalar<'_>) -> Result<(), String>,
}

pub(super) const SETTINGS: &[Setting] = &[
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
        table: "tftp",
        key: "rollover",
        default: "0",
        help: "The block number after 65535: 0 as most clients count, or 1 for a few old ones; matters for files of more than 65535 blocks.",
        set: |c, v| number(v, 0, 1).map(|n| c.tftp_rollover_to_one = n == 1),
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
