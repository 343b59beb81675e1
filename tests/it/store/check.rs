//! Damage is found: bits that flip and rows that vanish, in every table and index of a scratch database,
//! through redb itself.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use keyfob::domain::client::Client;
use keyfob::domain::cutoff::{CutOff, CutOffs};
use keyfob::domain::event::EventKind;
use keyfob::domain::family::RetryWindow;
use keyfob::domain::id::{Position, TokenId};
use keyfob::domain::key::KeyStatus;
use keyfob::domain::session::{Decision, RevokedToken};
use keyfob::store::check::{Checked, Note};
use keyfob::store::record::Codec;
use keyfob::store::redb::{OpenError, check_file};
use keyfob::store::{Opening, Store, record};
use keyfob::token::keyring;
use keyfob::token::keys::{Keys, SecretKey};
use redb::{Database, Key, ReadableTable, TableDefinition, Value, WriteTransaction};

use crate::harness::fixture::*;

type Bytes = &'static [u8];
pub const SESSIONS: TableDefinition<&[u8; 16], Bytes> = TableDefinition::new("sessions");
const DATA: TableDefinition<&[u8; 16], Bytes> = TableDefinition::new("data");
const SUBJECTS: TableDefinition<&[u8; 32], ()> = TableDefinition::new("subjects");
const EXPIRY: TableDefinition<&[u8; 24], ()> = TableDefinition::new("expiry");
const WINDOWS: TableDefinition<&[u8; 26], Bytes> = TableDefinition::new("windows");
const EVENTS: TableDefinition<u64, Bytes> = TableDefinition::new("events");
const CLIENTS: TableDefinition<&str, Bytes> = TableDefinition::new("clients");
const CUT_OFFS: TableDefinition<&str, Bytes> = TableDefinition::new("cut_offs");
pub const LIVE: TableDefinition<&str, Bytes> = TableDefinition::new("live");
const META: TableDefinition<&str, Bytes> = TableDefinition::new("meta");
const ACTIVE: TableDefinition<&[u8; 48], ()> = TableDefinition::new("active");
const OPENING_KEYS: TableDefinition<&[u8; 32], Bytes> = TableDefinition::new("opening_keys");
const OPENED_BY_KEY: TableDefinition<&[u8; 16], &[u8; 32]> = TableDefinition::new("opened_by_key");
const REPEATS: TableDefinition<&[u8; 16], Bytes> = TableDefinition::new("repeats");
const TABLES: usize = 15;

/// A database with something in each table.
async fn filled() -> Place {
    let place = Place::new();
    let store = place.open();
    for name in ["app", "gone"] {
        let put = move |stored: &mut Option<Client>, _: &CutOffs| {
            *stored = stored.is_none().then(|| client(name));
            Decision::with_events((), vec![event(EventKind::ClientCreated, 0)])
        };
        store.update_client(client_id(name), put).await.unwrap();
        if name == "gone" {
            store.update_client(client_id(name), put).await.unwrap();
        }
    }
    store.end_everything(None, event(EventKind::AllRevoked, 1)).await.unwrap().unwrap();
    for n in 1..=3 {
        let session = session(n, "alice", "app");
        let opening = if n < 3 { opening(session) } else { repeatable(session, 5, 6) };
        store.open(Opening { data: Some(data("{}")), ..opening }).await.unwrap().unwrap();
    }
    let token = RevokedToken { id: TokenId([5; 16]), expires_at: at(10_000).seconds() };
    store.revoke_token(None, token, event(EventKind::TokenRevoked, 4)).await.unwrap().unwrap();
    rotate(&store, &Token::first(2), [2; 32], moment(5)).await.unwrap();
    let key = keyring::generate(
        keyfob::domain::algorithm::Algorithm::EdDsa,
        [1; 32],
        &keys(),
        KeyStatus::Active,
        at(0),
    );
    store
        .update_keys(move |keys, _| {
            keys.push(key.clone());
            Decision::answer(())
        })
        .await
        .unwrap();
    store.close();
    place
}

