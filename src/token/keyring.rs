//! The signing keys in memory: unsealed, checked against their ids, ready to sign and verify.

use std::fmt;

use base64ct::{Base64UrlUnpadded, Encoding};
use ed25519_dalek::SigningKey;
use zeroize::Zeroizing;

use super::keys::Keys;
use super::paseto::{self, PublicKey, UnsoundKey};
use super::seal::Sealer;
use super::{jwt, paserk};
use crate::domain::access::TokenFormat;
use crate::domain::id::KeyId;
use crate::domain::key::{KeyRecord, KeyStatus};
use crate::domain::time::Timestamp;

/// Why the stored signing keys cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyringError {
    /// It was sealed under another master key, or altered.
    #[error("signing key {0} cannot be decrypted with this master key")]
    Sealed(KeyId),
    /// The public key is not valid.
    #[error("the public key of signing key {0} is invalid: {1}")]
    Unsound(KeyId, UnsoundKey),
    /// The public key does not belong to the secret key.
    #[error("the public key of signing key {0} does not match its secret key")]
    Mismatch(KeyId),
    /// The id is not that of the public key.
    #[error("signing key {named} has the wrong id: its public key has the id {should}")]
    Misnamed {
        /// The stored id.
        named: KeyId,
        /// The id computed from the public key.
        should: KeyId,
    },
    /// Not exactly one key is active.
    #[error("exactly one signing key must be active, but {0} are")]
    Active(usize),
    /// Two records have the same id.
    #[error("signing key {0} is stored twice")]
    Twice(KeyId),
}

/// One key, ready to sign and verify.
pub struct SigningKeyEntry {
    /// PASERK `k4.pid` of the public key.
    pub id: KeyId,
    /// Next, active or retired.
    pub status: KeyStatus,
    /// When it stopped signing.
    pub retired_at: Option<Timestamp>,
    /// Verifies its tokens.
    pub public: PublicKey,
    signing: SigningKey,
    /// Footer of its PASETOs, `{"kid":"k4.pid.…"}`.
    footer: String,
    /// The footer in base64url.
    encoded_footer: String,
    /// Header of its JWTs in base64url.
    jwt_header: String,
}

impl SigningKeyEntry {
    fn open(record: &KeyRecord, sealer: &Sealer) -> Result<Self, KeyringError> {
        let id = record.id;
        let public =
            PublicKey::from_bytes(&record.public).map_err(|cause| KeyringError::Unsound(id, cause))?;
        let should = paserk::public_id(&record.public);
        if should != id {
            return Err(KeyringError::Misnamed { named: id, should });
        }
        let seed = Zeroizing::new(sealer.open(&id.0, &record.sealed_seed).ok_or(KeyringError::Sealed(id))?);
        let signing =
            SigningKey::from_bytes(seed.as_slice().try_into().map_err(|_| KeyringError::Mismatch(id))?);
        if signing.verifying_key().as_bytes() != public.as_bytes() {
            return Err(KeyringError::Mismatch(id));
        }
        let footer = format!(r#"{{"kid":"{id}"}}"#);
        let encoded_footer = Base64UrlUnpadded::encode_string(footer.as_bytes());
        Ok(Self {
            id,
            status: record.status,
            retired_at: record.retired_at,
            public,
            signing,
            footer,
            encoded_footer,
            jwt_header: jwt::encoded_header(&id),
        })
    }

    /// Signs `message` as a token in `format`. One key serves both formats: the signed bytes begin with a
    /// different byte in each (docs/decisions/0010).
    pub(super) fn sign(&self, message: Vec<u8>, format: TokenFormat) -> String {
        match format {
            TokenFormat::Paseto => paseto::sign(&self.signing, message, self.footer.as_bytes(), b""),
            TokenFormat::Jwt => jwt::sign(&self.signing, &self.jwt_header, &message),
        }
    }
}

impl fmt::Debug for SigningKeyEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKeyEntry({}, {})", self.id, self.status.as_str())
    }
}

