//! The rules: what a session is, and when it and its tokens are valid. No I/O, no async, no clock, no
//! randomness, no framework.

pub mod access;
pub mod caller;
pub mod client;
pub mod cutoff;
pub mod end;
pub mod epoch;
pub mod event;
pub mod family;
pub mod gate;
pub mod id;
pub mod introspection;
pub mod key;
pub mod malformed;
pub mod names;
pub mod network;
pub mod policy;
pub mod refusal;
pub mod scope;
pub mod session;
pub mod text;
pub mod time;
pub mod validity;
