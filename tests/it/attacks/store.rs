//! Backups and database files that were altered.

use std::fs;

use serde_json::{Value, json};
use tempfile::tempdir;

use super::Attacks;
use crate::harness::process::{Process, admin, data, free_port, run, through_socket};
use crate::harness::server::{Client, encoded, text};

/// Where the frames of a backup begin: the first line, then kind, length, body and checksum of each.
fn frames(backup: &[u8]) -> Vec<std::ops::Range<usize>> {
    let mut at = backup.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    let mut frames = vec![];
    while at < backup.len() {
        let length = u32::from_be_bytes(backup[at + 1..at + 5].try_into().unwrap()) as usize;
        frames.push(at..at + 5 + length + 4);
        at += 5 + length + 4;
    }
    frames
}

/// The frame again, with a checksum that is right.
fn summed(mut frame: Vec<u8>) -> Vec<u8> {
    let body = frame.len() - 4;
    let sum = crc32fast::hash(&frame[..body]);
    frame[body..].copy_from_slice(&sum.to_be_bytes());
    frame
}

/// Every alteration is noticed before anything is changed, also one whose checksums were computed again.
#[test]
fn an_altered_backup_is_refused_and_changes_nothing() {
    let directory = tempdir().unwrap();
    let server = Process::start(directory.path());
    let root = admin(directory.path());
    for number in 0..3 {
        let fields = json!({"subject": format!("subject-{number}"), "client_id": "admin"});
        assert_eq!(server.json("POST", "/v1/sessions", Some(&root), &fields).status, 201);
    }
    assert!(run(directory.path(), &["db", "backup", "b.backup"]).status.success());
    assert_eq!(server.stop(), 0);
    let whole = fs::read(directory.path().join("b.backup")).unwrap();
    let frames = frames(&whole);
    let line = whole[..frames[0].start].to_vec();
    let piece = |number: usize| whole[frames[number].clone()].to_vec();
    let joined = |order: &[usize]| {
        [line.clone(), order.iter().flat_map(|number| piece(*number)).collect::<Vec<u8>>()].concat()
    };
    let all: Vec<usize> = (0..frames.len()).collect();
    let last = all.len() - 1;
    let kinds: Vec<u8> = frames.iter().map(|frame| whole[frame.start]).collect();
    let tables: Vec<usize> = all.iter().copied().filter(|number| kinds[*number] == b'T').collect();
    let entries = *all.iter().find(|number| kinds[**number] == b'E').unwrap();
    let replaced = |number: usize, frame: Vec<u8>| {
        let pieces = all.iter().map(|at| if *at == number { frame.clone() } else { piece(*at) });
        [line.clone(), pieces.collect::<Vec<_>>().concat()].concat()
    };
    // A change in the body of a frame, its checksum computed again.
    let changed = |number: usize, change: &dyn Fn(&mut Vec<u8>)| {
        let mut frame = piece(number);
        change(&mut frame);
        let body = u32::try_from(frame.len() - 9).unwrap();
        frame[1..5].copy_from_slice(&body.to_be_bytes());
        replaced(number, summed(frame))
    };
    let with_length = |number: usize, length: u32| {
        let mut frame = piece(number);
        frame[1..5].copy_from_slice(&length.to_be_bytes());
        replaced(number, summed(frame))
    };
    let without = |gone: usize| joined(&all.iter().copied().filter(|at| *at != gone).collect::<Vec<_>>());
    let swapped = |one: usize, other: usize| {
        let mut order = all.clone();
        order.swap(one, other);
        joined(&order)
    };
    let twice = |number: usize| {
        let mut order = all.clone();
        order.insert(number, number);
        joined(&order)
    };
    let flip = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        bytes
    };
    let middle = |number: usize| frames[number].start + frames[number].len() / 2;
    let first = |text: &str| [text.as_bytes(), &whole[line.len()..]].concat();
    let table = vec![
        ("cut before its end", whole[..whole.len() - 1].to_vec()),
        ("cut before its last frame", whole[..frames[last].start].to_vec()),
        ("cut in its last frame", whole[..middle(last)].to_vec()),
        ("cut in the middle", whole[..whole.len() / 2].to_vec()),
        ("cut behind its first frame", whole[..frames[0].end].to_vec()),
        ("cut behind its first line", line.clone()),
        ("empty", vec![]),
        ("a byte more", [&whole[..], b"x"].concat()),
        ("twice", [&whole[..], &whole[..]].concat()),
        ("a second end", twice(last)),
        ("the first frame twice", twice(0)),
        ("a table twice", twice(tables[1])),
        ("entries twice", twice(entries)),
        ("without its first frame", without(0)),
        ("without a table", without(tables[1])),
        ("without entries", without(entries)),
        ("without its digest", without(last)),
        ("two tables exchanged", swapped(tables[0], tables[1])),
        ("the end first", swapped(0, last)),
        ("entries before their table", swapped(entries - 1, entries)),
        ("a bit of the first line", flip(3)),
        ("a bit of the first frame", flip(middle(0))),
        ("a bit of a table's name", flip(middle(tables[0]))),
        ("a bit of an entry", flip(middle(entries))),
        ("a bit of a checksum", flip(frames[entries].end - 1)),
        ("a bit of a length", flip(frames[entries].start + 4)),
        ("a bit of the digest", flip(middle(last))),
        ("a bit of a kind", flip(frames[entries].start)),
        ("a bit of an entry, summed", changed(entries, &|frame| frame[40] ^= 1)),
        ("a bit of the first frame, summed", changed(0, &|frame| frame[6] ^= 1)),
        ("a digest of zeros, summed", changed(last, &|frame| frame[5..37].fill(0))),
        ("a code of zeros, summed", changed(last, &|frame| frame[37..69].fill(0))),
        ("no code, summed", changed(last, &|frame| drop(frame.drain(37..69)))),
        ("an unknown table, summed", changed(tables[1], &|frame| frame[5] = b'x')),
        ("a table without a name, summed", changed(tables[1], &|frame| frame.truncate(9))),
        ("an unknown kind, summed", changed(entries, &|frame| frame[0] = b'Q')),
        ("a length of 4 GiB", with_length(entries, u32::MAX)),
        ("a length of 5 MiB", with_length(entries, 5 << 20)),
        ("a length of nothing", with_length(entries, 0)),
        ("an entry of 4 GiB, summed", changed(entries, &|frame| frame[5..9].fill(255))),
        ("a value of 4 GiB, summed", changed(entries, &|frame| frame[9..13].fill(255))),
        ("of version 1", first("keyfob backup, version 1\n")),
        ("of version 3", first("keyfob backup, version 3\n")),
        ("of version 2.0", first("keyfob backup, version 2.0\n")),
        ("of version -2", first("keyfob backup, version -2\n")),
        ("of another program", first("rauthy backup, version 2\n")),
        ("the line with a carriage return", first("keyfob backup, version 2\r\n")),
        ("a database", fs::read(data(directory.path(), "keyfob.redb")).unwrap()),
        ("zeros", vec![0; 4_096]),
    ];
    let state = || {
        let mut names: Vec<_> = fs::read_dir(directory.path().join("data"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        (names, fs::read(data(directory.path(), "keyfob.redb")).unwrap())
    };
    let before = state();
    let mut attacks = Attacks::of("altered backups");
    for (name, bytes) in table {
        assert_ne!(bytes, whole, "{name} alters nothing");
        fs::write(directory.path().join("x.backup"), bytes).unwrap();
        let flags: &[&str] = if name == "of version 1" { &["--accept-unauthenticated"] } else { &[] };
        let output = run(directory.path(), &[&["db", "restore", "x.backup"], flags].concat());
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        let held = output.status.code() == Some(1) && error.lines().count() == 1 && state() == before;
        attacks.check(name, held, (output.status.code(), error));
    }
    assert!(run(directory.path(), &["db", "restore", "b.backup"]).status.success(), "the one that is whole");
    attacks.finish(49);
}

/// A random change of the database file: bytes, pages or its length.
fn mutated(original: &[u8], seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut below = |limit: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % limit
    };
    let mut bytes = original.to_vec();
    let used: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
    let pages = bytes.len() / 4_096;
    for _ in 0..=below(4) {
        match below(8) {
            0..=2 => bytes[used[below(used.len())]] ^= 1 << below(8),
            3 => bytes[used[below(used.len())]] = u8::try_from(below(256)).unwrap(),
            4 => {
                let at = used[below(used.len())];
                let end = (at + below(64)).min(bytes.len());
                bytes[at..end].fill(0);
            }
            5 => {
                let at = used[below(used.len())] / 4_096 * 4_096;
                let end = (at + 4_096).min(bytes.len());
                bytes[at..end].fill(0xff);
            }
            6 => {
                let (from, to) = (used[below(used.len())] / 4_096, below(pages));
                let page = bytes[from * 4_096..(from + 1) * 4_096].to_vec();
                bytes[to * 4_096..(to + 1) * 4_096].copy_from_slice(&page);
            }
            _ => {
                let from = used[below(used.len())];
                let tail = below(bytes.len() - from);
                bytes[from..].rotate_left(tail);
            }
        }
    }
    bytes
}

