//! Signing keys as they are stored. The identifier tells the algorithm, and so the length of the public key:
//! records of Ed25519 keys have the same bytes as before there were others.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeTuple, Serializer};

use crate::domain::algorithm::Algorithm;
use crate::domain::id::KeyId;
use crate::domain::key::KeyRecord;

/// The number of fields of a record.
const FIELDS: usize = 7;

/// A record to be written.
pub(super) struct WrittenKey<'a>(pub &'a KeyRecord);

impl Serialize for WrittenKey<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let key = self.0;
        let mut fields = serializer.serialize_tuple(FIELDS)?;
        fields.serialize_element(&key.id)?;
        fields.serialize_element(&key.status)?;
        fields.serialize_element(&PublicBytes(&key.public))?;
        fields.serialize_element(&key.sealed_seed)?;
        fields.serialize_element(&key.created_at)?;
        fields.serialize_element(&key.active_since)?;
        fields.serialize_element(&key.retired_at)?;
        fields.end()
    }
}

/// Bytes without their number.
struct PublicBytes<'a>(&'a [u8]);

impl Serialize for PublicBytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut bytes = serializer.serialize_tuple(self.0.len())?;
        for byte in self.0 {
            bytes.serialize_element(byte)?;
        }
        bytes.end()
    }
}

/// A record that was read.
pub(super) struct StoredKey(pub KeyRecord);

impl<'de> Deserialize<'de> for StoredKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_tuple(FIELDS, KeyVisitor)
    }
}

struct KeyVisitor;

impl<'de> Visitor<'de> for KeyVisitor {
    type Value = StoredKey;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a signing key")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut fields: A) -> Result<StoredKey, A::Error> {
        let id: KeyId = field(&mut fields)?;
        let status = field(&mut fields)?;
        let public: Box<[u8]> = match id.algorithm() {
            Algorithm::EdDsa => field::<[u8; 32], _>(&mut fields)?.into(),
            Algorithm::Es256 => field::<[[u8; 32]; 2], _>(&mut fields)?.as_flattened().into(),
        };
        Ok(StoredKey(KeyRecord {
            id,
            status,
            public,
            sealed_seed: field(&mut fields)?,
            created_at: field(&mut fields)?,
            active_since: field(&mut fields)?,
            retired_at: field(&mut fields)?,
        }))
    }
}

fn field<'de, T: Deserialize<'de>, A: SeqAccess<'de>>(fields: &mut A) -> Result<T, A::Error> {
    fields.next_element()?.ok_or_else(|| A::Error::custom("the record is too short"))
}
