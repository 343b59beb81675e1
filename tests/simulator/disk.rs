//! A simulated disk. What was not synced when the power fails is there afterwards, or not, or torn at any
//! byte; operations fail when a fault is due. The tests of the store use it too.

use std::io;
use std::sync::{Arc, Mutex};

use redb::StorageBackend;

use super::dice::Dice;

const SECTOR: usize = 512;

/// A handle; clones are the same disk.
#[derive(Clone, Default)]
pub struct Disk(Arc<Mutex<State>>);

/// What goes wrong after so many more writes, syncs and changes of length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The power fails: no operation succeeds any more.
    PowerCut,
    /// No write, sync or change of length succeeds any more; reads do.
    ReadOnly,
    /// One write or sync fails with `EIO`.
    WriteError,
    /// One read fails with `EIO`.
    ReadError,
    /// Nothing more fits: the file cannot grow (`ENOSPC`).
    Full,
}

/// What happens while an operation is in progress.
type Interruption = Arc<dyn Fn() + Send + Sync>;

#[derive(Clone, Default)]
struct State {
    /// What the running program reads.
    seen: Vec<u8>,
    /// What has certainly reached the platter.
    safe: Vec<u8>,
    unsynced: Vec<Operation>,
    fault: Option<(u64, Fault)>,
    syncs: u64,
    /// What happens during a sync after so many more, without the lock: other threads read meanwhile.
    during_sync: Option<(u64, Interruption)>,
    /// A checksum over all operations, to compare two runs.
    trace: crc32fast::Hasher,
    /// A control: a sync reports success and does nothing.
    lies: bool,
}

#[derive(Clone)]
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
    /// A disk whose syncs do nothing.
    pub fn lying() -> Self {
        Self::of(State { lies: true, ..State::default() })
    }

    pub fn arm(&self, after: u64, fault: Fault) {
        self.0.lock().unwrap().fault = Some((after, fault));
    }

    /// Runs `interruption` in the middle of a sync, after so many others.
    pub fn during_sync(&self, after: u64, interruption: impl Fn() + Send + Sync + 'static) {
        self.0.lock().unwrap().during_sync = Some((after, Arc::new(interruption)));
    }

    /// What the running program reads.
    pub fn image(&self) -> Vec<u8> {
        self.0.lock().unwrap().seen.clone()
    }

    /// Syncs so far.
    pub fn syncs(&self) -> u64 {
        self.0.lock().unwrap().syncs
    }

    /// The program that used the disk is gone: its handle does nothing any more.
    pub fn detach(&self) {
        self.arm(0, Fault::PowerCut);
    }

    pub fn trace(&self) -> u32 {
        self.0.lock().unwrap().trace.clone().finalize()
    }

    /// What the next process finds when this one was killed: the operating system keeps what was written.
    pub fn after_kill(&self) -> Self {
        Self::of(State { fault: None, during_sync: None, ..self.0.lock().unwrap().clone() })
    }

    /// What is found after a power cut at this moment.
    pub fn after_power_cut(&self, dice: &mut Dice) -> Self {
        let state = self.0.lock().unwrap();
        let mut found = state.safe.clone();
        // Often all or nothing is there, as on a disk that writes in order or has just started to.
        let bias = dice.below(4);
        for operation in &state.unsynced {
            let whole = match bias {
                0 => Some(false),
                1 => Some(true),
                _ => dice.one_in(2).then(|| dice.one_in(2)),
            };
            match (operation, whole) {
                (_, Some(false)) => {}
                (Operation::Length(length), _) => found.resize(*length, 0),
                (Operation::Write(offset, bytes), Some(true)) => put(&mut found, *offset, bytes),
                (Operation::Write(offset, bytes), None) => tear(&mut found, *offset, bytes, dice),
            }
        }
        Self::of(State {
            seen: found.clone(),
            safe: found,
            trace: state.trace.clone(),
            lies: state.lies,
            ..State::default()
        })
    }

    fn of(state: State) -> Self {
        Self(Arc::new(Mutex::new(state)))
    }

    fn change(&self, operation: Operation) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        let grows = match &operation {
            Operation::Length(length) => *length > state.seen.len(),
            Operation::Write(..) => false,
        };
        match state.spend(grows) {
            // A write that fails, or that the power interrupts, may be there in part.
            Err(error) => {
                if matches!(operation, Operation::Write(..)) {
                    state.unsynced.push(operation);
                }
                Err(error)
            }
            Ok(()) => {
                state.note(&operation);
                operation.apply(&mut state.seen)?;
                state.unsynced.push(operation);
                Ok(())
            }
        }
    }
}

