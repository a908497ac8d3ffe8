//! From a host's state to what it boots.

use crate::{
    hardware::Facts,
    host::{BootPolicy, Host, Strategy},
    install::{Install, InstallerTurn, Phase},
    time::Timestamp,
};

/// All that the decision depends on, drawn together from host, Install and settings.
#[derive(Debug, Clone, PartialEq)]
pub struct HostState {
    pub policy: BootPolicy,
    pub strategy: Strategy,
    /// The box's setting: unknown machines boot the RAM OS.
    pub discovery: bool,
    /// The running or last Install.
    pub install: Option<InstallView>,
    /// A finished Install of ours left a system on its disk.
    pub installed: bool,
    /// The host waited in the RAM OS long enough; until then its disk is its own.
    pub disk_until: Option<Timestamp>,
    /// Every fixed disk is known to be empty, so that "local disk" would be a dead end.
    pub blank: bool,
    /// A person has it boot a system from the network.
    pub live: bool,
}

/// What of an Install matters to a network boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InstallView {
    pub phase: Phase,
    /// The Arm was used.
    pub consumed: bool,
    /// Everything but the first boot is done.
    pub disk_complete: bool,
    /// The disk may have been changed.
    pub touched_disk: bool,
    /// A distribution's installer is what this boot is for.
    pub installer: bool,
}

impl HostState {
    /// Draws the state together.
    #[must_use]
    pub fn of(host: &Host, install: Option<&Install>, live: bool, discovery: bool, now: Timestamp) -> Self {
        HostState {
            policy: host.policy,
            strategy: host.strategy,
            discovery,
            install: install.map(|install| InstallView {
                phase: install.state.phase,
                consumed: install.state.arm.consumed.is_some(),
                disk_complete: install.state.disk_complete(),
                touched_disk: install.state.touched_disk(),
                installer: matches!(
                    install.state.installer(now),
                    InstallerTurn::Due { .. } | InstallerTurn::Again { .. }
                ),
            }),
            installed: host.installed.is_some(),
            disk_until: host.disk_until,
            blank: host.facts.as_ref().is_some_and(blank),
            live,
        }
    }
}

fn blank(facts: &Facts) -> bool {
    let mut fixed = facts.disks.iter().filter(|disk| !disk.removable).peekable();
    fixed.peek().is_some() && fixed.all(|disk| disk.content.blank)
}

/// What a network-booting host gets.
///
/// But for [`Installer`](Self::Installer) none of these erases anything: the RAM OS only waits for orders, and an order that
/// erases needs a claim under an Arm. So does the installer's script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BootDecision {
    /// Its own disk.
    LocalDisk,
    /// Its own disk is known to be empty: a readable screen with a retry.
    NothingToBoot,
    /// Our RAM OS.
    RamOs(Why),
    /// The installer of the Install under way.
    Installer,
    /// The system that a person has it boot from the network.
    Live,
    /// Files that a person put into the files folder.
    OwnFiles,
    /// No answer.
    Silence,
}

/// Why the RAM OS; said on the host's screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// To see what the machine is.
    Discovery,
    /// An Install waits for it, or runs.
    Install,
    /// An Install broke off; a person decides.
    Interrupted,
    /// An Install ended and left a disk that does not boot.
    AfterFailure,
    /// A person set this host to it.
    Policy,
}

impl Why {
    /// The words on the host's screen.
    #[must_use]
    pub fn sentence(self) -> &'static str {
        match self {
            Why::Discovery => "looking at the hardware, the disk stays untouched",
            Why::Install => "an install waits for this machine",
            Why::Interrupted => "an install broke off here and waits for a person",
            Why::AfterFailure => "the last install did not finish",
            Why::Policy => "set to wait in the RAM OS",
        }
    }
}

