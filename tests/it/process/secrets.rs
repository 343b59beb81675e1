//! What must never be written down: secrets, tokens and personal data, searched for in the database file, the
//! log and the output of the real server, as text and as raw bytes.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use base64ct::{Base64UrlUnpadded, Encoding};
use keyfob::config::MasterKeySource;
use keyfob::domain::event::EventKind;
use keyfob::domain::id::Position;
use keyfob::first_start::read_master_key;
use keyfob::store::Store;
use keyfob::store::redb::{Options, Redb};
use keyfob::token::keys::{Keys, SecretKey};
use keyfob::token::seal::Sealer;
use serde_json::{Value, json};
use tempfile::tempdir;

use crate::harness::process::{Process, admin, data, run, through_socket};
use crate::harness::server::{Answer, Client, text};

/// Personal data that the tour gives to the server; each is found nowhere by chance.
const PERSONAL: [&str; 11] = [
    "subject-of-the-okapi",
    "claim-name-walrus",
    "claim-value-narwhal",
    "data-name-lemming",
    "data-value-axolotl",
    "agent-of-the-pangolin",
    "label-of-the-capybara",
    "2001:db8::7a57:beef",
    "reason-of-the-quokka",
    "subject-in-broken-json",
    "203.0.113.177",
];

/// What is searched for: a name for people, and the bytes.
struct Needle(String, Vec<u8>);

/// All that a tour has come by.
#[derive(Default)]
struct Finds(Vec<Needle>);

impl Finds {
    fn bytes(&mut self, name: &str, bytes: &[u8]) {
        self.0.push(Needle(name.to_owned(), bytes.to_vec()));
    }

    /// A secret of ours: its text, without its prefix too, and the bytes that it stands for; of an opaque
    /// token the random part and the MAC.
    fn secret(&mut self, name: &str, secret: &str) {
        let encoded = secret.split_once('_').unwrap().1;
        let bytes = Base64UrlUnpadded::decode_vec(encoded).unwrap();
        self.bytes(&format!("{name}, text"), encoded.as_bytes());
        match bytes.len() {
            32 => self.bytes(&format!("{name}, bytes"), &bytes),
            72 => {
                self.bytes(&format!("{name}, secret"), &bytes[24..56]);
                self.bytes(&format!("{name}, MAC"), &bytes[56..]);
            }
            other => panic!("{name} has {other} bytes"),
        }
    }

    /// An access token: its body and its signature, as text and as bytes. The claims are readable
    /// by any process that decodes it.
    fn access_token(&mut self, name: &str, token: &str) {
        let body = token.strip_prefix("v4.public.").unwrap().split('.').next().unwrap();
        let bytes = Base64UrlUnpadded::decode_vec(body).unwrap();
        self.bytes(&format!("{name}, text"), body.as_bytes());
        self.bytes(&format!("{name}, signature"), &bytes[bytes.len() - 64..]);
    }

    fn pair(&mut self, name: &str, pair: &Value) {
        self.access_token(&format!("{name} access token"), &text(&pair["access_token"]));
        self.secret(&format!("{name} refresh token"), &text(&pair["refresh_token"]));
    }

    /// The names of all that is in `hay`. One walk, whatever is searched for.
    fn within(&self, hay: &[u8]) -> Vec<&str> {
        let mut by_first_byte: Vec<Vec<&Needle>> = (0..256).map(|_| vec![]).collect();
        for needle in &self.0 {
            by_first_byte[usize::from(needle.1[0])].push(needle);
        }
        let mut found = vec![];
        for (at, byte) in hay.iter().enumerate() {
            for Needle(name, bytes) in &by_first_byte[usize::from(*byte)] {
                if hay[at..].starts_with(bytes) && !found.contains(&name.as_str()) {
                    found.push(name);
                }
            }
        }
        found
    }
}

fn ask(server: &Process, method: &str, path: &str, client: Option<&Client>, body: &str) -> Answer {
    let content_type =
        if body.starts_with('{') { "application/json" } else { "application/x-www-form-urlencoded" };
    server.send(method, path, client, content_type, body).unwrap()
}

fn refresh(server: &Process, client: &Client, token: &str) -> Answer {
    ask(
        server,
        "POST",
        "/oauth2/token",
        Some(client),
        &format!("grant_type=refresh_token&refresh_token={token}"),
    )
}

