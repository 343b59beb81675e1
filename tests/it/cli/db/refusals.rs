//! What is refused before anything is changed, and how each says how to go on.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::json;
use tempfile::TempDir;

use super::{House, json_of, names, refuses, says};
use crate::harness::process::{Process, data, keyfob, run};
use crate::harness::server::text;

/// A house whose backup is in `b.backup`, and which stands still.
fn closed() -> House {
    let mut house = House::new();
    house.open("alice");
    house.json(&["db", "backup", "b.backup"]);
    assert_eq!(house.server.take().unwrap().stop(), 0);
    house
}

/// What no refusal may change.
fn state(house: &House) -> (Vec<String>, Vec<u8>) {
    (names(&house.file("data")), fs::read(data(house.path(), "keyfob.redb")).unwrap())
}

#[test]
fn a_running_server_a_wrong_key_and_a_missing_one_are_refused() {
    let mut house = closed();
    let before = state(&house);
    let key = data(house.path(), "master.key");
    let right = fs::read(&key).unwrap();
    fs::write(&key, format!("{}\n", "A".repeat(43))).unwrap();
    let wrong = refuses(house.path(), &["db", "restore", "b.backup"]);
    assert!(
        wrong.contains("b.backup: it was made with another master key")
            && wrong.contains("nothing was changed"),
        "{wrong}"
    );
    fs::remove_file(&key).unwrap();
    let missing = refuses(house.path(), &["db", "restore", "b.backup"]);
    assert!(missing.contains("master.key is missing: restore it from your copy"), "{missing}");
    fs::write(&key, right).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(state(&house), before);

    house.server = Some(Process::start(house.path()));
    let running = refuses(house.path(), &["db", "restore", "b.backup"]);
    assert!(
        running.contains(&format!(
            "in use by another keyfob, process {}: stop that process first",
            house.server().id()
        )),
        "{running}"
    );
}

#[test]
fn a_backup_that_is_cut_off_altered_or_none_at_all_is_refused() {
    let house = closed();
    let before = state(&house);
    let whole = fs::read(house.file("b.backup")).unwrap();
    let mut altered = whole.clone();
    altered[whole.len() / 2] ^= 4;
    for (bytes, said) in [
        (&whole[..whole.len() - 1], "it is cut off after"),
        (&whole[..whole.len() / 2], "it is cut off after"),
        (&altered[..], "its checksum is wrong"),
        (&b"CREATE TABLE sessions"[..], "it is not a keyfob backup"),
        (&before.1[..], "it is not a keyfob backup"),
    ] {
        fs::write(house.file("x.backup"), bytes).unwrap();
        let refusal = refuses(house.path(), &["db", "restore", "x.backup"]);
        assert!(refusal.contains("x.backup: ") && refusal.contains(said), "{refusal}");
    }
    assert!(refuses(house.path(), &["db", "restore", "nowhere"]).contains("nowhere: No such file"));
    assert_eq!(state(&house), before);
    assert_eq!(run(house.path(), &["db", "restore"]).status.code(), Some(2));
}

