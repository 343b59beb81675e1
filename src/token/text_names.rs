//! Knows texts again without keeping them: each has a name, a MAC under a key of this process
//! (`docs/decisions/0034-tokens-seen-before.md`).

use std::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher24};

use crate::domain::hidden::hidden;

/// Names texts by SipHash-2-4 with 128 bits.
#[derive(Clone, Copy)]
pub struct TextNames(SipHasher24);
hidden!(TextNames);

impl TextNames {
    /// `key` is random for each process.
    pub fn new(key: &[u8; 16]) -> Self {
        Self(SipHasher24::new_with_key(key))
    }

    /// The name of a text.
    pub fn of(&self, text: &[u8]) -> u128 {
        let mut hasher = self.0;
        hasher.write(text);
        hasher.finish128().as_u128()
    }
}
