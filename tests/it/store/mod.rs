//! The store: one conformance suite over two backends, a model, failing power.

mod active_index;
mod conformance;
mod durability;
mod memory;
mod model;
mod outage;
mod power;
mod upgrade;