/// What a check finds, as `table key: cause`, and what it looked at.
fn check(place: &Place) -> Result<(Vec<String>, Checked), OpenError> {
    let (mut finds, mut done, mut progress) = (vec![], Checked::default(), 0);
    check_file(&place.file(), &keys(), 1 << 20, at(10), &mut |note| {
        match note {
            Note::Find(find) => finds.push(format!("{} {}: {}", find.table, find.key, find.cause)),
            Note::Done(checked) => done = checked,
            Note::Progress(at) => {
                assert!(at.done == 0 || at.done == at.of, "every 4,096 entries");
                progress += 1;
            }
        }
        Ok(())
    })?;
    assert!((TABLES..=2 * TABLES).contains(&progress), "at the start and at the end of each table");
    Ok((finds, done))
}

fn codec() -> Codec {
    Codec::new(&keys())
}

/// A window that can be encoded under any key.
fn window() -> RetryWindow {
    repeatable(session(1, "alice", "app"), 5, 6).repeat.unwrap().window.unwrap()
}

fn damage(place: &Place, damage: impl FnOnce(&WriteTransaction)) {
    let db = Database::open(place.file()).unwrap();
    let transaction = db.begin_write().unwrap();
    damage(&transaction);
    transaction.commit().unwrap();
}

/// Flips the last bit of the last value of a table.
pub fn flip<K: Key + 'static>(transaction: &WriteTransaction, table: TableDefinition<K, Bytes>) {
    let mut table = transaction.open_table(table).unwrap();
    let (key, mut bytes) = {
        let (key, value) = table.last().unwrap().unwrap();
        (K::as_bytes(&key.value()).as_ref().to_vec(), value.value().to_vec())
    };
    *bytes.last_mut().unwrap() ^= 1;
    table.insert(K::from_bytes(&key), &*bytes).unwrap();
}

/// Removes the first row of a table.
fn drop_first<K: Key + 'static, V: Value + 'static>(
    transaction: &WriteTransaction,
    table: TableDefinition<K, V>,
) {
    assert!(transaction.open_table(table).unwrap().pop_first().unwrap().is_some());
}

#[tokio::test]
async fn a_sound_store_has_no_finds() {
    let place = filled().await;
    let (finds, done) = check(&place).unwrap();
    assert_eq!(finds, [""; 0]);
    assert_eq!((done.sessions, done.active, done.finds), (3, 3, 0));
    assert_eq!(done.clients, [(client_id("app"), at(0))]);
    // meta 4, sessions 3, data 3, active 3, expiry 3, windows 1, opening keys 1, their sessions 1, repeats 1,
    // events 8, clients 1, cut-offs 2, revoked 1, live 1.
    assert_eq!(done.entries, 33);
    let store = place.open();
    let mut pieces = store.check(at(10)).unwrap();
    let mut last = None;
    while let Some(note) = pieces.recv().await.unwrap().unwrap() {
        last = Some(note);
    }
    assert_eq!(last, Some(Note::Done(done)), "beside the writer it finds the same");
}

