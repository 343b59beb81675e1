//! Every integration test, in one binary.

mod conformance;
mod crash;
mod disk;
mod durability;
mod events;
mod fixture;
mod introspect;
mod introspect_callers;
mod keys;
mod layers;
mod model;
mod openapi;
mod power;
mod process;
mod rotation;
mod server;
mod tour;
