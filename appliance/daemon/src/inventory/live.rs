//! What hosts boot from the network until a person says otherwise.

use super::{
    error::StoreError,
    rows::{execute, from_json, many, to_json},
    tx::Tx,
};
use rackberry_core::{
    event::{Actor, EventKind},
    id::HostId,
    install::LiveBoot,
    text::CleanText,
};
use rusqlite::Connection;
use std::sync::Arc;

impl Tx<'_> {
    /// What a host boots live, if anything.
    #[must_use]
    pub fn live_boot(&self, host: HostId) -> Option<Arc<LiveBoot>> {
        self.state.host(host)?.live_boot.clone()
    }

    /// Has a host boot this from now on, or nothing live any more.
    ///
    /// # Errors
    /// [`StoreError`], also if the host is unknown.
    pub fn set_live_boot(&mut self, host: HostId, live: Option<LiveBoot>, actor: Actor) -> Result<(), StoreError> {
        let name = self.entry(host)?.host.name.clone();
        let key = host.0.as_bytes().as_slice();
        let kind = match &live {
            Some(live) => {
                let sql = "INSERT INTO live_boots (host, json) VALUES (?1, ?2) ON CONFLICT (host) DO UPDATE SET json = excluded.json";
                execute(self.conn, sql, (key, to_json(live, &name)?), "store what it boots live:", &name)?;
                EventKind::LiveSet { profile: CleanText::new(&live.profile) }
            }
            None => {
                execute(
                    self.conn,
                    "DELETE FROM live_boots WHERE host = ?1",
                    [key],
                    "forget what it boots live:",
                    &name,
                )?;
                EventKind::LiveUnset
            }
        };
        self.record(Some(host), None, actor, kind)?;
        let live = live.map(Arc::new);
        self.change(host, |entry| entry.live_boot = live);
        Ok(())
    }
}

/// All of them.
pub(super) fn load(conn: &Connection) -> Result<Vec<(HostId, LiveBoot)>, StoreError> {
    let row = |row: &rusqlite::Row<'_>| Ok((row.get::<_, [u8; 16]>(0)?, row.get::<_, String>(1)?));
    many(conn, "SELECT host, json FROM live_boots", [], "live systems", row)?
        .into_iter()
        .map(|(host, json)| Ok((HostId(uuid::Uuid::from_bytes(host)), from_json(&json, "a live system")?)))
        .collect()
}
