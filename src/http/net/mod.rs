//! Connections: accepting, TLS, deadlines, and the address that a request came from.

pub mod channel;
pub mod connection;
pub mod listener;
pub mod open_connections;
pub mod peer;
