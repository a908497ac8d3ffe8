//! What a host runs from the network, as a person without scripts chooses and ends it.

use super::*;

#[tokio::test]
async fn a_person_chooses_what_a_host_runs_from_the_network_and_ends_it() {
    let site = Site::new().await;
    let host = site.host("node-a", 1, facts(vec![disk("sda", false)])).await;
    let page = format!("/hosts/{}", host.id);
    let live = format!("{page}/live");
    let choosing = site.get(&live).await.text();
    assert!(choosing.contains("value=\"rescue\"") && !choosing.contains("value=\"debian\""), "{choosing}");
    assert!(!choosing.contains("Run it"), "nothing is run before it is chosen");
    assert!(site.get(&format!("{live}?profile=rescue")).await.text().contains("Run it"));

    let refused = site.post(&live, "profile=debian").await;
    assert_eq!(refused.status, 422);
    assert!(refused.text().contains("is installed onto a disk"), "{}", refused.text());
    assert_eq!(site.post(&live, "profile=nothing").await.status, 422);
    assert!(site.state.inventory.snapshot().host(host.id).unwrap().live_boot.is_none());

    let set = site.post(&live, "profile=rescue").await;
    assert_eq!((set.status, set.header("location")), (303, Some(page.as_str())));
    let shown = site.get(&page).await.text();
    assert!(
        shown.contains("Runs from the network") && shown.contains("Rescue") && shown.contains("/live/off"),
        "{shown}"
    );
    let running = site.state.inventory.snapshot().host(host.id).unwrap().live_boot.clone().unwrap();
    assert_eq!(running.profile, "rescue");

    assert_eq!(site.post(&format!("{live}/off"), "").await.status, 303);
    assert!(site.state.inventory.snapshot().host(host.id).unwrap().live_boot.is_none());
    assert_eq!(site.post(&format!("{live}/off"), "").await.status, 409);
    assert_eq!(site.get("/hosts/999/live").await.status, 404);
}
