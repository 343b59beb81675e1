//! A backup is read as it was written, and nothing else is taken for one.

use super::*;

fn head() -> Head {
    let tables = vec![("meta".into(), 2), ("empty".into(), 0), ("sessions".into(), 300)];
    Head { made_at: Timestamp::from_seconds(1_800_000_000), program: "0.1.0".into(), tables }
}

fn key(n: u8) -> SecretKey {
    SecretKey::new([n; 32])
}

/// The backup as an earlier keyfob made it: without a MAC.
fn version_1(bytes: &[u8]) -> Vec<u8> {
    let end = bytes.len() - BEGIN_BYTES - 2 * DIGEST_BYTES - SUM_BYTES;
    let mut old = [FIRST_LINE_1, &bytes[FIRST_LINE.len()..end]].concat();
    let mut frame = vec![END, 0, 0, 0, 32];
    frame.extend(Sha256::digest(&old));
    frame.extend(crc32fast::hash(&frame).to_be_bytes());
    old.extend(frame);
    old
}

/// Reads the whole backup with this decoder.
fn read_with(mut decoder: Decoder, bytes: &[u8]) -> Result<Head, Damage> {
    decoder.push(bytes, |_| Ok::<(), Damage>(()))?;
    decoder.finish()
}

/// An attacker who can write to a backup could compute checksums and digest again.
#[test]
fn a_backup_that_was_altered_with_all_its_checksums_is_not_authentic() {
    let bytes = written();
    assert_eq!(read_with(Decoder::authenticating(&key(1), false), &bytes), Ok(head()));
    assert_eq!(read_with(Decoder::authenticating(&key(2), false), &bytes), Err(Damage::NotAuthentic));
    // The same backup, made again without the key.
    let mut forged = vec![];
    let mut encoder = Encoder::begin(
        |piece: Bytes| {
            forged.extend(piece);
            Ok::<(), Damage>(())
        },
        &key(9),
        &Head { tables: vec![("meta".into(), 1)], ..head() },
    )
    .unwrap();
    encoder.table("meta").unwrap();
    encoder.entry(b"head", b"2").unwrap();
    encoder.end().unwrap();
    assert!(read_with(Decoder::default(), &forged).is_ok(), "its digest is right");
    for accept in [false, true] {
        let decoder = Decoder::authenticating(&key(1), accept);
        assert_eq!(read_with(decoder, &forged), Err(Damage::NotAuthentic), "{accept}");
    }
    let at = bytes.len() - SUM_BYTES - DIGEST_BYTES;
    let without_mac = {
        let mut end = bytes[..at].to_vec();
        let begin = end.len() - BEGIN_BYTES - DIGEST_BYTES;
        end[begin + 4] = 32;
        let sum = crc32fast::hash(&end[begin..]).to_be_bytes();
        [end, sum.to_vec()].concat()
    };
    assert_eq!(read_with(Decoder::authenticating(&key(1), true), &without_mac), Err(Damage::NotAuthentic));
}

/// A forger could write version 1, so it needs a decision.
#[test]
fn a_backup_without_a_mac_is_accepted_only_on_request() {
    let old = version_1(&written());
    assert_eq!(read_with(Decoder::authenticating(&key(1), false), &old), Err(Damage::Unauthenticated));
    assert_eq!(read_with(Decoder::authenticating(&key(1), true), &old), Ok(head()));
    assert_eq!(read_with(Decoder::default(), &old), Ok(head()));
}

/// The entries of the table `sessions`: 300 of 1 KiB, so that they take several frames.
fn entry(number: u16) -> (Vec<u8>, Vec<u8>) {
    (number.to_be_bytes().to_vec(), vec![number.to_be_bytes()[1]; 1024])
}

