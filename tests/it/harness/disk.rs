//! A disk that can lose power: what was not synced may be there afterwards, or not, or in part.

use std::io;
use std::sync::{Arc, Mutex};

use redb::StorageBackend;

/// Writes are torn at these borders.
const SECTOR: usize = 512;

/// A handle; clones are the same disk.
#[derive(Clone, Default)]
pub struct Disk(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// What the running program sees.
    seen: Vec<u8>,
    /// What has certainly reached the platter.
    safe: Vec<u8>,
    /// What was done since the last sync.
    unsynced: Vec<Operation>,
    /// How many more operations succeed, if that is limited.
    operations_left: Option<u64>,
    syncs: u64,
}

enum Operation {
    Write(usize, Vec<u8>),
    Length(usize),
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Disk(…)")
    }
}

impl Disk {
    /// Lets `operations` more writes, syncs and changes of length succeed, and fails for good after that.
    pub fn fail_after(&self, operations: u64) {
        self.0.lock().unwrap().operations_left = Some(operations);
    }

    pub fn syncs(&self) -> u64 {
        self.0.lock().unwrap().syncs
    }

    /// The disk as it is found after a power cut at this moment: of what was not synced, each sector is there
    /// or not, as `seed` has it.
    pub fn after_power_cut(&self, seed: u64) -> Self {
        let state = self.0.lock().unwrap();
        let mut found = state.safe.clone();
        let mut dice = seed;
        for operation in &state.unsynced {
            match operation {
                Operation::Length(length) if roll(&mut dice) => found.resize(*length, 0),
                Operation::Length(_) => {}
                Operation::Write(offset, bytes) => {
                    for (n, sector) in bytes.chunks(SECTOR).enumerate() {
                        let start = offset + n * SECTOR;
                        if roll(&mut dice) && start + sector.len() <= found.len() {
                            found[start..start + sector.len()].copy_from_slice(sector);
                        }
                    }
                }
            }
        }
        Self(Arc::new(Mutex::new(State { seen: found.clone(), safe: found, ..State::default() })))
    }

    fn change(&self, operation: Operation) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        state.spend()?;
        operation.apply(&mut state.seen)?;
        state.unsynced.push(operation);
        Ok(())
    }
}

impl State {
    fn spend(&mut self) -> io::Result<()> {
        match &mut self.operations_left {
            Some(0) => Err(io::Error::other("the power is off")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl Operation {
    fn apply(&self, bytes: &mut Vec<u8>) -> io::Result<()> {
        match self {
            Self::Length(length) => bytes.resize(*length, 0),
            Self::Write(offset, new) => {
                let end = offset + new.len();
                bytes
                    .get_mut(*offset..end)
                    .ok_or_else(|| io::Error::other("a write past the end"))?
                    .copy_from_slice(new);
            }
        }
        Ok(())
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.0.lock().unwrap();
        let start = usize::try_from(offset).unwrap();
        out.copy_from_slice(
            state
                .seen
                .get(start..start + out.len())
                .ok_or_else(|| io::Error::other("a read past the end"))?,
        );
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(Operation::Length(usize::try_from(len).unwrap()))
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        state.spend()?;
        state.syncs += 1;
        let State { safe, unsynced, .. } = &mut *state;
        unsynced.drain(..).try_for_each(|operation| operation.apply(safe))
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.change(Operation::Write(usize::try_from(offset).unwrap(), data.to_vec()))
    }
}

/// The next of a row of coin tosses (SplitMix64).
fn roll(dice: &mut u64) -> bool {
    *dice = dice.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *dice;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)) & 1 == 1
}