/// Every kind of damage, and everything that is found of it.
#[tokio::test]
async fn every_damage_is_found_where_it_is() {
    type Damage = fn(&WriteTransaction);
    let first = session_id(1).to_string();
    let last = session_id(3).to_string();
    let miscounted = || "live app: not the number of active sessions".to_owned();
    let opening = format!("opening_keys {}", "05".repeat(32));
    let cases: [(&str, Damage, Vec<String>); 37] = [
        ("a session's bit", |t| flip(t, SESSIONS), vec![format!("sessions {last}: its checksum is wrong")]),
        (
            "private data's bit",
            |t| flip(t, DATA),
            vec![format!("data {last}: cannot be opened under its key and the master key")],
        ),
        (
            "an event's bit",
            |t| flip(t, EVENTS),
            vec!["events 8: cannot be opened under its key and the master key".into()],
        ),
        ("a window's bit", |t| flip(t, WINDOWS), vec!["windows ".into()]),
        ("a client's bit", |t| flip(t, CLIENTS), vec!["clients app: its checksum is wrong".into()]),
        ("a cut-off's bit", |t| flip(t, CUT_OFFS), vec!["cut_offs gone: its checksum is wrong".into()]),
        (
            "a session's row",
            |t| drop_first(t, SESSIONS),
            vec![
                format!("data {first}: its session does not exist"),
                "active ".into(),
                "expiry ".into(),
                miscounted(),
            ],
        ),
        ("a row of the expiry index", |t| drop_first(t, EXPIRY), vec!["expiry ".into()]),
        (
            "an event in the middle",
            |t| assert!(t.open_table(EVENTS).unwrap().remove(4).unwrap().is_some()),
            vec!["events 5: there is a gap before it".into()],
        ),
        (
            "the last event",
            |t| assert!(t.open_table(EVENTS).unwrap().pop_last().unwrap().is_some()),
            vec!["meta head: not the position of the last event".into()],
        ),
        (
            "a subject's row without a session",
            |t| assert!(t.open_table(SUBJECTS).unwrap().insert(&[7; 32], ()).unwrap().is_none()),
            vec!["subjects 0707".into()],
        ),
        (
            "an expiry entry without a session",
            |t| assert!(t.open_table(EXPIRY).unwrap().insert(&[7; 24], ()).unwrap().is_none()),
            vec!["expiry 0707".into()],
        ),
        (
            "a session under another's key",
            |t| {
                let mut table = t.open_table(SESSIONS).unwrap();
                let bytes = table.first().unwrap().unwrap().1.value().to_vec();
                table.insert(&[9; 16], &*bytes).unwrap();
            },
            vec!["sessions ".into()],
        ),
        (
            "the head",
            |t| {
                assert!(
                    t.open_table(META).unwrap().insert("head", &3_u64.to_be_bytes()[..]).unwrap().is_some()
                )
            },
            vec![
                "meta head: not the position of the last event".into(),
                format!("sessions {first}: issued at a position after the end of the event log"),
                format!("sessions {}: issued at a position after the end of the event log", session_id(2)),
                format!("sessions {last}: issued at a position after the end of the event log"),
                "cut_offs : at a position after the end of the event log".into(),
            ],
        ),
        (
            "a session from after the end, with families from before it",
            |t| {
                let mut table = t.open_table(SESSIONS).unwrap();
                let id = session_id(1);
                let bytes = table.get(&id.0).unwrap().unwrap().value().to_vec();
                let mut record = codec().decode_session(id, &bytes).unwrap();
                record.session.issued = Position(99);
                let bytes = codec().encode_session(&record.session, record.slot, record.sealed.as_deref());
                table.insert(&id.0, &*bytes).unwrap();
            },
            vec![format!("sessions {first}: issued at a position after the end of the event log")],
        ),
        (
            "the signing keys",
            |t| assert!(t.open_table(META).unwrap().insert("keys", &b"\x01xxxxyyyy"[..]).unwrap().is_some()),
            vec!["meta keys: its checksum is wrong".into()],
        ),
        (
            "keys of another master key",
            |t| {
                let stranger = Keys::derive(&SecretKey::new([8; 32]));
                let keys = [keyring::generate(
                    keyfob::domain::algorithm::Algorithm::EdDsa,
                    [1; 32],
                    &stranger,
                    KeyStatus::Active,
                    at(0),
                )];
                t.open_table(META).unwrap().insert("keys", &*record::encode_keys(&keys)).unwrap();
            },
            vec!["meta keys: the keys are invalid, or were sealed under another master key".into()],
        ),
        ("a count of active sessions", |t| flip(t, LIVE), vec![miscounted()]),
        ("a row of the counts", |t| drop_first(t, LIVE), vec!["live app: missing".into()]),
        (
            "a count of no client",
            |t| _ = t.open_table(LIVE).unwrap().insert("a b", &1_u64.to_be_bytes()[..]).unwrap(),
            vec!["live a b: not the number of active sessions".into()],
        ),
        (
            "a repetition's bit",
            |t| flip(t, REPEATS),
            vec![format!("repeats {last}: cannot be opened under its key and the master key")],
        ),
        (
            "a repetition without a session",
            |t| {
                let mut table = t.open_table(REPEATS).unwrap();
                table.insert(&session_id(9).0, &*codec().encode_repeat(session_id(9), &window())).unwrap();
            },
            vec![format!("repeats {}: its session does not exist", session_id(9))],
        ),
        ("an opening's bit", |t| flip(t, OPENING_KEYS), vec![format!("{opening}: its checksum is wrong")]),
        (
            "the name of an opening",
            |t| drop_first(t, OPENED_BY_KEY),
            vec![format!("{opening}: it belongs to no session")],
        ),
        (
            "another name of an opening",
            |t| _ = t.open_table(OPENED_BY_KEY).unwrap().insert(&session_id(3).0, &[6; 32]).unwrap().unwrap(),
            vec![format!("{opening}: it belongs to no session")],
        ),
        (
            "a name of an opening without a session",
            |t| _ = t.open_table(OPENED_BY_KEY).unwrap().insert(&session_id(9).0, &[6; 32]).unwrap(),
            vec![format!("opened_by_key {}: its session does not exist", session_id(9))],
        ),
        (
            "private data without a session",
            |t| {
                let mut table = t.open_table(DATA).unwrap();
                table.insert(&session_id(9).0, &*codec().encode_data(session_id(9), &data("{}"))).unwrap();
            },
            vec![format!("data {}: its session does not exist", session_id(9))],
        ),
        (
            "a window of no family",
            |t| {
                let key = record::window_key(at(10_005), session_id(2), 2);
                let mut table = t.open_table(WINDOWS).unwrap();
                table.insert(&key, &*codec().encode_window(&key, &window())).unwrap();
            },
            vec!["windows ".into()],
        ),
        (
            "a window at another time",
            |t| {
                let key = record::window_key(at(10_006), session_id(2), 1);
                let mut table = t.open_table(WINDOWS).unwrap();
                table.insert(&key, &*codec().encode_window(&key, &window())).unwrap();
            },
            vec!["windows ".into()],
        ),
        ("a row of the index of active sessions", |t| drop_first(t, ACTIVE), vec!["active ".into()]),
        (
            "an active session without a session",
            |t| _ = t.open_table(ACTIVE).unwrap().insert(&[7; 48], ()).unwrap(),
            vec!["active 0707".into()],
        ),
        (
            "a client from after the end",
            |t| {
                let client = Client { incarnation: Position(9), ..client("app") };
                t.open_table(CLIENTS).unwrap().insert("app", &*record::encode_client(&client)).unwrap();
            },
            vec!["clients app: created at a position after the end of the event log".into()],
        ),
        (
            "a cut-off of no client",
            |t| {
                let cut = CutOff { position: Position(8), at: at(0), by: "root".into() };
                let mut table = t.open_table(CUT_OFFS).unwrap();
                table.insert("a b", &*record::encode_cut_off("a b", &cut)).unwrap();
            },
            vec!["cut_offs a b: its client_id is malformed".into()],
        ),
        (
            "the epochs",
            |t| _ = t.open_table(META).unwrap().insert("epochs", &b"\x01xxxxyyyy"[..]).unwrap(),
            vec!["meta epochs: its checksum is wrong".into()],
        ),
        (
            "the end of removed revocations",
            |t| _ = t.open_table(META).unwrap().insert("revoked_until", &b"x"[..]).unwrap(),
            vec!["meta revoked_until: not a number".into()],
        ),
        (
            "no head",
            |t| _ = t.open_table(META).unwrap().remove("head").unwrap().unwrap(),
            vec!["meta head: absent".into()],
        ),
        (
            "something unknown",
            |t| assert!(t.open_table(META).unwrap().insert("x", &b""[..]).unwrap().is_none()),
            vec!["meta x: unknown key".into()],
        ),
    ];
    let sound = filled().await;
    let bytes = fs::read(sound.file()).unwrap();
    for (what, harm, expected) in cases {
        let place = Place::new();
        fs::write(place.file(), &bytes).unwrap();
        fs::set_permissions(place.file(), fs::Permissions::from_mode(0o600)).unwrap();
        damage(&place, harm);
        let (finds, done) = check(&place).unwrap();
        let found = |find: &String| expected.iter().any(|expected| find.starts_with(&**expected));
        assert!(
            finds.len() == expected.len() && finds.iter().all(found),
            "{what}: {finds:?}, expected {expected:?}"
        );
        assert_eq!(done.finds, finds.len() as u64, "{what}");
    }
}

