//! Media from elsewhere, as a person without scripts gets them.

use super::*;

#[tokio::test]
async fn an_address_is_looked_at_before_it_is_fetched_and_every_refusal_is_the_page_again() {
    let site = Site::new().await;
    let refused = site.post("/images/fetch", "go=look&url=http%3A%2F%2F127.0.0.1%3A9%2Fsystem.iso").await;
    assert_eq!(refused.status, 422);
    assert!(refused.text().contains("value=\"http://127.0.0.1:9/system.iso\""), "{}", refused.text());
    assert!(!refused.text().contains("value=\"begin\""), "nothing is begun before its size is known");
    let keyless = "go=begin&url=http%3A%2F%2F203.0.113.1%2Fx.iso&signature=http%3A%2F%2F203.0.113.1%2Fx.sig";
    let refused = site.post("/images/fetch", keyless).await;
    assert_eq!(refused.status, 422);
    assert!(refused.text().contains("without the key"), "{}", refused.text());
    assert!(site.state.fetches.list().is_empty());
    let refused = site.post("/profiles/rescue/media/debian-13", "").await;
    assert_eq!(refused.status, 422);
    assert!(refused.text().contains("on the box already"), "{}", refused.text());
    assert_eq!(site.get("/profiles/rescue/media/other").await.status, 404);
    assert_eq!(site.post("/fetches/7/cancel", "").await.status, 422);
}

#[tokio::test]
async fn a_fetch_is_a_row_with_its_bar_until_it_is_called_off() {
    use crate::origin::testing::{Server, file};
    let site = Site::new().await;
    // It says how long the file is, and then nothing more.
    let server = Server::start(|_, request| file(&request, &[7; 5000], "\"a\"")).await;
    let order = crate::origin::fetch::Order {
        name: "afar".into(),
        urls: vec![server.url("/x.iso")],
        sha256: Some(rackberry_core::image::Digest([0; 32])),
        checksums: None,
        signature: None,
        key: None,
        as_it_is: false,
        private: true,
    };
    let begun = site.state.fetches.begin(order, Actor::Box).await.unwrap();
    let page = site.get("/images").await.text();
    assert!(page.contains("afar"), "{page}");
    let failed = tokio::time::timeout(std::time::Duration::from_secs(60), async {
        while !site.state.fetches.get(begun.id).unwrap().state.over() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    });
    failed.await.unwrap();
    let page = site.get("/images").await.text();
    assert!(page.contains("Refused") && page.contains("does not match the digest"), "{page}");
    assert_eq!(site.post(&format!("/fetches/{}/cancel", begun.id), "").await.status, 303);
}
