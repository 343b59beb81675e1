//! The signing keys in memory: unsealed, checked against their ids, ready to sign and verify.

use std::fmt;

use base64ct::{Base64UrlUnpadded, Encoding};
use ed25519_dalek::{Signer, SigningKey};
use zeroize::Zeroizing;

use super::keys::Keys;
use super::public_key::{InvalidKey, PublicKey};
use super::seal::Sealer;
use super::{es256, jwt, paserk, paseto};
use crate::domain::access::TokenFormat;
use crate::domain::algorithm::Algorithm;
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
    Invalid(KeyId, InvalidKey),
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
    /// Not exactly one key of EdDSA is active, or several of ES256 are.
    #[error("exactly one signing key for {} must be active, but {count} are", algorithm.as_str())]
    Active { algorithm: Algorithm, count: usize },
    /// Two records have the same id.
    #[error("signing key {0} is stored twice")]
    Twice(KeyId),
}

/// One key, ready to sign and verify.
pub struct SigningKeyEntry {
    /// PASERK `k4.pid`, or the JWK thumbprint of a P-256 key.
    pub id: KeyId,
    pub status: KeyStatus,
    /// When it stopped signing.
    pub retired_at: Option<Timestamp>,
    pub public: PublicKey,
    secret: SigningSecret,
    /// Header of its JWTs in base64url. It names the algorithm and the key.
    jwt_header: String,
}

enum SigningSecret {
    Ed25519 {
        signing: SigningKey,
        /// Footer of its PASETOs, `{"kid":"k4.pid.…"}`.
        footer: String,
        encoded_footer: String,
    },
    P256(es256::P256SecretKey),
}

impl SigningSecret {
    /// From the unsealed bytes of a record; `None` if they have the wrong form.
    fn from_bytes(id: &KeyId, bytes: &[u8]) -> Option<Self> {
        match id.algorithm() {
            Algorithm::EdDsa => {
                let signing = SigningKey::from_bytes(bytes.try_into().ok()?);
                let footer = format!(r#"{{"kid":"{id}"}}"#);
                let encoded_footer = Base64UrlUnpadded::encode_string(footer.as_bytes());
                Some(Self::Ed25519 { signing, footer, encoded_footer })
            }
            Algorithm::Es256 => es256::P256SecretKey::from_bytes(bytes).map(Self::P256),
        }
    }

    /// The bytes of the public key that belongs to it.
    fn public_bytes(&self) -> Box<[u8]> {
        match self {
            Self::Ed25519 { signing, .. } => signing.verifying_key().as_bytes().as_slice().into(),
            Self::P256(key) => key.public().to_bytes().as_slice().into(),
        }
    }
}

impl SigningKeyEntry {
    fn open(record: &KeyRecord, sealer: &Sealer) -> Result<Self, KeyringError> {
        let id = record.id;
        let public = PublicKey::from_bytes(id.algorithm(), &record.public)
            .map_err(|cause| KeyringError::Invalid(id, cause))?;
        let should = public.id();
        if should != id {
            return Err(KeyringError::Misnamed { named: id, should });
        }
        let seed =
            Zeroizing::new(sealer.open(id.as_bytes(), &record.sealed_seed).ok_or(KeyringError::Sealed(id))?);
        let secret = SigningSecret::from_bytes(&id, &seed)
            .filter(|secret| secret.public_bytes() == record.public)
            .ok_or(KeyringError::Mismatch(id))?;
        Ok(Self {
            id,
            status: record.status,
            retired_at: record.retired_at,
            public,
            secret,
            jwt_header: jwt::encoded_header(&id),
        })
    }

    fn signs_by(&self, algorithm: Algorithm) -> bool {
        self.status == KeyStatus::Active && self.id.algorithm() == algorithm
    }

