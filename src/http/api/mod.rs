//! The endpoints, a file for each path or family of paths.

pub(crate) mod check;
pub(crate) mod client_object;
pub(crate) mod clients;
pub(crate) mod db;
pub(crate) mod dev_clock;
pub(crate) mod events;
pub(crate) mod families;
pub(crate) mod feed;
pub(crate) mod forward_auth;
pub(crate) mod gates;
pub(crate) mod health;
pub(crate) mod introspect;
pub(crate) mod keys;
pub(crate) mod metrics;
pub(crate) mod policies;
pub(crate) mod revoke;
pub(crate) mod session;
pub(crate) mod session_object;
pub(crate) mod sessions;
pub(crate) mod subjects;
pub(crate) mod token;
pub(crate) mod well_known;
