//! The format of a backup: a first line, frames with a checksum each, and at the end a digest of everything
//! with a MAC under a key derived from the master key, so that truncation, damage and forgery are always
//! detected.
//!
//! A frame is one byte for its kind, the length of its body, the body, and a CRC-32 over those; numbers are
//! big-endian. Entries are the stored bytes, sealed where the store seals them. Only the MAC needs the master
//! key. Version 1 has no MAC.

use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::domain::time::Timestamp;
use crate::token::keys::SecretKey;

const FIRST_LINE: &[u8] = b"keyfob backup, version 2\n";
/// The first line of a backup without a MAC.
const FIRST_LINE_1: &[u8] = b"keyfob backup, version 1\n";
/// Precedes the digest in the input of the MAC.
const MAC_LABEL: &[u8] = b"kf/backup/mac/v2";
const DIGEST_BYTES: usize = 32;
/// The first line before its number.
const FIRST_WORDS: &[u8] = b"keyfob backup, version ";
/// A frame of entries is sent when it has this size.
const FRAME_BYTES: usize = 128 * 1024;
/// No frame is larger: the largest entry is a session with the most families and claims allowed.
const FRAME_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Kind and length.
const BEGIN_BYTES: usize = 5;
const SUM_BYTES: usize = 4;

const HEAD: u8 = b'H';
const TABLE: u8 = b'T';
const ENTRIES: u8 = b'E';
const END: u8 = b'Z';

/// The first frame of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    pub made_at: Timestamp,
    /// The version of keyfob that made it.
    pub program: Box<str>,
    /// The tables that follow, with their numbers of entries.
    pub tables: Vec<(Box<str>, u64)>,
}

impl Head {
    /// Entries in all tables.
    pub fn entries(&self) -> u64 {
        self.tables.iter().map(|(_, entries)| entries).sum()
    }

    /// Entries in the table of this name.
    pub fn entries_of(&self, name: &str) -> u64 {
        self.tables.iter().find(|(table, _)| **table == *name).map_or(0, |(_, entries)| *entries)
    }
}

/// Why a backup is invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    #[error("it is not a keyfob backup")]
    NotOurs,
    #[error("it has version {0}, which this keyfob does not support")]
    UnknownVersion(String),
    #[error(
        "it is not authentic: it was made with another master key, or altered since it was made; \
         use a backup from a place that only you can write to"
    )]
    NotAuthentic,
    #[error(
        "an earlier keyfob made it without authentication, so an alteration cannot be detected; \
         if only you could write to it, add --accept-unauthenticated"
    )]
    Unauthenticated,
    #[error("it is cut off after {0} bytes")]
    CutOff(u64),
    #[error("it is damaged at byte {at}: {cause}")]
    Altered {
        /// The offset of the frame.
        at: u64,
        cause: &'static str,
    },
}

/// Writes a backup into `sink`, piece by piece.
pub struct Encoder<S> {
    sink: S,
    mac: Hmac<Sha256>,
    digest: Sha256,
    entries: Vec<u8>,
}

impl<E, S: FnMut(Bytes) -> Result<(), E>> Encoder<S> {
    /// Writes the first line and the first frame. `key` authenticates the backup.
    pub fn begin(sink: S, key: &SecretKey, head: &Head) -> Result<Self, E> {
        let mut encoder = Self { sink, mac: keyed(key), digest: Sha256::new(), entries: vec![] };
        encoder.send(FIRST_LINE.to_vec())?;
        let head = postcard::to_allocvec(head)
            .expect("postcard can encode numbers and strings, and the buffer grows");
        encoder.frame(HEAD, &head)?;
        Ok(encoder)
    }

    /// Starts a table, which may be empty.
    pub fn table(&mut self, name: &str) -> Result<(), E> {
        self.flush()?;
        self.frame(TABLE, name.as_bytes())
    }

    pub fn entry(&mut self, key: &[u8], value: &[u8]) -> Result<(), E> {
        for part in [key, value] {
            self.entries
                .extend(u32::try_from(part.len()).expect("redb takes no part of 4 GiB").to_be_bytes());
        }
        self.entries.extend(key);
        self.entries.extend(value);
        if self.entries.len() >= FRAME_BYTES { self.flush() } else { Ok(()) }
    }

    /// Writes the digest and its MAC.
    pub fn end(mut self) -> Result<(), E> {
        self.flush()?;
        let digest = self.digest.clone().finalize();
        let mac = self.mac.clone().chain_update(digest).finalize().into_bytes();
        self.frame(END, &[&digest[..], &mac].concat())
    }

