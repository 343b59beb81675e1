//! A new epoch: what was issued before it is invalid, because the database may have lost what it knew of it.

use tokio_postgres::Client;

use super::error::Undone;
use super::known::{WriterRegistry, number_of, position_of};
use super::statements::REGISTRY;
use crate::domain::cutoff::CutOff;
use crate::domain::epoch::Reached;
use crate::domain::event::Event;
use crate::domain::id::Position;
use crate::domain::key::KeyRecord;
use crate::store::layout::{EPOCHS, KEYS, RESTORED};
use crate::store::record::{self, Codec};

/// In the table `meta` of a database of which a replica has found that it had gone back; erased by the new
/// epoch. The value is why, for the operator.
pub(super) const GONE_BACK: &str = "gone_back";

/// What a new epoch starts with.
#[derive(Clone, Debug)]
pub struct EpochStart {
    /// Its first event.
    pub event: Event,
    /// The signing keys from now on.
    pub keys: Vec<KeyRecord>,
    /// Random, so that two of one moment differ.
    pub chance: u32,
}

/// Starts an epoch in the transaction of `client`. Returns its first position, which is after what the `lost`
/// database reached.
pub(super) async fn start_epoch(
    client: &Client,
    codec: &Codec,
    start: &EpochStart,
    lost: Option<Reached>,
) -> Result<Position, Undone> {
    let EpochStart { event, keys, chance } = start;
    client.query("SELECT position FROM head FOR UPDATE", &[]).await?;
    let mut registry = WriterRegistry::of_rows(&client.query(REGISTRY, &[]).await?)?;
    let oldest: Option<i64> = client.query_one("SELECT min(position) FROM events", &[]).await?.get(0);
    let head = registry.cuts.head;
    let began = registry.epochs.begin(head, oldest.map_or(head, position_of), lost, event.at, *chance);
    let cut = CutOff { position: began, at: event.at, by: event.by.clone() };
    client
        .execute(
            "INSERT INTO cut_offs VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET record = excluded.record",
            &[&RESTORED, &record::encode_cut_off(RESTORED, &cut)],
        )
        .await?;
    for (name, value) in
        [(KEYS, record::encode_keys(keys)), (EPOCHS, record::encode_epochs(&registry.epochs))]
    {
        let put = "INSERT INTO meta VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value";
        client.execute(put, &[&name, &value]).await?;
    }
    client.execute("DELETE FROM meta WHERE name = $1", &[&GONE_BACK]).await?;
    client.execute("DELETE FROM live", &[]).await?;
    let record = codec.encode_event(began.0, event);
    client.execute("INSERT INTO events VALUES ($1, $2)", &[&number_of(began), &record]).await?;
    client
        .execute(
            "UPDATE head SET position = $1, version = version + 1, events = events + 1",
            &[&number_of(began)],
        )
        .await?;
    Ok(began)
}