/// The signing keys of one state of the store. A token of any other key does not verify.
#[derive(Debug)]
pub struct Keyring {
    keys: Vec<SigningKeyEntry>,
    active: usize,
}

impl Keyring {
    /// Unseals and checks every key. Exactly one must be active.
    pub fn open(records: &[KeyRecord], keys: &Keys) -> Result<Self, KeyringError> {
        let sealer = Sealer::new(&keys.wrap);
        let keys = records
            .iter()
            .map(|record| SigningKeyEntry::open(record, &sealer))
            .collect::<Result<Vec<_>, _>>()?;
        if let Some((_, twice)) =
            keys.iter().enumerate().find(|(at, key)| keys[..*at].iter().any(|earlier| earlier.id == key.id))
        {
            return Err(KeyringError::Twice(twice.id));
        }
        let mut active =
            keys.iter().enumerate().filter(|(_, key)| key.status == KeyStatus::Active).map(|(at, _)| at);
        match (active.next(), active.count()) {
            (Some(active), 0) => Ok(Self { keys, active }),
            (first, more) => Err(KeyringError::Active(usize::from(first.is_some()) + more)),
        }
    }

    /// The key that signs new tokens.
    pub fn active(&self) -> &SigningKeyEntry {
        &self.keys[self.active]
    }

    /// The key with this id.
    pub fn find(&self, id: &KeyId) -> Option<&SigningKeyEntry> {
        self.keys.iter().find(|key| key.id == *id)
    }

    /// The key whose PASETOs have this footer. Footers are compared as text, so that none is parsed before it
    /// is verified.
    pub(super) fn find_by_footer(&self, encoded_footer: &str) -> Option<&SigningKeyEntry> {
        self.keys.iter().find(|key| key.encoded_footer == encoded_footer)
    }

    /// The key whose JWTs have this header, compared as text: another algorithm, type, key or member gives
    /// another text (JWP-02).
    pub(super) fn find_by_jwt_header(&self, encoded_header: &str) -> Option<&SigningKeyEntry> {
        self.keys.iter().find(|key| key.jwt_header == encoded_header)
    }

    /// Id, public key and status of every key.
    pub fn published(&self) -> impl Iterator<Item = (KeyId, &[u8; 32], KeyStatus)> {
        self.keys.iter().map(|key| (key.id, key.public.as_bytes(), key.status))
    }
}

