//! What a backup holds is what was there, and what a restore makes of it is that and one event more.

use std::path::Path;

use keyfob::domain::end::EndReason;
use keyfob::domain::event::{Event, EventKind};
use keyfob::domain::id::Position;
use keyfob::domain::key::{KeyRecord, KeyStatus};
use keyfob::domain::session::Standing;
use keyfob::store::backup::{Decoder, Encoder, Head, Piece};
use keyfob::store::check::Note;
use keyfob::store::record::Codec;
use keyfob::store::redb::{OpenError, Redb, RestoreError, Restoring, reached};
use keyfob::store::{Opening, Store};
use keyfob::token::keyring;
use keyfob::token::keys::{Keys, SecretKey};

use crate::harness::fixture::*;

async fn backup(store: &Redb) -> Vec<u8> {
    let (mut pieces, mut bytes) = (store.backup(at(50)).unwrap(), vec![]);
    while let Some(piece) = pieces.recv().await.unwrap().unwrap() {
        bytes.extend(piece);
    }
    bytes
}

fn fill(restoring: &mut Restoring, bytes: &[u8]) -> Result<Head, RestoreError> {
    let mut decoder = Decoder::default();
    decoder.push(bytes, |piece| restoring.take(&piece))?;
    let head = decoder.finish()?;
    restoring.filled()?;
    Ok(head)
}

fn fresh(status: KeyStatus) -> KeyRecord {
    keyring::generate(keyfob::domain::algorithm::Algorithm::EdDsa, [1; 32], &keys(), status, at(60))
}

fn restore(bytes: &[u8], path: &Path) -> Position {
    let mut restoring = Restoring::begin(path, &keys(), 1 << 20).unwrap();
    let head = fill(&mut restoring, bytes).unwrap();
    assert_eq!(head.made_at, at(50));
    restoring
        .begin_epoch(
            &Event::new(EventKind::StoreRestored, at(60), "root"),
            &[fresh(KeyStatus::Active)],
            None,
            0,
        )
        .unwrap()
}

/// As a move to a file makes it.
#[tokio::test]
async fn a_copy_that_is_closed_goes_on_in_the_epoch_of_the_backup() {
    let (place, other) = (Place::new(), Place::new());
    let store = place.open();
    let opened = [open(&store, 1, "alice", "app").await, open(&store, 2, "bob", "app").await];
    let mut restoring = Restoring::begin(&other.file(), &keys(), 1 << 20).unwrap();
    fill(&mut restoring, &backup(&store).await).unwrap();
    let mut active = None;
    let mut report = |note| {
        if let Note::Done(checked) = note {
            active = Some((checked.active, checked.finds));
        }
        Ok(())
    };
    restoring.check(at(50), &mut report).unwrap();
    assert_eq!(active, Some((2, 0)), "a check of the copy");
    assert_eq!(restoring.close().unwrap(), store.head());
    let copy = other.open();
    for session in opened {
        assert_eq!(copy.session(session.id).await.unwrap().as_deref(), Some(&session));
    }
    assert_eq!(
        (copy.head(), copy.registry().epochs.clone()),
        (store.head(), store.registry().epochs.clone())
    );
}