/// What a server on a mutated file does: it refuses to start, or its answers are those of before, or it says
/// that it cannot answer. What had ended stays ended, and no caller gets more rights. Each server is a
/// process of its own, and is killed: where the map of free pages is wrong, redb panics while it closes the
/// file, a second time in a destructor, and that ends a process.
#[test]
fn a_mutated_database_gives_no_caller_anything() {
    const MUTATIONS: u64 = 80;
    let directory = tempdir().unwrap();
    let port = free_port();
    let server = Process::at(directory.path(), port, &[]);
    let fields = json!({
        "client_id": "app", "permissions": ["sessions", "introspect"], "grants": ["refresh_token"],
    });
    let made = through_socket(directory.path(), "POST", "/v1/clients", &fields);
    assert_eq!(made.status, 201, "{}", made.text());
    let app = Client { id: "app".into(), secret: text(&made.json()["client_secret"]) };
    let open = || {
        let answer = server.json("POST", "/v1/sessions", Some(&app), &json!({"subject": "alice"}));
        assert_eq!(answer.status, 201, "{}", answer.text());
        answer.json()
    };
    let (opened, ended, spent) = (open(), open(), text(&open()["refresh_token"]));
    let revoked = server.form("/oauth2/revoke", Some(&app), &[("token", &text(&ended["session_token"]))]);
    assert_eq!(revoked.status, 200);
    let refresh = [("grant_type", "refresh_token"), ("refresh_token", spent.as_str())];
    assert_eq!(server.form("/oauth2/token", Some(&app), &refresh).status, 200);
    assert_eq!(server.stop(), 0);
    let whole = fs::read(data(directory.path(), "keyfob.redb")).unwrap();
    let mut attacks = Attacks::of("mutated databases");
    let (mut refused, mut failed, mut unaffected) = (0, 0, 0);
    for seed in 0..MUTATIONS {
        fs::write(data(directory.path(), "keyfob.redb"), mutated(&whole, seed)).unwrap();
        fs::write(directory.path().join("log.txt"), "").unwrap();
        let log = || fs::read_to_string(directory.path().join("log.txt")).unwrap();
        let Some(mutant) = Process::try_at(directory.path(), port, &[]) else {
            refused += 1;
            attacks.check(format!("mutation {seed}"), says_why(&log()), log());
            continue;
        };
        let fault = misbehaviour(&mutant, &app, &opened, &ended, &spent);
        match &fault {
            Ok(true) => unaffected += 1,
            Ok(false) => failed += 1,
            Err(_) => {}
        }
        mutant.kill();
        let held = fault.is_ok() && !log().contains("panicked at src/");
        attacks.check(format!("mutation {seed}"), held, (fault, log()));
    }
    println!("{refused} refused, {failed} with answers of 5xx, {unaffected} unaffected");
    attacks.control("some are refused and some unaffected", refused > 0 && unaffected > 0);
    attacks.finish(usize::try_from(MUTATIONS).unwrap());
}

