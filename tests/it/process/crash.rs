//! The real server under load: killed at any moment, it keeps all that it has answered; and many clients at
//! once see one order of things.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::harness::process::{Process, admin, free_port, through_socket};
use crate::harness::server::{Answer, Client, text};

/// Clients at once.
const CLIENTS: usize = 16;
/// Answers before the server is killed, and how often that happens.
const ANSWERS: usize = 600;
const KILLS: usize = 4;

/// Retries are answered for as long as these tests take.
const SETTINGS: &[(&str, &str)] = &[
    ("KEYFOB_POLICY__DEFAULT__REFRESH_RETRY_WINDOW", "120s"),
    ("KEYFOB_POLICY__DEFAULT__ACCESS_TOKEN_TTL", "300s"),
];

/// A directory with a server whose application is registered.
fn begin(directory: &Path) -> (Process, u16, Client) {
    let port = free_port();
    let server = Process::at(directory, port, SETTINGS);
    let fields = json!({
        "client_id": "app", "permissions": ["sessions", "introspect"], "grants": ["refresh_token"],
        "scopes": ["read"],
    });
    let created = server.json("POST", "/v1/clients", Some(&admin(directory)), &fields);
    assert_eq!(created.status, 201, "{}", created.text());
    let app = Client { id: "app".into(), secret: text(&created.json()["client_secret"]) };
    (server, port, app)
}

/// Sends a request; `None` when the server was gone before it had answered.
fn ask(server: &Process, app: &Client, path: &str, body: &str) -> Option<Answer> {
    let content_type =
        if body.starts_with('{') { "application/json" } else { "application/x-www-form-urlencoded" };
    server.send("POST", path, Some(app), content_type, body).ok()
}

fn refresh(server: &Process, app: &Client, token: &str) -> Option<Answer> {
    ask(server, app, "/oauth2/token", &format!("grant_type=refresh_token&refresh_token={token}"))
}

fn revoke(server: &Process, app: &Client, token: &str) -> Option<Answer> {
    ask(server, app, "/oauth2/revoke", &format!("token={token}"))
}

fn is_active(server: &Process, app: &Client, token: &str) -> bool {
    let answer = server.form("/oauth2/introspect", Some(app), &[("token", token)]);
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["active"] == json!(true)
}

fn open(server: &Process, app: &Client, subject: &str) -> Value {
    let answer = server.json("POST", "/v1/sessions", Some(app), &json!({"subject": subject}));
    assert_eq!(answer.status, 201, "{}", answer.text());
    answer.json()
}