#[tokio::test]
async fn a_restored_store_is_the_backup_in_a_new_epoch() {
    let (place, other) = (Place::new(), Place::new());
    let store = place.open();
    for n in 0..300 {
        store
            .open(Opening { data: (n % 3 == 0).then(|| data("{}")), ..opening(session(n, "alice", "app")) })
            .await
            .unwrap()
            .unwrap();
    }
    rotate(&store, &Token::first(7), [7; 32], moment(5)).await.unwrap();
    close(&store, 8, 6).await;
    let (sessions, events) = (store.sessions(None, None, 1000).await.unwrap(), log(&store).await);
    let bytes = backup(&store).await;
    // What comes after the snapshot is not in it.
    close(&store, 9, 55).await;

    let began = restore(&bytes, &other.file());
    let restored = other.open();
    assert_eq!(restored.sessions(None, None, 1000).await.unwrap(), sessions);
    assert_eq!(restored.data(session_id(3)).await.unwrap(), Some(data("{}")));
    assert_eq!(
        restored.sessions(Some(subject("alice")), None, 1000).await.unwrap().len(),
        300,
        "the index is there"
    );
    let log = log(&restored).await;
    assert_eq!(log[..events.len()], events);
    assert_eq!(
        (log.len(), log[events.len()].0, log[events.len()].1.kind),
        (events.len() + 1, began, EventKind::StoreRestored)
    );
    assert_eq!((restored.head(), restored.registry().keys.to_vec()), (began, vec![fresh(KeyStatus::Active)]));

    let registry = restored.registry();
    let standing = |n: u64| {
        sessions.iter().find(|session| session.id == session_id(n)).unwrap().standing(at(61), &registry.cuts)
    };
    let reason =
        |standing| if let Standing::Ended(end) = standing { end.reason } else { panic!("{standing:?}") };
    assert_eq!(
        [reason(standing(7)), reason(standing(8)), reason(standing(9))],
        [EndReason::StoreRollback, EndReason::Logout, EndReason::StoreRollback]
    );
    assert_eq!((registry.epochs.number(), registry.epochs.next(Position(301))), (2, Some(began)));
    let opened = open(&restored, 1000, "bob", "app").await;
    assert_eq!(opened.issued, began.next());
    assert!(opened.is_active(at(61), &registry.cuts), "what is opened now lives");
}

/// Each restore is judged by what it replaces: a backup from after a restore has both epochs in it.
#[tokio::test]
async fn a_backup_of_a_restored_store_keeps_the_epochs_apart() {
    let (first, second, third) = (Place::new(), Place::new(), Place::new());
    let store = first.open();
    open(&store, 1, "alice", "app").await;
    let began = restore(&backup(&store).await, &second.file());
    let store = second.open();
    open(&store, 2, "alice", "app").await;
    let again = restore(&backup(&store).await, &third.file());
    let store = third.open();
    assert!(again > began);
    let epochs = store.registry().epochs.clone();
    assert_eq!((epochs.number(), epochs.next(Position(1)), epochs.next(Position(2))), (3, Some(began), None));
    assert_eq!((epochs.next(began.next()), epochs.next(began.next().next())), (Some(again), None));
    let mut finds = 0;
    let mut notes = store.check(at(70)).unwrap();
    while let Some(note) = notes.recv().await.unwrap().unwrap() {
        finds += usize::from(matches!(note, keyfob::store::check::Note::Find(_)));
    }
    assert_eq!(finds, 0, "the gaps between epochs are none");
}

