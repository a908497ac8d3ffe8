//! Leases: durable before their ACK leaves. The DHCP shell owns the table; here are only its rows.

use super::{
    error::StoreError,
    rows::{execute, many, millis, one, timestamp},
    tx::Tx,
};
use rackberry_core::{
    dhcp::{Change, LeaseRow, Stage},
    host::MacAddr,
};
use rusqlite::{Connection, Row, types::Type};
use std::net::{IpAddr, Ipv4Addr};

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
                Change::Put(LeaseRow { address, mac, client_id, expires }) => {
                    let sql = "INSERT INTO leases (address, mac, client_id, expires) VALUES (?1, ?2, ?3, ?4)
                               ON CONFLICT (address) DO UPDATE
                               SET mac = excluded.mac, client_id = excluded.client_id, expires = excluded.expires";
                    let row = (u32::from(*address), &mac.0[..], client_id, millis(*expires));
                    execute(self.conn, sql, row, "store the lease of", address)?;
                }
                Change::Remove(address) => {
                    let sql = "DELETE FROM leases WHERE address = ?1";
                    execute(self.conn, sql, [u32::from(*address)], "remove the lease of", address)?;
                }
            }
        }
        Ok(())
    }

    /// Whether hosts have their addresses from this box, as far as it knows. Beside another server they have that one's, and a
    /// lease of ours that still runs says nothing about where they are.
    #[must_use]
    pub fn gives_addresses(&self) -> bool {
        Stage::of_word(self.state.ladder.mode.as_str()).is_none_or(Stage::leases)
    }

    /// The address we leased to this MAC address, while the lease lasts.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn leased(&self, mac: MacAddr) -> Result<Option<Ipv4Addr>, StoreError> {
        let sql = "SELECT address, mac, client_id, expires FROM leases WHERE mac = ?1";
        let leases = many(self.conn, sql, [&mac.0[..]], "leases", lease)?;
        Ok(leases.into_iter().find(|lease| self.now() < lease.expires).map(|lease| lease.address))
    }

    /// Whether we leased `address` to this MAC address, so that its host may have moved there.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn lease_moved(&self, mac: MacAddr, address: IpAddr) -> Result<bool, StoreError> {
        let IpAddr::V4(address) = address.to_canonical() else { return Ok(false) };
        let sql = "SELECT address, mac, client_id, expires FROM leases WHERE address = ?1";
        let lease = one(self.conn, sql, [u32::from(address)], address, lease)?;
        Ok(lease.is_some_and(|lease| lease.mac == mac && self.now() < lease.expires))
    }
}

pub(super) fn leases(conn: &Connection) -> Result<Vec<LeaseRow>, StoreError> {
    many(conn, "SELECT address, mac, client_id, expires FROM leases", [], "leases", lease)
}

fn lease(row: &Row<'_>) -> rusqlite::Result<LeaseRow> {
    let mac: Vec<u8> = row.get(1)?;
    let mac = mac.try_into().map_err(|mac: Vec<u8>| {
        let error = format!("{} bytes are no MAC address", mac.len());
        rusqlite::Error::FromSqlConversionFailure(1, Type::Blob, error.into())
    })?;
    Ok(LeaseRow {
        address: Ipv4Addr::from(row.get::<_, u32>(0)?),
        mac: MacAddr(mac),
        client_id: row.get(2)?,
        expires: timestamp(row.get(3)?),
    })
}
