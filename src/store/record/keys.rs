//! Signing keys as they are stored. The identifier tells the algorithm, and so the length of the public key,
//! which is written without it.

use super::{Decoded, frame, postcard, take, unframe};
use crate::domain::algorithm::Algorithm;
use crate::domain::id::KeyId;
use crate::domain::key::KeyRecord;

/// The signing keys, in their order. Their seeds are already sealed.
pub fn encode_keys(keys: &[KeyRecord]) -> Vec<u8> {
    let mut body = postcard(&keys.len());
    for key in keys {
        body.extend(postcard(&(key.id, key.status)));
        body.extend(&*key.public);
        body.extend(postcard(&(&key.sealed_seed, key.created_at, key.active_since, key.retired_at)));
    }
    frame(b"keys", &body)
}

pub fn decode_keys(bytes: &[u8]) -> Decoded<Vec<KeyRecord>> {
    let (number, mut rest) = take::<usize>(unframe(b"keys", bytes)?)?;
    let mut keys = vec![];
    for _ in 0..number {
        let ((id, status), after_status) = take::<(KeyId, _)>(rest)?;
        let public_bytes = match id.algorithm() {
            Algorithm::EdDsa => 32,
            Algorithm::Es256 => 64,
        };
        let (public, after_public) = after_status.split_at_checked(public_bytes).ok_or("too short")?;
        let ((sealed_seed, created_at, active_since, retired_at), after_key) = take(after_public)?;
        let public = public.into();
        keys.push(KeyRecord { id, status, public, sealed_seed, created_at, active_since, retired_at });
        rest = after_key;
    }
    if rest.is_empty() { Ok(keys) } else { Err("has bytes after its end") }
}
