//! People and their sessions.

use super::{
    error::StoreError,
    rows::{execute, many, millis, one, timestamp},
    tx::Tx,
};
use rackberry_core::{image::Digest, text::CleanText, time::Timestamp};
use rusqlite::{Connection, Row};

/// Sessions one person may have at a time; a new one replaces the one that ends first.
pub const SESSIONS: usize = 32;

/// A person who may log in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub name: CleanText,
    /// An argon2 hash in PHC form.
    pub password: String,
    pub role: String,
}

/// A login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// SHA-256 of the cookie's value.
    pub hash: Digest,
    pub user: CleanText,
    pub expires: Timestamp,
    pub csrf: String,
}

impl Tx<'_> {
    /// Adds a person, or changes password and role.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn put_user(&mut self, user: &User) -> Result<(), StoreError> {
        let sql = "INSERT INTO users (name, password, role) VALUES (?1, ?2, ?3) ON CONFLICT (name)
                   DO UPDATE SET password = excluded.password, role = excluded.role";
        let row = (user.name.as_str(), &user.password, &user.role);
        execute(self.conn, sql, row, "store user", &user.name)?;
        self.changed = true;
        Ok(())
    }

    /// Removes a person, who is logged out everywhere.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], or storage.
    pub fn remove_user(&mut self, name: &CleanText) -> Result<(), StoreError> {
        match execute(self.conn, "DELETE FROM users WHERE name = ?1", [name.as_str()], "remove user", name)? {
            0 => Err(StoreError::NotFound { what: "user", id: name.to_string() }),
            _ => Ok(()),
        }
    }

    /// A person by login name.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn user(&self, name: &str) -> Result<Option<User>, StoreError> {
        user(self.conn, name)
    }

    /// Every person, by name.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn users(&self) -> Result<Vec<User>, StoreError> {
        users(self.conn)
    }

    /// Begins a session.
    ///
    /// # Errors
    /// [`StoreError`], also if the user is unknown.
    pub fn add_session(&mut self, session: &Session) -> Result<(), StoreError> {
        let user = session.user.as_str();
        let sql = "INSERT INTO sessions (hash, user, expires, csrf) VALUES (?1, ?2, ?3, ?4)";
        let row = (session.hash.0.as_slice(), user, millis(session.expires), &session.csrf);
        execute(self.conn, sql, row, "begin a session of", user)?;
        let sql = format!(
            "DELETE FROM sessions WHERE hash IN
             (SELECT hash FROM sessions WHERE user = ?1 ORDER BY expires DESC LIMIT -1 OFFSET {SESSIONS})"
        );
        execute(self.conn, &sql, [user], "end old sessions of", user).map(drop)
    }

    /// A session that has not expired.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn session(&self, hash: Digest) -> Result<Option<Session>, StoreError> {
        session(self.conn, hash, self.now())
    }

    /// Ends a session.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn remove_session(&mut self, hash: Digest) -> Result<(), StoreError> {
        let key = [hash.0.as_slice()];
        execute(self.conn, "DELETE FROM sessions WHERE hash = ?1", key, "end", "a session").map(drop)
    }

    /// Ends every session of a person, as after a change of password.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn remove_sessions(&mut self, user: &CleanText) -> Result<(), StoreError> {
        let key = [user.as_str()];
        execute(self.conn, "DELETE FROM sessions WHERE user = ?1", key, "end sessions of", user).map(drop)
    }
}

fn read_user(row: &Row<'_>) -> rusqlite::Result<User> {
    Ok(User { name: CleanText::new(&row.get::<_, String>(0)?), password: row.get(1)?, role: row.get(2)? })
}

pub(super) fn user(conn: &Connection, name: &str) -> Result<Option<User>, StoreError> {
    let on = CleanText::new(name);
    one(conn, "SELECT name, password, role FROM users WHERE name = ?1", [name], on, read_user)
}

pub(super) fn users(conn: &Connection) -> Result<Vec<User>, StoreError> {
    many(conn, "SELECT name, password, role FROM users ORDER BY name", [], "users", read_user)
}

pub(super) fn session(conn: &Connection, hash: Digest, now: Timestamp) -> Result<Option<Session>, StoreError> {
    let sql = "SELECT user, expires, csrf FROM sessions WHERE hash = ?1 AND expires > ?2";
    one(conn, sql, (hash.0.as_slice(), millis(now)), "a session", |row| {
        Ok(Session {
            hash,
            user: CleanText::new(&row.get::<_, String>(0)?),
            expires: timestamp(row.get(1)?),
            csrf: row.get(2)?,
        })
    })
}
