//! `POST /oauth2/introspect`: the form of a request and what is ignored in it (RFC 7662 §2.1).

mod answers;
mod callers;
mod inactive;

use std::io;
use std::sync::{Arc, Mutex};

use http::Method;
use serde_json::{Value, json};

use crate::harness::server::{Answer, Auth, Client, Server, text};

const PATH: &str = "/oauth2/introspect";
const FORM: &str = "application/x-www-form-urlencoded";

/// A server, an application and its live access token.
async fn setting() -> (Server, Client, String) {
    let server = Server::start().await;
    let app = server.application("app").await;
    let token = text(&server.open(&app).await["access_token"]);
    (server, app, token)
}

/// The answer without its position in the event log, which other tests' events would move.
fn reported(answer: &Answer) -> Value {
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, "application/json"),
        "{}",
        answer.text()
    );
    answer.json()
}

/// INT-01, INT-80: the member is a JSON boolean.
#[tokio::test]
async fn a_live_token_is_active() {
    let (server, app, token) = setting().await;
    let answer = server.form(PATH, Auth::Basic(&app), &[("token", &token)]).await;
    assert_eq!(reported(&answer)["active"], json!(true));
    assert!(answer.text().starts_with(r#"{"active":true,"#), "{}", answer.text());
}

/// INT-02: the media type is compared without case, and its parameters are tolerated.
#[tokio::test]
async fn the_media_type_may_be_written_in_any_case() {
    let (server, app, token) = setting().await;
    let body = format!("token={token}");
    let usual = server.raw_form(PATH, Auth::Basic(&app), &body).await;
    for media_type in [
        "Application/X-WWW-Form-URLencoded; charset=UTF-8",
        "APPLICATION/x-www-form-urlencoded",
        &format!("{FORM} ; a=b"),
    ] {
        let answer = server
            .send(Method::POST, PATH, Auth::Basic(&app), &[("content-type", media_type)], body.clone())
            .await;
        assert_eq!(reported(&answer), reported(&usual), "{media_type}");
    }
}

/// INT-03, INT-04 (C-13): nothing but POST, and `Allow` says so; the token of the URL is not even looked at.
#[tokio::test]
async fn every_other_method_is_405() {
    let (server, app, token) = setting().await;
    for method in [Method::GET, Method::PUT, Method::DELETE, Method::PATCH, Method::HEAD, Method::OPTIONS] {
        let answer =
            server.send(method.clone(), &format!("{PATH}?token={token}"), Auth::Basic(&app), &[], "").await;
        assert_eq!((answer.status, answer.header("allow")), (405, "POST"), "{method}");
        assert!(!answer.text().contains("active"), "{method}");
    }
}

/// INT-05, INT-06, INT-07 (C-01).
#[tokio::test]
async fn what_is_not_a_form_is_an_invalid_request() {
    let (server, app, token) = setting().await;
    let json = json!({"token": token}).to_string();
    let multipart =
        format!("--b\r\nContent-Disposition: form-data; name=\"token\"\r\n\r\n{token}\r\n--b--\r\n");
    let form = format!("token={token}");
    for (headers, body) in [
        (&[("content-type", "application/json")][..], json),
        (&[("content-type", "multipart/form-data; boundary=b")], multipart),
        (&[("content-type", "text/plain")], form.clone()),
        (&[("content-type", "application/x-www-form-urlencodedx")], form.clone()),
        (&[], form),
    ] {
        server
            .send(Method::POST, PATH, Auth::Basic(&app), headers, body)
            .await
            .assert_error(400, "invalid_request");
    }
}

/// INT-08, INT-10, INT-11, INT-12, INT-13, INT-14 (C-02), INT-17, INT-18.
#[tokio::test]
async fn a_malformed_form_is_an_invalid_request() {
    let (server, app, token) = setting().await;
    for body in [
        String::new(),
        "token_type_hint=access_token".into(),
        "token=".into(),
        "token".into(),
        format!("token={token}&token={token}"),
        format!("token={token}&token=other"),
        format!("token=&token={token}"),
        format!("token={token}&token="),
        format!("token={token}&token_type_hint=access_token&token_type_hint=access_token"),
        format!("Token={token}"),
        format!("TOKEN={token}"),
        "token=%GG".into(),
        "token=a%2".into(),
        "token=%FF%FE".into(),
        format!("token={token}&x=%GG"),
        format!("token={token}&%FF=x"),
    ] {
        server.raw_form(PATH, Auth::Basic(&app), &body).await.assert_error(400, "invalid_request");
    }
    let raw = server
        .send(Method::POST, PATH, Auth::Basic(&app), &[("content-type", FORM)], &b"token=\xff\xfe"[..])
        .await;
    raw.assert_error(400, "invalid_request");
    server
        .raw_form(&format!("{PATH}?token={token}"), Auth::Basic(&app), "")
        .await
        .assert_error(400, "invalid_request");
}

/// INT-15, INT-16 (C-02), INT-72: what is not recognised is ignored, even when it is there twice.
#[tokio::test]
async fn what_is_not_recognised_changes_nothing() {
    let (server, app, token) = setting().await;
    let usual = server.raw_form(PATH, Auth::Basic(&app), &format!("token={token}")).await;
    reported(&usual);
    for rest in [
        "&foo=bar",
        "&foo=1&foo=2",
        "&TOKEN=other",
        "&&",
        "&token_type_hint=",
        "&token_type_hint=banana",
        "&token_type_hint=Access_Token",
        "&token_type_hint=access_token",
    ] {
        let answer = server.raw_form(PATH, Auth::Basic(&app), &format!("token={token}{rest}")).await;
        assert_eq!(answer.body, usual.body, "{rest}");
        assert_eq!(answer.headers, usual.headers, "{rest}");
    }
    let before = server.raw_form(PATH, Auth::Basic(&app), &format!("foo=1&foo=2&token={token}")).await;
    assert_eq!(before.body, usual.body);
}

/// INT-70, INT-71: a wrong hint extends the search (a shipped server answered inactive).
#[tokio::test]
async fn a_wrong_hint_does_no_harm() {
    let (server, app, _) = setting().await;
    let opened = server.open(&app).await;
    for (token, hint) in [
        ("refresh_token", "access_token"),
        ("access_token", "refresh_token"),
        ("session_token", "access_token"),
    ] {
        let fields = [("token", &*text(&opened[token])), ("token_type_hint", hint)];
        assert_eq!(
            reported(&server.form(PATH, Auth::Basic(&app), &fields).await)["active"],
            json!(true),
            "{token}"
        );
    }
}

/// INT-19: more than 64 KiB is refused and the connection closed; at the limit it is still read.
#[tokio::test]
async fn a_body_over_the_limit_is_413() {
    let (server, app, _) = setting().await;
    let body = |bytes: usize| format!("token={}", "a".repeat(bytes - "token=".len()));
    reported(&server.raw_form(PATH, Auth::Basic(&app), &body(64 * 1024)).await);
    let answer = server.raw_form(PATH, Auth::Basic(&app), &body(64 * 1024 + 1)).await;
    answer.assert_error(413, "invalid_request");
    assert_eq!(answer.header("connection"), "close");
}

/// INT-20: whatever it is, a token that is none is inactive, and nothing is trimmed off one that is good.
#[tokio::test]
async fn every_text_that_is_no_token_is_inactive() {
    let (server, app, token) = setting().await;
    let noise = "aZ09".repeat(15 * 1024);
    let near = [
        format!(" {token}"),
        format!("{token} "),
        format!("{token}\n"),
        format!("{token}\0"),
        format!("\u{feff}{token}"),
    ];
    let odd = [
        "\0",
        "\0\0\0",
        "' OR 1=1; DROP TABLE sessions; --",
        "\"}{$ne:1}",
        "🔑🔑",
        "\u{202e}",
        " ",
        "kfr_",
        "kfs_",
        "v4.public.",
        "..",
        "%",
    ];
    for odd in odd.iter().copied().chain(near.iter().map(String::as_str)).chain([&*noise]) {
        let answer = server.form(PATH, Auth::Basic(&app), &[("token", odd)]).await;
        assert_eq!((answer.status, answer.text()), (200, r#"{"active":false}"#.into()), "{:.40?}", odd);
    }
}

/// INT-21: ten thousand parameters are refused by their number.
#[tokio::test]
async fn too_many_parameters_are_refused() {
    let (server, app, token) = setting().await;
    let many = |number: usize| format!("token={token}{}", "&a=1".repeat(number - 1));
    reported(&server.raw_form(PATH, Auth::Basic(&app), &many(64)).await);
    for number in [65, 10_000] {
        let answer = server.raw_form(PATH, Auth::Basic(&app), &many(number)).await;
        answer.assert_error(400, "invalid_request");
        assert!(answer.text().contains("more than 64 parameters"), "{}", answer.text());
    }
}

/// Everything that is logged on this thread, at the most talkative level.
#[derive(Clone, Default)]
pub struct Logged(Arc<Mutex<Vec<u8>>>);

impl Logged {
    /// Starts to listen, until the guard is dropped.
    pub fn listen() -> (Self, tracing::subscriber::DefaultGuard) {
        let logged = Self::default();
        let writer = logged.clone();
        let all = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(move || writer.clone());
        (logged, tracing::subscriber::set_default(all.finish()))
    }

    /// What was logged.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl io::Write for Logged {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// INT-09, CLI-09: neither a token nor a secret of the URL is logged, nor repeated in the answer.
#[tokio::test]
async fn a_secret_in_the_url_is_not_logged() {
    let (server, app, token) = setting().await;
    let (logged, _guard) = Logged::listen();
    tracing::info!("the listener listens");
    let by_token = server.raw_form(&format!("{PATH}?token={token}"), Auth::Basic(&app), "").await;
    let by_secret = server
        .raw_form(&format!("{PATH}?client_id=app&client_secret={}", app.secret), Auth::None, "token=x")
        .await;
    for answer in [&by_token, &by_secret] {
        answer.assert_error(400, "invalid_request");
    }
    let seen = format!("{}{}{}", logged.text(), by_token.text(), by_secret.text());
    assert!(logged.text().contains("the listener listens"));
    assert!(!seen.contains(&token) && !seen.contains(&app.secret), "{seen}");
}
