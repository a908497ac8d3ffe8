//! Leases: durable before their ACK leaves. The DHCP shell owns the table; here are only its rows.

use super::{
    error::StoreError,
    rows::{execute, from_json, many, one, to_json},
    tx::Tx,
};
use rackberry_core::{
    dhcp::{Change, LeaseRow},
    host::MacAddr,
};
use rusqlite::Connection;
use std::net::IpAddr;

impl Tx<'_> {
    /// Every lease, for the DHCP shell's start.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn leases(&self) -> Result<Vec<LeaseRow>, StoreError> {
        leases(self.conn)
    }

    /// Makes changes of the lease table durable.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn change_leases(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        for change in changes {
            match change {
                Change::Put(lease) => {
                    let address = lease.address.to_string();
                    let sql = "INSERT INTO leases (address, json) VALUES (?1, ?2) ON CONFLICT (address)
                               DO UPDATE SET json = excluded.json";
                    let json = to_json(lease, &address)?;
                    execute(self.conn, sql, (&address, json), "store the lease of", &address)?;
                }
                Change::Remove(address) => {
                    let address = address.to_string();
                    let sql = "DELETE FROM leases WHERE address = ?1";
                    execute(self.conn, sql, [&address], "remove the lease of", &address)?;
                }
            }
        }
        Ok(())
    }

    /// Whether we leased `address` to this MAC address, so that its host may have moved there.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn lease_moved(&self, mac: MacAddr, address: IpAddr) -> Result<bool, StoreError> {
        let address = address.to_canonical().to_string();
        let sql = "SELECT json FROM leases WHERE address = ?1";
        let json = one(self.conn, sql, [&address], &address, |row| row.get::<_, String>(0))?;
        let lease: Option<LeaseRow> = json.map(|json| from_json(&json, &address)).transpose()?;
        Ok(lease.is_some_and(|lease| lease.mac == mac && self.now() < lease.expires))
    }
}

pub(super) fn leases(conn: &Connection) -> Result<Vec<LeaseRow>, StoreError> {
    let rows = many(conn, "SELECT address, json FROM leases", [], "leases", |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
    })?;
    rows.into_iter().map(|(address, json)| from_json(&json, format_args!("lease {address}"))).collect()
}