/// Makes a key record from 32 random bytes, the secret key sealed.
pub fn generate(seed: [u8; 32], keys: &Keys, status: KeyStatus, now: Timestamp) -> KeyRecord {
    let seed = Zeroizing::new(seed);
    let public = SigningKey::from_bytes(&seed).verifying_key().to_bytes();
    let id = paserk::public_id(&public);
    KeyRecord {
        id,
        status,
        public,
        sealed_seed: Sealer::new(&keys.wrap).seal(&id.0, &*seed),
        created_at: now,
        active_since: (status == KeyStatus::Active).then_some(now),
        retired_at: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::keys::SecretKey;

    fn keys() -> Keys {
        Keys::derive(&SecretKey::new([1; 32]))
    }

    fn record(seed: u8, status: KeyStatus) -> KeyRecord {
        generate([seed; 32], &keys(), status, Timestamp::from_seconds(1))
    }

    /// The error for a ring of one active key and `record`.
    fn refused(record: KeyRecord) -> KeyringError {
        Keyring::open(&[self::record(1, KeyStatus::Active), record], &keys()).unwrap_err()
    }

    #[test]
    fn generated_keys_are_found_and_published_and_the_active_one_signs() {
        let records =
            [record(1, KeyStatus::Retired), record(2, KeyStatus::Active), record(3, KeyStatus::Next)];
        let ring = Keyring::open(&records, &keys()).unwrap();
        assert_eq!(ring.active().id, records[1].id);
        assert_eq!(records[1].active_since, Some(Timestamp::from_seconds(1)));
        assert_eq!(records[2].active_since, None);
        assert!(
            records.iter().all(|record| ring
                .find(&record.id)
                .is_some_and(|key| key.public.as_bytes() == &record.public))
        );
        assert!(ring.find(&record(4, KeyStatus::Next).id).is_none());
        let published: Vec<_> = ring.published().map(|(id, public, status)| (id, *public, status)).collect();
        assert_eq!(published, records.each_ref().map(|record| (record.id, record.public, record.status)));
        assert!(records.iter().all(|record| record.id == paserk::public_id(&record.public)), "PAS-45");
        let shown = format!("{ring:?}");
        assert!(
            shown.contains(&format!("SigningKeyEntry({}, active)", records[1].id))
                && !shown.contains("SigningKey {"),
            "{shown}"
        );
    }

    #[test]
    fn exactly_one_key_is_active() {
        let opened = |records: &[KeyRecord]| Keyring::open(records, &keys()).map(|_| ());
        assert_eq!(opened(&[]), Err(KeyringError::Active(0)));
        assert_eq!(
            opened(&[record(1, KeyStatus::Next), record(2, KeyStatus::Retired)]),
            Err(KeyringError::Active(0))
        );
        assert_eq!(
            opened(&[record(1, KeyStatus::Active), record(2, KeyStatus::Active)]),
            Err(KeyringError::Active(2))
        );
        let twice = record(2, KeyStatus::Retired);
        assert_eq!(
            opened(&[record(1, KeyStatus::Active), twice.clone(), twice.clone()]),
            Err(KeyringError::Twice(twice.id))
        );
    }

    /// PAS-40, PAS-43, PAS-46: ids, public and secret keys are checked when the keys are loaded.
    #[test]
    fn a_key_whose_parts_do_not_match_is_rejected() {
        let (valid, other) = (record(2, KeyStatus::Next), record(3, KeyStatus::Next));
        assert_eq!(
            refused(KeyRecord { id: other.id, ..valid.clone() }),
            KeyringError::Misnamed { named: other.id, should: valid.id }
        );
        assert_eq!(
            refused(KeyRecord { public: other.public, ..valid.clone() }),
            KeyringError::Misnamed { named: valid.id, should: other.id }
        );
        assert_eq!(
            refused(KeyRecord { sealed_seed: other.sealed_seed.clone(), ..valid.clone() }),
            KeyringError::Sealed(valid.id)
        );
        let sealer = Sealer::new(&keys().wrap);
        for seed in [&[3; 32][..], &[2; 31], &[2; 33], &[]] {
            let resealed = sealer.seal(&valid.id.0, seed);
            assert_eq!(
                refused(KeyRecord { sealed_seed: resealed, ..valid.clone() }),
                KeyringError::Mismatch(valid.id)
            );
        }
        let elsewhere = Keys::derive(&SecretKey::new([9; 32]));
        assert_eq!(
            Keyring::open(&[record(1, KeyStatus::Active)], &elsewhere).unwrap_err(),
            KeyringError::Sealed(record(1, KeyStatus::Active).id)
        );
    }

    /// EDS-03, EDS-04: with a correct id and seal. The other encodings are in the vectors.
    #[test]
    fn a_weak_or_off_curve_key_is_rejected() {
        let off_curve: Vec<u8> = (0x70..0x90).collect();
        for (public, cause) in
            [([0; 32], UnsoundKey::SmallOrder), (off_curve.try_into().unwrap(), UnsoundKey::OffCurve)]
        {
            let id = paserk::public_id(&public);
            let sealed_seed = Sealer::new(&keys().wrap).seal(&id.0, &[2; 32]);
            assert_eq!(
                refused(KeyRecord { id, public, sealed_seed, ..record(2, KeyStatus::Next) }),
                KeyringError::Unsound(id, cause)
            );
        }
    }
}
