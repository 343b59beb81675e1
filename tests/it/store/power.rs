//! The end of the process and the failure of the disk, at every moment of a write.

use std::sync::Arc;

use keyfob::domain::cutoff::CutOffs;
use keyfob::domain::event::EventKind;
use keyfob::domain::id::Position;
use keyfob::domain::session::{Decision, Session};
use keyfob::store::{Lane, Store, StoreError};

use crate::harness::dice::Dice;
use crate::harness::disk::{Disk, Fault};
use crate::harness::fixture::*;
use crate::store::durability::{hold_the_writer, on, start};

/// ROT-15, ROT-16, ROT-17: the power fails at each operation of the disk in turn, and of what was not synced
/// any sectors are lost. What was answered is there; what was not is there whole or not at all.
#[tokio::test]
async fn no_answered_rotation_is_ever_lost_to_a_power_cut() {
    let mut finished = false;
    let mut failures = 0;
    for operations in 0.. {
        let disk = Disk::default();
        let store = on(&disk);
        open(&store, 1, "alice", "app").await;
        disk.arm(operations, Fault::ReadOnly);
        let mut token = Token::first(1);
        let mut asked = None;
        for n in 0..4 {
            let salt = [n; 32];
            let decide = refresh(&token, "app", &Default::default(), salt, moment(i64::from(n)));
            asked = Some(token.successor(&salt));
            match store.update(session_id(1), Lane::Ordinary, decide).await {
                Ok(answer) => {
                    token = token.successor(&answer.unwrap().unwrap().salt.0);
                    asked = None;
                }
                Err(StoreError::Failed(_)) => break,
                Err(error) => panic!("{error}"),
            }
        }
        finished = token.generation == 4;
        if !finished {
            failures += 1;
            assert!(store.ready().is_err());
            let refused = store.update(session_id(1), Lane::Revocation, bump).await;
            assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
        }
        for seed in 0..8 {
            let found = on(&disk.after_power_cut(&mut Dice::new(seed)));
            let family = found.session(session_id(1)).await.unwrap().unwrap().families[0].clone();
            let kept = family.generation == token.generation && family.current == hash(&token.secret);
            let next = asked.as_ref().is_some_and(|next| {
                family.generation == next.generation && family.current == hash(&next.secret)
            });
            assert!(
                kept || next,
                "answered {}, found {} after {operations}, seed {seed}",
                token.generation,
                family.generation
            );
            assert_eq!(family.window.is_some(), family.generation > 0);
            assert_eq!(found.head(), Position(1));
            // A request that was not answered is repeated, and is answered.
            let again = rotate(&found, &token, [99; 32], moment(9)).await.unwrap();
            assert_eq!(Some(&again) == asked.as_ref(), next);
        }
        drop(store);
        if finished {
            break;
        }
    }
    assert!(finished && failures > 10, "{failures}");
}

/// A batch whose commit fails acknowledges none of its requests.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_failed_commit_no_request_is_acknowledged() {
    let disk = Disk::default();
    let store = Arc::new(on(&disk));
    for n in 0..8 {
        open(&*store, n, "alice", "app").await;
    }
    let release = hold_the_writer(&store).await;
    let tasks: Vec<_> = (0..8).map(|n| start(&store, n)).collect();
    while store.counters().waiting < 8 {
        tokio::task::yield_now().await;
    }
    disk.arm(0, Fault::ReadOnly);
    release.send(()).unwrap();
    for task in tasks {
        assert!(matches!(task.await.unwrap(), Err(StoreError::Failed(_) | StoreError::Unavailable(_))));
    }
    assert!(store.ready().is_err());
    assert_eq!(store.head(), Position(8));
    assert!(store.end_everything(None, event(EventKind::AllRevoked, 1)).await.is_err());
    assert!(store.registry().cuts.everything.is_none());
    // Nothing is read either, though it is in the cache: the file may contain more than was acknowledged.
    assert!(store.session(session_id(1)).await.is_err() && store.events(Position(0), 9).await.is_err());
}

/// A panic through a write transaction would leave quick repair off without a word, so it must not get that
/// far.
#[test]
fn a_panic_in_a_decision_ends_the_process() {
    const CHILD: &str = "KEYFOB_TEST_PANIC";
    if std::env::var_os(CHILD).is_some() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let place = Place::new();
            let store = place.open();
            open(&store, 1, "alice", "app").await;
            let panic = |_: &mut Session, _: &CutOffs| -> Decision<()> { panic!("a bug") };
            let _ = store.update(session_id(1), Lane::Ordinary, panic).await;
        });
        return;
    }
    let (_, module) = module_path!().split_once("::").unwrap();
    let own = format!("{module}::a_panic_in_a_decision_ends_the_process");
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", &own, "--nocapture"]).env(CHILD, "1");
    let output = child.output().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&output.status), Some(6), "aborted");
    assert!(String::from_utf8_lossy(&output.stderr).contains("the writer panicked"));
}

/// After a crash the next opening is quick: nothing is repaired, because every commit left behind what is
/// needed.
#[tokio::test]
async fn no_repair_is_needed_after_a_power_cut() {
    let disk = Disk::default();
    let store = on(&disk);
    open(&store, 1, "alice", "app").await;
    store.update(session_id(1), Lane::Ordinary, bump).await.unwrap();
    let found = disk.after_power_cut(&mut Dice::new(1));
    let mut builder = redb::Database::builder();
    builder.set_repair_callback(|_| panic!("a repair"));
    drop(builder.create_with_backend(found).unwrap());
}
