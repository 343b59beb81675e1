//! The statements, prepared on each connection that runs them.

use tokio_postgres::{Client, Error, Statement};

macro_rules! statements {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident = $sql:expr;)+ }) => {
        $(#[$doc])*
        pub(super) struct $name { $($(#[$field_doc])* pub $field: Statement),+ }

        impl $name {
            pub async fn prepare(client: &Client) -> Result<Self, Error> {
                Ok(Self { $($field: client.prepare($sql).await?),+ })
            }
        }
    };
}

/// One state of the registry, with the head: the kind of the row, its name and its record.
pub(super) const REGISTRY: &str = "\
    SELECT 0::int4 AS kind, '' AS name, ''::bytea AS record, position, version FROM head \
    UNION ALL SELECT 1, id, record, 0, 0 FROM clients \
    UNION ALL SELECT 2, name, record, 0, 0 FROM cut_offs \
    UNION ALL SELECT 3, name, value, 0, 0 FROM meta";

/// The tables, for the figures.
pub(super) const TABLES: &[&str] = &[
    "clients",
    "cut_offs",
    "data",
    "events",
    "head",
    "leases",
    "live",
    "meta",
    "migrations",
    "opening_keys",
    "repeats",
    "replicas",
    "revoked",
    "sessions",
    "timelines",
    "windows_due",
];

/// Up to how many entries of a table are counted one by one.
pub(super) const COUNTED_MAX: i64 = 10_000;

/// The number of entries of each table, in their order; of a larger one, one more than are counted.
fn entry_counts() -> String {
    let count =
        |table: &&str| format!("(SELECT count(*) FROM (SELECT FROM {table} LIMIT {COUNTED_MAX} + 1) AS t)");
    format!("SELECT ARRAY[{}]", TABLES.iter().map(count).collect::<Vec<_>>().join(", "))
}

/// What shows that the answers of the same pipeline or transaction count.
pub(super) const PROOF: &str =
    "SELECT position, version, (SELECT beat FROM replicas WHERE boot = $1) FROM head";

statements! {
    /// Those of a transaction that writes.
    WriteStatements {
        /// The head, which excludes every other transaction that writes events.
        lock_head = "SELECT position, version FROM head FOR UPDATE";
        head = "SELECT position, version FROM head";
        registry = REGISTRY;
        /// Sessions by their ids.
        lock_sessions = "SELECT id, subject, client, record, windows FROM sessions \
            WHERE id = ANY ($1::uuid[]) ORDER BY id FOR UPDATE";
        /// Sessions by their ids, by the names of their openings, and the active ones of a subject, or of a
        /// subject and a client. One statement locks them all, in order.
        lock_all = "SELECT id, subject, client, record, windows FROM sessions AS s WHERE id = ANY (ARRAY( \
                SELECT unnest($1::uuid[]) \
                UNION SELECT k.session FROM opening_keys AS k WHERE k.name = ANY ($2::bytea[]) \
                UNION SELECT p.id FROM sessions AS p \
                    JOIN unnest($3::uuid[], $4::uuid[]) AS w (subject, client) \
                    ON p.subject = w.subject AND p.client = w.client WHERE p.active \
                UNION SELECT p.id FROM sessions AS p WHERE p.active AND p.subject = ANY ($5::uuid[]) \
            )) ORDER BY id FOR UPDATE OF s";
        opening_keys = "SELECT name, record FROM opening_keys WHERE name = ANY ($1::bytea[])";
        repeats = "SELECT id, record FROM repeats WHERE id = ANY (ARRAY( \
            SELECT session FROM opening_keys WHERE name = ANY ($1::bytea[])))";
        revoked = "SELECT r.expires_at, r.id FROM revoked AS r \
            JOIN unnest($1::bigint[], $2::uuid[]) AS w (expires_at, id) USING (expires_at, id)";
        live = "SELECT client, sessions FROM live";
        meta = "SELECT name, value FROM meta";
        oldest_events = "SELECT position, substring(record FROM 1 FOR 8) FROM events \
            ORDER BY position LIMIT $1";
        due_revoked = "SELECT expires_at, id FROM revoked WHERE expires_at <= $1 \
            ORDER BY expires_at, id LIMIT $2";
        lease = "SELECT holder, until < clock_timestamp() FROM leases WHERE name = $1";

        insert_sessions = "INSERT INTO sessions (id, subject, client, active, due, record, windows) \
            SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::boolean[], $5::bigint[], \
            $6::bytea[], $7::bytea[])";
        update_sessions = "UPDATE sessions AS s \
            SET active = n.active, due = n.due, record = n.record, windows = n.windows \
            FROM unnest($1::uuid[], $2::boolean[], $3::bigint[], $4::bytea[], $5::bytea[]) \
            AS n (id, active, due, record, windows) WHERE s.id = n.id";
        delete_sessions = "DELETE FROM sessions WHERE id = ANY ($1::uuid[])";
        /// The sweep does not come back to a row that it cannot decode.
        set_aside = "UPDATE sessions SET due = 9223372036854775807 WHERE id = ANY ($1::uuid[])";
        insert_windows_due = "INSERT INTO windows_due (closes_at, id) \
            SELECT * FROM unnest($1::bigint[], $2::uuid[])";
        delete_windows_due = "DELETE FROM windows_due AS d USING unnest($1::bigint[], $2::uuid[]) \
            AS w (closes_at, id) WHERE d.closes_at = w.closes_at AND d.id = w.id";
        put_data = "INSERT INTO data AS d (id, record) SELECT * FROM unnest($1::uuid[], $2::bytea[]) \
            ON CONFLICT (id) DO UPDATE SET record = excluded.record";
        delete_data = "DELETE FROM data WHERE id = ANY ($1::uuid[])";
        put_opening_keys = "INSERT INTO opening_keys AS k (name, session, record) \
            SELECT * FROM unnest($1::bytea[], $2::uuid[], $3::bytea[]) \
            ON CONFLICT (name) DO UPDATE SET session = excluded.session, record = excluded.record";
        delete_opening_keys = "DELETE FROM opening_keys WHERE session = ANY ($1::uuid[])";
        insert_repeats = "INSERT INTO repeats (id, record) SELECT * FROM unnest($1::uuid[], $2::bytea[])";
        delete_repeats = "DELETE FROM repeats WHERE id = ANY ($1::uuid[])";
        insert_events = "INSERT INTO events (position, record) \
            SELECT * FROM unnest($1::bigint[], $2::bytea[])";
        delete_events = "DELETE FROM events WHERE position = ANY ($1::bigint[])";
        put_clients = "INSERT INTO clients (id, record) SELECT * FROM unnest($1::text[], $2::bytea[]) \
            ON CONFLICT (id) DO UPDATE SET record = excluded.record";
        delete_clients = "DELETE FROM clients WHERE id = ANY ($1::text[])";
        put_cut_offs = "INSERT INTO cut_offs (name, record) SELECT * FROM unnest($1::text[], $2::bytea[]) \
            ON CONFLICT (name) DO UPDATE SET record = excluded.record";
        put_meta = "INSERT INTO meta (name, value) SELECT * FROM unnest($1::text[], $2::bytea[]) \
            ON CONFLICT (name) DO UPDATE SET value = excluded.value";
        insert_revoked = "INSERT INTO revoked (expires_at, id) \
            SELECT * FROM unnest($1::bigint[], $2::uuid[])";
        delete_revoked = "DELETE FROM revoked AS r USING unnest($1::bigint[], $2::uuid[]) \
            AS w (expires_at, id) WHERE r.expires_at = w.expires_at AND r.id = w.id";
        add_live = "INSERT INTO live AS l (client, sessions) SELECT * FROM unnest($1::text[], $2::bigint[]) \
            ON CONFLICT (client) DO UPDATE SET sessions = l.sessions + excluded.sessions";
        take_lease = "INSERT INTO leases (name, holder, until) \
            VALUES ($1, $2, clock_timestamp() + interval '10 s') \
            ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until";
        move_head = "UPDATE head SET position = $2, version = $3, sessions = sessions + $4, \
            events = events + $5 WHERE position = $1";
        /// What a transaction writes that changes nothing: its commit waits for the second copy all the same.
        write_nothing = "SELECT pg_logical_emit_message(true, 'keyfob', '')";
    }
}

statements! {
    /// Those of the heartbeat.
    BeatStatements {
        first_beat = "INSERT INTO replicas (boot, name, beat, seen) VALUES ($1, $2, $3, clock_timestamp()) \
            ON CONFLICT (boot) DO UPDATE SET beat = excluded.beat, seen = excluded.seen";
        /// Changes no row if the database does not have the acknowledged heartbeat $3.
        beat = "UPDATE replicas SET beat = $2, seen = clock_timestamp() WHERE boot = $1 AND beat >= $3";
        is_synchronous = "SELECT current_setting('synchronous_standby_names') <> '' \
            AND current_setting('synchronous_commit') IN ('on', 'remote_apply')";
        release = "DELETE FROM leases WHERE holder = $1";
        forget = "DELETE FROM replicas WHERE boot = $1 OR seen < clock_timestamp() - interval '30 days'";
    }
}

statements! {
    /// Those of a connection that reads.
    ReadStatements {
        /// What shows that the answers of the same pipeline count.
        proof = PROOF;
        registry = REGISTRY;
        sessions = "SELECT id, record, windows FROM sessions WHERE id = ANY ($1::uuid[])";
        data = "SELECT record FROM data WHERE id = $1";
        sessions_after = "SELECT id, record, windows FROM sessions WHERE id > $1 ORDER BY id LIMIT $2";
        sessions_of_subject = "SELECT id, record, windows FROM sessions \
            WHERE subject = $1 AND id > $2 ORDER BY id LIMIT $3";
        active_of_subject = "SELECT id, record, windows FROM sessions \
            WHERE active AND subject = $1 AND id > $2 ORDER BY id LIMIT $3";
        active_of_client = "SELECT id, record, windows FROM sessions \
            WHERE active AND subject = $1 AND client = $2 AND id > $3 ORDER BY id LIMIT $4";
        is_revoked = "SELECT EXISTS (SELECT FROM revoked WHERE expires_at = $1 AND id = $2), \
            (SELECT value FROM meta WHERE name = 'revoked_until')";
        events = "SELECT position, record FROM events WHERE position > $1 ORDER BY position LIMIT $2";
        live = "SELECT client, sessions FROM live WHERE sessions > 0";
        totals = "SELECT sessions, events, (SELECT min(due) FROM sessions), \
            (SELECT count(*) FROM replicas WHERE seen > clock_timestamp() - interval '10 s') FROM head";
        bytes = "SELECT relname::text, pg_table_size(oid), pg_total_relation_size(oid), \
            greatest(reltuples, 0)::bigint FROM pg_class \
            WHERE relnamespace = 'keyfob'::regnamespace AND relkind = 'r'";
        entries = &entry_counts();
        due_sessions = "SELECT id FROM sessions WHERE due <= $1 ORDER BY due, id LIMIT $2";
        due_windows = "(SELECT closes_at, id FROM windows_due WHERE closes_at <= $1 ORDER BY closes_at \
            LIMIT $3) UNION (SELECT closes_at, id FROM windows_due WHERE closes_at > $2 ORDER BY closes_at \
            LIMIT $3)";
        due_repeats = "(SELECT id FROM repeats WHERE id < $1 ORDER BY id LIMIT $3) \
            UNION (SELECT id FROM repeats WHERE id >= $2 ORDER BY id LIMIT $3)";
        oldest_event = "SELECT position, substring(record FROM 1 FOR 8) FROM events \
            ORDER BY position LIMIT 1";
        first_and_last_event = "(SELECT position, substring(record FROM 1 FOR 8) FROM events \
                ORDER BY position LIMIT 1) \
            UNION ALL (SELECT position, substring(record FROM 1 FOR 8) FROM events \
                ORDER BY position DESC LIMIT 1)";
        has_due_revoked = "SELECT EXISTS (SELECT FROM revoked WHERE expires_at <= $1)";
    }
}