/// Bytes of the file itself: wherever one is changed, a check finds it, or nothing that counts was there.
#[tokio::test]
async fn a_changed_byte_of_the_file_is_found_or_was_of_no_account() {
    let read = async |place: &Place| {
        let store = place.open();
        (
            store.sessions(None, None, 10).await.unwrap(),
            log(&store).await,
            store.registry().keys.to_vec(),
            format!("{:?}", store.registry()),
        )
    };
    let sound = filled().await;
    let bytes = fs::read(sound.file()).unwrap();
    let before = read(&sound).await;
    let used: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
    let mut found = 0;
    for at in used.iter().step_by(used.len() / 150) {
        let place = Place::new();
        let mut changed = bytes.clone();
        changed[*at] ^= 0x10;
        fs::write(place.file(), &changed).unwrap();
        match check(&place) {
            Ok((finds, _)) if finds.is_empty() => assert_eq!(read(&place).await, before, "byte {at}"),
            _ => found += 1,
        }
    }
    assert!(found >= 5, "most of a small file is room and former states, but not all: {found} of 150");
}

/// The numbers of active sessions are only counters: wrong or unreadable ones end no session, and are counted
/// again.
#[tokio::test]
async fn a_wrong_number_of_live_sessions_is_counted_anew() {
    for (number, opens) in [(&[0, 0, 0, 0, 0, 0, 0, 9][..], 9), (&[1][..], 3)] {
        let place = filled().await;
        damage(&place, |transaction| {
            _ = transaction.open_table(LIVE).unwrap().insert("app", number).unwrap()
        });
        assert_eq!(
            place.open().figures().await.unwrap().active_by_client,
            [(client_id("app"), opens)].into()
        );
        damage(&place, |transaction| {
            _ = transaction.open_table(LIVE).unwrap().insert("app", number).unwrap()
        });
        assert_eq!(check(&place).unwrap().0, ["live app: not the number of active sessions"]);
        assert_eq!(check(&place).unwrap().0, [""; 0], "what does not count is gone");
        assert_eq!(place.open().figures().await.unwrap().active_by_client, [(client_id("app"), 3)].into());
    }
}

