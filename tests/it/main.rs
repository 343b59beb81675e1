//! Every integration test, in one binary.

mod conformance;
mod disk;
mod fixture;
mod ids;
mod layers;
mod openapi;
mod process;
mod server;
mod tour;
