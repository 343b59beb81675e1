//! The HTTP API, a file for each path.

mod clients;
mod db;
mod events;
mod every_route;
mod feed;
mod forward_auth;
mod gates;
mod health;
mod introspect;
mod keys;
mod metrics;
mod revoke;
mod session;
mod sessions;
mod subjects;
mod token;
mod well_known;
