//! Refresh tokens (`kfr_`) and session tokens (`kfs_`): one layout, authenticated by a MAC.

use base64ct::{Base64UrlUnpadded, Encoding};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::keys::{KEY_INDEX, Keys, SecretKey};
use crate::domain::access::TokenFormat;
use crate::domain::hidden::hidden;
use crate::domain::id::{Hash, Position, Salt, SessionId, TokenId};
use crate::domain::names::names;
use crate::domain::scope::ScopeSet;
use crate::domain::session::OpeningKey;

/// Version of the layout.
const VERSION: u8 = 1;

/// Version 1, key index 1, session 16, family 2, generation 4, secret 32: the input of the MAC.
const AUTHENTICATED_BYTES: usize = 56;

/// The MAC is truncated to 128 bits.
const MAC_BYTES: usize = 16;

/// A multiple of 3, so that the base64url text has no spare bits.
const TOKEN_BYTES: usize = AUTHENTICATED_BYTES + MAC_BYTES;

/// Length of the text: the prefix and 96 characters.
const OPAQUE_TEXT_BYTES: usize = 4 + TOKEN_BYTES / 3 * 4;

/// Secret text: zeroed when dropped, and `Debug` does not print it.
#[derive(Clone)]
#[cfg_attr(test, derive(PartialEq, Eq))]
pub struct SecretText(Zeroizing<String>);

impl SecretText {
    /// Takes a secret that was read or made.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The secret text, for the response that delivers it or the check of a request that presents it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

names! {
    /// Kind of an opaque token, named by the prefix of its text.
    pub enum OpaqueKind {
        Refresh = "kfr_",
        /// Its family is 0, its generation the number of renewals.
        Session = "kfs_",
    }
}

/// The random part of an opaque token. Only its hash is stored.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Secret([u8; 32]);

impl Secret {
    pub fn new(random: [u8; 32]) -> Self {
        Self(random)
    }

    /// The hash that is stored and compared.
    pub fn hash(&self, kind: OpaqueKind) -> Hash {
        let label: &[u8] = match kind {
            OpaqueKind::Refresh => b"kf/rt/secret/v1",
            OpaqueKind::Session => b"kf/st/secret/v1",
        };
        Hash(Sha256::new().chain_update(label).chain_update(self.0).finalize().into())
    }
}

/// A refresh or session token. A decoded one has a valid MAC; whether it is still valid is for the session to
/// decide.
#[derive(Clone, Debug)]
pub struct Opaque {
    pub kind: OpaqueKind,
    /// Session, family and generation. In a session token the family is 0, the generation the number of
    /// renewals.
    pub link: Link,
    pub secret: Secret,
}

impl Opaque {
    /// Whether a text has the length and the prefix of a token.
    pub fn has_form(text: &str) -> bool {
        text.len() == OPAQUE_TEXT_BYTES && OpaqueKind::ALL.iter().any(|kind| text.starts_with(kind.as_str()))
    }

    /// Decodes a token and checks its MAC; `None` if anything is wrong. Allocates nothing.
    pub fn decode(text: &str, keys: &OpaqueKeys) -> Option<Self> {
        let (kind, bytes) = take_apart(text)?;
        let (authenticated, mac) = bytes.split_at(AUTHENTICATED_BYTES);
        let genuine: bool = keys.mac(kind, authenticated).ct_eq(mac).into();
        if !genuine {
            return None;
        }
        let link = link_of(kind, authenticated)?;
        Some(Self { kind, link, secret: Secret(array(&authenticated[24..])) })
    }

    /// The kind and the link of a token, not verified: for display only.
    pub fn expose_unverified(text: &str) -> Option<(OpaqueKind, Link)> {
        let (kind, bytes) = take_apart(text)?;
        Some((kind, link_of(kind, &*bytes)?))
    }

