//! What only a store on a disk can promise or break: reopening, power cuts, decay, queues, and what the file
//! shows to a thief.

use std::collections::HashSet;
use std::os::unix::fs::PermissionsExt;
use std::pin::pin;
use std::sync::{Arc, mpsc};
use std::task::{Context, Waker};

use keyfob::domain::cutoff::CutOffs;
use keyfob::domain::event::EventKind;
use keyfob::domain::id::{Position, TokenId};
use keyfob::domain::session::{Decision, NotRefreshed, Revocation, RevokedToken, Session};
use keyfob::store::redb::{OpenError, Options, Redb};
use keyfob::store::{Lane, Opening, Store, StoreError};
use keyfob::token::keys::{Keys, SecretKey};
use redb::{ReadableTable, TableDefinition};

use crate::harness::disk::Disk;
use crate::harness::fixture::*;

const SESSIONS: TableDefinition<&[u8; 16], &[u8]> = TableDefinition::new("sessions");

#[tokio::test]
async fn everything_is_there_after_reopening() {
    let place = Place::new();
    let store = place.open();
    let token = RevokedToken { id: TokenId([5; 16]), expires_at: at(10_000).seconds() };
    store
        .open(Opening { data: Some(data("{}")), ..opening(session(1, "alice", "app")) })
        .await
        .unwrap()
        .unwrap();
    rotate(&store, &Token::first(1), [1; 32], moment(1)).await.unwrap();
    let decide = |c: &mut Option<_>, _: &CutOffs| {
        Decision::with_events(c.replace(client("app")), vec![event(EventKind::ClientCreated, 1)])
    };
    store.update_client(client_id("app"), decide).await.unwrap();
    store.update_client(client_id("gone"), |c, _| Decision::answer(c.replace(client("gone")))).await.unwrap();
    store.update_client(client_id("gone"), |c, _| Decision::answer(c.take())).await.unwrap();
    store.revoke_token(None, token, event(EventKind::TokenRevoked, 1)).await.unwrap().unwrap();
    store.end_everything(None, event(EventKind::AllRevoked, 1)).await.unwrap().unwrap();
    let (before, registry) = (store.session(session_id(1)).await.unwrap(), store.registry());
    assert!(before.as_ref().unwrap().families[0].window.is_some());
    let log_before = log(&store).await;
    drop(store);

    let store = place.open();
    assert_eq!(store.session(session_id(1)).await.unwrap(), before);
    assert_eq!(store.data(session_id(1)).await.unwrap(), Some(data("{}")));
    assert_eq!(store.registry().cuts.registered, registry.cuts.registered);
    assert_eq!(store.registry().cuts, registry.cuts);
    assert!(store.registry().cuts.clients.contains_key(&client_id("gone")));
    assert_eq!(store.head(), Position(4));
    assert_eq!(log(&store).await, log_before);
    assert!(store.is_revoked(token).await.unwrap());
}

#[test]
fn the_file_is_its_owners_alone() {
    let place = Place::new();
    drop(place.open());
    assert_eq!(place.file().metadata().unwrap().permissions().mode() & 0o777, 0o600);
    std::fs::set_permissions(place.file(), std::fs::Permissions::from_mode(0o640)).unwrap();
    let refused = place.try_open().unwrap_err().to_string();
    assert!(refused.contains("run `chmod "), "{refused}");
}

#[test]
fn a_second_opener_is_rejected() {
    let place = Place::new();
    let store = place.open();
    assert!(matches!(place.try_open(), Err(OpenError::AlreadyOpen)));
    drop(store);
    assert!(place.try_open().is_ok());
}

#[test]
fn another_master_key_is_rejected_and_changes_nothing() {
    let place = Place::new();
    drop(place.open());
    let other = Keys::derive(&SecretKey::new([8; 32]));
    assert!(matches!(Redb::open(&place.file(), &other, OPTIONS), Err(OpenError::WrongKey)));
    assert!(place.try_open().is_ok());
}