fn opening() -> Value {
    json!({
        "subject": PERSONAL[0], "claims": {PERSONAL[1]: PERSONAL[2]}, "data": {PERSONAL[3]: PERSONAL[4]},
        "device": {"user_agent": PERSONAL[5], "label": PERSONAL[6], "ip": PERSONAL[7]}
    })
}

/// Everything that works.
fn go_the_right_way(server: &Process, directory: &Path, finds: &mut Finds) -> (Client, Value) {
    // An audience of its own: the issuer has the port of this start, and a later start has another.
    let fields = json!({
        "client_id": "backend", "permissions": ["sessions", "introspect"],
        "grants": ["refresh_token", "client_credentials"], "audiences": ["https://api.example"],
    });
    let created = server.json("POST", "/v1/clients", Some(&admin(directory)), &fields).json();
    finds.secret("first client secret", &text(&created["client_secret"]));
    let rotated = server
        .json("POST", "/v1/clients/backend/secret", Some(&admin(directory)), &json!({"keep_old_for": "1h"}))
        .json();
    finds.secret("second client secret", &text(&rotated["client_secret"]));
    let backend = Client { id: "backend".into(), secret: text(&rotated["client_secret"]) };
    let opened = server.json("POST", "/v1/sessions", Some(&backend), &opening()).json();
    finds.secret("session token", &text(&opened["session_token"]));
    finds.pair("first", &opened);
    let mut current = opened.clone();
    for name in ["second", "third", "fourth"] {
        let spent = text(&current["refresh_token"]);
        current = refresh(server, &backend, &spent).json();
        assert_eq!(refresh(server, &backend, &spent).json()["refresh_token"], current["refresh_token"]);
        finds.pair(name, &current);
    }
    for token in [&current["access_token"], &current["refresh_token"], &opened["session_token"]] {
        let seen =
            ask(server, "POST", "/oauth2/introspect", Some(&backend), &format!("token={}", text(token)));
        assert!(seen.text().contains(PERSONAL[0]), "{}", seen.text());
    }
    let own = ask(server, "POST", "/oauth2/token", Some(&backend), "grant_type=client_credentials").json();
    finds.access_token("the client's own token", &text(&own["access_token"]));
    let path = format!("/v1/sessions?subject={}", PERSONAL[0]);
    assert!(ask(server, "GET", &path, Some(&backend), "").text().contains(PERSONAL[4]));
    let mut by_admin = opening();
    by_admin["client_id"] = json!("backend");
    let opened = through_socket(directory, "POST", "/v1/sessions", &by_admin).json();
    finds.secret("session token of the socket", &text(&opened["session_token"]));
    finds.pair("socket's", &opened);
    let revoked = ask(
        server,
        "POST",
        "/oauth2/revoke",
        Some(&backend),
        &format!("token={}", text(&opened["access_token"])),
    );
    assert_eq!(revoked.status, 200);
    (backend, current)
}

