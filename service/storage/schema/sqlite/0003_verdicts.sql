-- What is known of a credential beside its last verdict: a later attempt that said nothing, how old the payload is, when
-- it ends, and of which end nobody was warned yet.
ALTER TABLE credential ADD COLUMN attempt TEXT;
ALTER TABLE credential ADD COLUMN payload_changed_at TEXT NOT NULL DEFAULT '';
ALTER TABLE credential ADD COLUMN expires_at TEXT;
ALTER TABLE credential ADD COLUMN warn_of TEXT;

-- A first payload is as old as its credential; a later one was put in at its last change at the latest.
UPDATE credential SET payload_changed_at = iif(version = 1, created_at, updated_at);

-- Lists of one status, and of what ends, in the order of the list.
CREATE INDEX credential_by_status ON credential (workspace, teamspace, family, status, name);
CREATE INDEX credential_that_ends ON credential (workspace, teamspace, family, name) WHERE expires_at IS NOT NULL;

-- Whose end nobody was warned of, whoever's it is. Those that were warned of leave the index.
CREATE INDEX credential_to_warn_of ON credential (warn_of) WHERE warn_of IS NOT NULL;

-- AUTOINCREMENT: old ones are dropped, and a page's cursor must never meet a number for the second time.
CREATE TABLE verification (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    credential INTEGER NOT NULL REFERENCES credential (seq) ON DELETE CASCADE,
    version    INTEGER NOT NULL,
    checked_at TEXT    NOT NULL,
    trigger    TEXT    NOT NULL,
    outcome    TEXT    NOT NULL,
    report     TEXT    NOT NULL
) STRICT;

-- SQLite ends every index with the row's number, `seq`: the order of the history.
CREATE INDEX verification_by_credential ON verification (credential);

-- Payloads that were rotated away. An envelope is bound to its version, and to the public fields beside it here.
CREATE TABLE credential_version (
    credential  INTEGER NOT NULL REFERENCES credential (seq) ON DELETE CASCADE,
    version     INTEGER NOT NULL,
    provider    TEXT    NOT NULL,
    type        TEXT    NOT NULL,
    public      TEXT    NOT NULL,
    status      TEXT,
    made_at     TEXT    NOT NULL,
    replaced_at TEXT    NOT NULL,
    key_id      TEXT    NOT NULL,
    sealed      BLOB    NOT NULL,
    PRIMARY KEY (credential, version)
) STRICT;

-- Whose turn it is. Apart from the metadata: a claim changes nothing that anybody reads.
-- Claiming moves `due_at` to the claim's end, so that what a dead process held comes due by itself.
CREATE TABLE watch (
    credential INTEGER PRIMARY KEY REFERENCES credential (seq) ON DELETE CASCADE,
    lane       TEXT    NOT NULL,
    due_at     TEXT    NOT NULL,
    claim      TEXT,
    rejections INTEGER NOT NULL
) STRICT;

CREATE INDEX watch_due ON watch (lane, due_at);

INSERT INTO watch SELECT seq, provider, updated_at, NULL, 0 FROM credential WHERE family = 'access';
INSERT INTO watch SELECT seq, 'shared', updated_at, NULL, 0 FROM credential
WHERE family = 'shared' AND status IS NOT NULL;

-- How many, without counting them. By triggers: a deleted credential takes its row of `watch` along unasked.
CREATE TABLE watch_count (
    lane TEXT    PRIMARY KEY NOT NULL,
    n    INTEGER NOT NULL CHECK (n >= 0)
) STRICT, WITHOUT ROWID;

INSERT INTO watch_count SELECT lane, count(*) FROM watch GROUP BY lane;

CREATE TRIGGER watch_is_added AFTER INSERT ON watch
BEGIN
    INSERT INTO watch_count VALUES (new.lane, 1) ON CONFLICT (lane) DO UPDATE SET n = n + 1;
END;

CREATE TRIGGER watch_is_removed AFTER DELETE ON watch
BEGIN
    UPDATE watch_count SET n = n - 1 WHERE lane = old.lane;
END;

CREATE TRIGGER watch_is_moved AFTER UPDATE OF lane ON watch WHEN new.lane <> old.lane
BEGIN
    UPDATE watch_count SET n = n - 1 WHERE lane = old.lane;
    INSERT INTO watch_count VALUES (new.lane, 1) ON CONFLICT (lane) DO UPDATE SET n = n + 1;
END;

CREATE TABLE lane_pause (
    lane  TEXT PRIMARY KEY NOT NULL,
    until TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- What others are to be told. No foreign key: that a credential was deleted is told after it is gone.
CREATE TABLE event (
    seq      INTEGER PRIMARY KEY AUTOINCREMENT,
    id       TEXT    NOT NULL UNIQUE,
    type     TEXT    NOT NULL,
    at       TEXT    NOT NULL,
    body     TEXT    NOT NULL,
    attempts INTEGER NOT NULL,
    due_at   TEXT    NOT NULL,
    claim    TEXT
) STRICT;

CREATE INDEX event_due ON event (due_at);

-- One row, as above.
CREATE TABLE event_count (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    n    INTEGER NOT NULL CHECK (n >= 0)
) STRICT;

INSERT INTO event_count VALUES (1, 0);

CREATE TRIGGER event_is_added AFTER INSERT ON event
BEGIN
    UPDATE event_count SET n = n + 1;
END;

CREATE TRIGGER event_is_removed AFTER DELETE ON event
BEGIN
    UPDATE event_count SET n = n - 1;
END;

-- The service's own secrets, such as the one that signs what it sends.
CREATE TABLE service_secret (
    name   TEXT PRIMARY KEY NOT NULL,
    key_id TEXT NOT NULL,
    sealed BLOB NOT NULL
) STRICT;
