//! This process as one of the replicas: what the tasks of its store share.

use uuid::Uuid;

use super::connection::{Connector, DatabaseConnection};
use super::fence::Fence;
use super::known::Known;
use super::lost::LostHistory;
use super::queue::WriteQueue;
use crate::store::counters::StoreCounters;
use crate::store::record::Codec;

pub(super) struct Replica {
    pub connector: Connector,
    pub codec: Codec,
    /// This run of this process.
    pub boot: Uuid,
    /// For operators.
    pub name: Box<str>,
    pub known: Known,
    pub lost: LostHistory,
    pub queue: WriteQueue,
    pub counts: StoreCounters,
}

impl Replica {
    pub fn fence(&self) -> &Fence {
        &self.connector.fence
    }

    pub fn is_usable(&self, connection: &DatabaseConnection) -> bool {
        !connection.is_closed() && !connection.has_warned() && !self.fence().is_replaced(connection.timeline)
    }
}
