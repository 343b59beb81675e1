//! Damage is found: bits that flip and rows that vanish, in every table and index of a scratch database,
//! through redb itself.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use keyfob::domain::client::Client;
use keyfob::domain::cutoff::CutOffs;
use keyfob::domain::event::EventKind;
use keyfob::domain::key::KeyStatus;
use keyfob::domain::session::Decision;
use keyfob::store::check::{Checked, Note};
use keyfob::store::redb::{OpenError, check_file};
use keyfob::store::{Opening, Store, record};
use keyfob::token::keyring;
use keyfob::token::keys::{Keys, SecretKey};
use redb::{Database, Key, ReadableTable, TableDefinition, Value, WriteTransaction};

use super::House;
use crate::harness::fixture::*;
use crate::harness::process::{Process, data as file_in, run};

type Bytes = &'static [u8];
const SESSIONS: TableDefinition<&[u8; 16], Bytes> = TableDefinition::new("sessions");
const DATA: TableDefinition<&[u8; 16], Bytes> = TableDefinition::new("data");
const SUBJECTS: TableDefinition<&[u8; 32], ()> = TableDefinition::new("subjects");
const EXPIRY: TableDefinition<&[u8; 24], ()> = TableDefinition::new("expiry");
const WINDOWS: TableDefinition<&[u8; 26], Bytes> = TableDefinition::new("windows");
const EVENTS: TableDefinition<u64, Bytes> = TableDefinition::new("events");
const CLIENTS: TableDefinition<&str, Bytes> = TableDefinition::new("clients");
const CUT_OFFS: TableDefinition<&str, Bytes> = TableDefinition::new("cut_offs");
const LIVE: TableDefinition<&str, Bytes> = TableDefinition::new("live");
const META: TableDefinition<&str, Bytes> = TableDefinition::new("meta");

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
        store
            .open(Opening { data: Some(data("{}")), ..opening(session(n, "alice", "app")) })
            .await
            .unwrap()
            .unwrap();
    }
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
    let (mut finds, mut done) = (vec![], Checked::default());
    check_file(&place.file(), &keys(), 1 << 20, at(10), &mut |note| {
        match note {
            Note::Find(find) => finds.push(format!("{} {}: {}", find.table, find.key, find.cause)),
            Note::Done(checked) => done = checked,
            Note::Progress(at) => assert!(at.done <= at.of),
        }
        Ok(())
    })?;
    Ok((finds, done))
}

fn damage(place: &Place, damage: impl FnOnce(&WriteTransaction)) {
    let db = Database::open(place.file()).unwrap();
    let transaction = db.begin_write().unwrap();
    damage(&transaction);
    transaction.commit().unwrap();
}

/// Flips the last bit of the last value of a table.
fn flip<K: Key + 'static>(transaction: &WriteTransaction, table: TableDefinition<K, Bytes>) {
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
    // meta 4, sessions 3, data 3, active 3, expiry 3, windows 1, events 7, clients 1, cut-offs 2, live 1.
    assert_eq!(done.entries, 28);
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
    let cases: [(&str, Damage, Vec<String>); 19] = [
        ("a session's bit", |t| flip(t, SESSIONS), vec![format!("sessions {last}: its checksum is wrong")]),
        (
            "private data's bit",
            |t| flip(t, DATA),
            vec![format!("data {last}: cannot be opened under its key and the master key")],
        ),
        (
            "an event's bit",
            |t| flip(t, EVENTS),
            vec!["events 7: cannot be opened under its key and the master key".into()],
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
        assert_eq!(place.open().figures().unwrap().active_by_client, [(client_id("app"), opens)].into());
        damage(&place, |transaction| {
            _ = transaction.open_table(LIVE).unwrap().insert("app", number).unwrap()
        });
        assert_eq!(check(&place).unwrap().0, ["live app: not the number of active sessions"]);
        assert_eq!(check(&place).unwrap().0, [""; 0], "what does not count is gone");
        assert_eq!(place.open().figures().unwrap().active_by_client, [(client_id("app"), 3)].into());
    }
}

/// A wrong number is fixed without a restore, which would end all sessions; and a backup with it is valid.
#[test]
fn a_wrong_number_of_live_sessions_says_its_own_mend() {
    let mut house = House::new();
    house.open("alice");
    assert_eq!(house.server.take().unwrap().stop(), 0);
    let wrong = || {
        let db = Database::open(file_in(house.path(), "keyfob.redb")).unwrap();
        let transaction = db.begin_write().unwrap();
        transaction.open_table(LIVE).unwrap().insert("app", &[0, 0, 0, 0, 0, 0, 0, 9][..]).unwrap();
        transaction.commit().unwrap();
    };
    wrong();
    super::says(house.path(), &["db", "backup", "b.backup"]);
    let look = || String::from_utf8(run(house.path(), &["db", "check"]).stderr).unwrap();
    let alone = look();
    assert!(
        alone.contains("the next start counts again; nothing else is damaged") && !alone.contains("restore"),
        "{alone}"
    );
    wrong();
    let server = Process::start(house.path());
    let through = look();
    assert!(
        through.contains("stop the server and run `keyfob db check`") && !through.contains("restore"),
        "{through}"
    );
    assert_eq!(server.stop(), 0);
    let reported = super::says(house.path(), &["db", "restore", "b.backup"]);
    assert!(!reported.contains("damaged"), "{reported}");
}

/// The command says what is damaged, what to do, and 1; through the server as without one.
#[test]
fn the_command_names_what_is_damaged_and_what_to_do() {
    let mut house = House::new();
    house.open("alice");
    assert_eq!(house.server.take().unwrap().stop(), 0);
    let db = Database::open(file_in(house.path(), "keyfob.redb")).unwrap();
    let transaction = db.begin_write().unwrap();
    flip(&transaction, SESSIONS);
    transaction.commit().unwrap();
    drop(db);
    let look = |arguments: &[&str]| {
        let output = run(house.path(), arguments);
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(
            said.contains("1 entry is damaged: ")
                && said.contains("keyfob db restore FILE")
                && said.lines().count() == 1,
            "{said}"
        );
        String::from_utf8(output.stdout).unwrap()
    };
    let alone = look(&["db", "check"]);
    assert!(
        alone.contains("sessions  ")
            && alone.contains("its checksum is wrong")
            && alone.contains("and the pages of the file"),
        "{alone}"
    );
    let server = Process::start(house.path());
    let through = look(&["db", "check"]);
    assert!(through.contains("its checksum is wrong") && !through.contains("pages"), "{through}");
    let reported: serde_json::Value = serde_json::from_str(&look(&["db", "check", "--json"])).unwrap();
    assert_eq!(
        (&reported["sound"], &reported["finds"][0]["table"]),
        (&serde_json::json!(false), &serde_json::json!("sessions"))
    );
    assert!(fs::read_to_string(house.file("log.txt")).unwrap().contains("a check of the store found damage"));
    // A backup of it is refused, unless the operator accepts the damage.
    super::says(house.path(), &["db", "backup", "b.backup"]);
    assert_eq!(server.stop(), 0);
    let refusal = super::refuses(house.path(), &["db", "restore", "b.backup"]);
    assert!(
        refusal.contains("1 records in it are damaged; the first is ") && refusal.contains("--accept-damage"),
        "{refusal}"
    );
    let reported = super::says(house.path(), &["db", "restore", "--accept-damage", "b.backup"]);
    assert!(reported.contains("1 damaged records are still damaged"), "{reported}");
}