    /// The text of the token.
    pub fn encode(&self, keys: &OpaqueKeys) -> SecretText {
        let mut bytes = Zeroizing::new([0; TOKEN_BYTES]);
        bytes[..2].copy_from_slice(&[VERSION, KEY_INDEX]);
        bytes[2..18].copy_from_slice(&self.link.session.0);
        bytes[18..20].copy_from_slice(&self.link.family.to_be_bytes());
        bytes[20..24].copy_from_slice(&self.link.generation.to_be_bytes());
        bytes[24..56].copy_from_slice(&self.secret.0);
        let mac = keys.mac(self.kind, &bytes[..AUTHENTICATED_BYTES]);
        bytes[AUTHENTICATED_BYTES..].copy_from_slice(&mac);
        let mut encoded = Zeroizing::new([0; OPAQUE_TEXT_BYTES - 4]);
        let encoded = Base64UrlUnpadded::encode(&*bytes, &mut *encoded).expect("96 characters hold 72 bytes");
        let mut text = String::with_capacity(OPAQUE_TEXT_BYTES);
        text.push_str(self.kind.as_str());
        text.push_str(encoded);
        SecretText::new(text)
    }

    /// The hash of its secret that is stored.
    pub fn hash(&self) -> Hash {
        self.secret.hash(self.kind)
    }
}

/// Kind and bytes of a token; nothing is verified.
fn take_apart(text: &str) -> Option<(OpaqueKind, Zeroizing<[u8; TOKEN_BYTES]>)> {
    if text.len() != OPAQUE_TEXT_BYTES {
        return None;
    }
    let (prefix, encoded) = text.split_at_checked(4)?;
    let kind = prefix.parse().ok()?;
    let mut bytes = Zeroizing::new([0; TOKEN_BYTES]);
    Base64UrlUnpadded::decode(encoded, &mut *bytes).ok()?;
    Some((kind, bytes))
}

/// The unverified fields before the secret; `None` for another layout.
fn link_of(kind: OpaqueKind, bytes: &[u8]) -> Option<Link> {
    if bytes[0] != VERSION || bytes[1] != KEY_INDEX {
        return None;
    }
    let link = Link {
        session: SessionId(array(&bytes[2..18])),
        family: u16::from_be_bytes(array(&bytes[18..20])),
        generation: u32::from_be_bytes(array(&bytes[20..24])),
    };
    (kind == OpaqueKind::Refresh || link.family == 0).then_some(link)
}

/// The keys of opaque tokens, as HMAC states that are computed once.
#[derive(Clone)]
pub struct OpaqueKeys {
    refresh_mac: Hmac<Sha256>,
    session_mac: Hmac<Sha256>,
    rotation: Hmac<Sha256>,
    token_id: Hmac<Sha256>,
    opening: Hmac<Sha256>,
}

impl OpaqueKeys {
    pub fn new(keys: &Keys) -> Self {
        let keyed = |key: &SecretKey| {
            Hmac::new_from_slice(key.expose_bytes()).expect("HMAC takes keys of any length")
        };
        Self {
            refresh_mac: keyed(&keys.refresh_mac),
            session_mac: keyed(&keys.session_mac),
            rotation: keyed(&keys.rotation),
            token_id: keyed(&keys.token_id),
            opening: keyed(&keys.opening),
        }
    }

    fn mac(&self, kind: OpaqueKind, authenticated: &[u8]) -> [u8; MAC_BYTES] {
        let (keyed, label): (_, &[u8]) = match kind {
            OpaqueKind::Refresh => (&self.refresh_mac, b"kf/rt/mac/v1"),
            OpaqueKind::Session => (&self.session_mac, b"kf/st/mac/v1"),
        };
        let mac: [u8; 32] =
            keyed.clone().chain_update(label).chain_update(authenticated).finalize().into_bytes().into();
        array(&mac[..MAC_BYTES])
    }

    /// The MAC of a link to the console, which is valid in this run of a server.
    pub(super) fn link_mac(&self, authenticated: &[u8], run: u64) -> [u8; MAC_BYTES] {
        let keyed = self.session_mac.clone().chain_update(b"kf/console/mac/v1");
        let mac: [u8; 32] =
            keyed.chain_update(authenticated).chain_update(run.to_be_bytes()).finalize().into_bytes().into();
        array(&mac[..MAC_BYTES])
    }

