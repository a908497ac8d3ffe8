//! The four digits over a real listener: who they open, how often they may be wrong, and that nothing tells them.

use crate::{
    config::Config,
    http::{
        State, actions,
        actions::InstallRequest,
        testing::{Reply, Site},
    },
    inventory::EventFilter,
};
use rackberry_core::{
    event::{Actor, BootKey, ConsentWay, EventKind},
    hardware::{Disk, DiskContent, Facts, SeenDisk, Transport},
    host::Arch,
    id::HostId,
    image::Digest,
    install::{Consent, ConsentRule, Install},
};
use serde_json::Value;
use std::{sync::Arc, time::Duration};

const MINUTE: Duration = Duration::from_secs(60);

fn disk() -> Disk {
    Disk {
        name: "sda".into(),
        model: "Fake".into(),
        serial: "S1".into(),
        wwn: "".into(),
        size_bytes: 20_000_000_000,
        transport: Transport::Virtio,
        rotational: false,
        removable: false,
        read_only: false,
        content: DiskContent { system: Some("Windows".into()), ..DiskContent::default() },
    }
}

/// A host that is armed and in the RAM OS, its question in the queue.
async fn queued(site: &Site, name: &str, number: u8) -> Arc<Install> {
    let facts = Facts { arch: Some(Arch::X86_64), memory_bytes: 8 << 30, disks: vec![disk()], ..Facts::default() };
    let host = site.host(name, number, Some(facts)).await;
    let config = Arc::new(Config { consent: ConsentRule::Data, ..Config::default() });
    let strict = State { config, ..site.state.clone() };
    let parameters = [("user".to_owned(), "admin".to_owned())].into();
    let request = InstallRequest { profile: "debian".to_owned(), parameters, erase: true, ..InstallRequest::default() };
    let install = actions::install(&strict, host.id, request, Actor::Box).await.unwrap();
    let hello = EventKind::AgentHello { boot: BootKey(Digest([number; 32])), address: "".into() };
    site.apply(&install, vec![hello, EventKind::ConsentNeeded { disk: SeenDisk::of(&disk()) }]).await
}

impl Site {
    async fn asks(&self, install: &Install) -> String {
        self.state.consent.ask(&self.state.inventory, install.id, MINUTE).await.unwrap();
        let (shown, _, digits) = self.state.consent.shown().unwrap();
        assert_eq!(shown, install.id);
        digits
    }

    async fn types(&self, host: HostId, code: &str) -> Reply {
        self.post(&format!("/hosts/{host}/confirm"), &format!("code={code}")).await
    }

    fn consent_of(&self, host: HostId) -> Consent {
        self.install_of(host).unwrap().state.consent.clone()
    }

