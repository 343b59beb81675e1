//! Every integration test, in one binary.

/// The backends that these tests hold to each clause besides redb and the model.
macro_rules! further_backends {
    ($($clause:ident)*) => {};
}

mod attacks;
mod cli;
mod console;
mod failing_disk;
mod harness;
mod house;
mod process;
mod routes;
mod store;