    /// The secret of the token at `link`, derived from its predecessor's `secret` and a salt: a retry gets
    /// the same token, although nothing is stored from which alone it could be made.
    pub fn successor(&self, link: Link, secret: &Secret, salt: &Salt) -> Secret {
        let successor =
            link.bind(&self.rotation, b"kf/rt/next/v1").chain_update(secret.0).chain_update(salt.0);
        Secret(successor.finalize().into_bytes().into())
    }

    /// The secret of a token of an opening that can be repeated: neither the salt, which is stored, nor the
    /// key, which is not, gives it alone.
    pub fn opened(&self, kind: OpaqueKind, link: Link, salt: &Salt, key: &OpeningKey) -> Secret {
        let label: &[u8] = match kind {
            OpaqueKind::Refresh => b"kf/rt/open/v1",
            OpaqueKind::Session => b"kf/st/open/v1",
        };
        let secret = link.bind(&self.opening, label).chain_update(salt.0).chain_update(key.expose());
        Secret(secret.finalize().into_bytes().into())
    }

    /// The name under which an opening by `caller`, created at `incarnation`, is found again.
    pub fn opening_name(&self, caller: &str, incarnation: Position, key: &OpeningKey) -> Hash {
        let name =
            self.opening.clone().chain_update(b"kf/open/name/v1").chain_update(incarnation.0.to_be_bytes());
        let name = name.chain_update(caller).chain_update([0]).chain_update(key.expose());
        Hash(name.finalize().into_bytes().into())
    }

    /// The `jti` of the access token issued with the refresh token at `link`: equal for equal salt, scope,
    /// audience and format.
    pub fn token_id(
        &self,
        link: Link,
        salt: &Salt,
        scope: &ScopeSet,
        audience: &str,
        format: TokenFormat,
    ) -> TokenId {
        let asked = Sha256::new()
            .chain_update(scope.as_str())
            .chain_update([0])
            .chain_update(audience)
            .chain_update([0])
            .chain_update(format.as_str())
            .finalize();
        let id: [u8; 32] = link
            .bind(&self.token_id, b"kf/at/jti/v1")
            .chain_update(salt.0)
            .chain_update(asked)
            .finalize()
            .into_bytes()
            .into();
        TokenId(array(&id[..16]))
    }
}

hidden!(SecretText, Secret, OpaqueKeys);

/// The position of a refresh token: session, family and generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    pub session: SessionId,
    pub family: u16,
    /// Position in the chain.
    pub generation: u32,
}

impl Link {
    /// The common beginning of every derivation for this position.
    fn bind(self, keyed: &Hmac<Sha256>, label: &[u8]) -> Hmac<Sha256> {
        let keyed = keyed.clone().chain_update(label).chain_update(self.session.0);
        keyed.chain_update(self.family.to_be_bytes()).chain_update(self.generation.to_be_bytes())
    }
}

