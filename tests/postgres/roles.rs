//! One role owns the schema; the replicas have another one, which can only read and write rows.

use keyfob::store::postgres::Postgres;
use keyfob::store::{Lane, Store};

use crate::database::Database;
use crate::harness::fixture::{Token, bump, close, keys, moment, open, rotate, session_id, sweep};

/// The lines of docs/scale.md.
const GRANTS: &str = "CREATE ROLE keyfob_service LOGIN; GRANT USAGE ON SCHEMA keyfob TO keyfob_service; \
                      GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA keyfob TO keyfob_service";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_needs_no_role_that_owns_the_schema() {
    let database = Database::new().await;
    let store = database.open().await;
    open(&store, 1, "alice", "app").await;
    store.close().await;
    database.run(GRANTS).await;
    let mut options = database.options();
    options.url = options.url.replace("//keyfob@", "//keyfob_service@");
    let store = Postgres::open(&options, &keys()).await.unwrap();
    open(&store, 2, "alice", "app").await;
    rotate(&store, &Token::first(2), [1; 32], moment(1)).await.unwrap();
    assert!(store.update(session_id(1), Lane::Ordinary, bump).await.unwrap().is_some());
    assert_eq!(close(&store, 1, 5).await, Some(true));
    assert!(store.sweep(sweep(30 * 86_400_000)).await.unwrap().purged > 0);
    assert_eq!(store.stats().await.unwrap().head, store.head());
    assert!(store.ready().is_ok());
    store.close().await;
}