    /// Signs `message` as a token in `format`; `None` if that needs another algorithm. An Ed25519 key serves
    /// two formats: the signed bytes begin with a different byte in each (docs/decisions/0010).
    pub(super) fn sign(&self, message: Vec<u8>, format: TokenFormat) -> Option<String> {
        match (&self.secret, format) {
            (SigningSecret::Ed25519 { signing, footer, .. }, TokenFormat::Paseto) => {
                Some(paseto::sign(signing, message, footer.as_bytes(), b""))
            }
            (SigningSecret::Ed25519 { signing, .. }, TokenFormat::Jwt) => {
                Some(jwt::sign(&self.jwt_header, &message, |signed| signing.sign(signed).to_bytes()))
            }
            (SigningSecret::P256(key), TokenFormat::JwtEs256) => {
                Some(jwt::sign(&self.jwt_header, &message, |signed| key.sign(signed)))
            }
            (SigningSecret::Ed25519 { .. }, TokenFormat::JwtEs256)
            | (SigningSecret::P256(_), TokenFormat::Paseto | TokenFormat::Jwt) => None,
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
}

impl Keyring {
    /// Unseals and checks every key. Exactly one key of EdDSA must be active, and at most one of ES256.
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
        for algorithm in Algorithm::ALL.iter().copied() {
            let count = keys.iter().filter(|key| key.signs_by(algorithm)).count();
            if count > 1 || (count == 0 && algorithm == Algorithm::EdDsa) {
                return Err(KeyringError::Active { algorithm, count });
            }
        }
        Ok(Self { keys })
    }

    /// The key that signs new tokens with EdDSA.
    pub fn active(&self) -> &SigningKeyEntry {
        self.active_for(TokenFormat::Paseto).expect("one key of EdDSA is always active")
    }

    /// The key that signs new tokens in `format`; `None` if there is no key of its algorithm yet.
    pub fn active_for(&self, format: TokenFormat) -> Option<&SigningKeyEntry> {
        self.keys.iter().find(|key| key.signs_by(format.algorithm()))
    }

    /// The key with this id.
    pub fn find(&self, id: &KeyId) -> Option<&SigningKeyEntry> {
        self.keys.iter().find(|key| key.id == *id)
    }

    /// The key whose PASETOs have this footer. Footers are compared as text, so that none is parsed before it
    /// is verified.
    pub(super) fn find_by_footer(&self, footer: &str) -> Option<(KeyId, &paseto::Ed25519PublicKey)> {
        self.keys.iter().find_map(|key| match (&key.secret, &key.public) {
            (SigningSecret::Ed25519 { encoded_footer, .. }, PublicKey::Ed25519(public))
                if encoded_footer == footer =>
            {
                Some((key.id, public))
            }
            _ => None,
        })
    }

    /// The key whose JWTs have this header, compared as text: another algorithm, type, key or member gives
    /// another text (JWP-02).
    pub(super) fn find_by_jwt_header(&self, encoded_header: &str) -> Option<&SigningKeyEntry> {
        self.keys.iter().find(|key| key.jwt_header == encoded_header)
    }

    /// Every key.
    pub fn published(&self) -> impl Iterator<Item = &SigningKeyEntry> {
        self.keys.iter()
    }
}

/// Makes a key record from 32 random bytes, the secret key sealed.
pub fn generate(
    algorithm: Algorithm,
    random: [u8; 32],
    keys: &Keys,
    status: KeyStatus,
    now: Timestamp,
) -> KeyRecord {
    let (id, public, secret): (_, Box<[u8]>, _) = match algorithm {
        Algorithm::EdDsa => {
            let seed = Zeroizing::new(random);
            let public = SigningKey::from_bytes(&seed).verifying_key().to_bytes();
            (paserk::public_id(&public), public.into(), seed)
        }
        Algorithm::Es256 => {
            let secret = es256::P256SecretKey::generate(random);
            let public = secret.public();
            (public.id(), public.to_bytes().into(), secret.to_bytes())
        }
    };
    KeyRecord {
        id,
        status,
        public,
        sealed_seed: Sealer::new(&keys.wrap).seal(id.as_bytes(), &*secret),
        created_at: now,
        active_since: (status == KeyStatus::Active).then_some(now),
        retired_at: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::keys::SecretKey;
    use crate::token::paseto::UnsoundKey;

    fn keys() -> Keys {
        Keys::derive(&SecretKey::new([1; 32]))
    }

    fn record(seed: u8, status: KeyStatus) -> KeyRecord {
        generate(Algorithm::EdDsa, [seed; 32], &keys(), status, Timestamp::from_seconds(1))
    }

    fn es256(seed: u8) -> KeyRecord {
        let at = Timestamp::from_seconds(1);
        generate(Algorithm::Es256, [seed; 32], &keys(), KeyStatus::Next, at)
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
                .is_some_and(|key| key.public.to_bytes() == record.public))
        );
        assert!(ring.find(&record(4, KeyStatus::Next).id).is_none());
        let published: Vec<_> =
            ring.published().map(|key| (key.id, key.public.to_bytes(), key.status)).collect();
        assert_eq!(
            published,
            records.each_ref().map(|record| (record.id, record.public.clone(), record.status))
        );
        let id_of = |public: &[u8]| paserk::public_id(public.try_into().unwrap());
        assert!(records.iter().all(|record| record.id == id_of(&record.public)), "PAS-45");
        let shown = format!("{ring:?}");
        assert!(
            shown.contains(&format!("SigningKeyEntry({}, active)", records[1].id))
                && !shown.contains("SigningKey {"),
            "{shown}"
        );
    }