#[tokio::test]
async fn a_database_is_created_whole_or_not_at_all() {
    let place = Place::new();
    Redb::create(&place.file(), &keys()).unwrap();
    let files: Vec<_> = std::fs::read_dir(place.file().parent().unwrap()).unwrap().collect();
    assert_eq!(files.len(), 1, "nothing else is left: {files:?}");
    let store = place.open();
    assert_eq!((store.head(), store.is_shared()), (Position(0), false));
    open(&store, 1, "alice", "app").await;
    let nowhere = place.file().join("below/keyfob.redb");
    assert!(matches!(Redb::create(&nowhere, &keys()), Err(OpenError::Io(_))));
}

#[test]
fn a_file_of_something_else_is_refused() {
    let place = Place::new();
    std::fs::write(place.file(), "not a database, but long enough to be taken for one\n".repeat(1000))
        .unwrap();
    restrict(&place);
    assert!(matches!(place.try_open(), Err(OpenError::NotOurs(_))));

    let place = Place::new();
    change(&place, |transaction| {
        transaction.open_table(TableDefinition::<u64, u64>::new("stamps")).unwrap();
        transaction.open_table(TableDefinition::<u64, u64>::new("stocks")).unwrap();
    });
    let refused = place.try_open();
    assert!(matches!(&refused, Err(OpenError::NotOurs(why)) if why.contains("other tables")), "{refused:?}");

    let place = Place::new();
    drop(place.open());
    change(&place, |transaction| {
        let mut meta = transaction.open_table(TableDefinition::<&str, &[u8]>::new("meta")).unwrap();
        meta.insert("format", &b"keyfob/\0\0\0\x09"[..]).unwrap();
    });
    assert!(matches!(place.try_open(), Err(OpenError::UnknownFormat(9))));
}

/// A bogus token must not buy an fsync.
#[tokio::test]
async fn what_changes_nothing_is_not_committed() {
    let disk = Disk::default();
    let store = on(&disk);
    open(&store, 1, "alice", "app").await;
    let token = RevokedToken { id: TokenId([5; 16]), expires_at: at(10_000).seconds() };
    store.revoke_token(None, token, event(EventKind::TokenRevoked, 1)).await.unwrap().unwrap();
    let (commits, syncs) = (store.counters().commits, disk.syncs());
    store.update(session_id(1), Lane::Ordinary, nothing).await.unwrap();
    store.update(session_id(2), Lane::Ordinary, nothing).await.unwrap();
    let stranger = refresh(&Token::first(1), "other", &Default::default(), [1; 32], moment(1));
    let answer = store.update(session_id(1), Lane::Ordinary, stranger).await.unwrap().unwrap();
    assert_eq!(answer.unwrap_err(), NotRefreshed::BindingMismatch);
    let same_data = |_: &mut Session, _: &CutOffs| Decision { data: None, ..Decision::answer(()) };
    store.update(session_id(1), Lane::Ordinary, same_data).await.unwrap();
    store.update_keys(|keys, _| Decision::answer(keys.len())).await.unwrap();
    store.update_client(client_id("app"), |client, _| Decision::answer(client.is_some())).await.unwrap();
    store.revoke_token(None, token, event(EventKind::TokenRevoked, 2)).await.unwrap().unwrap();
    store.sweep(sweep(1)).await.unwrap();
    assert_eq!((store.counters().commits, disk.syncs()), (commits, syncs));
    store.update(session_id(1), Lane::Ordinary, bump).await.unwrap();
    assert_eq!(store.counters().commits, commits + 1);
}

/// A session whose window was erased from under its record is unchanged too.
#[tokio::test]
async fn erasing_a_window_writes_no_session_and_leaves_none_to_be_written() {
    let place = Place::new();
    let store = place.open();
    open(&store, 1, "alice", "app").await;
    rotate(&store, &Token::first(1), [1; 32], moment(0)).await.unwrap();
    drop(store);
    let before = record(&place, 1);
    let store = place.open();
    assert_eq!(store.sweep(sweep(10_000)).await.unwrap().windows, 1);
    let commits = store.counters().commits;
    store.update(session_id(1), Lane::Ordinary, nothing).await.unwrap();
    assert_eq!(store.counters().commits, commits);
    drop(store);
    assert_eq!(record(&place, 1), before);
}

