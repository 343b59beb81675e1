//! Every integration test, in one binary.

mod conformance;
mod crash;
mod disk;
mod durability;
mod fixture;
mod ids;
mod introspect;
mod introspect_callers;
mod layers;
mod model;
mod openapi;
mod power;
mod process;
mod rotation;
mod server;
mod tour;
