//! Every integration test, in one binary.

mod conformance;
mod crash;
mod disk;
mod durability;
mod fixture;
mod layers;
mod model;
mod power;
mod process;
mod rotation;
mod server;
mod start;
mod tour;
