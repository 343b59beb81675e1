//! keyfob: a session engine in one binary.

#![forbid(unsafe_code)]

pub mod config;
pub mod domain;
pub mod first_start;
pub mod store;
pub mod telemetry;
pub mod token;
