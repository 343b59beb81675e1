//! keyfob behind the real proxies and in a real browser: `cargo test --test e2e`. Needs what
//! its messages name.

mod browser;
mod console;
mod docs;
mod further;
mod guide;
mod house;
mod proxies;
mod restart;
mod smuggling;
mod tls;
