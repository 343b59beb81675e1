//! Sockets: accepting, TLS, deadlines, the peer.

pub mod connection;
pub mod listener;
pub mod peer;
