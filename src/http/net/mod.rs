//! Connections: accepting, TLS, deadlines, and the address that a request came from.

pub mod budget;
pub mod channel;
pub(crate) mod connection;
mod host;
pub(crate) mod listener;
pub(crate) mod open_connections;
pub(crate) mod peer;