/// While one commit is on its way the next batch collects.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_decisions_are_committed_together() {
    let place = Place::new();
    let store = Arc::new(place.open());
    for n in 0..20 {
        open(&*store, n, "alice", "app").await;
    }
    let commits = store.counters().commits;
    let release = hold_the_writer(&store).await;
    let waiting: Vec<_> = (0..20).map(|n| start(&store, n)).collect();
    while store.counters().waiting < 20 {
        tokio::task::yield_now().await;
    }
    release.send(()).unwrap();
    for task in waiting {
        assert_eq!(task.await.unwrap().unwrap(), Some(2));
    }
    assert_eq!(store.counters().commits, commits + 1, "the held batch changed nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_is_busy_and_has_places_left_for_revocations() {
    let place = Place::new();
    let options = Options { write_queue_max: 2, ..OPTIONS };
    let store = Arc::new(Redb::open(&place.file(), &keys(), options).unwrap());
    open(&*store, 1, "alice", "app").await;
    let release = hold_the_writer(&store).await;
    let mut waiting = vec![start(&store, 1), start(&store, 1)];
    while store.counters().waiting < 2 {
        tokio::task::yield_now().await;
    }
    assert!(matches!(store.update(session_id(1), Lane::Ordinary, bump).await, Err(StoreError::Busy)));
    let revocation = tokio::spawn({
        let store = store.clone();
        async move { store.update(session_id(1), Lane::Revocation, bump).await }
    });
    while store.counters().waiting < 3 && !revocation.is_finished() {
        tokio::task::yield_now().await;
    }
    waiting.push(revocation);
    release.send(()).unwrap();
    let mut versions = HashSet::new();
    for task in waiting {
        versions.insert(task.await.unwrap().unwrap().unwrap());
    }
    assert_eq!(versions, HashSet::from([2, 3, 4]));
}

/// A caller that hangs up does not take its revocation with it.
#[tokio::test]
async fn a_decision_runs_even_if_its_caller_has_gone() {
    let place = Place::new();
    let store = place.open();
    open(&store, 1, "alice", "app").await;
    {
        let abandoned = pin!(store.update(session_id(1), Lane::Ordinary, bump));
        let _ = abandoned.poll(&mut Context::from_waker(Waker::noop()));
    }
    store.close();
    assert_eq!(store.session(session_id(1)).await.unwrap().unwrap().version, 2);
    assert!(store.ready().is_err());
    assert!(matches!(
        store.update(session_id(1), Lane::Ordinary, bump).await,
        Err(StoreError::Unavailable(_))
    ));
}

/// A corrupt record is reported by its name, affects no other record, and does not stop the sweep.
#[tokio::test]
async fn a_corrupt_record_is_an_error_that_names_it_and_affects_no_other() {
    let place = Place::new();
    let store = place.open();
    for n in [1, 2] {
        open(&store, n, "alice", "app").await;
    }
    drop(store);
    change(&place, |transaction| {
        let mut sessions = transaction.open_table(SESSIONS).unwrap();
        let mut bytes = sessions.get(&session_id(1).0).unwrap().unwrap().value().to_vec();
        bytes[40] ^= 4;
        sessions.insert(&session_id(1).0, &*bytes).unwrap();
    });
    let store = Arc::new(place.open());
    let name = session_id(1).to_string();
    assert!(is_corrupt(&store.session(session_id(1)).await, "sessions", &name));
    assert!(is_corrupt(&store.sessions(None, None, 10).await, "sessions", &name));
    assert!(is_corrupt(&store.sessions(Some(subject("alice")), None, 10).await, "sessions", &name));
    let everywhere =
        store.update_subject(subject("alice"), None, event(EventKind::SubjectRevoked, 1), |session, cuts| {
            let events = session.close(end(keyfob::domain::end::EndReason::Admin, 1), at(1), cuts);
            Decision::with_events(true, events)
        });
    assert!(is_corrupt(&everywhere.await, "sessions", &name));

    let release = hold_the_writer_on(&store, 2).await;
    let tasks = [start(&store, 1), start(&store, 2)];
    while store.counters().waiting < 2 {
        tokio::task::yield_now().await;
    }
    release.send(()).unwrap();
    let [corrupt, sound] = tasks;
    assert!(is_corrupt(&corrupt.await.unwrap(), "sessions", &name));
    assert_eq!(sound.await.unwrap().unwrap(), Some(2));
    assert!(store.ready().is_ok());
    assert_eq!(store.sweep(sweep(1_860_000)).await.unwrap().expired, 1);
    assert_eq!(store.sweep(sweep(1_860_000)).await.unwrap(), Default::default());
}

