//! Every integration test, in one binary.

mod conformance;
mod disk;
mod durability;
mod fixture;
mod model;
mod power;
