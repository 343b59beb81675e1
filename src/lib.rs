//! keyfob: a session server in one binary.
//!
//! A module may name those to its right, never those to its left:
//! `cli -> serve -> http -> engine -> { store, token } -> domain`.
//!
//! | module | contents |
//! |---|---|
//! | [`domain`] | the rules; no I/O, clock or randomness |
//! | [`token`] | token forms, keys, sealing |
//! | [`store`] | the storage port, the redb backend |
//! | [`engine`] | the use cases |
//! | [`http`] | routes, requests, responses, connections |
//! | [`serve`] | composition: configuration to a running server |
//! | [`cli`] | the command line |
//! | [`config`], [`first_start`], `telemetry` | settings; initialisation; the log |
//! | `files`, `meter` | rules for files; counters |
//!
//! `docs/architecture.md` has the details.

pub mod cli;
pub mod config;
pub(crate) mod files;
pub mod first_start;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
pub(crate) mod meter;
pub mod serve;
pub(crate) mod telemetry;

pub mod http;

pub mod engine;

pub mod store;

pub mod token;

pub mod domain;
