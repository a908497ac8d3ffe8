//! Sample pages for the golden files, the hostile-text test and the example. Every text of a stranger or of the
//! server passes through `t`, so that a test can put something nasty in its place.

mod entry;
mod host;
mod hosts;
mod install;
mod lists;
mod updates;

use rackberry_web::views::*;

/// A named page: file name and HTML.
pub type Page = (&'static str, String);

/// Makes the text of a sample; the identity for golden files.
pub struct Samples<F: Fn(&str) -> String> {
    pub t: F,
    pub theme: Theme,
    pub contrast: Contrast,
}

const GB: u64 = 1_000_000_000;
const GIB: u64 = 1 << 30;
/// 20 November 2026, 18:40:02 UTC.
const EVENING: u64 = 1_795_200_002_000;

impl<F: Fn(&str) -> String> Samples<F> {
    fn t(&self, text: &str) -> String {
        (self.t)(text)
    }

    fn texts(&self, texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| self.t(text)).collect()
    }

    pub fn shell(&self, section: Section) -> Shell {
        Shell {
            section,
            box_name: self.t("rackberry.local"),
            interface: self.t("eth0"),
            address: self.t("10.20.0.2"),
            mode: self.t("Adding boot files beside another DHCP server."),
            time: String::new(),
            version: self.t("v0.1.0"),
            display: String::new(),
            hosts: 10,
            profiles: 3,
            images: 4,
            alarm: None,
            toast: String::new(),
            theme: self.theme,
            contrast: self.contrast,
            user: self.t("ops"),
            csrf: self.t("c5f-0123456789"),
            back: self.t("/"),
            watch: Watch::Host(self.t("h-03")),
            stream_position: self.t("0199-41"),
        }
    }

    pub fn foreign_dhcp(&self) -> Alarm {
        Alarm {
            id: self.t("foreign-dhcp"),
            severe: false,
            title: self.t("Another DHCP server answered, so we stepped back."),
            text: self.t("10.20.0.1 (MikroTik, 48:8f:5a:10:22:01) sent an offer on eth0. We stopped handing out addresses 1.4 s later. Installs go on."),
            links: vec![Link { label: self.t("Details"), href: self.t("/activity") }],
        }
    }

    /// Every page and fragment in its key states.
    pub fn all(&self) -> Vec<Page> {
        let alone = |state: StateView| HostView { state, install: None, ..self.host() };
        let mut running = alone(self.state(StateKind::Running, "Debian 13, up for 8 days", ""));
        running.boot = None;
        let quiet = self.busy(
            StateKind::Silent,
            Progress { percent: Some(18), task: self.t("Run installer"), rate: None, left_ms: None, silent_ms: 34_000 },
        );
        let mut hosts_alarm = self.hosts();
        hosts_alarm.shell.alarm = Some(self.foreign_dhcp());
        hosts_alarm.shell.toast = self.t("r1-n01 is up: Debian 13 in 3 min 12 s.");
        let install = |dialog| rackberry_web::install(&InstallPage { shell: self.shell(Section::Hosts), dialog });
        let nothing = InstallDialog {
            profiles: Vec::new(),
            profile: String::new(),
            params: Vec::new(),
            disks: Vec::new(),
            ..self.dialog_chosen()
        };
        let mut many = self.dialog_chosen();
        many.profiles = (0..4).flat_map(|_| self.dialog().profiles).collect();
        vec![
            ("login", rackberry_web::login(&self.login(""))),
            (
                "login-refused",
                rackberry_web::login(
                    &self.login("That is not the password for ops. 3 tries left, then a pause of 1 minute."),
                ),
            ),
            ("first-run", rackberry_web::first_run(&self.first_run(false))),
            ("first-run-refused", rackberry_web::first_run(&self.first_run(true))),
            ("hosts", rackberry_web::hosts(&self.hosts())),
            ("hosts-alarm", rackberry_web::hosts(&hosts_alarm)),
            ("hosts-empty", rackberry_web::hosts(&self.hosts_empty())),
            ("hosts-nothing-found", rackberry_web::hosts(&self.hosts_nothing_found())),
            ("enrol", rackberry_web::enrol(&self.enrol())),
            (
                "enrol-empty",
                rackberry_web::enrol(&EnrolPage { shell: self.shell(Section::Hosts), ..EnrolPage::default() }),
            ),
            ("host-installing", rackberry_web::host(&self.host_page(self.host()))),
            ("host-quiet", rackberry_web::host(&self.host_page(HostView { state: quiet, ..self.host() }))),
            ("host-discovered-stuck", rackberry_web::host(&self.host_page(self.host_discovered()))),
            (
                "host-armed",
                rackberry_web::host(&self.host_page(alone(self.state(
                    StateKind::Armed,
                    "Erases its disk at the next network boot.",
                    "Debian 13, expires in 1 h 48 min",
                )))),
            ),
            (
                "host-asked",
                rackberry_web::host(&self.host_page(HostView {
                    question: Some(Question::Asked),
                    ..alone(self.state(
                        StateKind::Armed,
                        "Waiting for a press at the box: 43 s.",
                        "Debian 13 erases its disk then.",
                    ))
                })),
            ),
            (
                "host-unanswered",
                rackberry_web::host(&self.host_page(HostView {
                    question: Some(Question::Unanswered),
                    ..alone(self.state(
                        StateKind::Armed,
                        "Nobody confirmed at the box.",
                        "Nothing was written. Debian 13, expires in 1 h 48 min.",
                    ))
                })),
            ),
            (
                "host-power",
                rackberry_web::host(&self.host_page(HostView {
                    power: Some(PowerView {
                        sentence: self.t("On, by its light."),
                        held: false,
                        button: true,
                        reset: true,
                        installing: true,
                    }),
                    ..self.host()
                })),
            ),
            (
                "host-power-busy",
                rackberry_web::host(&self.host_page(HostView {
                    power: Some(PowerView {
                        sentence: self.t("Power cycle is under way."),
                        held: true,
                        ..PowerView::default()
                    }),
                    ..alone(self.state(StateKind::Running, "Runs Debian 13.", ""))
                })),
            ),
            (
                "host-interrupted",
                rackberry_web::host(&self.host_page(HostView {
                    state: self.state(
                        StateKind::Interrupted,
                        "Stopped at 43 %.",
                        "The disk is partly written and will not boot. Waiting in the RAM OS.",
                    ),
                    ..self.host()
                })),
            ),
            ("host-running", rackberry_web::host(&self.host_page(running))),
            (
                "host-runs-live",
                rackberry_web::host(&self.host_page(HostView {
                    live: Some(LiveView {
                        title: self.t("Debian, diskless"),
                        since_unix_ms: EVENING,
                        by: self.t("ops"),
                    }),
                    ..alone(self.state(StateKind::Running, "Runs Debian, diskless.", ""))
                })),
            ),
            ("live", rackberry_web::live(&self.live())),
            (
                "live-nothing",
                rackberry_web::live(&LivePage {
                    profiles: Vec::new(),
                    profile: String::new(),
                    problem: self.t("It has too little memory."),
                    ..self.live()
                }),
            ),
            ("install", install(self.dialog())),
            ("install-used-disk", install(self.dialog_chosen())),
            ("install-empty-disk", install(self.dialog_empty_disk())),
            ("install-nothing", install(nothing)),
            ("install-many", install(many)),
            ("images", rackberry_web::images(&self.images())),
            (
                "images-empty",
                rackberry_web::images(&ImagesPage { shell: self.shell(Section::Images), ..ImagesPage::default() }),
            ),
            ("fetch", rackberry_web::fetch(&self.fetch())),
            ("fetch-medium", rackberry_web::fetch(&self.get_it())),
            ("profiles", rackberry_web::profiles(&self.profiles())),
            (
                "profiles-empty",
                rackberry_web::profiles(&ProfilesPage {
                    shell: self.shell(Section::Profiles),
                    ..ProfilesPage::default()
                }),
            ),
            ("activity", rackberry_web::activity(&self.activity())),
            (
                "activity-host",
                rackberry_web::activity(&ActivityPage {
                    host_id: self.t("h-03"),
                    host_name: self.t("r1-n03"),
                    ..self.activity()
                }),
            ),
            (
                "activity-empty",
                rackberry_web::activity(&ActivityPage {
                    shell: self.shell(Section::Activity),
                    ..ActivityPage::default()
                }),
            ),
            ("updates", rackberry_web::updates(&self.updates(self.card()))),
            ("updates-plain", rackberry_web::updates(&self.updates(self.card_plain()))),
            ("updates-trial", rackberry_web::updates(&self.updates(CardView { trying: true, ..self.card_plain() }))),
            ("updates-writing", rackberry_web::updates(&self.updates(self.card_writing(false)))),
            ("updates-restarting", rackberry_web::updates(&self.updates(self.card_writing(true)))),
            ("updates-failed", rackberry_web::updates(&self.updates_failed())),
            ("updates-viewer", rackberry_web::updates(&self.updates(CardView { admin: false, ..self.card() }))),
            ("updates-elsewhere", rackberry_web::updates(&self.updates_elsewhere())),
            ("error", rackberry_web::error(&self.error(Some(self.shell(Section::Elsewhere))))),
            ("error-alone", rackberry_web::error(&self.error(None))),
            ("not-found", rackberry_web::not_found(Some(&self.shell(Section::Elsewhere)), &self.t("/hosts/gone"))),
            ("fragment-row", self.rows().first().map(rackberry_web::host_row).unwrap_or_default()),
            ("fragment-list", rackberry_web::hosts_list(&self.hosts())),
            ("fragment-host", rackberry_web::host_live(&self.host())),
            ("fragment-dialog", rackberry_web::install_dialog(&self.dialog_chosen())),
            ("fragment-alarm", rackberry_web::alarm(Some(&self.foreign_dhcp()))),
            ("fragment-no-alarm", rackberry_web::alarm(None)),
        ]
    }
}