    fn flush(&mut self) -> Result<(), E> {
        if self.entries.is_empty() {
            return Ok(());
        }
        let entries = std::mem::take(&mut self.entries);
        self.frame(ENTRIES, &entries)
    }

    fn frame(&mut self, kind: u8, body: &[u8]) -> Result<(), E> {
        let mut frame = Vec::with_capacity(BEGIN_BYTES + body.len() + SUM_BYTES);
        frame.push(kind);
        frame.extend(u32::try_from(body.len()).expect("frames are small").to_be_bytes());
        frame.extend(body);
        frame.extend(crc32fast::hash(&frame).to_be_bytes());
        self.send(frame)
    }

    fn send(&mut self, bytes: Vec<u8>) -> Result<(), E> {
        self.digest.update(&bytes);
        (self.sink)(bytes.into())
    }
}

/// A decoded part of a backup.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    Head(&'a Head),
    /// The following entries belong to this table.
    Table(&'a str),
    /// Key and value.
    Entry(&'a [u8], &'a [u8]),
}

fn keyed(key: &SecretKey) -> Hmac<Sha256> {
    let mac = Hmac::<Sha256>::new_from_slice(key.expose_bytes()).expect("HMAC takes keys of any length");
    mac.chain_update(MAC_LABEL)
}

/// Decodes a backup as its bytes arrive, and compares it with its first frame. The default does not
/// authenticate it.
#[derive(Default)]
pub struct Decoder {
    /// By which the backup must prove that it was made with this master key. `None`: it was received from the
    /// server a moment ago.
    mac: Option<Hmac<Sha256>>,
    /// Whether a backup of version 1, which has no MAC, is accepted all the same.
    accepts_version_1: bool,
    /// The version of the backup is 1.
    is_version_1: bool,
    digest: Sha256,
    /// The bytes of an incomplete frame.
    left: Vec<u8>,
    /// The bytes of complete frames so far.
    read: u64,
    started: bool,
    head: Option<Head>,
    /// How many tables have started, and how many entries of the last are missing.
    tables: usize,
    missing: u64,
    ended: bool,
}

impl Decoder {
    /// A decoder that rejects what was not made with `key`, except, if `accept_version_1`, what an earlier
    /// keyfob made without a MAC.
    pub fn authenticating(key: &SecretKey, accept_version_1: bool) -> Self {
        Self { mac: Some(keyed(key)), accepts_version_1: accept_version_1, ..Self::default() }
    }

    /// Takes the next bytes, and passes the frames that they complete to `take`. Only [`Self::finish`] says
    /// whether the backup is complete.
    pub fn push<E: From<Damage>>(
        &mut self,
        bytes: &[u8],
        mut take: impl FnMut(Piece) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut left = std::mem::take(&mut self.left);
        left.extend(bytes);
        let mut taken = 0;
        while let Some(whole) = self.next(&left[taken..])? {
            self.take(whole, &mut take)?;
            taken += whole.len();
        }
        left.drain(..taken);
        self.left = left;
        Ok(())
    }

    /// Bytes received so far.
    pub fn bytes(&self) -> u64 {
        self.read + self.left.len() as u64
    }

    /// To be called after the last bytes.
    pub fn finish(self) -> Result<Head, Damage> {
        let cut_off = Damage::CutOff(self.bytes());
        match self.head {
            _ if !self.started => {
                Err(if is_beginning(&self.left) && !self.left.is_empty() { cut_off } else { Damage::NotOurs })
            }
            Some(head) if self.ended && self.left.is_empty() => Ok(head),
            _ => Err(cut_off),
        }
    }