/// Whether the last line of a refused start is an error, unless redb itself panicked.
fn says_why(log: &str) -> bool {
    let last = log.trim_end().lines().last().unwrap_or_default();
    !log.contains("panicked at src/") && (last.starts_with("keyfob: ") || log.contains("/redb-"))
}

/// Whether every answer was as before; `Err` where one is worse than a failure. A server that goes away has
/// failed.
fn misbehaviour(
    mutant: &Process,
    app: &Client,
    opened: &Value,
    ended: &Value,
    spent: &str,
) -> Result<bool, String> {
    const FORM: &str = "application/x-www-form-urlencoded";
    let send = |method: &str, path: &str, client: &Client, body: &str| {
        mutant.send(method, path, Some(client), FORM, body).ok()
    };
    let introspect =
        |token: &Value| send("POST", "/oauth2/introspect", app, &encoded(&[("token", &text(token))]));
    let mut as_before = true;
    for member in ["access_token", "refresh_token", "session_token"] {
        let answer = introspect(&ended[member]);
        if answer.as_ref().is_some_and(|answer| answer.text().contains(r#""active":true"#)) {
            return Err(format!("{member} of an ended session is active"));
        }
        as_before &= answer.is_some_and(|answer| answer.status == 200);
        let answer = introspect(&opened[member]).filter(|answer| answer.status == 200);
        let active = answer.filter(|answer| answer.json()["active"] == true);
        as_before &= active.is_some();
        if let Some(answer) = active.filter(|answer| answer.json()["sub"] != "alice") {
            return Err(answer.text());
        }
    }
    let clients = send("GET", "/v1/clients", app, "");
    if let Some(answer) = clients.as_ref().filter(|answer| answer.status < 400) {
        return Err(format!("a client without the permission lists clients: {}", answer.status));
    }
    as_before &= clients.is_some_and(|answer| answer.status == 403);
    let body = encoded(&[("grant_type", "refresh_token"), ("refresh_token", spent)]);
    let stranger = Client { id: "app".into(), secret: "wrong".into() };
    let refreshed = send("POST", "/oauth2/token", &stranger, &body);
    if refreshed.as_ref().is_some_and(|answer| answer.status < 400) {
        return Err("a wrong secret refreshes".into());
    }
    as_before &= refreshed.is_some_and(|answer| answer.status == 401);
    Ok(as_before)
}