/// Everything that is refused, with secrets in all the wrong places.
fn go_all_wrong_ways(server: &Process, backend: &Client, pair: &Value, finds: &mut Finds) {
    let (access, spent) = (text(&pair["access_token"]), text(&pair["refresh_token"]));
    let wrong_secret = format!("kfc_{}", Base64UrlUnpadded::encode_string(&[0xa7; 32]));
    finds.secret("wrong client secret", &wrong_secret);
    let guesses = [
        Client { id: "backend".into(), secret: wrong_secret },
        Client { id: "unknown".into(), secret: backend.secret.clone() },
        Client { id: spent.clone(), secret: backend.secret.clone() },
        Client { id: backend.secret.clone(), secret: "backend".into() },
    ];
    for guess in &guesses {
        assert_eq!(refresh(server, guess, &spent).status, 401);
        assert_eq!(ask(server, "GET", "/v1/sessions", Some(guess), "").status, 401);
    }
    let secret = &backend.secret;
    let wrong = [
        ("POST", format!("/oauth2/introspect?token={access}"), String::new()),
        ("GET", format!("/oauth2/introspect?token={spent}&client_secret={secret}"), String::new()),
        ("POST", "/oauth2/token".into(), format!("grant_type={spent}&scope={access}")),
        (
            "POST",
            "/oauth2/token".into(),
            format!("grant_type=refresh_token&refresh_token={spent}&scope={secret}\""),
        ),
        (
            "POST",
            "/oauth2/token".into(),
            format!("grant_type=refresh_token&refresh_token={spent}&refresh_token={spent}"),
        ),
        (
            "POST",
            "/oauth2/token".into(),
            format!("client_id={spent}&client_secret={secret}&grant_type=refresh_token"),
        ),
        ("POST", "/v1/sessions".into(), format!("{{\"subject\": \"{}\", ", PERSONAL[9])),
        ("POST", "/v1/sessions".into(), format!("{{\"subject\": \"{}\", \"{spent}\": 1}}", PERSONAL[9])),
        (
            "POST",
            "/v1/sessions".into(),
            format!("{{\"subject\": \"{}\", \"client_id\": \"{secret}\"}}", PERSONAL[9]),
        ),
        ("POST", "/v1/clients".into(), format!("{{\"client_id\": \"{secret}\"}}")),
        ("GET", format!("/v1/sessions/{access}"), String::new()),
        ("GET", format!("/{spent}"), String::new()),
        ("PUT", format!("/v1/clients/{secret}"), String::new()),
    ];
    for (method, path, body) in wrong {
        let answer = ask(server, method, &path, Some(backend), &body);
        assert!((400..500).contains(&answer.status), "{method} {path}: {}", answer.text());
    }
    // Whom a proxy says that it forwards for.
    let mut forwarded = TcpStream::connect(&server.address).unwrap();
    let head = format!(
        "GET /v1/sessions HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: {}\r\nAuthorization: Basic {secret}\r\n\
         Connection: close\r\n\r\n",
        PERSONAL[10]
    );
    forwarded.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    forwarded.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    // Reuse: the next two generations make this one old.
    let second = refresh(server, backend, &spent).json();
    finds.pair("fifth", &second);
    finds.pair("sixth", &refresh(server, backend, &text(&second["refresh_token"])).json());
    assert_eq!(refresh(server, backend, &spent).error(), "invalid_grant");
    let path = format!("/v1/subjects/{}/sessions?reason={}", PERSONAL[0], PERSONAL[8]);
    assert_eq!(ask(server, "DELETE", &path, Some(backend), "").status, 200);
}

