//! The inventory on a real file: commits, rollback, restarts, recovery.

use rackberry::inventory::{Identity, Inventory, OpenOptions, StoreError};
use rackberry_core::host::MacAddr;

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let inventory = Inventory::open(OpenOptions::new(dir.path())).unwrap();
    let mac: MacAddr = "52:54:00:77:00:01".parse().unwrap();
    let identity = Identity { mac, uuid: None, serial: None };
    let host = inventory.transact(move |tx| tx.observe(&identity, None, None)).await.unwrap();
    assert_eq!(host.name.as_str(), "host-770001");
    assert_eq!(inventory.snapshot().host_by_mac(mac).unwrap().host, host);
    inventory.close().await;
    let inventory = Inventory::open(OpenOptions::new(dir.path())).unwrap();
    let again = inventory.transact(move |tx| Ok::<_, StoreError>(tx.host_by_mac(mac))).await.unwrap().unwrap();
    assert_eq!(again, host);
}