pub(super) fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().expect("the layout fixes every length")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(master: u8) -> OpaqueKeys {
        OpaqueKeys::new(&Keys::derive(&SecretKey::new([master; 32])))
    }

    fn link() -> Link {
        Link {
            session: SessionId(std::array::from_fn(|at| at as u8)),
            family: 0x0102,
            generation: 0x0304_0506,
        }
    }

    fn token(kind: OpaqueKind) -> Opaque {
        let family = if kind == OpaqueKind::Refresh { link().family } else { 0 };
        Opaque { kind, link: Link { family, ..link() }, secret: Secret::new([0xaa; 32]) }
    }

    /// Layout, labels and derivations, computed by another program: issued tokens depend on each of them.
    #[test]
    fn tokens_hashes_and_successors_have_the_specified_bytes() {
        let keys = keys(7);
        assert_eq!(
            token(OpaqueKind::Refresh).encode(&keys).expose(),
            concat!(
                "kfr_AQAAAQIDBAUGBwgJCgsMDQ4PAQIDBAUGqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqoA",
                "MKsFzejw9ja0SRgfnhoQ"
            )
        );
        assert_eq!(
            token(OpaqueKind::Session).encode(&keys).expose(),
            concat!(
                "kfs_AQAAAQIDBAUGBwgJCgsMDQ4PAAADBAUGqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqox",
                "aPh4MWgq7Vr7DhclzRQb"
            )
        );
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let secret = Secret::new([0xaa; 32]);
        assert_eq!(
            hex(&secret.hash(OpaqueKind::Refresh).0),
            "5f245f97e8208f9661a65ad5893b483a36d656ed22e5cda955b32bcfef444256"
        );
        assert_eq!(
            hex(&secret.hash(OpaqueKind::Session).0),
            "fc6339f7a2477fb258c215304a87742ba1fb7ecd518c08a212cfbfb89d1e6ecd"
        );
        let salt = Salt([0xbb; 32]);
        assert_eq!(
            hex(&keys.successor(link(), &secret, &salt).0),
            "0822df01a0d9cc00de26518210ea061f23a44330c13b4eba8a9e907322b0df02"
        );
        let scope = "write read".parse().unwrap();
        let id = keys.token_id(link(), &salt, &scope, "https://api.example", TokenFormat::Paseto);
        assert_eq!(id.to_string(), "Erre6lb0n4fhpQMF1nXJjQ");
        let key = "key-1".parse().unwrap();
        assert_eq!(
            hex(&keys.opened(OpaqueKind::Refresh, link(), &salt, &key).0),
            "5431954e18ab2c3f646f5a3f2a7de1d3fd4a258b0d42c1f9870e2451e2c0d765"
        );
        assert_eq!(
            hex(&keys.opened(OpaqueKind::Session, link(), &salt, &key).0),
            "cf2b8ea584bb7b04e55fc8830b90ab7965611f4b8dc27ce993a877f7e31e900e"
        );
        assert_eq!(
            hex(&keys.opening_name("app", Position(42), &key).0),
            "27100f49ed787afe57833af88bffdb612ee146ab4b48cc5ba6a39816a1ba6aad"
        );
    }

    #[test]
    fn a_token_has_its_form_and_can_be_displayed_although_another_master_key_made_it() {
        for kind in [OpaqueKind::Refresh, OpaqueKind::Session] {
            let token = token(kind);
            let text = token.encode(&keys(8)).expose().to_owned();
            assert!(Opaque::has_form(&text));
            assert_eq!(Opaque::expose_unverified(&text), Some((kind, token.link)));
            let body = &text[4..];
            for wrong in [format!("kfc_{body}"), format!("{text}A"), text[..text.len() - 1].to_owned()] {
                assert!(!Opaque::has_form(&wrong) && Opaque::expose_unverified(&wrong).is_none(), "{wrong}");
            }
        }
    }

    #[test]
    fn decoding_returns_what_was_encoded() {
        let keys = keys(7);
        for kind in [OpaqueKind::Refresh, OpaqueKind::Session] {
            let written = token(kind);
            let read = Opaque::decode(written.encode(&keys).expose(), &keys).unwrap();
            assert_eq!((read.kind, read.link), (kind, written.link));
            assert!(read.hash() == written.hash() && read.secret.0 == written.secret.0);
        }
    }

    /// An attacker who knows every identifier can neither forge nor change a token.
    #[test]
    fn a_changed_or_forged_token_is_rejected() {
        let keys = keys(7);
        for kind in [OpaqueKind::Refresh, OpaqueKind::Session] {
            let text = token(kind).encode(&keys).expose().to_owned();
            assert!(Opaque::decode(&text, &keys).is_some());
            assert!(Opaque::decode(&text, &super::tests::keys(8)).is_none(), "another master key");
            for bit in 0..text.len() * 8 {
                let mut changed = text.clone().into_bytes();
                changed[bit / 8] ^= 1 << (bit % 8);
                let rejected = String::from_utf8(changed)
                    .map_or(true, |changed| Opaque::decode(&changed, &keys).is_none());
                assert!(rejected, "bit {bit}");
            }
            for length in 0..text.len() {
                assert!(Opaque::decode(&text[..length], &keys).is_none(), "{length} bytes");
            }
            let other = if kind == OpaqueKind::Refresh { "kfs_" } else { "kfr_" };
            let body = &text[4..];
            let rest = &text[..text.len() - 1];
            for wrong in [
                format!("{other}{body}"),
                format!("KFR_{body}"),
                format!("{text}A"),
                format!("{text}="),
                format!(" {rest}"),
                format!("{rest}\n"),
            ] {
                assert!(Opaque::decode(&wrong, &keys).is_none(), "{wrong}");
            }
        }
        assert!(
            Opaque::decode(&"ż".repeat(OPAQUE_TEXT_BYTES / 2), &keys).is_none(),
            "multi-byte characters do not panic"
        );
    }

    /// Tokens of a later layout or another key index are rejected, even with a valid MAC.
    #[test]
    fn another_version_key_index_or_a_session_token_with_a_family_is_rejected() {
        let keys = keys(7);
        let forged = |kind: OpaqueKind, at: usize, value: u8| {
            let mut bytes = [0; TOKEN_BYTES];
            let text = token(kind).encode(&keys);
            Base64UrlUnpadded::decode(&text.expose()[4..], &mut bytes).unwrap();
            bytes[at] = value;
            let mac = keys.mac(kind, &bytes[..AUTHENTICATED_BYTES]);
            bytes[AUTHENTICATED_BYTES..].copy_from_slice(&mac);
            format!("{}{}", kind.as_str(), Base64UrlUnpadded::encode_string(&bytes))
        };
        assert!(
            Opaque::decode(&forged(OpaqueKind::Refresh, 30, 1), &keys).is_some(),
            "the forged token is otherwise valid"
        );
        for (kind, at, value) in [
            (OpaqueKind::Refresh, 0, 2),
            (OpaqueKind::Refresh, 0, 0),
            (OpaqueKind::Refresh, 1, 1),
            (OpaqueKind::Session, 19, 1),
        ] {
            assert!(Opaque::decode(&forged(kind, at, value), &keys).is_none(), "{at} {value}");
        }
    }

    #[test]
    fn a_successor_and_a_token_id_depend_on_every_input() {
        let keys = keys(7);
        let (secret, salt, scope) = (Secret::new([1; 32]), Salt([2; 32]), "read".parse().unwrap());
        let links = [
            link(),
            Link { session: SessionId([9; 16]), ..link() },
            Link { family: 1, ..link() },
            Link { generation: 1, ..link() },
        ];
        let mut successors: Vec<_> =
            links.iter().map(|link| keys.successor(*link, &secret, &salt).0).collect();
        successors.push(keys.successor(link(), &Secret::new([9; 32]), &salt).0);
        successors.push(keys.successor(link(), &secret, &Salt([9; 32])).0);
        successors.push(super::tests::keys(8).successor(link(), &secret, &salt).0);
        let mut ids: Vec<_> =
            links.iter().map(|link| keys.token_id(*link, &salt, &scope, "a", TokenFormat::Paseto)).collect();
        ids.push(keys.token_id(link(), &Salt([9; 32]), &scope, "a", TokenFormat::Paseto));
        ids.push(keys.token_id(link(), &salt, &"write".parse().unwrap(), "a", TokenFormat::Paseto));
        ids.push(keys.token_id(link(), &salt, &scope, "b", TokenFormat::Paseto));
        ids.push(keys.token_id(link(), &salt, &scope, "a", TokenFormat::Jwt));
        let distinct = |len: usize, set: usize| assert_eq!(len, set);
        distinct(successors.len(), std::collections::HashSet::<_>::from_iter(successors).len());
        distinct(ids.len(), std::collections::HashSet::<_>::from_iter(ids).len());
    }

    #[test]
    fn debug_output_has_no_secret() {
        let shown = format!(
            "{:?} {:?} {:?}",
            token(OpaqueKind::Refresh),
            token(OpaqueKind::Refresh).encode(&keys(7)),
            keys(7)
        );
        assert!(
            shown.contains("secret: Secret(…)") && shown.ends_with("SecretText(…) OpaqueKeys(…)"),
            "{shown}"
        );
    }
}
