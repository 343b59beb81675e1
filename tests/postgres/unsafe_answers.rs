//! The database does not do as it should: nothing that was not committed is acknowledged.

use std::time::Duration;

use keyfob::domain::session::Decision;
use keyfob::store::postgres::{Postgres, PostgresError, PostgresOptions};
use keyfob::store::{Lane, Store, StoreError};
use keyfob::token::keys::{Keys, SecretKey};
use tokio::time::timeout;

use crate::database::Database;
use crate::harness::fixture::*;

/// A trigger of this body, on this event of a table.
fn trigger(event: &str, body: &str) -> String {
    format!(
        "SET search_path = keyfob; CREATE FUNCTION hurt() RETURNS trigger LANGUAGE plpgsql AS \
         $$ BEGIN {body} END $$; CREATE {event} FOR EACH ROW EXECUTE FUNCTION hurt()"
    )
}

const HEAL: &str = "DROP FUNCTION keyfob.hurt CASCADE";

async fn is_opened(store: &Postgres, n: u64) -> bool {
    store.session(session_id(n)).await.unwrap().is_some()
}

/// In a failed transaction COMMIT answers ROLLBACK, without an error.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_of_which_one_statement_failed_is_not_acknowledged() {
    let database = Database::new().await;
    let store = database.open().await;
    open(&store, 1, "alice", "app").await;
    database.run(&trigger("TRIGGER t BEFORE INSERT ON events", "RAISE EXCEPTION 'no';")).await;
    let refused = store.open(opening(session(2, "alice", "app"))).await;
    assert!(matches!(refused, Err(StoreError::Outage(_))), "{refused:?}");
    database.run(HEAL).await;
    assert!(!is_opened(&store, 2).await);
    open(&store, 2, "alice", "app").await;
    assert_eq!((store.head().0, log(&store).await.len()), (2, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_changed_fewer_rows_than_it_should_is_not_acknowledged() {
    let database = Database::new().await;
    let store = database.open().await;
    open(&store, 1, "alice", "app").await;
    database.run(&trigger("TRIGGER t BEFORE UPDATE ON sessions", "RETURN NULL;")).await;
    let refused = store.update(session_id(1), Lane::Ordinary, bump).await;
    assert!(matches!(refused, Err(StoreError::Outage(_))), "{refused:?}");
    database.run(HEAL).await;
    assert_eq!(store.session(session_id(1)).await.unwrap().unwrap().version, 1);
    assert_eq!(store.update(session_id(1), Lane::Ordinary, bump).await.unwrap(), Some(2));
}

/// PostgreSQL ends a cancelled wait for the second copy with success and a warning.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_with_a_warning_has_an_unknown_outcome() {
    let database = Database::new().await;
    let store = database.open().await;
    let event = "CONSTRAINT TRIGGER t AFTER INSERT ON sessions DEFERRABLE INITIALLY DEFERRED";
    database.run(&trigger(event, "RAISE WARNING 'as if cancelled'; RETURN NULL;")).await;
    let unknown = store.open(opening(session(1, "alice", "app"))).await;
    assert!(matches!(unknown, Err(StoreError::Failed(_))), "{unknown:?}");
    database.run(HEAL).await;
    open(&store, 2, "alice", "app").await;
}

/// "It was already so" is an answer too: a read does not wait for the second copy.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_acknowledgement_without_a_change_follows_a_commit_that_wrote() {
    let database = Database::new().await;
    let store = database.open().await;
    open(&store, 1, "alice", "app").await;
    let commits = || store.figures();
    for lane in [Lane::Ordinary, Lane::Revocation] {
        let before = (commits().await.unwrap().commits, position(&database).await);
        store.update(session_id(1), lane, |_, _| Decision::answer(())).await.unwrap().unwrap();
        let after = (commits().await.unwrap().commits, position(&database).await);
        assert!(after.0 == before.0 + 1 && after.1 > before.1, "{before:?} {after:?}");
    }
}

/// The number of bytes of the log, up to the last commit that was flushed.
async fn position(database: &Database) -> u64 {
    let sql = "SELECT (pg_current_wal_flush_lsn() - '0/0'::pg_lsn)::bigint::text";
    database.text(sql).await.parse().unwrap()
}

