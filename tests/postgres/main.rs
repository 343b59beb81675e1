//! The store over PostgreSQL: the conformance suite and the random histories of every backend, several
//! processes on one database, and what becomes of an answer when the database does not do as it should.
//! Needs PostgreSQL (Debian: `postgresql`): `cargo test --test postgres`.

/// The backends that these tests hold to each clause besides redb and the model.
macro_rules! further_backends {
    ($($clause:ident)*) => {
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $clause() {
                let database = crate::database::Database::new().await;
                super::$clause(std::sync::Arc::new(database.open().await)).await;
            })*
        }
        /// Two stores on one database, asked in turn.
        mod postgres_pair {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $clause() {
                super::$clause(std::sync::Arc::new(crate::pair::Pair::new().await)).await;
            })*
        }
    };
}

mod binary;
mod cluster;
mod database;
mod histories;
mod pair;
mod replicas;
mod roles;
mod tls;
mod unsafe_answers;
mod whole;

/// What these tests share with those of the other backends.
#[path = "../it/harness"]
mod harness {
    #[path = "../../simulator/dice.rs"]
    #[expect(dead_code, reason = "other tests use the rest")]
    pub mod dice;
    #[path = "../../simulator/disk.rs"]
    #[expect(dead_code, reason = "other tests use the rest")]
    pub mod disk;
    pub mod fixture;
    pub mod operator;
    #[expect(dead_code, reason = "other tests use the rest")]
    pub mod people;
    #[expect(dead_code, reason = "other tests use the rest")]
    pub mod process;
    #[expect(dead_code, reason = "other tests use the rest")]
    pub mod server;
}

#[path = "../it/store"]
mod store {
    pub mod conformance;
    pub mod memory;
    pub mod model;
}
