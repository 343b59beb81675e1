//! A PostgreSQL for all tests of a run, and a database for each.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use keyfob::engine::clock::since_boot;
use keyfob::store::postgres::{PasswordSource, Postgres, PostgresOptions};
use tokio_postgres::NoTls;

use crate::cluster::Cluster;
use crate::harness::fixture::keys;

fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(Cluster::start)
}

/// A database, without a schema at first.
#[derive(Clone)]
pub struct Database {
    pub url: String,
}

impl Database {
    pub async fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("test{}", NEXT.fetch_add(1, Ordering::Relaxed));
        run(&cluster().url(), &format!("CREATE DATABASE {name} TEMPLATE template0")).await;
        Self { url: cluster().database(&name) }
    }

    /// Runs SQL as an operator.
    pub async fn run(&self, sql: &str) {
        run(&self.url, sql).await;
    }

    /// The first column of the first row, as text.
    pub async fn text(&self, sql: &str) -> String {
        let client = connect(&self.url).await;
        client.query_one(sql, &[]).await.unwrap().get(0)
    }

    pub fn options(&self) -> PostgresOptions {
        static BOOT: AtomicU32 = AtomicU32::new(1);
        let mut boot = [0; 16];
        boot[..4].copy_from_slice(&BOOT.fetch_add(1, Ordering::Relaxed).to_be_bytes());
        PostgresOptions {
            url: self.url.clone(),
            password: PasswordSource::default(),
            max_staleness: Duration::from_secs(10),
            require_synchronous: false,
            replica: "test".into(),
            boot,
            write_queue_max: 4096,
            elapsed: since_boot,
        }
    }

    /// A store on it, which creates the schema if there is none.
    pub async fn open(&self) -> Postgres {
        let options = self.options();
        if !Postgres::has_schema(&options).await.unwrap() {
            Postgres::create(&options, &keys()).await.unwrap();
        }
        Postgres::open(&options, &keys()).await.unwrap()
    }
}

async fn run(url: &str, sql: &str) {
    connect(url).await.batch_execute(sql).await.unwrap();
}

async fn connect(url: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}