fn refreshed(server: &Process, app: &Client, token: &str) -> Value {
    let answer = refresh(server, app, token).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

/// What a client knows of one session, by the answers it got.
#[derive(Debug, Default)]
struct Known {
    /// Every refresh token that was answered, in order.
    chain: Vec<String>,
    /// Every access token that was answered, and whether its revocation was.
    access: Vec<(String, bool)>,
    /// The last refresh, or the revocation of everything, was asked for and not answered.
    in_doubt: bool,
    /// Whether the session was revoked, as far as answers go.
    revoked: bool,
    /// An access token whose revocation was asked for and not answered.
    access_in_doubt: Option<usize>,
}

/// One client's life: sessions one after the other, each refreshed and revoked in turns, until the server is
/// gone. Tells of every answer.
fn live(server: &Process, app: &Client, number: usize, answered: &Sender<()>) -> Vec<Known> {
    let mut sessions = vec![];
    for turn in 0.. {
        let body = json!({"subject": format!("subject-{number}-{turn}")}).to_string();
        let Some(opened) = ask(server, app, "/v1/sessions", &body) else { return sessions };
        assert_eq!(opened.status, 201, "{}", opened.text());
        let opened = opened.json();
        let mut known = Known { chain: vec![text(&opened["refresh_token"])], ..Known::default() };
        known.access.push((text(&opened["access_token"]), false));
        let _ = answered.send(());
        let done = go_on(server, app, &mut known, turn, answered);
        sessions.push(known);
        if done.is_none() {
            return sessions;
        }
    }
    sessions
}

/// Refreshes a session some times, revokes an access token in every second one, and everything in every
/// third. `None` when the server is gone.
fn go_on(
    server: &Process,
    app: &Client,
    known: &mut Known,
    turn: usize,
    answered: &Sender<()>,
) -> Option<()> {
    for _ in 0..=turn % 4 {
        known.in_doubt = true;
        let answer = refresh(server, app, known.chain.last().unwrap())?;
        assert_eq!(answer.status, 200, "{}", answer.text());
        known.in_doubt = false;
        known.chain.push(text(&answer.json()["refresh_token"]));
        known.access.push((text(&answer.json()["access_token"]), false));
        let _ = answered.send(());
    }
    if turn.is_multiple_of(2) {
        known.access_in_doubt = Some(0);
        assert_eq!(revoke(server, app, &known.access[0].0)?.status, 200);
        (known.access_in_doubt, known.access[0].1) = (None, true);
        let _ = answered.send(());
    }
    if turn.is_multiple_of(3) {
        known.in_doubt = true;
        assert_eq!(revoke(server, app, &known.chain[0])?.status, 200);
        (known.in_doubt, known.revoked) = (false, true);
        let _ = answered.send(());
    }
    Some(())
}

/// Holds a restarted server to what it had answered.
fn verify(server: &Process, app: &Client, known: &Known) {
    for (number, (token, revoked)) in known.access.iter().enumerate() {
        if known.revoked || *revoked {
            assert!(!is_active(server, app, token), "a revocation that was answered was lost: {known:?}");
        } else if !known.in_doubt && known.access_in_doubt != Some(number) {
            assert!(is_active(server, app, token), "an access token that was answered was lost: {known:?}");
        }
    }
    let last = known.chain.last().unwrap();
    if known.revoked {
        assert!(known.chain.iter().all(|token| !is_active(server, app, token)));
        assert_eq!(refresh(server, app, last).unwrap().error(), "invalid_grant");
    } else if !known.in_doubt {
        assert!(is_active(server, app, last), "a rotation that was answered was lost: {known:?}");
        if let [.., before, last] = &known.chain[..] {
            assert_eq!(
                text(&refreshed(server, app, before)["refresh_token"]),
                *last,
                "a retry gets what was answered"
            );
        }
    }
}

/// INT-113, ROT-15, ROT-16, ROT-11: sixteen clients open, refresh and revoke until the server is killed,
/// again and again. Whatever was answered holds; whatever was not is either done or not, and a retry finds
/// out.
#[test]
fn nothing_that_was_answered_is_lost_by_kill_9() {
    let directory = tempfile::tempdir().unwrap();
    let (mut server, port, app) = begin(directory.path());
    let mut lives: Vec<Known> = vec![];
    let mut in_doubt = 0;
    for round in 0..KILLS {
        let (sender, answers) = channel();
        let lived = thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS)
                .map(|number| {
                    let (sender, server, app) = (sender.clone(), &server, &app);
                    scope.spawn(move || live(server, app, round * CLIENTS + number, &sender))
                })
                .collect();
            drop(sender);
            assert_eq!(
                answers.iter().take(ANSWERS).count(),
                ANSWERS,
                "the clients stopped before the server did"
            );
            server.signal(Signal::KILL);
            clients.into_iter().flat_map(|client| client.join().unwrap()).collect::<Vec<_>>()
        });
        server.kill();
        server = Process::at(directory.path(), port, SETTINGS);
        in_doubt += lived.iter().filter(|known| known.in_doubt).count();
        for known in &lived {
            verify(&server, &app, known);
        }
        // Half of what was lived before is looked at again: nothing comes back later either.
        lives.extend(lived);
        for known in lives.iter().step_by(2).filter(|known| known.revoked) {
            assert!(!is_active(&server, &app, known.chain.last().unwrap()));
        }
    }
    assert!(in_doubt > 0, "no request was ever cut off: the kill came at no interesting moment");
    let reused =
        lives.iter().find(|known| !known.revoked && !known.in_doubt && known.chain.len() > 2).unwrap();
    assert_eq!(refresh(&server, &app, &reused.chain[0]).unwrap().error(), "invalid_grant");
    assert!(!is_active(&server, &app, reused.chain.last().unwrap()), "reuse is detected after a restart");
    assert_eq!(server.stop(), 0);
}

/// ROT-15, ROT-16: a refresh that was cut off was done or was not. Either way the same request again is
/// answered, and always the same.
#[test]
fn a_refresh_that_was_cut_off_can_be_repeated() {
    let directory = tempfile::tempdir().unwrap();
    let (mut server, port, app) = begin(directory.path());
    let tokens: Vec<String> =
        (0..CLIENTS).map(|number| text(&open(&server, &app, &number.to_string())["refresh_token"])).collect();
    let mut chains: Vec<Vec<String>> = tokens.into_iter().map(|token| vec![token]).collect();
    for _ in 0..KILLS {
        let (sender, answers) = channel();
        thread::scope(|scope| {
            for chain in &mut chains {
                let (sender, server, app) = (sender.clone(), &server, &app);
                scope.spawn(move || {
                    while let Some(answer) = refresh(server, app, chain.last().unwrap()) {
                        assert_eq!(answer.status, 200, "{}", answer.text());
                        chain.push(text(&answer.json()["refresh_token"]));
                        let _ = sender.send(());
                    }
                });
            }
            drop(sender);
            assert_eq!(answers.iter().take(ANSWERS / 2).count(), ANSWERS / 2);
            server.signal(Signal::KILL);
        });
        server.kill();
        server = Process::at(directory.path(), port, SETTINGS);
        for chain in &mut chains {
            let next = text(&refreshed(&server, &app, chain.last().unwrap())["refresh_token"]);
            assert_eq!(text(&refreshed(&server, &app, chain.last().unwrap())["refresh_token"]), next);
            assert!(!chain.contains(&next) && is_active(&server, &app, &next));
            chain.push(next);
        }
    }
}

