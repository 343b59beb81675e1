//! Backups while the server works: consistent whenever they are taken, and bounded in their rate.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::json;
use tempfile::TempDir;

use super::{House, json_of, says};
use crate::harness::process::{data, keyfob, run};
use crate::harness::server::text;

/// Contract, section 7, at the level of files: whatever a backup catches in the middle, what it holds fits
/// together.
#[test]
fn every_backup_under_full_load_passes_the_check() {
    const BACKUPS: usize = 6;
    let house = House::new();
    house.fill();
    let (done, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    let during = std::thread::scope(|scope| {
        for thread in 0..8 {
            let (house, done, answered) = (&house, &done, &answered);
            scope.spawn(move || {
                for number in (0..).take_while(|_| !done.load(Ordering::Relaxed)) {
                    let opened = house.open(&format!("load-{thread}-{}", number % 5));
                    let fields = [
                        ("grant_type", "refresh_token"),
                        ("refresh_token", &*text(&opened["refresh_token"])),
                    ];
                    assert_eq!(house.server().form("/oauth2/token", Some(&house.app), &fields).status, 200);
                    if number % 2 == 0 {
                        let path = format!("/v1/subjects/load-{thread}-{}/sessions", number % 5);
                        assert_eq!(
                            house.server().json("DELETE", &path, Some(&house.app), &json!(null)).status,
                            200
                        );
                    }
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let during: Vec<usize> = (0..BACKUPS)
            .map(|number| {
                let before = answered.load(Ordering::Relaxed);
                let rate: &[&str] = if number == 0 { &["--rate", "2MiB"] } else { &[] };
                house.json(&[&["db", "backup", &format!("{number}.backup")], rate].concat());
                answered.load(Ordering::Relaxed) - before
            })
            .collect();
        done.store(true, Ordering::Relaxed);
        during
    });
    assert!(during[0] > 8, "writers went on while the slow one was read: {during:?}");
    let place = TempDir::new().unwrap();
    fs::create_dir(place.path().join("data")).unwrap();
    fs::copy(data(house.path(), "master.key"), data(place.path(), "master.key")).unwrap();
    let mut sessions = 0;
    for number in 0..BACKUPS {
        let restored = json_of(
            place.path(),
            &["db", "restore", &house.file(&format!("{number}.backup")).display().to_string()],
        );
        assert_eq!(restored["damaged"], 0, "{restored}");
        assert!(restored["sessions"].as_u64().unwrap() >= sessions, "a later backup has no fewer");
        sessions = restored["sessions"].as_u64().unwrap();
        let checked = json_of(place.path(), &["db", "check"]);
        assert_eq!(
            (&checked["sound"], &checked["live"], &checked["file_checked"]),
            (&json!(true), &json!(0), &json!(true))
        );
    }
    assert_eq!(
        house.json(&["db", "check"])["sound"],
        true,
        "and so does the store itself, through the server"
    );
}

/// The stream takes longer than a request may, and no longer than its rate says.
#[test]
fn a_slow_backup_is_not_cut_by_the_request_timeout_and_keeps_to_its_rate() {
    let house = House::with(&[("KEYFOB_LIMITS__REQUEST_TIMEOUT", "1s")]);
    house.fill();
    let reported = house.json(&["db", "backup", "b.backup", "--rate", "1MiB"]);
    let (bytes, seconds) = (reported["bytes"].as_f64().unwrap(), reported["seconds"].as_f64().unwrap());
    assert!(bytes > 3.5e6 && seconds > bytes / f64::from(1 << 20) - 1.0, "{reported}");
    assert_eq!(fs::metadata(house.file("b.backup")).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!house.file("b.backup.partial").exists());
    let text = says(house.path(), &["db", "backup", "c.backup"]);
    assert!(text.contains("The master key is not in it (data/master.key)."), "{text}");
    assert!(
        !fs::read(house.file("c.backup")).unwrap().windows(9).any(|window| window == b"padding\":"),
        "what is private is sealed"
    );
}

#[test]
fn a_backup_goes_to_standard_output_and_without_a_server_too() {
    let mut house = House::new();
    house.open("alice");
    let piped = run(house.path(), &["db", "backup", "-"]);
    assert!(
        piped.status.success() && String::from_utf8_lossy(&piped.stderr).starts_with("backed up 1 sessions")
    );
    assert_eq!(house.server.take().unwrap().stop(), 0);
    let alone = run(house.path(), &["db", "backup", "-"]);
    for output in [piped, alone] {
        fs::write(house.file("x.backup"), &output.stdout).unwrap();
        assert_eq!(json_of(house.path(), &["db", "restore", "x.backup"])["sessions"], 1);
    }
    let mut full = keyfob(house.path(), &["db", "backup", "-"]);
    let output = full.stdout(fs::File::options().write(true).open("/dev/full").unwrap()).output().unwrap();
    assert!(
        !output.status.success()
            && String::from_utf8_lossy(&output.stderr).contains("No space left on device")
    );
}

#[test]
fn sizes_and_counts_are_reported() {
    let house = House::new();
    house.open("alice");
    let stats = house.json(&["db", "stats"]);
    let table = |name: &str| {
        stats["tables"].as_array().unwrap().iter().find(|table| table["name"] == name).unwrap().clone()
    };
    assert_eq!(
        (&table("sessions")["entries"], &table("data")["entries"], &table("clients")["entries"]),
        (&json!(1), &json!(1), &json!(2))
    );
    assert_eq!(
        (&stats["sessions"], &stats["events"], &stats["head"], &stats["epoch"]),
        (&json!(1), &json!(3), &json!("3"), &json!(1))
    );
    let file = fs::metadata(data(house.path(), "keyfob.redb")).unwrap().len();
    assert_eq!(stats["file_bytes"], json!(file));
    assert!(
        stats["free_bytes"].as_u64().unwrap() < file && table("data")["bytes"].as_u64().unwrap() >= 16_000,
        "{stats}"
    );
    assert_eq!(
        (&stats["oldest_event"]["cursor"], &stats["newest_event"]["cursor"]),
        (&json!("1"), &json!("3"))
    );
    let shown = says(house.path(), &["db", "stats"]);
    assert!(
        shown.starts_with("TABLE")
            && shown.contains("newest event")
            && shown.lines().all(|line| line.len() < 80),
        "{shown}"
    );
}
