//! Reports expired sessions and removes what is past its retention, in bounded slices.

use redb::{AccessGuard, ReadableTable};

use super::batch::Batch;
use super::tables::{Loaded, REVOKED_UNTIL, dated_key, id_at_end, number_at_start, revoked_until};
use super::{Result, StoreError, Sweep, Swept};
use crate::domain::id::SessionId;
use crate::domain::time::Timestamp;
use crate::store::record::{ordered, window_key};

type SweepEntry<'t, const N: usize, V> = (AccessGuard<'t, &'static [u8; N]>, AccessGuard<'t, V>);

impl Batch<'_> {
    pub fn sweep(&mut self, sweep: Sweep) -> Result<Swept> {
        let mut swept = Swept::default();
        self.sweep_sessions(sweep, &mut swept)?;
        self.sweep_windows(sweep, &mut swept)?;
        self.sweep_repeats(sweep, &mut swept)?;
        self.sweep_events(sweep, &mut swept)?;
        self.sweep_tokens(sweep, &mut swept)?;
        Ok(swept)
    }

    fn sweep_sessions(&mut self, sweep: Sweep, swept: &mut Swept) -> Result<()> {
        let end = dated_key(sweep.now.wall.millis(), [0xff; 16]);
        for key in first(self.tables.expiry.open()?.range::<&[u8; 24]>(..=&end)?, sweep, swept)? {
            self.sweep_session(key, sweep, swept)?;
        }
        Ok(())
    }

    /// Reports the session of a due entry, purges it, or moves the entry to the session's due time.
    fn sweep_session(&mut self, key: [u8; 24], sweep: Sweep, swept: &mut Swept) -> Result<()> {
        let id = id_at_end(&key);
        let loaded = match self.load(id) {
            Ok(Some(loaded)) if dated_key(loaded.slot.millis(), id.0) == key => loaded,
            Ok(_) => return self.drop_entry(key),
            Err(error @ StoreError::Corrupt { .. }) => {
                // The record stays for inspection; without its entry it does not block the sweep.
                tracing::error!(%error, "the sweep skips a corrupt session");
                return self.drop_entry(key);
            }
            Err(error) => return Err(error),
        };
        let mut session = loaded.session.clone();
        let (reported, due) = sweep.report(&mut session, &self.state.cuts, swept);
        self.append(&reported)?;
        match due {
            None => self.purge(&loaded),
            Some(due) => self.replace(&loaded, &session, due),
        }
    }

    fn purge(&mut self, loaded: &Loaded) -> Result<()> {
        let SessionId(id) = loaded.session.id;
        self.touched.push(loaded.session.id);
        self.index_active(Some(&loaded.session), None)?;
        self.state.active.became(&loaded.session, None, &self.state.cuts);
        self.tables.sessions.open()?.remove(&id)?;
        self.tables.data.open()?.remove(&id)?;
        self.tables.repeats.open()?.remove(&id)?;
        let name = self.tables.opened_by_key.open()?.remove(&id)?.map(|name| *name.value());
        if let Some(name) = name {
            self.tables.opening_keys.open()?.remove(&name)?;
        }
        let of_subject = self.subject_key(&loaded.session);
        self.tables.subjects.open()?.remove(&of_subject)?;
        for at in &loaded.windows {
            self.tables.windows.open()?.remove(&window_key(at.closes_at, loaded.session.id, at.family))?;
        }
        self.drop_entry(dated_key(loaded.slot.millis(), id))
    }

    fn drop_entry(&mut self, key: [u8; 24]) -> Result<()> {
        self.tables.expiry.open()?.remove(&key)?;
        self.changed = true;
        Ok(())
    }

    /// Erases the salts of closed windows at the left edge, without writing a record. At the right edge it
    /// erases windows that close later than a clock that never went back can have written, see
    /// [`Sweep::window_beyond`]. Windows that are kept sort behind all of them.
    fn sweep_windows(&mut self, sweep: Sweep, swept: &mut Swept) -> Result<()> {
        let closed = bound(sweep.now.wall.millis() + 1);
        let kept = bound(Timestamp::MAX.millis());
        let beyond = bound(sweep.window_beyond().millis() + 1).min(kept);
        let windows = self.tables.windows.open()?;
        let edges = windows.range::<&[u8; 26]>(..&closed)?.chain(windows.range::<&[u8; 26]>(&beyond..&kept)?);
        let keys = first(edges, sweep, swept)?;
        swept.windows += keys.len();
        for key in keys {
            self.tables.windows.open()?.remove(&key)?;
            self.changed = true;
        }
        Ok(())
    }

    /// Erases the salts of openings that can no longer be repeated, and of those that are later than the
    /// clock, see [`Sweep::repeat_beyond`].
    fn sweep_repeats(&mut self, sweep: Sweep, swept: &mut Swept) -> Result<()> {
        let (closed, beyond) = (sweep.repeat_closed(), sweep.repeat_beyond());
        let repeats = self.tables.repeats.open()?;
        let edges = repeats.range::<&[u8; 16]>(..&closed.0)?.chain(repeats.range::<&[u8; 16]>(&beyond.0..)?);
        let ids = first(edges, sweep, swept)?;
        swept.windows += ids.len();
        for id in ids {
            self.tables.repeats.open()?.remove(&id)?;
            self.changed = true;
        }
        Ok(())
    }

    fn sweep_events(&mut self, sweep: Sweep, swept: &mut Swept) -> Result<()> {
        let mut old = vec![];
        for entry in self.tables.events.open()?.iter()?.take(sweep.entries_max + 1) {
            let (position, bytes) = entry?;
            if !sweep.is_past(position.value(), bytes.value()) {
                break;
            }
            old.push(position.value());
        }
        swept.more |= old.len() > sweep.entries_max;
        old.truncate(sweep.entries_max);
        swept.events += old.len();
        for position in old {
            self.tables.events.open()?.remove(position)?;
            self.changed = true;
        }
        Ok(())
    }

    /// Removes a revocation a retention after the token's expiry. Tokens that expired by then count as
    /// revoked for ever: by a clock that was ahead and went back they have not expired.
    fn sweep_tokens(&mut self, sweep: Sweep, swept: &mut Swept) -> Result<()> {
        let end = dated_key(sweep.token_expired_by(), [0xff; 16]);
        let expired = first(self.tables.revoked.open()?.range::<&[u8; 24]>(..=&end)?, sweep, swept)?;
        swept.tokens += expired.len();
        if let Some(key) = expired.last() {
            let last = number_at_start(key).max(revoked_until(self.tables.meta.open()?)?);
            self.tables.meta.open()?.insert(REVOKED_UNTIL, &last.to_be_bytes()[..])?;
        }
        for key in expired {
            self.tables.revoked.open()?.remove(&key)?;
            self.changed = true;
        }
        Ok(())
    }
}

/// The lowest key of a window that closes at `millis`.
fn bound(millis: i64) -> [u8; 26] {
    let mut key = [0; 26];
    key[..8].copy_from_slice(&ordered(millis));
    key
}

/// The keys of the first entries, of which there may be more.
fn first<'t, const N: usize, V: redb::Value + 'static>(
    entries: impl Iterator<Item = std::result::Result<SweepEntry<'t, N, V>, redb::StorageError>>,
    sweep: Sweep,
    swept: &mut Swept,
) -> Result<Vec<[u8; N]>> {
    let keys = entries.take(sweep.entries_max + 1).map(|entry| Ok(*entry?.0.value()));
    let mut keys = keys.collect::<Result<Vec<_>>>()?;
    swept.more |= keys.len() > sweep.entries_max;
    keys.truncate(sweep.entries_max);
    Ok(keys)
}
