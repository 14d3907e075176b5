-- Who got short-lived material of which credential, and until when; never the material itself.
-- No foreign keys: a lease outlives its credential, under the name that the credential had, and it outlives its caller.
-- AUTOINCREMENT: old leases are dropped, and a page's cursor must never meet a number for the second time.
CREATE TABLE lease (
    seq             INTEGER PRIMARY KEY AUTOINCREMENT,
    id              TEXT NOT NULL UNIQUE,
    workspace       TEXT NOT NULL,
    teamspace       TEXT NOT NULL,
    credential_id   TEXT NOT NULL,
    credential_name TEXT NOT NULL,
    provider        TEXT NOT NULL,
    type            TEXT NOT NULL,
    purpose         TEXT NOT NULL,
    narrowed_to     TEXT, -- canonical JSON; NULL means all that the credential may do
    role_arn        TEXT NOT NULL,
    forced          INTEGER NOT NULL CHECK (forced IN (0, 1)),
    caller_kind     TEXT NOT NULL,
    caller_id       TEXT NOT NULL,
    caller_name     TEXT NOT NULL,
    issued_at       TEXT NOT NULL,
    expires_at      TEXT NOT NULL
) STRICT;

-- One per combination of filters, each in the order of the list: SQLite ends every index with the row's number, `seq`.
CREATE INDEX lease_by_workspace ON lease (workspace);
CREATE INDEX lease_by_credential ON lease (workspace, credential_id);
CREATE INDEX lease_by_teamspace ON lease (workspace, teamspace);
CREATE INDEX lease_by_both ON lease (workspace, teamspace, credential_id);

-- Where a list of live leases may stop.
CREATE INDEX lease_live ON lease (workspace, expires_at);

-- What may be dropped, whoever's it is.
CREATE INDEX lease_ended ON lease (expires_at);