    /// Presses the button until it counts: right after a question appeared it does not.
    async fn presses(&self) -> Arc<Install> {
        for _ in 0..600 {
            if let Some(install) = self.state.consent.press(&self.state.inventory).await.unwrap() {
                return install;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("no press counted")
    }
}

/// Other digits than these.
fn other(digits: &str) -> String {
    format!("{:04}", (digits.parse::<u32>().unwrap() + 1) % 10_000)
}

#[tokio::test]
async fn the_digits_open_the_host_that_is_shown_and_no_other() {
    let site = Site::new().await;
    let (a, b) = (queued(&site, "node-a", 1).await, queued(&site, "node-b", 2).await);
    let first = site.asks(&a).await;
    let early = site.types(b.host, &first).await;
    assert_eq!(early.status, 409, "{}", early.text());
    assert_eq!(site.types(a.host, &first).await.status, 303);
    assert!(matches!(site.consent_of(a.host), Consent::Given { by: ConsentWay::Code, .. }));
    assert!(matches!(site.consent_of(b.host), Consent::Queued { .. }), "one yes is for one host");
    assert_eq!(site.types(a.host, &first).await.status, 409, "nobody is asked any more");

    let mut second = site.asks(&b).await;
    while second == first {
        second = site.asks(&b).await;
    }
    let wrong = site.types(b.host, &first).await;
    assert_eq!(wrong.status, 422, "{}", wrong.text());
    assert!(wrong.text().contains("2 tries left"), "{}", wrong.text());
    for nonsense in ["", "123", "12345", "abcd"] {
        assert_eq!(site.types(b.host, nonsense).await.status, 422, "{nonsense}");
    }
    assert!(matches!(site.consent_of(b.host), Consent::Asked { tries_left: 2, .. }), "no try is lost by a slip");
    assert_eq!(site.types(b.host, &second).await.status, 303);
    let filter = EventFilter { kinds: vec!["consent_given".to_owned()], limit: 10, ..EventFilter::default() };
    let events = site.state.inventory.read(move |reader| reader.events(&filter)).await.unwrap();
    let actors: Vec<Actor> = events.into_iter().map(|stored| stored.event.actor).collect();
    assert_eq!(actors, [Actor::User("ops".into()), Actor::User("ops".into())], "history names who typed them");
}

#[tokio::test]
async fn wrong_digits_end_the_request_and_whoever_goes_on_guessing_has_to_wait() {
    let site = Site::new().await;
    let install = queued(&site, "node-a", 1).await;
    let host = install.host;
    let digits = site.asks(&install).await;
    for _ in 0..3 {
        assert_eq!(site.types(host, &other(&digits)).await.status, 422);
    }
    assert!(matches!(site.consent_of(host), Consent::Denied { wrong_digits: true, .. }));
    assert_eq!(site.types(host, &digits).await.status, 409, "the right ones come too late");
    let page = site.get(&format!("/hosts/{host}")).await.text();
    assert!(page.contains("Ask again at the box") && page.contains("Wrong digits were given too often."), "{page}");

    assert_eq!(site.post(&format!("/hosts/{host}/ask"), "").await.status, 303);
    let digits = site.asks(&install).await;
    let paused = site.types(host, &digits).await;
    assert_eq!(paused.status, 429, "{}", paused.text());
    assert!(matches!(site.consent_of(host), Consent::Asked { tries_left: 3, .. }), "and no try is lost by it");
    assert_eq!(site.presses().await.id, install.id, "the button is not paused");
    assert!(matches!(site.consent_of(host), Consent::Given { by: ConsentWay::Press, .. }));
    assert!(site.state.consent.press(&site.state.inventory).await.unwrap().is_none(), "nothing is asked any more");
}

#[tokio::test]
async fn digits_of_a_box_that_started_again_open_nothing() {
    let site = Site::new().await;
    let install = queued(&site, "node-a", 1).await;
    let digits = site.asks(&install).await;
    site.state.consent.over();
    assert_eq!(site.types(install.host, &digits).await.status, 409);
    for _ in 0..30 {
        assert!(site.state.consent.press(&site.state.inventory).await.unwrap().is_none(), "nobody can have read it");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut anew = site.asks(&install).await;
    while anew == digits {
        anew = site.asks(&install).await;
    }
    assert_eq!(site.types(install.host, &digits).await.status, 422);
    assert_eq!(site.types(install.host, &anew).await.status, 303);
}

#[tokio::test]
async fn the_digits_are_on_the_panel_alone() {
    let site = Site::new().await;
    let install = queued(&site, "node-a", 1).await;
    let host = install.host;
    let waits = queued(&site, "node-b", 2).await;
    // Four digits come by chance in an id or a time; those that are told come every time.
    let mut told = Vec::new();
    for _ in 0..40 {
        let digits = site.asks(&install).await;
        let mut texts = Vec::new();
        for path in ["/api/v1/hosts", "/api/v1/events", "/api/v1/display", "/", "/activity"] {
            texts.push((path.to_owned(), site.get(path).await.text()));
        }
        let path = format!("/hosts/{host}");
        texts.push((path.clone(), site.get(&path).await.text()));
        let stored = serde_json::to_string(&site.install_of(host).unwrap().state).unwrap();
        texts.push(("the inventory".to_owned(), stored));
        told = texts.iter().filter(|(_, text)| text.contains(&digits)).map(|(place, _)| place.clone()).collect();
        if told.is_empty() {
            break;
        }
    }
    assert_eq!(told, [""; 0], "digits were told there");
    let shown: Value = serde_json::from_slice(&site.get("/api/v1/display").await.body).unwrap();
    let notice = &shown["view"]["notice"]["consent"];
    assert_eq!((notice["digits"].as_str(), notice["host"].as_str()), (Some("****"), Some("node-a")), "{shown}");
    let page = site.get(&format!("/hosts/{host}")).await.text();
    assert!(page.contains("Waiting for a press at the box:") && page.contains("name=\"code\""), "{page}");
    let list = site.get("/").await.text();
    assert!(list.contains("Waits for its turn at the box&#39;s display, place 2."), "{list}");
    assert!(matches!(site.consent_of(waits.host), Consent::Queued { .. }));
}
