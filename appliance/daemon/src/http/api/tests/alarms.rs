//! Alarms that somebody settles.

use super::*;

#[tokio::test]
async fn a_settled_alarm_is_gone_and_history_says_who_settled_it() {
    let site = Site::new().await;
    let raise = |key: &'static str, text: &'static str| {
        let inventory = site.state.inventory.clone();
        async move { inventory.transact(move |tx| tx.raise_alarm(key, None, text.into())).await.unwrap() }
    };
    raise("hot", "It is hot.").await;
    let page = site.get("/").await.text();
    assert!(page.contains("formaction=\"/alarms/hot/settle\""), "{page}");
    assert_eq!(site.post("/alarms/hot/settle", "").await.status, 303);
    raise("a/b c", "Another one.").await;
    let page = site.get("/").await.text();
    assert!(page.contains("formaction=\"/alarms/a%2Fb%20c/settle\""), "{page}");
    assert_eq!(site.by_cookie("POST", "/api/v1/alarms/a%2Fb%20c/settle", "").await.status, 200);
    assert_eq!(site.by_cookie("POST", "/api/v1/alarms/a%2Fb%20c/settle", "").await.status, 404, "once");
    assert_eq!(site.get("/").await.text().matches("/settle").count(), 0);
    let filter = EventFilter { kinds: vec!["alarm_settled".to_owned()], limit: 9, ..EventFilter::default() };
    let found = site.state.inventory.read(move |reader| reader.events(&filter)).await.unwrap();
    assert_eq!(found.len(), 2);
    assert!(found.iter().all(|stored| stored.event.actor == Actor::User(CleanText::new("ops"))), "{found:?}");
}
