//! The wire: parse, call, print. No rule lives here.
//!
//! A request comes in at [`connection`], passes [`wire`] (limits, routing, the shapes of failure, headers, in that order) and reaches an
//! endpoint, which reads it with [`credentials`], [`form`] or [`json`], calls the engine, and prints. What refuses goes through [`error`].

pub mod connection;
pub mod credentials;
pub mod document;
pub mod error;
pub mod fallback;
pub mod form;
pub mod headers;
pub mod json;
pub mod limits;
pub mod wire;
