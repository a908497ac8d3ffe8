//! The start of a box from its card.

use rackberry::card::{OWN, Outcome, PRESEED, Places, REPORT, RESET_REQUEST, check, look, sample, set_up};
use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::PathBuf,
};
use tempfile::TempDir;

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f anna";

struct Box {
    root: TempDir,
}

impl Box {
    fn new(own: &str, preseed: &str) -> Self {
        let root = tempfile::tempdir().unwrap();
        for folder in ["card", "base", "state", "store"] {
            fs::create_dir(root.path().join(folder)).unwrap();
        }
        let this = Box { root };
        this.put("base/passwd", "root:x:0:0:root:/root:/bin/sh\n");
        this.put("base/shadow", "root:*:::::::\n");
        this.put("base/group", "root:x:0:\nrackberry:x:900:\n");
        for (name, text) in [(OWN, own), (PRESEED, preseed)].into_iter().filter(|(_, text)| !text.is_empty()) {
            this.put(&format!("card/{name}"), text);
        }
        this
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn put(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    fn start(&self) -> Outcome {
        set_up(&Places {
            card: self.path("card"),
            out: self.path("out"),
            base: self.path("base"),
            wiped: vec![self.path("state"), self.path("store")],
            remount: false,
        })
        .unwrap()
    }
}

fn root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn an_empty_card_is_in_order() {
    let this = Box::new("", "");
    let outcome = this.start();
    assert!(outcome.mistakes.is_empty() && outcome.notes.is_empty() && !outcome.reset);
    assert!(this.text(&format!("card/{REPORT}")).contains("in order"));
    assert_eq!(this.text("out/etc/hostname"), "rackberry\n");
    assert_eq!(this.text("out/etc/shadow"), "root:*:::::::\n");
    assert!(!this.path("out/ssh").exists() && !this.path(&format!("card/{OWN}")).exists());
}

#[test]
fn the_sample_is_in_order_as_it_is_and_with_everything_switched_on() {
    let sample = sample();
    assert!(sample.lines().all(|line| line.is_empty() || line.starts_with('#')), "everything is commented out");
    check(&sample).unwrap();
    let (_, own) = sample.split_once("# [box]\n").unwrap();
    let own: String = own.lines().map(|line| line.strip_prefix("# ").unwrap().to_owned() + "\n").collect();
    let own = format!("[box]\n{own}").replace("ssh-ed25519 AAAA... anna", KEY);
    check(&own).unwrap();
}

#[test]
fn the_file_that_is_put_on_every_card_is_this_sample() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/rackberry-card.toml");
    let written = fs::read_to_string(file).unwrap_or_default();
    if written != sample() && std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(file, sample()).unwrap();
        return;
    }
    assert_eq!(written, sample(), "run once with UPDATE_GOLDEN=1 and read the difference");
}

