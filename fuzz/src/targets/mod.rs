//! One file for each target.

pub mod access;
pub mod backup;
pub mod basic;
pub mod body;
pub mod config;
pub mod cookie;
pub mod cursor;
pub mod form;
pub mod forwarded;
pub mod opaque;
pub mod record;
pub mod request;
pub mod restore;
pub mod value;
