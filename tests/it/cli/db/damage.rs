//! What the commands report of a damaged database.

use std::fs;

use redb::Database;

use super::House;
use crate::harness::process::{Process, data as file_in, run};
use crate::store::check::{LIVE, SESSIONS, flip};

/// A wrong number is fixed without a restore, which would end all sessions; and a backup with it is valid.
#[test]
fn a_wrong_number_of_active_sessions_is_reported_with_its_remedy() {
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
