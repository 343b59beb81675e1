//! keyfob: a session engine in one binary. Each room may name those below it, and none above it
//! (`docs/architecture.md`).

#![forbid(unsafe_code)]

pub mod cli;
pub mod config;
pub mod files;
pub mod first_start;
pub mod meter;
pub mod serve;
pub mod telemetry;

pub mod http;

pub mod engine;

pub mod store;

pub mod token;

pub mod domain;
