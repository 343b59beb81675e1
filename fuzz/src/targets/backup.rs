//! The stream of a backup: read the same however it arrives, never without its MAC, and written as it was.

use std::convert::Infallible;

use bytes::Bytes;
use keyfob::store::backup::{Damage, Decoder, Encoder, Head, Piece};

use crate::server::keys;

/// The first byte says how the rest arrives: the bytes of a backup, or the entries of one.
pub fn run(input: &[u8]) {
    let Some((how, rest)) = input.split_first() else { return };
    read(rest, usize::from(*how) + 1);
    write(rest, usize::from(*how) + 1);
}

/// What was read: the entries of each table.
pub type Tables = Vec<(String, Vec<(Vec<u8>, Vec<u8>)>)>;

fn read(bytes: &[u8], piece: usize) {
    let whole = decode(Decoder::authenticating(&keys().backup, false), bytes, bytes.len().max(1));
    assert_eq!(decode(Decoder::authenticating(&keys().backup, false), bytes, piece), whole);
    let unauthenticated = decode(Decoder::default(), bytes, piece);
    let Ok((head, tables)) = whole else { return };
    assert_eq!(unauthenticated, Ok((head.clone(), tables.clone())));
    assert!(head.entries() >= tables.iter().map(|(_, entries)| entries.len() as u64).sum());
    assert!(encode(&head, &tables) == bytes);
}

/// A backup of what these bytes describe, which is cut off or altered in one place.
fn write(bytes: &[u8], at: usize) {
    let mut tables: Tables = vec![];
    for line in bytes.split(|byte| *byte == b'\n') {
        match line.iter().position(|byte| *byte == b'=') {
            None => tables.push((String::from_utf8_lossy(line).into_owned(), vec![])),
            Some(end) => tables
                .last_mut()
                .map_or((), |(_, entries)| entries.push((line[..end].to_vec(), line[end + 1..].to_vec()))),
        }
    }
    let announced =
        tables.iter().map(|(name, entries)| (name.as_str().into(), entries.len() as u64)).collect();
    let head = Head { made_at: crate::server::now(), program: "0.1.0".into(), tables: announced };
    let mut backup = encode(&head, &tables);
    let decoder = || Decoder::authenticating(&keys().backup, false);
    assert_eq!(decode(decoder(), &backup, at), Ok((head, tables)));
    let at = at % backup.len();
    assert!(decode(decoder(), &backup[..at], 4096).is_err(), "cut off at {at}");
    backup[at] ^= 1 << (bytes.len() % 8);
    assert!(decode(decoder(), &backup, 4096).is_err(), "altered at {at}");
}

pub fn decode(mut decoder: Decoder, bytes: &[u8], piece: usize) -> Result<(Head, Tables), Damage> {
    let mut tables: Tables = vec![];
    for part in bytes.chunks(piece) {
        decoder.push(part, |piece| {
            match piece {
                Piece::Head(_) => {}
                Piece::Table(name) => tables.push((name.to_owned(), vec![])),
                Piece::Entry(key, value) => tables
                    .last_mut()
                    .expect("an entry belongs to a table")
                    .1
                    .push((key.to_vec(), value.to_vec())),
            }
            Ok::<(), Damage>(())
        })?;
    }
    Ok((decoder.finish()?, tables))
}

pub fn encode(head: &Head, tables: &Tables) -> Vec<u8> {
    let mut backup = vec![];
    let sink = |bytes: Bytes| {
        backup.extend(bytes);
        Ok::<(), Infallible>(())
    };
    let Ok(()) = (|| {
        let mut encoder = Encoder::begin(sink, &keys().backup, head)?;
        for (name, entries) in tables {
            encoder.table(name)?;
            entries.iter().try_for_each(|(key, value)| encoder.entry(key, value))?;
        }
        encoder.end()
    })();
    backup
}
