//! Every integration test, in one binary.

mod commands;
mod conformance;
mod crash;
mod disk;
mod durability;
mod fixture;
mod ids;
mod introspect;
mod introspect_answers;
mod introspect_callers;
mod introspect_inactive;
mod jwt;
mod layers;
mod model;
mod openapi;
mod outage;
mod power;
mod presets;
mod process;
mod revoke;
mod rotation;
mod secrets;
mod server;
mod start;
mod tour;
mod wired;