/// A primary that has lost its cluster still answers reads; but it confirms no heartbeat.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_confirmed_heartbeats_no_read_counts() {
    let database = Database::new().await;
    let mut options = database.options();
    options.max_staleness = Duration::from_secs(1);
    Postgres::create(&options, &keys()).await.unwrap();
    let store = Postgres::open(&options, &keys()).await.unwrap();
    open(&store, 1, "alice", "app").await;
    assert!(store.ready().is_ok());
    let hold =
        database.run("BEGIN; LOCK TABLE keyfob.replicas IN EXCLUSIVE MODE; SELECT pg_sleep(3); COMMIT");
    let ask = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let read = store.session(session_id(1)).await;
        assert!(matches!(read, Err(StoreError::Outage(_))), "{read:?}");
        assert!(matches!(store.current().await, Err(StoreError::Outage(_))));
        assert!(matches!(store.events(Default::default(), 1).await, Err(StoreError::Outage(_))));
        assert!(store.ready().is_err());
    };
    tokio::join!(hold, ask);
    let mut tries = 0;
    while store.session(session_id(1)).await.is_err() {
        tries += 1;
        assert!(tries < 50, "heartbeats are confirmed again");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_written_on_one_copy_where_two_are_required() {
    let database = Database::new().await;
    let options =
        keyfob::store::postgres::PostgresOptions { require_synchronous: true, ..database.options() };
    Postgres::create(&options, &keys()).await.unwrap();
    let store = Postgres::open(&options, &keys()).await.unwrap();
    let refused = store.open(opening(session(1, "alice", "app"))).await;
    let Err(StoreError::Outage(why)) = &refused else { panic!("{refused:?}") };
    assert!(why.contains("store.require_synchronous"), "{why}");
    assert!(store.ready().is_err() && !is_opened(&store, 1).await);
}

/// As at a restart of the database: whatever was acknowledged is there, and the store goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_connections_are_replaced_and_nothing_acknowledged_is_lost() {
    let database = Database::new().await;
    let store = std::sync::Arc::new(database.open().await);
    let cut = async {
        for _ in 0..5 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                       WHERE datname = current_database() AND pid <> pg_backend_pid()";
            database.run(sql).await;
        }
    };
    let write = async {
        let mut acknowledged = vec![];
        for n in 0..600 {
            match store.open(opening(session(n, "alice", "app"))).await {
                Ok(opened) => acknowledged.extend(opened.ok().map(|opened| opened.id)),
                Err(StoreError::Failed(_) | StoreError::Outage(_)) => {}
                Err(error) => panic!("{error}"),
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        acknowledged
    };
    let ((), acknowledged) = tokio::join!(cut, write);
    assert!(acknowledged.len() > 300, "{}", acknowledged.len());
    let again = database.open().await;
    for id in acknowledged {
        assert!(again.session(id).await.unwrap().is_some(), "{id} was acknowledged");
    }
    let positions: Vec<u64> = log(&again).await.iter().map(|(position, _)| position.0).collect();
    assert!(positions.windows(2).all(|pair| pair[0] + 1 == pair[1]), "a gap in the log");
    assert_eq!(positions.len() as u64, again.figures().await.unwrap().sessions);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_not_ours_is_not_opened() {
    let database = Database::new().await;
    let options = database.options();
    assert!(matches!(Postgres::open(&options, &keys()).await, Err(PostgresError::Empty)));
    let store = database.open().await;
    let other = Keys::derive(&SecretKey::new([8; 32]));
    assert!(matches!(Postgres::open(&options, &other).await, Err(PostgresError::WrongKey)));
    let mut impatient = database.options();
    impatient.max_staleness = Duration::from_secs(5);
    let refused = Postgres::open(&impatient, &keys()).await.err().unwrap().to_string();
    assert!(refused.contains("store.max_staleness = 10000 ms"), "{refused}");
    store.close().await;
    assert!(Postgres::open(&impatient, &keys()).await.is_ok(), "no other replica runs");
    database.run("INSERT INTO keyfob.migrations VALUES (99)").await;
    assert!(matches!(Postgres::open(&impatient, &keys()).await, Err(PostgresError::UnknownSchema(99))));
}

/// A decision must not panic; one that does costs its own transaction, and neither the writer nor readiness.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_that_panics_is_started_again() {
    let database = Database::new().await;
    let store = database.open().await;
    open(&store, 1, "alice", "app").await;
    for lane in [Lane::Ordinary, Lane::Revocation] {
        // Each of the writers that take rotations panics.
        for _ in 0..8 {
            let lost = store.update(session_id(1), lane, |_, _| -> Decision<()> { panic!("a bug") }).await;
            assert!(matches!(lost, Err(StoreError::Failed(_))), "{lost:?}");
        }
        assert!(store.update(session_id(1), lane, bump).await.unwrap().is_some());
    }
    assert!(store.ready().is_ok());
    assert_eq!(store.session(session_id(1)).await.unwrap().unwrap().version, 3);
    store.close().await;
}

/// A frozen server accepts connections, and says nothing. Hosts were asked one after the other, in random
/// order, and half of all new connections waited ten seconds for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_says_nothing_delays_no_other() {
    let database = Database::new().await;
    database.open().await.close().await;
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let first = format!("@{},", silent.local_addr().unwrap());
    let options = PostgresOptions { url: database.url.replacen('@', &first, 1), ..database.options() };
    for _ in 0..4 {
        let opened = timeout(Duration::from_secs(5), Postgres::open(&options, &keys())).await;
        opened.expect("the other host answers").unwrap().close().await;
    }
}
