//! keyfob: a session engine in one binary.

#![forbid(unsafe_code)]

pub mod domain;
pub mod engine;
pub mod http;
pub mod store;
pub mod token;
