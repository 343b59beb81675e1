//! Random histories over PostgreSQL, as over redb: by one store, and by two in turn. A restart is a new store
//! on the same database.

use keyfob::store::Store;
use proptest::prelude::*;

use crate::database::Database;
use crate::pair::Pair;
use crate::store::memory::Memory;
use crate::store::model::action::act;
use crate::store::model::history::{Step, step};
use crate::store::model::state::read;
use crate::store::model::{World, check, draw, note};

/// Runs a history on the stores that `open` makes.
async fn run<S: Store>(steps: Vec<Step>, database: &Database, open: impl AsyncFn() -> S) {
    let (mut world, model) = (World::default(), Memory::new());
    let mut real = open().await;
    for step in steps {
        match step {
            Step::Wait(ms) => {
                world.wall += i64::try_from(ms).unwrap();
                world.elapsed_ms += ms;
            }
            Step::Jump(ms) => world.wall += ms,
            Step::Reopen | Step::PowerCut { .. } => {
                drop(real);
                // As if so much time had passed that the one before no longer has the sweep to itself.
                database.run("DELETE FROM keyfob.leases").await;
                real = open().await;
                (world.boot, world.elapsed_ms) = (world.boot + 1, 0);
            }
            _ => {}
        }
        if let Some(action) = draw(&mut world, &step) {
            let now = world.now();
            let answer = act(&real, action.clone(), now).await.unwrap();
            let expected = act(&model, action.clone(), now).await.unwrap();
            assert_eq!(answer, expected, "{step:?}");
            note(&mut world, &action, &expected);
        }
        let (found, expected) = (read(&real).await, read(&model).await);
        assert_eq!(found, expected, "after {step:?}");
        check(&mut world, &expected);
    }
}

fn block_on(history: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(history);
}

proptest! {
    // Each history has a database of its own.
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn one_store_does_what_the_model_does(steps in proptest::collection::vec(step(), 1..60)) {
        block_on(async {
            let database = Database::new().await;
            run(steps, &database, async || database.open().await).await;
        });
    }

    #[test]
    fn two_stores_in_turn_do_what_the_model_does(steps in proptest::collection::vec(step(), 1..60)) {
        block_on(async {
            let database = Database::new().await;
            run(steps, &database, async || Pair::on(&database).await).await;
        });
    }
}
