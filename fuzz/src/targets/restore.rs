//! A restore of a backup whose entries were changed: refused, or a store whose check finds nothing and in
//! which no token of before is active.

use std::cell::RefCell;
use std::fs;
use std::sync::LazyLock;

use keyfob::domain::algorithm::Algorithm;
use keyfob::domain::event::{Event, EventKind};
use keyfob::domain::key::{KeyRecord, KeyStatus};
use keyfob::store::backup::{Decoder, Head};
use keyfob::store::check::Note;
use keyfob::store::redb::{RestoreError, Restoring};
use keyfob::store::{Store, StoreError};
use keyfob::token::keyring::generate;
use poem::http::Method;

use super::backup::{Tables, decode, encode};
use crate::files::Scratch;
use crate::memory::Memory;
use crate::server::{FORM, Server, keys, now, runtime};
use crate::text::percent_encoded;

/// The backup of the store that every input finds.
static BACKUP: LazyLock<(Head, Tables)> = LazyLock::new(|| {
    runtime().block_on(async {
        let server = Server::start().await;
        let mut pieces = server.store.backup(now()).expect("the store is open");
        let mut bytes = vec![];
        while let Some(piece) = pieces.recv().await {
            bytes.extend(piece.expect("memory does not fail").into_iter().flatten());
        }
        decode(Decoder::authenticating(&keys().backup, false), &bytes, 4096).expect("it is a backup")
    })
});
static KEYS: LazyLock<[KeyRecord; 2]> = LazyLock::new(|| {
    let fresh = |seed, status| generate(Algorithm::EdDsa, [seed; 32], keys(), status, now());
    [fresh(1, KeyStatus::Active), fresh(2, KeyStatus::Next)]
});

thread_local! {
    static FILE: RefCell<Scratch> = RefCell::new(Scratch::new());
}

/// Each line is a change: what it does, a table, an entry, an offset, and bytes.
pub fn run(input: &[u8]) {
    let (mut head, mut tables) = BACKUP.clone();
    input.split(|byte| *byte == b'\n').for_each(|line| change(&mut tables, line));
    head.tables = tables.iter().map(|(name, entries)| (name.as_str().into(), entries.len() as u64)).collect();
    let backup = encode(&head, &tables);
    let path = FILE.with_borrow(|scratch| scratch.path("keyfob.redb"));
    let mut finds = 0;
    let result = (|| {
        let mut restoring = Restoring::begin(&path, keys(), 1 << 20)?;
        let mut decoder = Decoder::authenticating(&keys().backup, false);
        decoder.push(&backup, |piece| restoring.take(&piece))?;
        let head = decoder.finish()?;
        restoring.filled()?;
        restoring.check(head.made_at, &mut |note| {
            finds += u32::from(matches!(note, Note::Find(find) if !find.is_count()));
            Ok::<(), StoreError>(())
        })?;
        if finds == 0 {
            let event = Event::new(EventKind::StoreRestored, now(), "admin.sock");
            restoring.begin_epoch(&event, &*KEYS, None, 7)?;
        }
        Ok::<(), RestoreError>(())
    })();
    match result {
        Err(error) => assert!(!error.to_string().is_empty() && (head, tables) != *BACKUP, "{error}"),
        Ok(()) if finds > 0 => assert_ne!(tables, BACKUP.1),
        Ok(()) => {
            let disk = Memory::of(fs::read(&path).expect("the file is ours"));
            runtime().block_on(ended(disk));
        }
    }
}

/// The restored store has no fault, and nothing that was issued before is active in it.
async fn ended(disk: Memory) {
    let facts = Server::start().await.facts;
    let mut server = Server::boot(disk, 3).await;
    server.check().await;
    for token in facts.issued {
        let form = format!("token={}", percent_encoded(&token));
        let (status, answer) = server.ask(Method::POST, "/oauth2/introspect", "", FORM, form).await;
        assert!(status == 200 && answer["active"] == false, "{status} {answer}");
    }
}

fn change(tables: &mut Tables, line: &[u8]) {
    let [what, table, entry, offset, bytes @ ..] = line else { return };
    let at = |byte: &u8, length: usize| usize::from(*byte).checked_rem(length);
    let Some(place) = at(table, tables.len()) else { return };
    match what {
        b'n' => tables[place].0 = String::from_utf8_lossy(bytes).into_owned(),
        b'x' => _ = tables.remove(place),
        b'm' => {
            let moved = tables.remove(place);
            let to = usize::from(*entry) % (tables.len() + 1);
            tables.insert(to, moved);
        }
        _ => {
            let entries = &mut tables[place].1;
            let Some(number) = at(entry, entries.len()) else { return };
            let (key, value) = &mut entries[number];
            match what {
                b'k' => overwrite(key, *offset, bytes),
                b'r' => overwrite(value, *offset, bytes),
                b't' => value.truncate(usize::from(*offset)),
                b'v' => *value = bytes.to_vec(),
                b'd' => _ = entries.remove(number),
                b'i' => {
                    let (mut key, value) = entries[number].clone();
                    overwrite(&mut key, *offset, bytes);
                    entries.insert(number, (key, value));
                }
                _ => {}
            }
        }
    }
}

fn overwrite(place: &mut [u8], offset: u8, bytes: &[u8]) {
    let places = place.iter_mut().skip(usize::from(offset));
    places.zip(bytes).for_each(|(place, byte)| *place = *byte);
}