/// What was issued or created by the last event is not after the end of the log.
#[tokio::test]
async fn what_the_last_event_made_is_sound() {
    let place = Place::new();
    let store = place.open();
    open(&store, 1, "alice", "app").await;
    drop(store);
    assert_eq!(check(&place).unwrap().0, [""; 0]);
    let store = place.open();
    let create = |stored: &mut Option<Client>, _: &CutOffs| {
        *stored = Some(client("app"));
        Decision::with_events((), vec![event(EventKind::ClientCreated, 0)])
    };
    store.update_client(client_id("app"), create).await.unwrap();
    drop(store);
    assert_eq!(check(&place).unwrap().0, [""; 0]);
    place.open().end_everything(None, event(EventKind::AllRevoked, 1)).await.unwrap().unwrap();
    assert_eq!(check(&place).unwrap().0, [""; 0]);
}

#[tokio::test]
async fn an_empty_file_is_no_database_to_check() {
    let place = Place::new();
    fs::write(place.file(), "").unwrap();
    fs::set_permissions(place.file(), fs::Permissions::from_mode(0o600)).unwrap();
    assert!(matches!(check(&place), Err(OpenError::NotOurs(_))));
}

/// Entries, sizes, and the ends of the log.
#[tokio::test]
async fn a_store_reports_its_tables_its_file_and_its_log() {
    let place = filled().await;
    let store = place.open();
    let stats = store.stats().await.unwrap();
    let entries: Vec<_> = stats.tables.iter().map(|(name, entries, _)| (*name, *entries)).collect();
    assert_eq!(
        entries,
        [
            ("sessions", 3),
            ("data", 3),
            ("subjects", 0),
            ("active", 3),
            ("expiry", 3),
            ("windows", 1),
            ("opening_keys", 1),
            ("opened_by_key", 1),
            ("repeats", 1),
            ("events", 8),
            ("clients", 1),
            ("cut_offs", 2),
            ("revoked", 1),
            ("live", 1),
            ("meta", 4),
        ]
    );
    // A table without entries has no page; each of the others has one of 4 KiB.
    for (name, entries, bytes) in &stats.tables {
        assert_eq!(*bytes, if *entries == 0 { 0 } else { 4096 }, "{name}");
    }
    let file = stats.file.unwrap();
    assert_eq!(file.bytes, place.file().metadata().unwrap().len());
    assert!(file.disk_free_bytes > 0);
    assert_eq!(stats.oldest_event, Some((Position(1), at(0))));
    assert_eq!(stats.newest_event, Some((Position(8), at(4))));
    assert_eq!((stats.head, stats.epoch), (Position(8), 1));
    assert!(store.replica_figures().is_none());
    let shown = format!("{store:?}");
    assert!(
        shown.starts_with("Redb { counters: Counters { commits: 0, decisions: 0, waiting: 0 }"),
        "{shown}"
    );
}