    /// The first line or the first frame of `bytes`, if it is complete.
    fn next<'a>(&self, bytes: &'a [u8]) -> Result<Option<&'a [u8]>, Damage> {
        if !self.started {
            return match bytes.get(..FIRST_LINE.len()) {
                Some(FIRST_LINE) => Ok(Some(FIRST_LINE)),
                Some(FIRST_LINE_1) if self.mac.is_some() && !self.accepts_version_1 => {
                    Err(Damage::Unauthenticated)
                }
                Some(FIRST_LINE_1) => Ok(Some(FIRST_LINE_1)),
                Some(line) => Err(line.strip_prefix(FIRST_WORDS).map_or(Damage::NotOurs, |version| {
                    Damage::UnknownVersion(
                        String::from_utf8_lossy(version)
                            .trim_end()
                            .chars()
                            .filter(|c| !c.is_control())
                            .collect(),
                    )
                })),
                None if is_beginning(bytes) => Ok(None),
                None => Err(Damage::NotOurs),
            };
        }
        if self.ended && !bytes.is_empty() {
            return Err(self.altered("there are bytes after the end"));
        }
        let Some((begin, _)) = bytes.split_first_chunk::<BEGIN_BYTES>() else { return Ok(None) };
        let length = u32::from_be_bytes([begin[1], begin[2], begin[3], begin[4]]) as usize;
        if length > FRAME_BYTES_MAX || ![HEAD, TABLE, ENTRIES, END].contains(&begin[0]) {
            return Err(self.altered("the start of a frame is invalid"));
        }
        Ok(bytes.get(..BEGIN_BYTES + length + SUM_BYTES))
    }

    fn take<E: From<Damage>>(
        &mut self,
        whole: &[u8],
        take: &mut impl FnMut(Piece) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.started {
            let (frame, sum) = whole.split_at(whole.len() - SUM_BYTES);
            if crc32fast::hash(frame).to_be_bytes() != *sum {
                return Err(self.altered("its checksum is wrong").into());
            }
            self.frame(frame[0], &frame[BEGIN_BYTES..], take)?;
        }
        if !self.started {
            (self.started, self.is_version_1) = (true, whole == FIRST_LINE_1);
        }
        self.digest.update(whole);
        self.read += whole.len() as u64;
        Ok(())
    }

    fn frame<E: From<Damage>>(
        &mut self,
        kind: u8,
        body: &[u8],
        take: &mut impl FnMut(Piece) -> Result<(), E>,
    ) -> Result<(), E> {
        match (kind, &self.head) {
            (HEAD, None) => {
                let head = postcard::from_bytes(body)
                    .map_err(|_| self.altered("the first frame cannot be decoded"))?;
                take(Piece::Head(self.head.insert(head)))
            }
            (TABLE, Some(head)) if self.missing == 0 => {
                let Some((name, entries)) =
                    head.tables.get(self.tables).filter(|(name, _)| name.as_bytes() == body)
                else {
                    return Err(self.altered("a table that was not announced").into());
                };
                (self.tables, self.missing) = (self.tables + 1, *entries);
                take(Piece::Table(name))
            }
            (ENTRIES, Some(_)) => self.entries(body, take),
            (END, Some(head)) if self.missing == 0 && self.tables == head.tables.len() => {
                self.ended = true;
                self.check_end(body).map_err(Into::into)
            }
            _ => Err(self.altered("a frame is out of order").into()),
        }
    }

    /// Checks the digest, and the MAC if one is required.
    fn check_end(&self, body: &[u8]) -> Result<(), Damage> {
        let (digest, mac) =
            body.split_at_checked(DIGEST_BYTES).ok_or_else(|| self.altered("its end is too short"))?;
        if self.digest.clone().finalize()[..] != *digest {
            return Err(self.altered("the digest does not match"));
        }
        let Some(keyed) = self.mac.as_ref().filter(|_| !self.is_version_1) else { return Ok(()) };
        keyed.clone().chain_update(digest).verify_slice(mac).map_err(|_| Damage::NotAuthentic)
    }

    fn entries<E: From<Damage>>(
        &mut self,
        mut body: &[u8],
        take: &mut impl FnMut(Piece) -> Result<(), E>,
    ) -> Result<(), E> {
        while !body.is_empty() {
            let lengths = body.split_first_chunk::<8>();
            let entry = lengths.and_then(|(lengths, rest)| {
                let [k0, k1, k2, k3, v0, v1, v2, v3] = *lengths;
                let (key, rest) = rest.split_at_checked(u32::from_be_bytes([k0, k1, k2, k3]) as usize)?;
                let (value, rest) = rest.split_at_checked(u32::from_be_bytes([v0, v1, v2, v3]) as usize)?;
                Some((key, value, rest))
            });
            let Some((key, value, rest)) = entry.filter(|_| self.missing > 0) else {
                return Err(self.altered("the number of entries is not the announced one").into());
            };
            self.missing -= 1;
            body = rest;
            take(Piece::Entry(key, value))?;
        }
        Ok(())
    }

    fn altered(&self, cause: &'static str) -> Damage {
        Damage::Altered { at: self.read, cause }
    }
}

/// Whether the bytes can become the first line of a backup of some version.
fn is_beginning(bytes: &[u8]) -> bool {
    FIRST_WORDS.starts_with(bytes) || bytes.starts_with(FIRST_WORDS)
}

#[cfg(test)]
mod tests;
