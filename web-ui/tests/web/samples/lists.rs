//! Images, profiles, history, and the form that enrols.

use super::{GB, GIB, Samples};
use rackberry_web::views::*;

impl<F: Fn(&str) -> String> Samples<F> {
    pub(super) fn image(
        &self,
        name: &str,
        bytes: u64,
        trust_of: Trust,
        used_by: &[&str],
        hosts: u64,
        keep: &str,
    ) -> ImageRow {
        ImageRow {
            id: self.t(name),
            name: self.t(name),
            kind: self.t("disk image"),
            bytes,
            digest: self.t("9f2c41d80aa1b2c3d4e5f60718293a4b5c6d7e8f9f2c41d80aa1b2c3d4e5e07b"),
            origin: self.t("uploaded by ops"),
            trust: trust_of.clone(),
            used_by: self.texts(used_by),
            hosts,
            keep: if keep.is_empty() { String::new() } else { self.t(keep) },
            fetch: if matches!(trust_of, Trust::Importing(_)) { self.t("3") } else { String::new() },
        }
    }

    pub fn fetch(&self) -> FetchPage {
        FetchPage {
            shell: self.shell(Section::Images),
            title: self.t("From a web address"),
            form: FetchForm {
                url: self.t("https://mirror.example.org/system.iso"),
                name: self.t("system"),
                sha256: String::new(),
                checksums: self.t("https://mirror.example.org/SHA256SUMS"),
                signature: self.t("https://mirror.example.org/SHA256SUMS.sign"),
                key: self.t("maker.asc"),
            },
            medium: None,
            size: self.t("It has 3.1 GB; 18 GB are free for images."),
            problem: self.t("There is an image named system already."),
        }
    }

    pub fn get_it(&self) -> FetchPage {
        let medium = FetchMedium { profile: self.t("flatcar"), name: self.t("flatcar-kernel"), vouched: String::new() };
        FetchPage {
            title: self.t("Get Flatcar PXE kernel"),
            medium: Some(medium),
            problem: String::new(),
            ..self.fetch()
        }
    }

    pub fn images(&self) -> ImagesPage {
        ImagesPage {
            shell: Shell {
                alarm: Some(self.foreign_dhcp()),
                time: self.t("Time from 10.20.0.1, 3 min ago."),
                ..self.shell(Section::Images)
            },
            rows: vec![
                self.image("Ubuntu 24.04.3 server", 3_100_000_000, Trust::Importing(Progress {
                    percent: Some(62), task: self.t("Copy"), rate: Some(38_000_000), left_ms: Some(31_000), silent_ms: 0,
                }), &[], 0, ""),
                self.image("Debian 13 amd64", 4_300_000_000, Trust::Signed { by: self.t("Debian signing key 0xDA87E80D") }, &["Debian 13"], 6, "in use by an install"),
                self.image("alpine-3.22.iso", 220_000_000, Trust::DigestOnly { source: self.t("the list of its mirror") }, &["Alpine"], 0, ""),
                self.image("lab-golden-2026-10.qcow2", 9_800_000_000, Trust::Unsigned, &["Lab golden"], 2, ""),
                self.image("Fedora 42 server", 2_700_000_000, Trust::NeedsInternet, &["Fedora 42"], 0, ""),
                self.image("proxmox-ve_9.0-1.iso", 1_600_000_000, Trust::Refused {
                    why: self.t("The file does not match the digest its maker signed. It was not kept. Often a broken download."),
                }, &[], 0, ""),
            ],
            used_bytes: 29 * GB,
            free_bytes: 18 * GB,
            problem: self.t("Debian 13 amd64 is used by an install right now, so it was kept."),
            form: FetchForm::default(),
        }
    }

    pub fn profiles(&self) -> ProfilesPage {
        let row = |id: &str, name: &str, missing: &str| ProfileRow {
            id: self.t(id),
            name: self.t(name),
            summary: self.t("Writes a ready disk image and sets name, user and keys."),
            method: self.t("write image"),
            arches: self.t("x86-64, arm64"),
            min_memory_bytes: GIB,
            min_disk_bytes: 4 * GB,
            params: 6,
            missing: if missing.is_empty() { String::new() } else { self.t(missing) },
            media: [
                ("kernel", MediumPlace::NeedsInternet),
                ("initrd", MediumPlace::Coming),
                ("image", MediumPlace::Here),
            ]
            .into_iter()
            .chain(id.contains("rhel").then_some(("dvd", MediumPlace::YoursToFind)))
            .map(|(name, place)| MediumRow { name: self.t(name), title: self.t(name), place, help: self.t("The DVD") })
            .collect(),
            hosts: 6,
            changed: missing.is_empty(),
        };
        ProfilesPage {
            shell: Shell { display: "128x64".to_owned(), ..self.shell(Section::Profiles) },
            rows: vec![
                row("debian-13", "Debian 13", ""),
                row("ubuntu-24.04", "Ubuntu 24.04", "Its image is not on the box."),
                row("rhel-10", "RHEL 10", "Its DVD is not on the box."),
            ],
        }
    }

    pub fn activity(&self) -> ActivityPage {
        ActivityPage {
            shell: self.shell(Section::Activity),
            rows: self.events(true),
            older: self.t("0199-1"),
            ..ActivityPage::default()
        }
    }

    pub fn enrol(&self) -> EnrolPage {
        EnrolPage {
            shell: self.shell(Section::Hosts),
            list: self.t("3c:ec:ef:7a:10:03, r1-n03\n3c:ec:ef:7a:10, r1-n04"),
            pattern: self.t("node-%02x"),
            list_problem: self.t("1 line is not a MAC address."),
            pattern_problem: self.t("Only %d counts. Try node-%02d."),
            problems: vec![LineProblem {
                line: 2,
                text: self.t("3c:ec:ef:7a:10, r1-n04"),
                why: self.t("A MAC address has 6 parts, this has 5."),
            }],
        }
    }
}
