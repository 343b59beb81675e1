//! The rules: what a session is, and when it and its tokens are valid. No I/O, no async, no clock, no
//! randomness, no framework.

pub mod access;
pub mod algorithm;
pub mod caller;
pub mod client;
pub mod console;
pub mod cutoff;
pub mod end;
pub(crate) mod epoch;
pub mod event;
pub mod family;
pub mod feed;
pub(crate) mod gate;
pub(crate) mod hidden;
pub mod id;
pub mod introspection;
pub mod key;
pub(crate) mod malformed;
pub(crate) mod names;
pub(crate) mod network;
pub mod policy;
pub mod refusal;
pub(crate) mod scope;
pub mod session;
pub mod simulation;
pub mod text;
pub mod time;
pub mod validity;