#[test]
fn people_of_both_files_come_in_and_ours_counts_more() {
    if !root() {
        println!("not run: homes belong to their people, which takes root");
        return;
    }
    let own = format!(
        "[box]\nhostname = \"ours\"\nssh = true\n[[box.user]]\nname = \"anna\"\nssh_keys = [\"{KEY}\"]\n[[box.user]]\nname = \"root\"\npassword = \"correct horse\"\n"
    );
    let preseed = "config_version = \"1.0\"\n[system]\nhostname = \"theirs\"\n[user]\nname = \"bert\"\npassword = \"battery staple\"\n";
    let this = Box::new(&own, preseed);
    let outcome = this.start();
    assert_eq!(outcome.mistakes, []);
    assert_eq!(this.text("out/etc/hostname"), "ours\n");
    let shadow = this.text("out/etc/shadow");
    assert!(
        shadow.starts_with("root:$6$") && shadow.contains("\nanna:*:") && shadow.contains("\nbert:$6$"),
        "{shadow}"
    );
    assert_eq!(this.text("out/etc/group").lines().nth(1), Some("rackberry:x:900:anna,bert"));
    assert!(this.path("out/ssh").exists() && !this.path("out/ssh-passwords").exists());
    let keys = fs::metadata(this.path("out/home/anna/.ssh/authorized_keys")).unwrap();
    assert_eq!((keys.uid(), keys.permissions().mode() & 0o777), (1000, 0o600));
    assert_eq!(fs::metadata(this.path("out/etc/shadow")).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn plain_passwords_leave_the_card_and_still_let_in() {
    if !root() {
        println!("not run: homes belong to their people, which takes root");
        return;
    }
    let own = "# mine\n[box]\nowner = \"anna\" # me\nowner_password = \"correct horse\"\n[[box.user]]\nname = \"anna\"\npassword = 'battery staple'\n";
    let this = Box::new(own, "config_version = \"1.0\"\n[wlan]\nssid = \"home\"\npassword = \"hunter2hunter2\"\n");
    let first = this.start();
    assert_eq!(first.mistakes, []);
    for name in fs::read_dir(this.path("card")).unwrap() {
        let text = fs::read_to_string(name.unwrap().path()).unwrap();
        for secret in ["correct horse", "battery staple", "hunter2"] {
            assert!(!text.contains(secret), "{text}");
        }
    }
    let rewritten = this.text(&format!("card/{OWN}"));
    assert!(
        rewritten.starts_with("# mine\n[box]\nowner = \"anna\" # me\nowner_password = \"$argon2id$"),
        "{rewritten}"
    );
    let second = this.start();
    assert_eq!(second.settings, first.settings, "the hashes mean the same");
    assert_eq!(this.text(&format!("card/{OWN}")), rewritten, "and stay as they are");
    let hash = look(&this.path("card")).settings.owner_password.unwrap();
    let hash = argon2::password_hash::phc::PasswordHash::new(&hash).unwrap();
    argon2::PasswordVerifier::verify_password(&argon2::Argon2::default(), b"correct horse", &hash).unwrap();
}

#[test]
fn the_report_names_every_mistake_and_is_written_once() {
    let this = Box::new("[box]\nhostname = \"my berry\"\n[dhcp]\nmode = \"full\"\n", "config_version = \"9.0\"\n");
    assert_eq!(this.start().mistakes.len(), 3);
    let path = format!("card/{REPORT}");
    let report = this.text(&path);
    for line in [
        "rackberry.toml, line 2: box.hostname: ",
        "rackberry.toml, line 4: dhcp.mode: ",
        "rpi-preseed.toml, line 1: config_version: ",
    ] {
        assert!(report.contains(line), "{report}");
    }
    let written = fs::metadata(this.path(&path)).unwrap().ino();
    this.start();
    assert_eq!(fs::metadata(this.path(&path)).unwrap().ino(), written, "an unchanged card is not written");
    fs::remove_file(this.path(&format!("card/{PRESEED}"))).unwrap();
    this.put(&format!("card/{OWN}"), "");
    this.start();
    assert!(this.text(&path).contains("in order"));
}

#[test]
fn a_reset_empties_state_and_store_and_is_asked_for_no_more() {
    let this = Box::new("[box]\nreset = true # once\n", "");
    fs::create_dir_all(this.path("state/backups")).unwrap();
    for file in ["state/inventory.db", "state/backups/inventory-000001.db", "state/anything", "store/image"] {
        this.put(file, "secret");
    }
    fs::create_dir(this.path("state/lost+found")).unwrap();
    assert!(this.start().reset);
    let left: Vec<_> =
        ["state", "store"].into_iter().flat_map(|folder| fs::read_dir(this.path(folder)).unwrap()).collect();
    assert_eq!(left.len(), 1, "only lost+found stays");
    assert_eq!(this.text(&format!("card/{OWN}")), "[box]\nreset = false # once\n");
    this.put("state/inventory.db", "new");
    assert!(!this.start().reset);
    assert_eq!(this.text("state/inventory.db"), "new");
}

#[test]
fn a_held_button_resets_as_well() {
    let this = Box::new("", "");
    this.put(&format!("state/{RESET_REQUEST}"), "");
    this.put("state/inventory.db", "secret");
    assert!(this.start().reset);
    assert!(!this.path("state/inventory.db").exists() && !this.path(&format!("state/{RESET_REQUEST}")).exists());
    assert!(!this.start().reset);
}

#[test]
fn a_reset_that_a_power_cut_broke_off_is_done_again() {
    let this = Box::new("[box]\nreset = true\n", "");
    this.put("state/inventory.db", "secret");
    this.put("state/other", "secret");
    // The card cannot be written: as if the power went before that.
    let locked = this.path(&format!("card/{OWN}.new"));
    fs::create_dir(&locked).unwrap();
    let outcome = this.start();
    assert!(outcome.reset && outcome.card_unwritten.is_some());
    this.put("state/inventory.db", "of a start in between");
    fs::remove_dir(&locked).unwrap();
    assert!(this.start().reset);
    assert!(!this.path("state/inventory.db").exists());
    assert!(!this.start().reset);
}

#[test]
fn a_file_that_a_power_cut_left_under_its_new_name_is_found() {
    let this = Box::new("", "");
    this.put(&format!("card/{OWN}.new"), "[box]\nhostname = \"kept\"\n");
    this.start();
    assert_eq!(this.text("out/etc/hostname"), "kept\n");
}
