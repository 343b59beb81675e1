//! Every integration test, in one binary.

mod attacks;
mod cli;
mod console;
mod failing_disk;
mod harness;
mod house;
mod process;
mod routes;
mod store;
