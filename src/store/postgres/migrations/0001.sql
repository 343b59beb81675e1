-- The tables. Records are bytes that src/store/record.rs encodes; columns beside them are what is searched.
-- Oldest keyfob that may run beside this migration: 0.1.0.

-- Single values: the format, the proof of the master key, the signing keys, the epochs.
CREATE TABLE meta (name text COLLATE "C" PRIMARY KEY, value bytea NOT NULL);

-- One row. A transaction that writes events, openings or administration locks it first, so positions have no
-- gaps, and transactions commit in the order of their positions. The version counts the changes of clients, cut-offs and keys.
CREATE TABLE head (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    position bigint NOT NULL,
    version bigint NOT NULL,
    sessions bigint NOT NULL,
    events bigint NOT NULL
) WITH (fillfactor = 10, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
INSERT INTO head (position, version, sessions, events) VALUES (0, 1, 0, 0);

-- Records are sealed, so they cannot be compressed: EXTERNAL. A rotation changes only record and windows, which are in no index, so its updates stay in their page.
CREATE TABLE sessions (
    id uuid PRIMARY KEY,
    subject uuid NOT NULL,
    client uuid NOT NULL,
    active boolean NOT NULL,
    due bigint NOT NULL,
    record bytea NOT NULL,
    windows bytea NOT NULL
) WITH (fillfactor = 70);
ALTER TABLE sessions ALTER record SET STORAGE EXTERNAL, ALTER windows SET STORAGE EXTERNAL;
CREATE INDEX sessions_by_subject ON sessions (subject, id);
CREATE INDEX sessions_active ON sessions (subject, client, id) WHERE active;
CREATE INDEX sessions_by_due ON sessions (due, id);

-- When retry windows close, for the sweep. A row can outlive its window.
CREATE TABLE windows_due (closes_at bigint NOT NULL, id uuid NOT NULL);
CREATE INDEX windows_due_by_time ON windows_due (closes_at);

CREATE TABLE data (id uuid PRIMARY KEY, record bytea NOT NULL);
CREATE TABLE opening_keys (name bytea PRIMARY KEY, session uuid NOT NULL, record bytea NOT NULL);
CREATE INDEX opening_keys_by_session ON opening_keys (session);
CREATE TABLE repeats (id uuid PRIMARY KEY, record bytea NOT NULL);
CREATE TABLE events (position bigint PRIMARY KEY, record bytea NOT NULL);
ALTER TABLE data ALTER record SET STORAGE EXTERNAL;
ALTER TABLE events ALTER record SET STORAGE EXTERNAL;
CREATE TABLE clients (id text COLLATE "C" PRIMARY KEY, record bytea NOT NULL);
CREATE TABLE cut_offs (name text COLLATE "C" PRIMARY KEY, record bytea NOT NULL);
CREATE TABLE revoked (expires_at bigint NOT NULL, id uuid NOT NULL, PRIMARY KEY (expires_at, id));

-- The number of active sessions of each client.
CREATE TABLE live (client text COLLATE "C" PRIMARY KEY, sessions bigint NOT NULL)
    WITH (fillfactor = 10, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

-- The heartbeat of each running process.
CREATE TABLE replicas (
    boot uuid PRIMARY KEY,
    name text NOT NULL,
    beat bigint NOT NULL,
    seen timestamptz NOT NULL
) WITH (fillfactor = 10, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

-- When each timeline of the database was first used: the fence after a failover.
CREATE TABLE timelines (timeline bigint PRIMARY KEY, since timestamptz NOT NULL);

-- What one process does for all.
CREATE TABLE leases (name text PRIMARY KEY, holder uuid NOT NULL, until timestamptz NOT NULL);
