//! Valid checksums and seals around any content, for the targets in `fuzz/`, which could not make them.

use super::{Codec, frame_as};

pub fn framed(name: &[u8], version: u8, body: &[u8]) -> Vec<u8> {
    frame_as(version, name, body)
}

impl Codec {
    pub fn sealed(&self, name: &[u8], plain: &[u8]) -> Vec<u8> {
        self.sealer.seal(name, plain)
    }
}
