//! Between our types and SQLite's columns.

use super::error::StoreError;
use rackberry_core::time::Timestamp;
use rusqlite::{Connection, OptionalExtension, Params, Row};
use serde::{Serialize, de::DeserializeOwned};

/// JSON for a column.
pub(super) fn to_json<T: Serialize>(value: &T, on: impl ToString) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|source| StoreError::Row { on: on.to_string(), source })
}

/// A value from a JSON column.
pub(super) fn from_json<T: DeserializeOwned>(text: &str, on: impl ToString) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|source| StoreError::Row { on: on.to_string(), source })
}

/// Milliseconds for a column.
pub(super) fn millis(time: Timestamp) -> i64 {
    i64::try_from(time.0).unwrap_or(i64::MAX)
}

/// A time from a column.
pub(super) fn timestamp(millis: i64) -> Timestamp {
    Timestamp(u64::try_from(millis).unwrap_or(0))
}

/// A number that is never negative from a column.
pub(super) fn count(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(column).map(|number| u64::try_from(number).unwrap_or(0))
}

/// Runs one statement; the number of rows it changed.
pub(super) fn execute<P: Params>(
    conn: &Connection,
    sql: &str,
    params: P,
    doing: &'static str,
    on: impl ToString,
) -> Result<usize, StoreError> {
    conn.prepare_cached(sql).and_then(|mut statement| statement.execute(params)).map_err(|source| StoreError::Sql {
        doing,
        on: on.to_string(),
        source,
    })
}

/// Asks for one row at most.
pub(super) fn one<T, P: Params>(
    conn: &Connection,
    sql: &str,
    params: P,
    on: impl ToString,
    read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Option<T>, StoreError> {
    conn.prepare_cached(sql)
        .and_then(|mut statement| statement.query_row(params, read).optional())
        .map_err(|source| StoreError::Sql { doing: "look up", on: on.to_string(), source })
}

/// Asks for many rows.
pub(super) fn many<T, P: Params>(
    conn: &Connection,
    sql: &str,
    params: P,
    on: impl ToString,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>, StoreError> {
    conn.prepare_cached(sql)
        .and_then(|mut statement| statement.query_map(params, read)?.collect())
        .map_err(|source| StoreError::Sql { doing: "list", on: on.to_string(), source })
}
