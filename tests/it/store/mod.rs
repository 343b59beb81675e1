//! The store: one conformance suite over two backends, a model, failing power.

mod active_index;
pub mod check;
mod conformance;
mod durability;
mod memory;
mod model;
mod outage;
mod power;
mod restore;
mod slices;
mod upgrade;