/// Some bytes of a write are there: its start, its end, or some of its sectors.
fn tear(found: &mut [u8], offset: usize, bytes: &[u8], dice: &mut Dice) {
    let border = dice.below(bytes.len() + 1);
    match dice.below(3) {
        0 => put(found, offset, &bytes[..border]),
        1 => put(found, offset + border, &bytes[border..]),
        _ => {
            for (number, sector) in bytes.chunks(SECTOR).enumerate() {
                if dice.one_in(2) {
                    put(found, offset + number * SECTOR, sector);
                }
            }
        }
    }
}

/// Writes what is before the end of the file: its growth can be lost.
fn put(found: &mut [u8], offset: usize, bytes: &[u8]) {
    let end = (offset + bytes.len()).min(found.len());
    if offset < end {
        found[offset..end].copy_from_slice(&bytes[..end - offset]);
    }
}

impl State {
    fn spend(&mut self, grows: bool) -> io::Result<()> {
        match &mut self.fault {
            Some((0, Fault::PowerCut)) => Err(io::Error::other("the power is off")),
            Some((0, Fault::ReadOnly)) => Err(io::ErrorKind::ReadOnlyFilesystem.into()),
            Some((0, Fault::Full)) if grows => Err(io::ErrorKind::StorageFull.into()),
            Some((0, Fault::WriteError)) => {
                self.fault = None;
                Err(io::Error::other("an input/output error"))
            }
            Some((left @ 1.., _)) => {
                *left -= 1;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// A file that has just grown is synced under a lock that readers wait for, so that is no moment for one.
    fn due_interruption(&mut self) -> Option<Interruption> {
        if self.unsynced.iter().any(|operation| matches!(operation, Operation::Length(_))) {
            return None;
        }
        if let Some((left @ 1.., _)) = &mut self.during_sync {
            *left -= 1;
            return None;
        }
        self.during_sync.take().map(|(_, interruption)| interruption)
    }

    fn note(&mut self, operation: &Operation) {
        match operation {
            Operation::Write(offset, bytes) => {
                self.trace.update(&offset.to_le_bytes());
                self.trace.update(bytes);
            }
            Operation::Length(length) => self.trace.update(&length.to_le_bytes()),
        }
    }
}

impl Operation {
    fn apply(&self, bytes: &mut Vec<u8>) -> io::Result<()> {
        match self {
            Self::Length(length) => bytes.resize(*length, 0),
            Self::Write(offset, new) => bytes
                .get_mut(*offset..offset + new.len())
                .ok_or_else(|| io::Error::other("a write past the end"))?
                .copy_from_slice(new),
        }
        Ok(())
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        match state.fault {
            Some((0, Fault::ReadError)) => {
                state.fault = None;
                return Err(io::Error::other("an input/output error"));
            }
            Some((0, Fault::PowerCut)) => return Err(io::Error::other("the power is off")),
            _ => {}
        }
        let start = usize::try_from(offset).unwrap();
        let found = state.seen.get(start..start + out.len());
        out.copy_from_slice(found.ok_or_else(|| io::Error::other("a read past the end"))?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(Operation::Length(usize::try_from(len).unwrap()))
    }

    fn sync_data(&self) -> io::Result<()> {
        let interruption = self.0.lock().unwrap().due_interruption();
        if let Some(interruption) = interruption {
            interruption();
        }
        let mut state = self.0.lock().unwrap();
        state.spend(false)?;
        state.syncs += 1;
        if state.lies {
            return Ok(());
        }
        state.trace.update(b"sync");
        let State { safe, unsynced, .. } = &mut *state;
        unsynced.drain(..).try_for_each(|operation| operation.apply(safe))
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.change(Operation::Write(usize::try_from(offset).unwrap(), data.to_vec()))
    }
}
