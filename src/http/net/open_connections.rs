//! Counts of the connections of one listener.

use std::sync::Arc;

use crate::meter::{Counter, Gauge};

/// Counts of the connections of one listener.
#[derive(Debug, Default)]
pub struct Connections {
    /// How many are open now.
    pub open: Gauge,
    /// How many were accepted since the start.
    pub accepted: Counter,
}

/// A connection that is counted as open until this is dropped.
pub struct Open(Arc<Connections>);

impl Connections {
    pub fn count(self: &Arc<Self>) -> Open {
        self.accepted.one();
        self.open.up();
        Open(self.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.down();
    }
}