/// ROT-03: sixty-four connections, one token, one pair.
#[test]
fn sixty_four_connections_with_one_token_get_one_pair() {
    let directory = tempfile::tempdir().unwrap();
    let (server, _, app) = begin(directory.path());
    let opened = open(&server, &app, "alice");
    let token = text(&opened["refresh_token"]);
    let pairs = Mutex::new(vec![]);
    thread::scope(|scope| {
        for _ in 0..64 {
            scope.spawn(|| pairs.lock().unwrap().push(refreshed(&server, &app, &token)));
        }
    });
    let pairs = pairs.into_inner().unwrap();
    assert_eq!(pairs.len(), 64);
    for pair in &pairs {
        assert_eq!(
            (&pair["refresh_token"], &pair["access_token"]),
            (&pairs[0]["refresh_token"], &pairs[0]["access_token"])
        );
    }
    let path = format!("/v1/sessions/{}", text(&opened["session"]["id"]));
    assert_eq!(
        through_socket(directory.path(), "GET", &path, &Value::Null).json()["families"][0]["generation"],
        1
    );
}

/// ROT-14, REV-29: a chain of refreshes on one connection races a revocation on another; nothing that it
/// issued works afterwards.
#[test]
fn no_refresh_outruns_a_revocation() {
    let directory = tempfile::tempdir().unwrap();
    let (server, _, app) = begin(directory.path());
    let mut outcomes = [0; 2];
    for round in 0..60 {
        let subject = format!("subject-{round}");
        let opened = open(&server, &app, &subject);
        let first = text(&opened["refresh_token"]);
        let (sender, begun) = channel();
        let issued = thread::scope(|scope| {
            let refreshing = scope.spawn(|| {
                let mut issued: Vec<Value> = vec![];
                let mut token = first.clone();
                loop {
                    let _ = sender.send(());
                    let answer = refresh(&server, &app, &token).unwrap();
                    if answer.status != 200 {
                        assert_eq!(answer.error(), "invalid_grant");
                        return issued;
                    }
                    token = text(&answer.json()["refresh_token"]);
                    issued.push(answer.json());
                }
            });
            // Some rounds are longer than others, so that the revocation comes at any moment.
            assert_eq!(begun.iter().take(1 + round % 4).count(), 1 + round % 4);
            let revoked = match round % 3 {
                0 => revoke(&server, &app, &first).unwrap(),
                1 => server
                    .send(
                        "DELETE",
                        &format!("/v1/subjects/{subject}/sessions"),
                        Some(&app),
                        "application/json",
                        "",
                    )
                    .unwrap(),
                _ => server
                    .send(
                        "DELETE",
                        &format!("/v1/sessions/{}", text(&opened["session"]["id"])),
                        Some(&app),
                        "application/json",
                        "",
                    )
                    .unwrap(),
            };
            assert!(revoked.status < 300, "{}", revoked.text());
            assert!(!is_active(&server, &app, &text(&opened["access_token"])), "the answer is final");
            refreshing.join().unwrap()
        });
        outcomes[usize::from(issued.is_empty())] += 1;
        for pair in issued {
            assert!(!is_active(&server, &app, &text(&pair["access_token"])), "round {round}");
            assert!(!is_active(&server, &app, &text(&pair["refresh_token"])), "round {round}");
        }
    }
    assert!(outcomes[0] > 0, "no refresh was ever answered: there was no race");
}

/// INT-112: once a caller has seen a token inactive, no caller sees it active again.
#[test]
fn concurrent_introspections_never_go_back_to_active() {
    let directory = tempfile::tempdir().unwrap();
    let (server, _, app) = begin(directory.path());
    for round in 0..10 {
        let opened = open(&server, &app, "alice");
        let token = text(&opened["access_token"]);
        let seen_dead = AtomicBool::new(false);
        let (sender, seen) = channel();
        thread::scope(|scope| {
            for _ in 0..6 {
                let (sender, server, app, token, seen_dead) =
                    (sender.clone(), &server, &app, &token, &seen_dead);
                scope.spawn(move || {
                    let mut after = 0;
                    while after < 5 {
                        let dead_before = seen_dead.load(Ordering::SeqCst);
                        let active = is_active(server, app, token);
                        assert!(!(dead_before && active), "active again after inactive");
                        seen_dead.fetch_or(!active, Ordering::SeqCst);
                        after += usize::from(!active);
                        let _ = sender.send(());
                    }
                });
            }
            drop(sender);
            assert_eq!(seen.iter().take(12).count(), 12);
            let revoked = if round % 2 == 0 { &opened["access_token"] } else { &opened["refresh_token"] };
            assert_eq!(revoke(&server, &app, &text(revoked)).unwrap().status, 200);
        });
    }
}
