//! One file of the console.

use base64ct::{Base64UrlUnpadded, Encoding};
use sha2::{Digest, Sha256};

/// A file, as it is in the binary.
pub struct Asset {
    pub name: &'static str,
    pub media_type: &'static str,
    pub gzip: &'static [u8],
}

impl Asset {
    /// Its `ETag`, which changes with its content.
    pub fn tag(&self) -> String {
        let hash = Sha256::digest(self.gzip);
        format!("\"{}\"", Base64UrlUnpadded::encode_string(&hash[..12]))
    }
}
