//! The box's name on its own link, by multicast DNS (RFC 6762), and its page as a service (RFC 6763).
//!
//! One interface and IPv4 alone: a box that hears itself over a second one would take another name, and another. A name that is
//! taken is left to its owner once, when it is tried out; after that it stays.

use mdns_sd::{DaemonEvent, IfKind, IfPredicate, RRType, Receiver, ServiceDaemon, ServiceInfo, UnregisterStatus};
use std::{net::Ipv4Addr, thread, time::Duration};

/// What browsers of services look for.
const WEB_PAGE: &str = "_http._tcp.local.";
/// Where a machine's own name has nothing that fits into a host name.
const NAMELESS: &str = "rackberry";
/// A label of DNS (RFC 1035, 2.3.4), with room for a number behind a hyphen.
const LONGEST: usize = 56;
/// How long the goodbye may take.
const GOODBYE: Duration = Duration::from_secs(1);

/// Why the name is not told.
#[derive(Debug, thiserror::Error)]
#[error("tell the name {host} on {interface} by multicast DNS")]
pub struct MdnsError {
    host: String,
    interface: String,
    source: mdns_sd::Error,
}

/// The name while it is told; dropped, it is taken back.
pub struct Mdns {
    daemon: ServiceDaemon,
    service: String,
}

/// A machine's name as a host name in `local`: its first label, in small letters, digits and hyphens.
#[must_use]
pub fn host_name(machine: &str) -> String {
    let first = machine.split('.').next().unwrap_or_default().to_ascii_lowercase();
    let fitting: String =
        first.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(LONGEST).collect();
    let label = fitting.trim_matches('-');
    format!("{}.local.", if label.is_empty() { NAMELESS } else { label })
}

impl Mdns {
    /// Tells `machine`'s name and its page's port for this address on this interface, and on no other.
    ///
    /// # Errors
    /// When no thread or socket can be had.
    pub fn start(machine: &str, interface: &str, address: Ipv4Addr, page: u16) -> Result<Self, MdnsError> {
        let host = host_name(machine);
        let wrong = |source| MdnsError { host: host.clone(), interface: interface.to_owned(), source };
        let daemon = ServiceDaemon::new().map_err(wrong)?;
        daemon.disable_interface(IfKind::All).map_err(wrong)?;
        // Another address is another round of the network side, so nothing has to be looked after.
        daemon.set_ip_check_interval(0).map_err(wrong)?;
        let own = interface.to_owned();
        let served = IfPredicate::new(move |found| found.name == own && found.ip() == address);
        daemon.enable_interface(IfKind::Predicate(served)).map_err(wrong)?;
        let told = daemon.monitor().map_err(wrong)?;
        let label = host.trim_end_matches(".local.");
        let service =
            ServiceInfo::new(WEB_PAGE, label, &host, std::net::IpAddr::V4(address), page, [("path", "/")].as_slice())
                .map_err(wrong)?;
        let name = service.get_fullname().to_owned();
        daemon.register(service).map_err(wrong)?;
        let first = host.clone();
        // It ends with the daemon, whose side of the channel is dropped then.
        thread::Builder::new().name("mdns-news".to_owned()).spawn(move || log(&told, &first, page)).map_err(
            |error| {
                let source = mdns_sd::Error::Msg(error.to_string());
                MdnsError { host, interface: interface.to_owned(), source }
            },
        )?;
        Ok(Self { daemon, service: name })
    }
}

impl Drop for Mdns {
    fn drop(&mut self) {
        // Neighbours forget a name that says goodbye; others wait two minutes for it.
        let farewell: Option<Receiver<UnregisterStatus>> = self.daemon.unregister(&self.service).ok();
        let _ = farewell.map(|done| done.recv_timeout(GOODBYE));
        let _ = self.daemon.shutdown();
    }
}

/// Says once by which name the box is reached, and each time that another one has it.
fn log(told: &Receiver<DaemonEvent>, first: &str, page: u16) {
    let (mut name, mut said) = (first.to_owned(), false);
    while let Ok(event) = told.recv() {
        match event {
            DaemonEvent::NameChange(change) if matches!(change.rr_type, RRType::A) => {
                tracing::warn!(
                    "somebody else on this link is called {}: this box is {} there",
                    dotless(&name),
                    dotless(&change.new_name)
                );
                name = change.new_name;
            }
            DaemonEvent::Announce(..) if !said => {
                tracing::info!("the page is http://{}:{page} by multicast DNS", dotless(&name));
                said = true;
            }
            DaemonEvent::Error(error) => tracing::warn!(error = crate::chain(&error), "multicast DNS failed"),
            _ => {}
        }
    }
}

fn dotless(name: &str) -> &str {
    name.trim_end_matches('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machines_name_becomes_a_host_name_of_its_link() {
        for (machine, host) in [
            ("rackberry", "rackberry.local."),
            ("Rack Berry_3.example.org", "rack-berry-3.local."),
            ("", "rackberry.local."),
            ("...", "rackberry.local."),
            ("--ä--", "rackberry.local."),
        ] {
            assert_eq!(host_name(machine), host, "{machine}");
        }
        assert!(host_name(&"x".repeat(200)).len() < 64);
    }
}
