//! Every integration test, in one binary.

mod client_authentication;
mod clients;
mod conformance;
mod disk;
mod durability;
mod fixture;
mod introspect;
mod introspect_answers;
mod introspect_callers;
mod introspect_inactive;
mod layers;
mod model;
mod outage;
mod power;
mod process;
mod refresh;
mod revoke;
mod routes;
mod server;
mod session_rights;
mod sessions;
mod token;
mod tour;
mod well_known;
mod wired;
