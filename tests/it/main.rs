//! Every integration test, in one binary.

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
mod revoke;
mod server;
mod tour;
mod wired;