/// Only the key and the backup: another machine, with the key in a file or in the environment; without
/// `admin.json`, and whatever the first start of an empty installation would say.
#[test]
fn a_fresh_machine_needs_the_backup_and_the_key_and_nothing_else() {
    let house = closed();
    let key = fs::read(data(house.path(), "master.key")).unwrap();
    let session = text(&house.json(&["session", "list"])[0]["id"]);
    for by_environment in [false, true] {
        let place = TempDir::new().unwrap();
        let settings: &[(&str, &str)] =
            if by_environment { &[("KEYFOB_KEYS__MASTER_KEY_ENV", "THE_KEY")] } else { &[] };
        let with_key = |arguments: &[&str]| {
            let mut command = keyfob(place.path(), arguments);
            command.envs(settings.iter().copied());
            if by_environment {
                command.env("THE_KEY", String::from_utf8(key.clone()).unwrap().trim());
            }
            command.output().unwrap()
        };
        if !by_environment {
            fs::create_dir(place.path().join("data")).unwrap();
            fs::write(data(place.path(), "master.key"), &key).unwrap();
            fs::set_permissions(data(place.path(), "master.key"), fs::Permissions::from_mode(0o600)).unwrap();
        }
        let backup = house.file("b.backup").display().to_string();
        let output = with_key(&["db", "restore", &backup]);
        let reported = String::from_utf8(output.stdout).unwrap();
        assert!(
            reported.starts_with("restored the backup made ")
                && reported.contains("keyfob client rotate-secret admin"),
            "{reported}"
        );
        assert_eq!(fs::metadata(place.path().join("data")).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(
            fs::metadata(data(place.path(), "keyfob.redb")).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let shown = String::from_utf8(with_key(&["session", "show", &session]).stdout).unwrap();
        assert!(shown.contains("store_rollback"), "{shown}");
        assert!(with_key(&["client", "rotate-secret", "admin"]).status.success());
        let expected: &[&str] = if by_environment {
            &["keyfob.pid", "keyfob.redb"]
        } else {
            &["keyfob.pid", "keyfob.redb", "master.key"]
        };
        assert_eq!(names(&place.path().join("data")), expected);
    }
}

/// The keys of the backup are replaced, those of P-256 too, and every record is valid.
#[test]
fn a_restored_store_has_new_keys_of_both_algorithms() {
    let mut house = House::new();
    says(house.path(), &["client", "update", "app", "--access-token-format", "jwt_es256"]);
    let kids = |house: &House, algorithm: &str| -> Vec<String> {
        let keys = house.json(&["key", "list"]);
        keys.as_array()
            .unwrap()
            .iter()
            .filter(|key| key["alg"] == algorithm)
            .map(|key| text(&key["kid"]))
            .collect()
    };
    let before = ["EdDSA", "ES256"].map(|algorithm| kids(&house, algorithm));
    let token = text(&house.open("alice")["access_token"]);
    house.json(&["db", "backup", "b.backup"]);
    assert_eq!(house.server.take().unwrap().stop(), 0);
    says(house.path(), &["db", "restore", "b.backup"]);
    assert_eq!(house.json(&["db", "check"])["finds"], json!([]));
    house.server = Some(Process::start(house.path()));
    for (algorithm, before) in ["EdDSA", "ES256"].iter().zip(before) {
        let after = kids(&house, algorithm);
        assert_eq!((before.len(), after.len()), (2, 2), "{algorithm}");
        assert!(after.iter().all(|kid| !before.contains(kid)), "{algorithm}");
    }
    let reported = house.json(&["token", "introspect", &token]);
    assert_eq!(reported["active"], false);
    assert!(text(&house.open("bob")["access_token"]).starts_with("eyJ"));
}

/// What `db backup -` writes, `db restore -` reads: the way of a file that only root can read to the server's
/// own user.
#[test]
fn a_backup_comes_from_standard_input_too() {
    let house = closed();
    let restore = |input: &std::path::Path| {
        let mut command = crate::harness::process::keyfob(house.path(), &["db", "restore", "-"]);
        command.stdin(std::fs::File::open(input).unwrap()).output().unwrap()
    };
    let output = restore(&house.file("b.backup"));
    assert!(output.status.success(), "{}", super::said(&output));
    assert!(String::from_utf8(output.stdout).unwrap().contains("restored the backup made"));
    let output = restore(&house.file("log.txt"));
    assert_eq!(output.status.code(), Some(1));
    assert!(
        super::said(&output).contains("standard input: it is not a keyfob backup"),
        "{}",
        super::said(&output)
    );
    let refusal = refuses(house.path(), &["db", "restore", "nowhere"]);
    assert!(refusal.contains("name a file that `keyfob db backup` wrote"), "{refusal}");
}

#[test]
fn a_backup_is_not_written_over_what_is_there_unless_that_is_said() {
    let house = closed();
    let refusal = refuses(house.path(), &["db", "backup", "b.backup"]);
    assert!(
        refusal.contains("b.backup already exists: name another file, or replace it with --overwrite"),
        "{refusal}"
    );
    says(house.path(), &["db", "backup", "--overwrite", "b.backup"]);
    for ours in ["data/keyfob.redb", "data/master.key", "data/admin.json"] {
        let refusal = refuses(house.path(), &["db", "backup", "--overwrite", ours]);
        assert!(refusal.contains("a file of this installation"), "{refusal}");
    }
    assert!(refuses(house.path(), &["db", "backup", "--overwrite", "data"]).contains("data already exists"));
    assert!(
        refuses(house.path(), &["db", "backup", "nowhere/b.backup"]).contains("create its directory first")
    );
    assert_eq!(run(house.path(), &["db", "backup", "c.backup", "--rate", "1KiB"]).status.code(), Some(2));
    assert_eq!(json_of(house.path(), &["db", "check"])["finds"], json!([]));
}

/// A review put a record of its own into a backup, with all checksums computed again, and restored it.
#[test]
fn a_backup_with_another_administrator_is_refused_although_its_checksums_are_right() {
    let (house, other) = (closed(), closed());
    fs::copy(other.file("b.backup"), house.file("x.backup")).unwrap();
    let before = state(&house);
    let refusal = refuses(house.path(), &["db", "restore", "x.backup"]);
    assert!(refusal.contains("another master key"), "{refusal}");
    // The forger knows this installation's proof of its key, which is in its own backup, but not the key.
    let keys = keyfob::token::keys::Keys::derive(&keyfob::token::keys::SecretKey::new([9; 32]));
    let forged = forge(&fs::read(house.file("b.backup")).unwrap(), &keys.backup);
    fs::write(house.file("x.backup"), forged).unwrap();
    for flags in [&[][..], &["--accept-unauthenticated"], &["--accept-damage"]] {
        let refusal = refuses(house.path(), &[&["db", "restore", "x.backup"], flags].concat());
        assert!(refusal.contains("x.backup: it is not authentic"), "{refusal}");
    }
    assert_eq!(state(&house), before);
}

/// The same backup with a second `admin` client, written again under another key.
fn forge(backup: &[u8], key: &keyfob::token::keys::SecretKey) -> Vec<u8> {
    use keyfob::store::backup::{Decoder, Encoder, Head, Piece};
    type Entries = Vec<(Vec<u8>, Vec<u8>)>;
    let mut head: Option<Head> = None;
    let mut tables: Vec<(String, Entries)> = vec![];
    let mut decoder = Decoder::default();
    decoder
        .push(backup, |piece: Piece| {
            match piece {
                Piece::Head(of) => head = Some(of.clone()),
                Piece::Table(name) => tables.push((name.to_owned(), vec![])),
                Piece::Entry(name, value) => {
                    tables.last_mut().unwrap().1.push((name.to_vec(), value.to_vec()))
                }
            }
            Ok::<(), keyfob::store::backup::Damage>(())
        })
        .unwrap();
    let mut head = head.unwrap();
    let clients = tables.iter_mut().find(|(name, _)| name == "clients").unwrap();
    let (_, record) = clients.1.iter().find(|(name, _)| name == b"admin").unwrap().clone();
    clients.1.push((b"support".to_vec(), record));
    head.tables.iter_mut().find(|(name, _)| **name == *"clients").unwrap().1 += 1;
    let mut bytes = vec![];
    let sink = |piece: bytes::Bytes| {
        bytes.extend(piece);
        Ok::<(), std::convert::Infallible>(())
    };
    let mut encoder = Encoder::begin(sink, key, &head).unwrap();
    for (name, entries) in &tables {
        encoder.table(name).unwrap();
        entries.iter().for_each(|(name, value)| encoder.entry(name, value).unwrap());
    }
    encoder.end().unwrap();
    bytes
}
