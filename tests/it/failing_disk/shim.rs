//! The preloaded library and the state that a test shares with it.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The fields of `struct state` in `shim.c` before its text, each of 8 bytes, and the bytes of that text.
const FIELDS: usize = 6;
const TEXT: usize = 128;

const EIO: u64 = 5;
const ENOSPC: u64 = 28;

/// How operations fail.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    pub name: &'static str,
    error: u64,
    mode: u64,
    reads: bool,
}

impl Kind {
    /// Whether files may be left behind: their removal fails too.
    pub fn removal_fails(&self) -> bool {
        self.error == EIO && !self.reads
    }

    /// What an operator reads in the log or the error.
    pub fn cause(&self) -> &'static str {
        if self.error == ENOSPC { "No space left on device" } else { "Input/output error" }
    }
}

const fn kind(name: &'static str, error: u64, mode: u64, reads: bool) -> Kind {
    Kind { name, error, mode, reads }
}

pub const KINDS: [Kind; 6] = [
    kind("EIO once", EIO, 0, false),
    kind("EIO from then on", EIO, 1, false),
    kind("ENOSPC once", ENOSPC, 0, false),
    kind("ENOSPC from then on", ENOSPC, 1, false),
    kind("half a write, then ENOSPC", ENOSPC, 2, false),
    kind("EIO at a read", EIO, 0, true),
];

/// The defect of the controls: writes and syncs report success and do nothing, as for a program that ignores
/// their errors.
pub const LOST: Kind = kind("lost in silence", EIO, 3, false);

/// The operation that fails, counted from 1; 0 is none.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    pub kind: Kind,
    pub at: u64,
}

/// A directory whose disk fails for the programs that run on it.
pub struct FailingDisk {
    root: PathBuf,
    path: PathBuf,
    state: File,
}

impl FailingDisk {
    /// `root` fails; the state is in a file beside it.
    pub fn new(root: &Path, fault: Fault) -> Self {
        let root = root.canonicalize().unwrap();
        let path = root.with_extension("fault");
        let state = File::options().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
        let fields = [0, fault.at, fault.kind.error, fault.kind.mode, u64::from(fault.kind.reads), 0];
        let mut bytes: Vec<u8> = fields.into_iter().flat_map(u64::to_ne_bytes).collect();
        bytes.resize(8 * FIELDS + TEXT, 0);
        state.write_all_at(&bytes, 0).unwrap();
        Self { root, path, state }
    }

    /// Lets the program of `command` run on this disk.
    pub fn under(&self, command: &mut Command) {
        command.env("LD_PRELOAD", library()).env("FAULT_ROOT", &self.root).env("FAULT_STATE", &self.path);
    }

    /// The same, with a journal of the operations, which [`Self::operations_in_order`] reads.
    pub fn with_journal(&self, command: &mut Command) {
        self.under(command);
        command.env("FAULT_JOURNAL", self.path.with_extension("journal"));
    }

    /// The operations that do not only read, such as `fdatasync ./keyfob.redb` and `rename to keyfob.redb of
    /// ./keyfob.new`.
    pub fn operations_in_order(&self) -> Vec<String> {
        let lines = fs::read_to_string(self.path.with_extension("journal")).unwrap();
        lines.lines().map(ToOwned::to_owned).collect()
    }

    /// How many operations were counted.
    pub fn operations(&self) -> u64 {
        self.field(0)
    }

    /// The first operation that failed, such as `fdatasync keyfob.redb`.
    pub fn first_failure(&self) -> Option<String> {
        let mut text = [0; TEXT];
        self.state.read_exact_at(&mut text, 8 * FIELDS as u64).unwrap();
        let text = String::from_utf8_lossy(text.split(|byte| *byte == 0).next().unwrap());
        (self.field(5) > 0).then(|| text.into_owned())
    }

    fn field(&self, number: u64) -> u64 {
        let mut bytes = [0; 8];
        self.state.read_exact_at(&mut bytes, 8 * number).unwrap();
        u64::from_ne_bytes(bytes)
    }
}

/// Compiles the library once for each run.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/failing_disk/shim.c");
        let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join("failing-disk.so");
        let unfinished = library.with_extension(std::process::id().to_string());
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-o"]);
        compiler.arg(&unfinished).arg(source).arg("-ldl");
        let status = compiler.status().expect("these tests need a C compiler named cc");
        assert!(status.success(), "cc failed");
        fs::rename(unfinished, &library).unwrap();
        library
    })
}
