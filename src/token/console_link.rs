//! Secrets of the links to the console (`kfl_`): role, time and position of a link, authenticated by a MAC.
//! Nothing is stored until a link is used.

use base64ct::{Base64UrlUnpadded, Encoding};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::keys::KEY_INDEX;
use super::opaque::{OpaqueKeys, SecretText, array};
use crate::domain::console::ConsoleRole;
use crate::domain::id::{Hash, Position};
use crate::domain::time::Timestamp;

const PREFIX: &str = "kfl_";
const VERSION: u8 = 1;
/// Version 1, key index 1, role 1, time 8, position 8, random 19: with the run of the server, the input of
/// the MAC.
const AUTHENTICATED_BYTES: usize = 38;
/// A multiple of 3, so that the base64url text has no spare bits.
const LINK_BYTES: usize = AUTHENTICATED_BYTES + 16;

/// A link to the console. A decoded one has a valid MAC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsoleLink {
    pub role: ConsoleRole,
    pub made: Timestamp,
    /// The last event when it was made: a later cut-off ends it.
    pub issued: Position,
    /// What distinguishes it from the other links of its time.
    pub random: [u8; 19],
}

impl ConsoleLink {
    /// Its secret, which is valid only for servers with these keys and this `run`.
    pub fn encode(&self, keys: &OpaqueKeys, run: u64) -> SecretText {
        let role = ConsoleRole::ALL.iter().position(|role| *role == self.role).expect("it lists every role");
        let mut bytes = Zeroizing::new([0; LINK_BYTES]);
        bytes[..3].copy_from_slice(&[VERSION, KEY_INDEX, u8::try_from(role).expect("there are few")]);
        bytes[3..11].copy_from_slice(&self.made.millis().to_be_bytes());
        bytes[11..19].copy_from_slice(&self.issued.0.to_be_bytes());
        bytes[19..AUTHENTICATED_BYTES].copy_from_slice(&self.random);
        let mac = keys.link_mac(&bytes[..AUTHENTICATED_BYTES], run);
        bytes[AUTHENTICATED_BYTES..].copy_from_slice(&mac);
        let encoded = Zeroizing::new(Base64UrlUnpadded::encode_string(&*bytes));
        SecretText::new([PREFIX, &encoded].concat())
    }

    /// Decodes a secret and checks its MAC; `None` if anything is wrong.
    pub fn decode(text: &str, keys: &OpaqueKeys, run: u64) -> Option<Self> {
        let mut bytes = Zeroizing::new([0; LINK_BYTES]);
        let decoded = Base64UrlUnpadded::decode(text.strip_prefix(PREFIX)?, &mut *bytes).ok()?;
        if decoded.len() != LINK_BYTES {
            return None;
        }
        let (authenticated, mac) = bytes.split_at(AUTHENTICATED_BYTES);
        let genuine: bool = keys.link_mac(authenticated, run).ct_eq(mac).into();
        if !genuine || authenticated[..2] != [VERSION, KEY_INDEX] {
            return None;
        }
        let role = *ConsoleRole::ALL.get(usize::from(authenticated[2]))?;
        let made = Timestamp::from_millis(i64::from_be_bytes(array(&authenticated[3..11])));
        let issued = Position(u64::from_be_bytes(array(&authenticated[11..19])));
        Some(Self { role, made, issued, random: array(&authenticated[19..]) })
    }

    /// The name under which its use is stored.
    pub fn name(&self) -> Hash {
        let name = Sha256::new().chain_update(b"kf/console/used/v1").chain_update(self.random);
        Hash(name.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::keys::{Keys, SecretKey};

    fn keys(byte: u8) -> OpaqueKeys {
        OpaqueKeys::new(&Keys::derive(&SecretKey::new([byte; 32])))
    }

    #[test]
    fn a_link_is_valid_with_its_keys_in_its_run_and_unaltered() {
        let (made, issued) = (Timestamp::from_millis(1_500), Position(1 << 40));
        let link = |role| ConsoleLink { role, made, issued, random: [7; 19] };
        for role in ConsoleRole::ALL {
            let secret = link(*role).encode(&keys(1), 5);
            assert_eq!(ConsoleLink::decode(secret.expose(), &keys(1), 5), Some(link(*role)));
            assert_eq!(format!("{secret:?}"), "SecretText(…)");
        }
        let secret = link(ConsoleRole::Read).encode(&keys(1), 5);
        let text = secret.expose();
        assert_eq!(text.len(), 4 + 72);
        assert_eq!(ConsoleLink::decode(text, &keys(2), 5), None, "other keys");
        assert_eq!(ConsoleLink::decode(text, &keys(1), 6), None, "another run");
        for at in 0..text.len() {
            let other = if &text[at..=at] == "A" { "B" } else { "A" };
            let altered = [&text[..at], other, &text[at + 1..]].concat();
            assert_eq!(ConsoleLink::decode(&altered, &keys(1), 5), None, "{altered}");
        }
        for altered in [format!("{text}A"), format!("{text}AAAA"), text[..72].to_owned(), String::new()] {
            assert_eq!(ConsoleLink::decode(&altered, &keys(1), 5), None, "{altered}");
        }
    }

    #[test]
    fn links_of_one_time_are_used_under_different_names() {
        let link = |last| {
            let random = std::array::from_fn(|place| if place == 18 { last } else { 0 });
            let (made, issued) = (Timestamp::from_millis(0), Position(0));
            ConsoleLink { role: ConsoleRole::Admin, made, issued, random }
        };
        assert_ne!(link(0).name(), link(1).name());
    }
}