#[tokio::test]
async fn a_reader_that_goes_away_ends_the_backup() {
    let place = Place::new();
    let store = place.open();
    for n in 0..200 {
        let padding = format!(r#"{{"x":"{}"}}"#, "x".repeat(8_000));
        store
            .open(Opening { data: Some(data(&padding)), ..opening(session(n, "alice", "app")) })
            .await
            .unwrap()
            .unwrap();
    }
    let mut pieces = store.backup(at(50)).unwrap();
    assert!(pieces.recv().await.unwrap().is_ok());
    drop(pieces);
    // Nothing else holds the file when the store is gone: then it can be opened again.
    drop(store);
    while place.try_open().is_err() {
        tokio::task::yield_now().await;
    }
}

/// A table's name and its entries.
type Table<'t> = (&'t str, &'t [(&'t [u8], &'t [u8])]);

/// A backup of these tables.
fn made(keys: &Keys, tables: &[Table]) -> Vec<u8> {
    let mut bytes = vec![];
    let sink = |piece: bytes::Bytes| {
        bytes.extend(piece);
        Ok::<(), std::convert::Infallible>(())
    };
    let announced = tables.iter().map(|(name, entries)| ((*name).into(), entries.len() as u64)).collect();
    let head = Head { made_at: at(50), program: "test".into(), tables: announced };
    let mut encoder = Encoder::begin(sink, &keys.backup, &head).unwrap();
    for (name, entries) in tables {
        encoder.table(name).unwrap();
        entries.iter().for_each(|(key, value)| encoder.entry(key, value).unwrap());
    }
    encoder.end().unwrap();
    bytes
}

/// What cannot be a store of this master key is refused, by its table.
#[test]
fn a_backup_of_another_key_and_entries_of_another_form_are_refused() {
    let check = Codec::new(&keys()).key_check();
    let meta: &[(&[u8], &[u8])] = &[(b"format", b"keyfob/\0\0\0\x03"), (b"key_check", &check)];
    let of_another: &[(&[u8], &[u8])] = &[(b"format", b"keyfob/\0\0\0\x03"), (b"key_check", &[7; 32])];
    let refused = |tables: &[Table]| {
        let place = Place::new();
        let mut restoring = Restoring::begin(&place.file(), &keys(), 1 << 20).unwrap();
        fill(&mut restoring, &made(&keys(), tables)).unwrap_err()
    };
    let id: &[u8] = &[1; 16];
    assert!(matches!(
        refused(&[("meta", of_another), ("sessions", &[])]),
        RestoreError::Open(OpenError::WrongKey)
    ));
    assert!(matches!(refused(&[("meta", of_another)]), RestoreError::Open(OpenError::WrongKey)));
    assert!(matches!(
        refused(&[("meta", &[]), ("sessions", &[])]),
        RestoreError::Open(OpenError::NotOurs(_))
    ));
    // Before the first entry of another table is read.
    let place = Place::new();
    let mut restoring = Restoring::begin(&place.file(), &keys(), 1 << 20).unwrap();
    restoring.take(&Piece::Table("meta")).unwrap();
    of_another.iter().for_each(|(key, value)| restoring.take(&Piece::Entry(key, value)).unwrap());
    let first_table = restoring.take(&Piece::Table("sessions"));
    assert!(matches!(first_table, Err(RestoreError::Open(OpenError::WrongKey))));
    let unknown = refused(&[("meta", meta), ("later", &[])]);
    assert!(matches!(unknown, RestoreError::UnknownTable(name) if name == "later"));
    for (table, key, value) in [
        ("sessions", &id[..15], &b"x"[..]),
        ("expiry", &[1; 24], b"x"),
        ("opened_by_key", id, &[2; 31]),
        ("clients", b"\xff", b"x"),
        ("events", &[1; 7], b"x"),
    ] {
        let refusal = refused(&[("meta", meta), (table, &[(key, value)]), ("revoked", &[])]);
        assert!(matches!(refusal, RestoreError::Malformed(named) if named == table), "{table}: {refusal}");
    }
}

/// An interrupted attempt leaves a file, which the next one replaces.
#[tokio::test]
async fn a_restore_replaces_what_an_interrupted_one_left() {
    let (place, other) = (Place::new(), Place::new());
    let store = place.open();
    open(&store, 1, "alice", "app").await;
    let bytes = backup(&store).await;
    std::fs::write(other.file(), "half of it").unwrap();
    restore(&bytes, &other.file());
    assert_eq!(other.open().sessions(None, None, 9).await.unwrap().len(), 1);
}

/// How far the store in place came, so that the new epoch is beyond it.
#[tokio::test]
async fn the_end_of_a_store_is_known_only_if_it_is_ours_and_whole() {
    let end = |place: &Place, keys: &Keys| {
        reached(&place.file(), keys, 1 << 20).map(|reached| (reached.head, reached.number))
    };
    let place = Place::new();
    assert_eq!(end(&place, &keys()), None);
    let store = place.open();
    open(&store, 1, "alice", "app").await;
    open(&store, 2, "alice", "app").await;
    let bytes = backup(&store).await;
    drop(store);
    assert_eq!(end(&place, &keys()), Some((Position(2), 1)));
    assert_eq!(end(&place, &Keys::derive(&SecretKey::new([8; 32]))), None);

    let other = Place::new();
    let began = restore(&bytes, &other.file());
    assert_eq!(end(&other, &keys()), Some((began, 2)));
    let whole = std::fs::read(other.file()).unwrap();
    std::fs::write(other.file(), &whole[..whole.len() / 2]).unwrap();
    assert_eq!(end(&other, &keys()), None, "cut off");
    std::fs::write(other.file(), "").unwrap();
    assert_eq!(end(&other, &keys()), None);
    assert_eq!(other.file().metadata().unwrap().len(), 0, "no database was made of it");
}
