//! The HTTP API, a file for each path.

mod clients;
mod events;
mod every_route;
mod feed;
mod forward_auth;
mod gates;
mod introspect;
mod keys;
mod metrics;
mod revoke;
mod session;
mod sessions;
mod token;
mod well_known;
