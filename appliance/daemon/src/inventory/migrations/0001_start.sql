-- Rows are JSON beside the columns that look-ups and rules need; ids are 16 bytes, times are milliseconds.

CREATE TABLE box (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    id BLOB NOT NULL,
    -- The clock at the last commit: which boot of the kernel, its boot-time clock, and our time then.
    boot TEXT NOT NULL,
    boottime INTEGER NOT NULL,
    now INTEGER NOT NULL,
    backup_at INTEGER
) STRICT;

CREATE TABLE hosts (
    id BLOB PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    uuid TEXT UNIQUE,
    json TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE host_macs (
    mac TEXT PRIMARY KEY,
    host BLOB NOT NULL REFERENCES hosts (id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX host_macs_host ON host_macs (host);

-- UUIDs seen on two machines with different serials: they count as none.
CREATE TABLE shared_uuids (uuid TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;

CREATE TABLE installs (
    id BLOB PRIMARY KEY,
    host BLOB NOT NULL,
    active INTEGER NOT NULL,
    phase TEXT NOT NULL,
    json TEXT NOT NULL
) STRICT;
CREATE INDEX installs_host ON installs (host, id);
CREATE UNIQUE INDEX installs_active ON installs (host) WHERE active = 1;

-- Apart from the state, because it never changes and is the larger part.
CREATE TABLE install_plans (
    install BLOB PRIMARY KEY REFERENCES installs (id) ON DELETE CASCADE,
    json TEXT NOT NULL
) STRICT;

CREATE TABLE events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    host BLOB,
    install BLOB,
    kind TEXT NOT NULL,
    json TEXT NOT NULL
) STRICT;
CREATE INDEX events_host ON events (host, seq) WHERE host IS NOT NULL;

CREATE TABLE tokens (
    hash BLOB PRIMARY KEY,
    host BLOB NOT NULL REFERENCES hosts (id) ON DELETE CASCADE,
    install BLOB,
    purpose TEXT NOT NULL,
    used INTEGER,
    expires INTEGER,
    json TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX tokens_host ON tokens (host);
CREATE INDEX tokens_expires ON tokens (expires) WHERE expires IS NOT NULL;

CREATE TABLE leases (address TEXT PRIMARY KEY, json TEXT NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE images (
    digest BLOB PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    json TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE users (
    name TEXT PRIMARY KEY,
    password TEXT NOT NULL,
    role TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE sessions (
    hash BLOB PRIMARY KEY,
    user TEXT NOT NULL REFERENCES users (name) ON DELETE CASCADE,
    expires INTEGER NOT NULL,
    csrf TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX sessions_user ON sessions (user);

CREATE TABLE settings (key TEXT PRIMARY KEY, json TEXT NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE alarms (key TEXT PRIMARY KEY, json TEXT NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE telemetry (
    host BLOB PRIMARY KEY REFERENCES hosts (id) ON DELETE CASCADE,
    json TEXT NOT NULL
) STRICT, WITHOUT ROWID;
