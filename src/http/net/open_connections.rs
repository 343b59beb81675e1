//! Counts of the connections of one listener.

use std::sync::Arc;

use crate::meter::{Counter, Gauge};

/// Counts of the connections of one listener.
#[derive(Debug, Default)]
pub struct Connections {
    open: Gauge,
    accepted: Counter,
}

/// A connection that is counted as open until this is dropped.
pub struct Open(Arc<Connections>);

impl Connections {
    /// Counts an accepted connection.
    pub fn open(self: &Arc<Self>) -> Open {
        self.accepted.one();
        self.open.up();
        Open(self.clone())
    }

    /// How many are open now.
    pub fn open_now(&self) -> &Gauge {
        &self.open
    }

    /// How many were accepted since the start.
    pub fn accepted(&self) -> &Counter {
        &self.accepted
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.down();
    }
}