/// Decides; see DESIGN's words in `ARCHITECTURE.md`, "When an Arm is consumed".
#[must_use]
pub fn decide(state: &HostState, now: Timestamp) -> BootDecision {
    match state.policy {
        BootPolicy::Ignore => return BootDecision::Silence,
        BootPolicy::OwnFiles => return BootDecision::OwnFiles,
        BootPolicy::Default | BootPolicy::LocalDisk | BootPolicy::RamOs => {}
    }
    if let Some(install) = state.install {
        match install.phase {
            Phase::Armed | Phase::Booting | Phase::Installing if install.installer => return BootDecision::Installer,
            Phase::Armed | Phase::Booting => return BootDecision::RamOs(Why::Install),
            // Also when the restart was ordered but never reported: a network boot is the proof that it happened,
            // and `disk_complete` then turns true with the next event.
            Phase::Installing => return BootDecision::RamOs(Why::Install),
            Phase::Waiting => return BootDecision::LocalDisk,
            Phase::Interrupted => return BootDecision::RamOs(Why::Interrupted),
            Phase::Failed | Phase::Cancelled | Phase::TimedOut => {
                if install.disk_complete {
                    return BootDecision::LocalDisk;
                }
                if install.touched_disk {
                    return BootDecision::RamOs(Why::AfterFailure);
                }
            }
            Phase::Done => {}
        }
    }
    if state.live && state.policy == BootPolicy::Default {
        return BootDecision::Live;
    }
    let disk = if state.blank && !state.installed { BootDecision::NothingToBoot } else { BootDecision::LocalDisk };
    match state.policy {
        BootPolicy::LocalDisk => disk,
        BootPolicy::RamOs => BootDecision::RamOs(Why::Policy),
        BootPolicy::Default | BootPolicy::OwnFiles | BootPolicy::Ignore => {
            if state.installed || state.disk_until.is_some_and(|until| until > now) {
                BootDecision::LocalDisk
            } else if state.discovery {
                BootDecision::RamOs(Why::Discovery)
            } else {
                disk
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> HostState {
        HostState {
            policy: BootPolicy::Default,
            strategy: Strategy::Plain,
            discovery: true,
            install: None,
            installed: false,
            disk_until: None,
            blank: false,
            live: false,
        }
    }

    fn install(phase: Phase, disk_complete: bool, touched_disk: bool) -> Option<InstallView> {
        Some(InstallView { phase, consumed: touched_disk, disk_complete, touched_disk, installer: false })
    }

    #[test]
    fn an_unknown_host_is_discovered_or_goes_to_its_disk() {
        assert_eq!(decide(&state(), Timestamp(0)), BootDecision::RamOs(Why::Discovery));
        assert_eq!(decide(&HostState { discovery: false, ..state() }, Timestamp(0)), BootDecision::LocalDisk);
        let blank = HostState { discovery: false, blank: true, ..state() };
        assert_eq!(decide(&blank, Timestamp(0)), BootDecision::NothingToBoot);
    }

    #[test]
    fn a_host_that_waited_long_enough_gets_its_disk_for_a_while() {
        let waited = HostState { disk_until: Some(Timestamp(100)), ..state() };
        assert_eq!(decide(&waited, Timestamp(99)), BootDecision::LocalDisk);
        assert_eq!(decide(&waited, Timestamp(100)), BootDecision::RamOs(Why::Discovery));
    }

    #[test]
    fn after_done_the_disk_and_after_a_broken_write_the_ram_os() {
        let done = HostState { install: install(Phase::Done, true, true), installed: true, ..state() };
        assert_eq!(decide(&done, Timestamp(0)), BootDecision::LocalDisk);
        let failed = HostState { install: install(Phase::Failed, false, true), installed: true, ..state() };
        assert_eq!(decide(&failed, Timestamp(0)), BootDecision::RamOs(Why::AfterFailure));
        let late = HostState { install: install(Phase::TimedOut, true, true), ..state() };
        assert_eq!(decide(&late, Timestamp(0)), BootDecision::LocalDisk);
        let never_begun = HostState { install: install(Phase::Cancelled, false, false), installed: true, ..state() };
        assert_eq!(decide(&never_begun, Timestamp(0)), BootDecision::LocalDisk);
    }

    #[test]
    fn an_installer_is_given_in_its_turn_alone_and_a_live_system_gives_way_to_an_install() {
        let turn = |phase| {
            let install = install(phase, false, true).map(|install| InstallView { installer: true, ..install });
            decide(&HostState { install, live: true, ..state() }, Timestamp(0))
        };
        assert_eq!(turn(Phase::Installing), BootDecision::Installer);
        assert_eq!(turn(Phase::Interrupted), BootDecision::RamOs(Why::Interrupted));
        for over in [Phase::Failed, Phase::Cancelled, Phase::TimedOut] {
            assert_eq!(turn(over), BootDecision::RamOs(Why::AfterFailure));
        }
        assert_eq!(turn(Phase::Done), BootDecision::Live);
        let armed = HostState { install: install(Phase::Armed, false, false), live: true, ..state() };
        assert_eq!(decide(&armed, Timestamp(0)), BootDecision::RamOs(Why::Install));
        let kept = HostState { live: true, policy: BootPolicy::LocalDisk, ..state() };
        assert_eq!(decide(&kept, Timestamp(0)), BootDecision::LocalDisk);
    }

    #[test]
    fn policies_come_before_installs_only_where_they_keep_us_away() {
        let armed = HostState { install: install(Phase::Armed, false, false), ..state() };
        assert_eq!(decide(&armed, Timestamp(0)), BootDecision::RamOs(Why::Install));
        let ignored = HostState { policy: BootPolicy::Ignore, ..armed.clone() };
        assert_eq!(decide(&ignored, Timestamp(0)), BootDecision::Silence);
        let disk = HostState { policy: BootPolicy::LocalDisk, ..armed };
        assert_eq!(decide(&disk, Timestamp(0)), BootDecision::RamOs(Why::Install));
    }
}