fn written() -> Vec<u8> {
    let mut bytes = vec![];
    let mut encoder = Encoder::begin(
        |piece: Bytes| {
            bytes.extend(piece);
            Ok::<(), Damage>(())
        },
        &key(1),
        &head(),
    )
    .unwrap();
    encoder.table("meta").unwrap();
    encoder.entry(b"format", b"").unwrap();
    encoder.entry(b"head", b"1").unwrap();
    encoder.table("empty").unwrap();
    encoder.table("sessions").unwrap();
    for number in 0..300 {
        let (key, value) = entry(number);
        encoder.entry(&key, &value).unwrap();
    }
    encoder.end().unwrap();
    bytes
}

/// What is read of these bytes, coming in chunks of this size, and whether that was all.
fn read(bytes: &[u8], chunk: usize) -> (Vec<String>, Result<Head, Damage>) {
    let (mut decoder, mut pieces) = (Decoder::default(), vec![]);
    for chunk in bytes.chunks(chunk) {
        let pushed = decoder.push(chunk, |piece| {
            pieces.push(format!("{piece:?}"));
            Ok::<(), Damage>(())
        });
        if let Err(damage) = pushed {
            return (pieces, Err(damage));
        }
    }
    assert_eq!(decoder.bytes(), bytes.len() as u64);
    (pieces, decoder.finish())
}

#[test]
fn a_backup_is_read_as_it_was_written_however_its_bytes_come() {
    let bytes = written();
    let (pieces, whole) = read(&bytes, usize::MAX);
    assert_eq!(whole, Ok(head()));
    assert_eq!(pieces.len(), 1 + 3 + 302);
    let (key, value) = entry(299);
    assert_eq!(pieces[pieces.len() - 1], format!("{:?}", Piece::Entry(&key, &value)));
    for chunk in [1, 7, 4096, 200_000] {
        assert_eq!(read(&bytes, chunk), (pieces.clone(), Ok(head())), "{chunk}");
    }
}

#[test]
fn wherever_a_backup_is_cut_off_it_is_noticed() {
    let bytes = written();
    for length in (0..400).chain((400..bytes.len()).step_by(2999)).chain([bytes.len() - 1]) {
        let (_, whole) = read(&bytes[..length], 50_000);
        let expected = if length == 0 { Damage::NotOurs } else { Damage::CutOff(length as u64) };
        assert_eq!(whole, Err(expected), "{length}");
    }
}

#[test]
fn whichever_bit_of_a_backup_is_flipped_it_is_noticed() {
    let bytes = written();
    for at in (0..250).chain((250..bytes.len()).step_by(2999)).chain(bytes.len() - 45 - 32..bytes.len()) {
        let mut altered = bytes.clone();
        altered[at] ^= 1 << (at % 8);
        assert!(read(&altered, 50_000).1.is_err(), "byte {at}");
    }
}

/// Each frame is sound, and its checksum right; only the digest of the whole tells.
#[test]
fn a_backup_with_whole_frames_of_another_is_noticed() {
    let bytes = written();
    let mut other = bytes.clone();
    let at = bytes.len() - 60 - 32;
    assert_eq!(&bytes[at - 4..at], [43; 4], "inside the last frame of entries");
    other[at - 1] ^= 1;
    let begin =
        bytes.windows(9).rposition(|frame| frame[0] == ENTRIES && frame[5..] == [0, 0, 0, 2]).unwrap();
    let length = u32::from_be_bytes(bytes[begin + 1..begin + 5].try_into().unwrap()) as usize;
    let sum = crc32fast::hash(&other[begin..begin + 5 + length]).to_be_bytes();
    other[begin + 5 + length..begin + 9 + length].copy_from_slice(&sum);
    let (pieces, whole) = read(&other, 50_000);
    assert!(
        pieces.len() == 306
            && matches!(&whole, Err(Damage::Altered { cause, .. }) if cause.contains("digest")),
        "{whole:?}"
    );
}

#[test]
fn a_head_says_how_many_entries_follow() {
    assert_eq!((head().entries(), head().entries_of("meta"), head().entries_of("sessions")), (302, 2, 300));
    assert_eq!((head().entries_of("empty"), head().entries_of("later")), (0, 0));
}

