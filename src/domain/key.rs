//! Signing keys as they are kept: published, then signing, then retired, then gone.

use serde::{Deserialize, Serialize};

use super::client::names;
use super::id::KeyId;
use super::time::Timestamp;

/// One signing key. Its secret half is sealed; only the keyring opens it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRecord {
    /// Its name, computed from its public half.
    pub id: KeyId,
    /// Where it is in its life.
    pub status: KeyStatus,
    /// The Ed25519 public key.
    pub public: [u8; 32],
    /// The seed, sealed under the wrapping key.
    pub sealed_seed: Vec<u8>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it began to sign.
    pub active_since: Option<Timestamp>,
    /// When it stopped.
    pub retired_at: Option<Timestamp>,
}

/// Where a key is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyStatus {
    /// Published, so that everybody knows it before it signs.
    Next,
    /// Signs.
    Active,
    /// Verifies until the last token it signed has expired.
    Retired,
}

names!(KeyStatus { Next = "next", Active = "active", Retired = "retired" });