/// What a stopped server has left, with the keys to it.
fn opened_up(directory: &Path) -> (SecretKey, Keys, Redb) {
    let source = MasterKeySource::File(data(directory, "master.key"));
    let master = read_master_key(&source, directory, |_| None).unwrap();
    let keys = Keys::derive(&master);
    let store = Redb::open(
        &data(directory, "keyfob.redb"),
        &keys,
        Options { cache_bytes: 1 << 20, write_queue_max: 8 },
    )
    .unwrap();
    (master, keys, store)
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// The keys under which everything lies, and what they open.
fn keys_of(directory: &Path, finds: &mut Finds) {
    let (master, keys, store) = opened_up(directory);
    finds.bytes(
        "master key, text",
        fs::read_to_string(data(directory, "master.key")).unwrap().trim_end().as_bytes(),
    );
    for (name, key) in [
        ("master key", &master),
        ("refresh MAC key", &keys.refresh_mac),
        ("session MAC key", &keys.session_mac),
        ("rotation key", &keys.rotation),
        ("token id key", &keys.token_id),
        ("sealing key", &keys.seal),
        ("wrapping key", &keys.wrap),
    ] {
        finds.bytes(name, key.expose_bytes());
    }
    let records = store.registry().keys.to_vec();
    assert!(!records.is_empty());
    for record in records {
        let seed = Sealer::new(&keys.wrap).open(record.id.as_bytes(), &record.sealed_seed).unwrap();
        finds.bytes("signing seed, text", Base64UrlUnpadded::encode_string(&seed).as_bytes());
        finds.bytes("signing seed", &seed);
    }
}

/// ROT-20, RFR-12, CLI-14, INT-09: after all of it, with the log at its most talkative, killed once and
/// stopped once, nothing is found.
#[test]
fn no_secret_token_or_personal_datum_is_ever_written_down() {
    let log = nothing_is_written_down("text");
    assert!(log.contains(" INFO listening version=") && log.contains(" INFO stopped ran_for_s="), "{log}");
    assert!(
        log.contains(
            "authentication failed; at most one line a minute for each cause cause=\"wrong_secret\""
        ),
        "{log}"
    );
}

/// The same for the log that machines read: every line is an object of its own.
#[test]
fn no_secret_token_or_personal_datum_is_ever_written_down_as_json() {
    let log = nothing_is_written_down("json");
    let lines: Vec<Value> =
        log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect();
    let reuse = lines
        .iter()
        .find(|line| text(&line["message"]).contains("a spent refresh token was presented"))
        .unwrap();
    assert_eq!((&reuse["level"], &reuse["client"]), (&json!("WARN"), &json!("backend")));
    assert!(text(&reuse["session"]).parse::<keyfob::domain::id::SessionId>().is_ok());
    let start = lines.iter().find(|line| line["message"] == "listening").unwrap();
    for field in
        ["version", "address", "issuer", "store", "store_bytes", "sessions_live", "clients", "took_ms"]
    {
        assert!(!start[field].is_null(), "{field}");
    }
    let failures = lines.iter().filter(|line| line["cause"] == "wrong_secret");
    assert_eq!(failures.count(), 1, "however many there are in a minute");
}

/// Answers the log.
fn nothing_is_written_down(format: &str) -> String {
    let directory = tempdir().unwrap();
    let mut finds = Finds::default();
    for personal in PERSONAL {
        finds.bytes(personal, personal.as_bytes());
    }
    let environment = [("KEYFOB_LOG__LEVEL", "trace"), ("KEYFOB_LOG__FORMAT", format)];
    let server = Process::with(directory.path(), &environment);
    finds.secret("administrator's secret", &admin(directory.path()).secret);
    let (backend, pair) = go_the_right_way(&server, directory.path(), &mut finds);
    let mut output = server.greeting.clone().into_bytes();
    server.kill();
    let server = Process::with(directory.path(), &environment);
    go_all_wrong_ways(&server, &backend, &pair, &mut finds);
    output.extend(server.greeting.as_bytes());
    for arguments in [&["client", "list"][..], &["client", "show", "backend"], &["config", "show"]] {
        let done = run(directory.path(), arguments);
        assert!(done.status.success());
        output.extend([done.stdout, done.stderr].concat());
    }
    output.extend(through_socket(directory.path(), "GET", "/metrics", &json!(null)).body);
    assert_eq!(server.stop(), 0);
    let log = fs::read(directory.path().join("log.txt")).unwrap();
    let database = fs::read(data(directory.path(), "keyfob.redb")).unwrap();
    keys_of(directory.path(), &mut finds);
    for (place, bytes) in [("the database", &database), ("the log", &log), ("the output", &output)] {
        assert_eq!(finds.within(bytes), [""; 0], "in {place}");
    }
    // The search itself works, and there was something to search in.
    let everything: Vec<u8> =
        finds.0.iter().flat_map(|Needle(_, bytes)| [bytes, &b"|"[..]].concat()).collect();
    assert_eq!(
        finds.within(&everything).len(),
        finds.0.iter().map(|needle| &needle.0).collect::<std::collections::HashSet<_>>().len()
    );
    let log = String::from_utf8(log).unwrap();
    assert!(database.len() > 100_000 && log.contains("spent refresh token"));
    log
}

/// ROT-35: the event of reuse keeps of the address a keyed hash: enough to compare two, and not to learn one.
#[test]
fn the_event_of_reuse_keeps_only_a_keyed_hash_of_the_address() {
    let directory = tempdir().unwrap();
    let server = Process::start(directory.path());
    let app = admin(directory.path());
    let first = text(&server.json("POST", "/v1/sessions", Some(&app), &opening()).json()["refresh_token"]);
    let second = text(&refresh(&server, &app, &first).json()["refresh_token"]);
    refresh(&server, &app, &second);
    assert_eq!(refresh(&server, &app, &first).error(), "invalid_grant");
    assert_eq!(server.stop(), 0);
    let (_, keys, store) = opened_up(directory.path());
    let events = block_on(store.events(Position::default(), 100)).unwrap();
    let (_, reused) = events.iter().find(|(_, event)| event.kind == EventKind::RefreshReused).unwrap();
    assert_eq!(reused.address, Some(keys.address_hash("127.0.0.1".parse().unwrap())));
    assert_ne!(
        keys.address_hash("127.0.0.1".parse().unwrap()),
        Keys::derive(&SecretKey::new([1; 32])).address_hash("127.0.0.1".parse().unwrap())
    );
}
