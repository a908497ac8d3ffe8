//! A host's log on its page.

use super::*;
use crate::inventory::Telemetry;

#[tokio::test]
async fn the_end_of_a_hosts_log_is_on_its_page_and_stays_live() {
    let site = Site::new().await;
    let host = site.host("node-a", 1, facts(vec![disk("sda", false)])).await;
    let page = format!("/hosts/{}", host.id);
    assert!(!site.get(&page).await.text().contains("class=\"log\""), "no log, no box for it");
    let mut events = site.stream(&format!("show=host&host={}", host.id), None).await;
    let lines = (1..=60).map(|line| format!("line {line} of <b>it</b>").as_str().into()).collect();
    site.state.inventory.telemetry(Telemetry::Log { host: host.id, lines });
    let told = events.until("line 60 of &#60;b&#62;it&#60;/b&#62;").await;
    for text in [told, site.get(&page).await.text()] {
        let (_, log) = text.split_once("<pre>").expect(&text);
        assert!(log.starts_with("line 11 of &#60;b&#62;it&#60;/b&#62;\n"), "the oldest of fifty: {log}");
    }
}