    #[test]
    fn one_key_of_eddsa_and_at_most_one_of_es256_is_active() {
        let opened = |records: &[KeyRecord]| Keyring::open(records, &keys()).map(|_| ());
        let active = |algorithm, count| KeyringError::Active { algorithm, count };
        let es256 = |seed, status| KeyRecord { status, ..es256(seed) };
        assert_eq!(opened(&[]), Err(active(Algorithm::EdDsa, 0)));
        assert_eq!(
            opened(&[record(1, KeyStatus::Next), record(2, KeyStatus::Retired)]),
            Err(active(Algorithm::EdDsa, 0))
        );
        assert_eq!(
            opened(&[record(1, KeyStatus::Active), record(2, KeyStatus::Active)]),
            Err(active(Algorithm::EdDsa, 2))
        );
        let eddsa = record(1, KeyStatus::Active);
        assert_eq!(opened(&[eddsa.clone(), es256(2, KeyStatus::Active)]), Ok(()));
        assert_eq!(opened(&[eddsa.clone(), es256(2, KeyStatus::Retired)]), Ok(()), "ES256 may have none");
        assert_eq!(
            opened(&[eddsa, es256(2, KeyStatus::Active), es256(3, KeyStatus::Active)]),
            Err(active(Algorithm::Es256, 2))
        );
        assert_eq!(opened(&[es256(2, KeyStatus::Active)]), Err(active(Algorithm::EdDsa, 0)));
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
            refused(KeyRecord { public: other.public.clone(), ..valid.clone() }),
            KeyringError::Misnamed { named: valid.id, should: other.id }
        );
        assert_eq!(
            refused(KeyRecord { sealed_seed: other.sealed_seed.clone(), ..valid.clone() }),
            KeyringError::Sealed(valid.id)
        );
        let sealer = Sealer::new(&keys().wrap);
        for seed in [&[3; 32][..], &[2; 31], &[2; 33], &[]] {
            let resealed = sealer.seal(valid.id.as_bytes(), seed);
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
            let sealed_seed = Sealer::new(&keys().wrap).seal(id.as_bytes(), &[2; 32]);
            assert_eq!(
                refused(KeyRecord { id, public: public.into(), sealed_seed, ..record(2, KeyStatus::Next) }),
                KeyringError::Invalid(id, cause.into())
            );
        }
    }
}
