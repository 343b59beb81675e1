//! keyfob behind the real proxies and in a real browser: `cargo test --test e2e`. Needs what
//! its messages name.

mod browser;
#[path = "../postgres/cluster.rs"]
#[expect(dead_code, reason = "other tests use the rest")]
mod cluster;
mod console;
mod docs;
mod further;
mod guide;
mod house;
mod proxies;
mod replicas;
mod restart;
mod smuggling;
mod tls;
