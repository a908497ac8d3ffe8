//! What an open page hears of.

use super::*;

impl Site {
    pub(super) async fn stream(&self, query: &str, header: Option<&str>) -> Events {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let last = header.map(|id| format!("last-event-id: {id}\r\n")).unwrap_or_default();
        let text = format!(
            "GET /events/stream?{query} HTTP/1.1\r\nhost: {}\r\ncookie: {}\r\n{last}\r\n",
            self.address, self.cookie
        );
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut events = Events { stream, text: String::new() };
        events.until("retry: 2000\n\n").await;
        events
    }
}

/// An open event stream.
pub(super) struct Events {
    stream: TcpStream,
    text: String,
}

impl Events {
    /// Reads on until `wanted` came, and returns everything up to its end.
    pub(super) async fn until(&mut self, wanted: &str) -> String {
        let read = async {
            let mut piece = [0; 4096];
            while !self.text.contains(wanted) {
                let count = self.stream.read(&mut piece).await.unwrap();
                assert_ne!(count, 0, "the stream ended before {wanted:?}: {}", self.text);
                self.text.push_str(&String::from_utf8_lossy(&piece[..count]));
            }
        };
        tokio::time::timeout(Duration::from_secs(20), read).await.expect(wanted);
        let end = self.text.find(wanted).unwrap() + wanted.len();
        let rest = self.text.split_off(end);
        std::mem::replace(&mut self.text, rest)
    }
}

#[tokio::test]
async fn an_open_list_hears_of_the_host_that_changed_and_of_no_other() {
    let site = Site::new().await;
    let a = site.host("a", 1, facts(vec![disk("sda", true)])).await;
    let b = site.host("b", 2, facts(vec![disk("sda", true)])).await;
    for host in [&a, &b] {
        let path = format!("/hosts/{}/install", host.id);
        assert_eq!(site.post(&path, "profile=debian&disk=serial:SDA&p.user=admin").await.status, 303);
    }
    let boot = BootKey(Digest([1; 32]));
    let install = site.install_of(a.id).unwrap();
    let mut kinds = vec![EventKind::AgentHello { boot: boot.clone(), address: "192.0.2.7".into() }];
    kinds.push(EventKind::TaskClaimed { task: "write-image".into(), attempt: 1, boot });
    kinds.push(EventKind::TaskStarted { task: "write-image".into(), attempt: 1 });
    site.apply(&install, kinds).await;

    let mut list = site.stream("show=hosts", None).await;
    let whole = list.until("\nid: ").await;
    assert!(whole.contains("event: hosts\n") && whole.contains(">a</a>") && whole.contains(">b</a>"), "{whole}");
    list.until("\n\n").await;
    let mut page = site.stream(&format!("show=host&host={}", a.id), None).await;
    page.until(&format!("event: host-{}-live\n", a.id)).await;

    let progress = Progress { done_bytes: 430, total_bytes: 1000, bytes_per_s: 10, written_bytes: 430 };
    site.state.inventory.progress(install.id, "write-image".into(), progress);
    let heard = list.until("43 %</progress>").await;
    assert!(heard.contains(&format!("event: host-{}\n", a.id)), "{heard}");
    assert!(!heard.contains("event: hosts\n"), "one row is enough: {heard}");
    let live = page.until("43 %</progress>").await;
    assert!(live.contains("big-pct") && !live.contains("csrf"), "{live}");

    // A host that comes changes the list itself.
    site.host("c", 3, None).await;
    let heard = list.until(">c</a>").await;
    assert!(heard.contains("event: hosts\n"), "{heard}");
}

#[tokio::test]
async fn a_stream_goes_on_after_the_last_event_and_repeats_all_when_it_cannot_know() {
    let site = Site::new().await;
    site.host("a", 1, None).await;
    let page = site.get("/").await.text();
    let (_, address) = page.split_once("sse-connect=\"").unwrap();
    let query =
        address.split('"').next().unwrap().split_once('?').unwrap().1.replace("&#38;", "&").replace("&amp;", "&");
    assert!(query.starts_with("show=hosts&last="), "{query}");

    // The page is up to date: nothing comes but the tick.
    let mut fresh = site.stream(&query, None).await;
    let heard = fresh.until("\nid: ").await;
    assert!(heard.contains("event: tick\ndata: .") && !heard.contains("event: hosts"), "{heard}");
    drop(fresh);

    site.host("b", 2, None).await;
    let mut behind = site.stream(&query, None).await;
    assert!(behind.until(">b</a>").await.contains("event: hosts\n"));
    behind.until("\nid: ").await;
    let id = behind.until("\n").await.trim().to_owned();
    // The header counts more than the address it was opened with.
    let mut resumed = site.stream(&query, Some(&id)).await;
    let heard = resumed.until("\nid: ").await;
    assert!(heard.contains("event: tick") && !heard.contains("event: hosts"), "{heard}");
    // Numbers of another run of the box mean nothing.
    let number = id.split_once('-').unwrap().1;
    let mut other = site.stream(&format!("show=hosts&last=00000000-{number}"), None).await;
    assert!(other.until(">b</a>").await.contains("event: hosts\n"));
}

#[tokio::test]
async fn an_alarm_reaches_every_open_page() {
    let site = Site::new().await;
    let mut stream = site.stream("show=alarms", None).await;
    stream.until("event: alarm\ndata: <!-- no alarm -->").await;
    site.state.inventory.transact(|tx| tx.raise_alarm("x", None, "Another DHCP server is here.".into())).await.unwrap();
    stream.until("Another DHCP server is here.").await;
    assert!(site.get("/profiles").await.text().contains("Another DHCP server is here."));
}