/// An invalid length must not be waited for.
#[test]
fn a_frame_of_no_kind_or_of_an_excessive_length_is_damage_at_once() {
    let largest = u32::try_from(FRAME_BYTES_MAX).unwrap();
    for (kind, length, is_damage) in
        [(HEAD, largest, false), (HEAD, largest + 1, true), (b'?', 1, true), (b'?', largest + 1, true)]
    {
        let begun = [FIRST_LINE, &[kind], &length.to_be_bytes()].concat();
        let pushed = Decoder::default().push(&begun, |_| Ok::<(), Damage>(()));
        let expected =
            Damage::Altered { at: FIRST_LINE.len() as u64, cause: "the start of a frame is invalid" };
        assert_eq!(pushed.err(), is_damage.then_some(expected), "{kind} {length}");
    }
}

/// With the digest and the MAC of what is there.
#[test]
fn a_backup_with_less_or_more_than_it_announces_is_noticed() {
    let ends_after = |tables: &[(&str, u8)]| {
        let mut bytes = vec![];
        let sink = |piece: Bytes| {
            bytes.extend(piece);
            Ok::<(), Damage>(())
        };
        let announced = vec![("meta".into(), 2), ("empty".into(), 0)];
        let mut encoder = Encoder::begin(sink, &key(1), &Head { tables: announced, ..head() }).unwrap();
        for (name, entries) in tables {
            encoder.table(name).unwrap();
            (0..*entries).for_each(|n| encoder.entry(&[n], b"").unwrap());
        }
        encoder.end().unwrap();
        read_with(Decoder::default(), &bytes)
    };
    assert!(ends_after(&[("meta", 2), ("empty", 0)]).is_ok());
    for (tables, cause) in [
        (&[][..], "a frame is out of order"),
        (&[("meta", 2)], "a frame is out of order"),
        (&[("meta", 1)], "a frame is out of order"),
        (&[("meta", 1), ("empty", 0)], "a frame is out of order"),
        (&[("meta", 3), ("empty", 0)], "the number of entries is not the announced one"),
    ] {
        let damage = ends_after(tables).unwrap_err();
        assert!(matches!(damage, Damage::Altered { cause: found, .. } if found == cause), "{damage}");
    }
}

#[test]
fn what_is_no_backup_or_of_a_later_form_says_so() {
    assert_eq!(read(b"SQLite format 3\0 and so on and on", 100).1, Err(Damage::NotOurs));
    assert_eq!(read(b"no", 100).1, Err(Damage::NotOurs));
    let pushed = Decoder::default().push(b"no", |_| Ok::<(), Damage>(()));
    assert_eq!(pushed, Err(Damage::NotOurs), "no more bytes are waited for");
    let later = [&b"keyfob backup, version 3\n"[..], &written()[FIRST_LINE.len()..]].concat();
    // A pipe may give a part of the first line: it was then no backup of ours.
    for piece in [100, FIRST_WORDS.len() + 1, 1] {
        assert_eq!(read(&later, piece).1, Err(Damage::UnknownVersion("3".into())), "{piece} bytes at a time");
    }
    let longer = [&written()[..], b"x"].concat();
    assert!(matches!(
        read(&longer, usize::MAX).1,
        Err(Damage::Altered { cause: "there are bytes after the end", .. })
    ));
}

#[test]
fn entries_are_collected_to_frames_of_some_size() {
    let bytes = written();
    let (mut at, mut frames) = (FIRST_LINE.len(), vec![]);
    while at < bytes.len() {
        let length = u32::from_be_bytes(bytes[at + 1..at + BEGIN_BYTES].try_into().unwrap()) as usize;
        if bytes[at] == ENTRIES {
            frames.push(length);
        }
        at += BEGIN_BYTES + length + SUM_BYTES;
    }
    let entry_bytes = 4 + 4 + 2 + 1024;
    // The first one has the entries of `meta`.
    assert_eq!(frames, [27, 127 * entry_bytes, 127 * entry_bytes, 46 * entry_bytes]);
}
