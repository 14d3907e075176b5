-- Marks the file as ours, so that no other program's database is ever migrated by mistake: "vouc" in ASCII.
PRAGMA application_id = 0x766f7563;

-- Times are RFC 3339 text in UTC with microseconds, fixed width: text order is time order.
CREATE TABLE credential (
    seq              INTEGER PRIMARY KEY,
    id               TEXT    NOT NULL UNIQUE,
    workspace        TEXT    NOT NULL,
    teamspace        TEXT    NOT NULL,
    family           TEXT    NOT NULL CHECK (family IN ('access', 'shared')),
    name             TEXT    NOT NULL,
    provider         TEXT    NOT NULL,
    type             TEXT    NOT NULL,
    provider_default INTEGER NOT NULL CHECK (provider_default IN (0, 1)),
    allowed_in_tasks INTEGER NOT NULL CHECK (allowed_in_tasks IN (0, 1)),
    version          INTEGER NOT NULL,
    revision         INTEGER NOT NULL,
    created_at       TEXT    NOT NULL,
    updated_at       TEXT    NOT NULL,
    public           TEXT    NOT NULL,
    status           TEXT,
    verification     TEXT
) STRICT;

-- BINARY compares UTF-8 bytes, and those sort by code point: the order that the wire promises.
CREATE UNIQUE INDEX credential_by_name ON credential (workspace, teamspace, family, name);

-- One per combination of filters, so that a page costs the same whatever else the scope holds.
CREATE INDEX credential_by_provider ON credential (workspace, teamspace, family, provider, name);
CREATE INDEX credential_by_type ON credential (workspace, teamspace, family, type, name);
CREATE INDEX credential_by_kind ON credential (workspace, teamspace, family, provider, type, name);

CREATE UNIQUE INDEX credential_default ON credential (workspace, teamspace, family, provider) WHERE provider_default = 1;

-- Apart from the metadata: a page of a list never drags ciphertext (kilobytes, for a key file) through the cache.
CREATE TABLE envelope (
    credential INTEGER PRIMARY KEY REFERENCES credential (seq) ON DELETE CASCADE,
    key_id     TEXT    NOT NULL,
    sealed     BLOB    NOT NULL
) STRICT;

-- Totals of lists: a count(*) over a million rows takes tens of milliseconds.
CREATE TABLE credential_count (
    workspace TEXT    NOT NULL,
    teamspace TEXT    NOT NULL,
    family    TEXT    NOT NULL,
    provider  TEXT    NOT NULL,
    type      TEXT    NOT NULL,
    n         INTEGER NOT NULL CHECK (n >= 0),
    PRIMARY KEY (workspace, teamspace, family, provider, type)
) STRICT, WITHOUT ROWID;

CREATE TABLE api_key (
    id          TEXT PRIMARY KEY NOT NULL,
    name        TEXT NOT NULL,
    secret_hash BLOB NOT NULL,
    workspace   TEXT NOT NULL,
    role        TEXT NOT NULL,
    teamspaces  TEXT, -- a JSON list; NULL means all of them
    created_at  TEXT NOT NULL,
    expires_at  TEXT,
    revoked_at  TEXT
) STRICT;

CREATE TABLE user (
    name          TEXT PRIMARY KEY NOT NULL,
    password_hash TEXT NOT NULL,
    workspace     TEXT NOT NULL,
    role          TEXT NOT NULL,
    created_at    TEXT NOT NULL
) STRICT;

-- AUTOINCREMENT: a number is never given twice, so a hole in the numbers shows.
CREATE TABLE audit (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    at         TEXT NOT NULL,
    actor_kind TEXT NOT NULL,
    actor_id   TEXT NOT NULL,
    actor_name TEXT NOT NULL,
    workspace  TEXT NOT NULL,
    teamspace  TEXT NOT NULL,
    family     TEXT NOT NULL,
    action     TEXT NOT NULL,
    target     TEXT NOT NULL,
    outcome    TEXT NOT NULL,
    request_id TEXT NOT NULL,
    address    TEXT NOT NULL
) STRICT;

CREATE TRIGGER audit_is_never_changed BEFORE UPDATE ON audit
BEGIN
    SELECT RAISE(ABORT, 'the audit trail is append-only');
END;

CREATE TRIGGER audit_is_never_deleted BEFORE DELETE ON audit
BEGIN
    SELECT RAISE(ABORT, 'the audit trail is append-only');
END;

-- One row: the sealed record that proves the key ring is the right one.
CREATE TABLE canary (
    only   INTEGER PRIMARY KEY CHECK (only = 1),
    key_id TEXT NOT NULL,
    sealed BLOB NOT NULL
) STRICT;
