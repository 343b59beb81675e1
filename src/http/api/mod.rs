//! The endpoints, a file for each path or family of paths.

pub mod client_object;
pub mod clients;
pub mod db;
pub mod events;
pub mod families;
pub mod forward_auth;
pub mod health;
pub mod introspect;
pub mod keys;
pub mod revoke;
pub mod session;
pub mod session_object;
pub mod sessions;
pub mod subjects;
pub mod token;
pub mod well_known;