/// ROT-20, ROT-21: neither secrets nor salts nor people are in the file, at any time.
#[tokio::test]
async fn the_file_shows_neither_secrets_nor_salts_nor_people() {
    let place = Place::new();
    let store = place.open();
    let mut opened = session(1, "alice@sanssouci.example", "app");
    let token = RevokedToken { id: TokenId([0x5a; 16]), expires_at: at(1_000_000).seconds() };
    opened.revoked_tokens.push(Revocation { token, family: Some(1) });
    let private = Opening { data: Some(data(r#"{"cart":"periwinkle"}"#)), ..opening(opened) };
    store.open(private).await.unwrap().unwrap();
    let (salts, mut token) = ([[0xa1; 32], [0xa2; 32]], Token::first(1));
    let mut hidden = vec![token.secret.to_vec()];
    for (n, salt) in salts.into_iter().enumerate() {
        token = rotate(&store, &token, salt, moment(n as i64)).await.unwrap();
        hidden.extend([token.secret.to_vec(), salt.to_vec()]);
    }
    for text in ["sanssouci", "Finsterwalde", "192.0.2.77", "the den", "obsidian", "periwinkle"] {
        hidden.push(text.as_bytes().to_vec());
    }
    let bytes = std::fs::read(place.file()).unwrap();
    let shown = |bytes: &[u8], text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
    assert!(
        shown(&bytes, b"https://api.example"),
        "what is in clear is found, so this looks in the right place"
    );
    for text in &hidden {
        assert!(!shown(&bytes, text), "{}", String::from_utf8_lossy(text));
    }
    let windows: HashSet<&[u8]> = bytes.windows(32).collect();
    let k = keys();
    for key in [
        &k.refresh_mac,
        &k.session_mac,
        &k.rotation,
        &k.token_id,
        &k.seal,
        &k.wrap,
        &k.index,
        &k.address,
        &k.check,
    ] {
        assert!(!windows.contains(&key.expose_bytes()[..]));
    }
    // And once the window has closed there is not even a sealed salt in a live record.
    store.sweep(sweep(10_001)).await.unwrap();
    drop(store);
    change(&place, |transaction| {
        let windows = transaction.open_table(TableDefinition::<&[u8; 26], &[u8]>::new("windows")).unwrap();
        assert!(windows.iter().unwrap().next().is_none());
    });
}

/// The order of the backend's own bookkeeping: after everything is purged, nothing is left over in any index.
#[tokio::test]
async fn purging_leaves_no_residue() {
    let place = Place::new();
    let store = place.open();
    for n in 0..20 {
        store
            .open(Opening { data: Some(data("{}")), ..opening(session(n, "alice", "app")) })
            .await
            .unwrap()
            .unwrap();
        rotate(&store, &Token::first(n), [1; 32], moment(n as i64 * 1000)).await.unwrap();
        if n % 3 == 0 {
            close(&store, n, 30_000).await;
        }
    }
    store.sweep(sweep(40_000)).await.unwrap();
    store.sweep(sweep(2_000_000)).await.unwrap();
    let mut late = sweep(30 * 86_400_000);
    while store.sweep(late).await.unwrap().more {}
    late.retention = std::time::Duration::ZERO;
    store.sweep(late).await.unwrap();
    assert_eq!(store.head(), Position(40), "20 opened, 7 ended, 13 expired");
    drop(store);
    change(&place, |transaction| {
        fn is_empty<K: redb::Key + 'static, V: redb::Value + 'static>(
            t: &redb::WriteTransaction,
            name: &str,
        ) -> bool {
            t.open_table(TableDefinition::<K, V>::new(name)).unwrap().first().unwrap().is_none()
        }
        assert!(is_empty::<&[u8; 16], &[u8]>(transaction, "sessions"));
        assert!(is_empty::<&[u8; 16], &[u8]>(transaction, "data"));
        assert!(is_empty::<&[u8; 32], ()>(transaction, "subjects"));
        assert!(is_empty::<&[u8; 24], ()>(transaction, "expiry"));
        assert!(is_empty::<&[u8; 26], &[u8]>(transaction, "windows"));
        assert!(is_empty::<u64, &[u8]>(transaction, "events"));
    });
}

/// Storage grows with live sessions, and by this much: a record with one family, and all its index entries.
#[tokio::test]
async fn a_session_takes_less_than_400_bytes() {
    const COUNT: u64 = 2_000;
    let place = Place::new();
    let store = Arc::new(place.open());
    let empty = stored_bytes(&store);
    let tasks: Vec<_> = (0..COUNT)
        .map(|n| {
            let store = store.clone();
            let mut new = session(n, &format!("subject-{n}"), "app");
            new.device = Default::default();
            new.claims = None;
            tokio::spawn(async move { store.open(opening(new)).await.unwrap() })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    let each = (stored_bytes(&store) - empty) / COUNT;
    assert!(each < 400, "{each}");
    assert!(each > 150, "{each}: is anything measured at all?");
}

/// What the tables other than the log take, in bytes.
fn stored_bytes(store: &Redb) -> u64 {
    store.stored_bytes().unwrap().iter().filter(|(table, _)| *table != "events").map(|(_, bytes)| bytes).sum()
}

pub fn on(disk: &Disk) -> Redb {
    Redb::open_backend(disk.clone(), &keys(), OPTIONS).unwrap()
}

/// Changes the file behind the store's back.
fn change(place: &Place, change: impl FnOnce(&redb::WriteTransaction)) {
    let db = redb::Database::create(place.file()).unwrap();
    let transaction = db.begin_write().unwrap();
    change(&transaction);
    transaction.commit().unwrap();
    restrict(place);
}

/// Other programs create files that other users can read.
fn restrict(place: &Place) {
    std::fs::set_permissions(place.file(), std::fs::Permissions::from_mode(0o600)).unwrap();
}

fn record(place: &Place, n: u64) -> Vec<u8> {
    let mut bytes = vec![];
    change(place, |transaction| {
        bytes = transaction
            .open_table(SESSIONS)
            .unwrap()
            .get(&session_id(n).0)
            .unwrap()
            .unwrap()
            .value()
            .to_vec();
    });
    bytes
}

/// Starts a change of session `n`.
pub fn start(store: &Arc<Redb>, n: u64) -> tokio::task::JoinHandle<keyfob::store::Result<Option<u32>>> {
    let store = store.clone();
    tokio::spawn(async move { store.update(session_id(n), Lane::Ordinary, bump).await })
}

pub async fn hold_the_writer(store: &Arc<Redb>) -> mpsc::Sender<()> {
    hold_the_writer_on(store, 1).await
}

/// Keeps the writer in a decision that changes nothing until it is released; what comes meanwhile waits.
async fn hold_the_writer_on(store: &Arc<Redb>, n: u64) -> mpsc::Sender<()> {
    let (release, released) = mpsc::channel();
    let (entered, wait) = mpsc::channel();
    let released = std::sync::Mutex::new(released);
    let decide = move |_: &mut Session, _: &CutOffs| {
        entered.send(()).unwrap();
        released.lock().unwrap().recv().unwrap();
        Decision::answer(())
    };
    let store = store.clone();
    tokio::spawn(async move { store.update(session_id(n), Lane::Ordinary, decide).await });
    tokio::task::spawn_blocking(move || wait.recv().unwrap()).await.unwrap();
    release
}
