//! A directory for the files of an input.

use std::path::PathBuf;

pub struct Scratch(PathBuf);

impl Scratch {
    /// Under `TMPDIR`, which `.ci/fuzz` removes: libFuzzer ends a process without running destructors.
    pub fn new() -> Self {
        let directory = std::env::temp_dir().join(format!("keyfob-fuzz.{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("the place for temporary files can be written to");
        Self(directory)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}
