//! The commands for sessions, subjects, tokens and keys, with the real binary: with a running server and
//! without.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Output, Stdio};

use base64ct::{Base64UrlUnpadded, Encoding};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::process::{Process, keyfob, run};
use crate::harness::server::{Client, text};

/// An installation with the client `app`, with or without a running server.
struct Desk {
    directory: TempDir,
    server: Option<Process>,
    app: Client,
}

impl Desk {
    /// The same installation with a server and without.
    fn both() -> [Self; 2] {
        [Self::new(false), Self::new(true)]
    }

    fn new(running: bool) -> Self {
        let directory = TempDir::new().unwrap();
        let server = running.then(|| Process::start(directory.path()));
        if !running {
            assert!(run(directory.path(), &["init"]).status.success());
        }
        let create = [
            "--json",
            "client",
            "create",
            "app",
            "--permission",
            "sessions,introspect",
            "--grant",
            "refresh_token",
        ];
        let created = run(directory.path(), &[&create[..], &["--scope", "read,write"]].concat());
        let created: Value = serde_json::from_slice(&created.stdout).unwrap();
        Self { directory, server, app: Client { id: "app".into(), secret: text(&created["client_secret"]) } }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// What a command that succeeds prints for a person.
    fn says(&self, arguments: &[&str]) -> String {
        let output = run(self.path(), arguments);
        assert_eq!(
            output.status.code(),
            Some(0),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// What it prints for a program.
    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.says(&[&["--json"], arguments].concat())).unwrap()
    }

    /// The one line of a command that is refused.
    fn refuses(&self, arguments: &[&str]) -> String {
        let output = run(self.path(), arguments);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{arguments:?}");
        let line = String::from_utf8(output.stderr).unwrap();
        assert!(line.starts_with("keyfob: ") && line.lines().count() == 1, "{line}");
        line
    }

    fn open(&self, subject: &str) -> Value {
        self.json(&["session", "create", "--subject", subject, "--client-id", "app"])
    }

    fn is_active(&self, token: &Value) -> bool {
        piped(self.path(), &["--json", "token", "introspect", "-"], &text(token)).json()["active"]
            == json!(true)
    }
}

/// Runs a command with this on its standard input.
fn piped(directory: &Path, arguments: &[&str], input: &str) -> Printed {
    let mut child = keyfob(directory, arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that needs no more closes its end; what it then prints is what counts.
    let _ = child.stdin.take().unwrap().write_all(format!("{input}\n").as_bytes());
    Printed(child.wait_with_output().unwrap())
}

struct Printed(Output);

impl Printed {
    fn text(&self) -> String {
        assert!(self.0.status.success(), "{}", String::from_utf8_lossy(&self.0.stderr));
        String::from_utf8(self.0.stdout.clone()).unwrap()
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.text()).unwrap()
    }

    fn refusal(&self) -> String {
        assert_eq!((self.0.status.code(), self.0.stdout.len()), (Some(1), 0));
        String::from_utf8(self.0.stderr.clone()).unwrap()
    }
}

/// Lines of a table, without its heading.
fn rows(table: &str) -> Vec<&str> {
    table.lines().skip(1).collect()
}

#[test]
fn a_session_is_opened_shown_and_ended_with_a_server_and_without() {
    for desk in Desk::both() {
        let opening = [
            "session",
            "create",
            "--subject",
            "alice",
            "--client-id",
            "app",
            "--scope",
            "read",
            "--acr",
            "urn:two",
            "--amr",
        ];
        let more = [
            "pwd,otp",
            "--claims",
            r#"{"plan":"pro"}"#,
            "--data",
            r#"{"cart":[1]}"#,
            "--remember",
            "--audience",
        ];
        let issuer =
            desk.json(&["token", "decode", &text(&desk.open("eve")["access_token"])])["payload"]["iss"]
                .clone();
        let opened = desk.json(&[&opening[..], &more[..], &[issuer.as_str().unwrap()]].concat());
        let session = &opened["session"];
        assert_eq!(
            (&session["subject"], &session["client_id"], &session["scope"]),
            (&json!("alice"), &json!("app"), &json!("read"))
        );
        assert_eq!(
            (&session["acr"], &session["amr"], &session["remember"]),
            (&json!("urn:two"), &json!(["pwd", "otp"]), &json!(true))
        );
        assert_eq!((&session["claims"], &session["data"]), (&json!({"plan": "pro"}), &json!({"cart": [1]})));
        assert!(
            text(&opened["session_token"]).starts_with("kfs_")
                && text(&opened["refresh_token"]).starts_with("kfr_")
        );

        let id = text(&session["id"]);
        assert_eq!(desk.json(&["session", "show", &id])["id"], session["id"]);
        let shown = desk.says(&["session", "show", &id]);
        assert!(
            shown.contains("It is active. It expires 2")
                && shown.contains("(in 14 d) unless it is used before"),
            "{shown}"
        );
        assert!(
            shown.contains("by admin.sock")
                && shown.contains("pwd otp")
                && shown.contains(r#"{"plan":"pro"}"#),
            "{shown}"
        );

        assert!(desk.is_active(&opened["access_token"]));
        assert_eq!(desk.json(&["session", "revoke", &id]), json!({ "ended": id }));
        assert!(desk.says(&["session", "revoke", &id]).contains("has ended"), "a second time is no failure");
        for token in ["access_token", "refresh_token", "session_token"] {
            assert!(!desk.is_active(&opened[token]), "{token}");
        }
        let shown = desk.says(&["session", "show", &id]);
        assert!(
            shown
                .contains("by an operator at the admin socket: admin - an administrator ended this session."),
            "{shown}"
        );
    }
}

#[test]
fn a_new_session_shows_its_secrets_once_and_says_so() {
    for desk in Desk::both() {
        let opened = desk.says(&["session", "create", "--subject", "alice", "--client-id", "app"]);
        for (name, prefix) in
            [("session_token", "kfs_"), ("access_token", "v4.public."), ("refresh_token", "kfr_")]
        {
            let line = opened.lines().find(|line| line.starts_with(name)).unwrap();
            let token = line.split_whitespace().last().unwrap();
            assert!(token.starts_with(prefix) && desk.is_active(&json!(token)), "{line}");
        }
        assert!(opened.contains("These tokens are secrets and are shown this once."), "{opened}");
        let id = opened.lines().next().unwrap().split_whitespace().last().unwrap();
        for shown in [
            desk.says(&["session", "show", id]),
            desk.says(&["session", "list"]),
            desk.json(&["session", "show", id]).to_string(),
        ] {
            assert!(!["kfs_", "kfr_", "v4.public"].iter().any(|secret| shown.contains(secret)), "{shown}");
        }
    }
}

#[test]
fn a_list_follows_its_pages_and_its_filters() {
    let desk = Desk::new(true);
    desk.json(&["client", "create", "other"]);
    let server = desk.server.as_ref().unwrap();
    // More than the largest page.
    for number in 0..203 {
        let body = json!({ "subject": format!("s{number}") });
        assert_eq!(server.json("POST", "/v1/sessions", Some(&desk.app), &body).status, 201);
    }
    let other = desk.json(&["session", "create", "--subject", "a/b ü&state=ended", "--client-id", "other"]);
    let all = desk.json(&["session", "list"]);
    let mut ids: Vec<&Value> = all.as_array().unwrap().iter().map(|session| &session["id"]).collect();
    ids.dedup();
    assert_eq!(ids.len(), 204, "each once, in order");
    assert_eq!(
        all[203],
        desk.json(&["session", "show", &text(&other["session"]["id"])]),
        "the items are the session objects"
    );
    assert_eq!(rows(&desk.says(&["session", "list"])).len(), 204);

    let limited = run(desk.path(), &["session", "list", "--limit", "2"]);
    assert_eq!(rows(&String::from_utf8(limited.stdout).unwrap()).len(), 2);
    assert!(String::from_utf8(limited.stderr).unwrap().contains("there may be more"));
    let of = |filter: &[&str]| rows(&desk.says(&[&["session", "list"], filter].concat())).len();
    assert_eq!(of(&["--subject", "s7"]), 1);
    assert_eq!(of(&["--subject", "a/b ü&state=ended"]), 1, "whatever a subject is made of");
    assert_eq!(of(&["--client-id", "app", "--limit", "202"]), 202);
    assert_eq!(of(&["--client-id", "other"]), 1);
    assert_eq!(of(&["--state", "ended"]), 0);
    assert_eq!(desk.json(&["session", "list", "--state", "expired"]), json!([]));

    desk.says(&["session", "revoke", &text(&other["session"]["id"])]);
    let ended = desk.says(&["session", "list", "--state", "ended"]);
    assert!(rows(&ended).len() == 1 && rows(&ended)[0].contains("other   ended (admin)"), "{ended}");
}

#[test]
fn a_subject_is_logged_out_everywhere_or_everywhere_else() {
    for desk in Desk::both() {
        let sessions: Vec<Value> = (0..3).map(|_| desk.open("a/b ü?")).collect();
        let bystander = desk.open("bob");
        let kept = text(&sessions[1]["session"]["id"]);
        let ended = desk.json(&[
            "subject",
            "revoke",
            "a/b ü?",
            "--except",
            &kept,
            "--reason",
            "a phone & a laptop were lost",
        ]);
        assert_eq!(ended, json!({ "ended": 2 }));
        assert_eq!(
            [0, 1, 2].map(|index| desk.is_active(&sessions[index]["session_token"])),
            [false, true, false]
        );
        let shown = desk.says(&["session", "show", &text(&sessions[0]["session"]["id"])]);
        assert!(shown.contains("subject_revoked - the subject's sessions were all ended at once"), "{shown}");
        assert_eq!(desk.says(&["subject", "revoke", "a/b ü?"]), "ended 1 session of a/b ü?\n");
        assert_eq!(desk.says(&["subject", "revoke", "unknown"]), "ended 0 sessions of unknown\n");
        assert!(desk.is_active(&bystander["session_token"]));
    }
}

#[test]
fn show_explains_that_a_spent_refresh_token_was_presented_again() {
    let desk = Desk::new(true);
    let opened = desk.open("alice");
    let server = desk.server.as_ref().unwrap();
    let refresh = |token: &str| {
        server.form(
            "/oauth2/token",
            Some(&desk.app),
            &[("grant_type", "refresh_token"), ("refresh_token", token)],
        )
    };
    let first = text(&opened["refresh_token"]);
    let second = text(&refresh(&first).json()["refresh_token"]);
    assert_eq!(refresh(&second).status, 200);
    assert_eq!(refresh(&first).status, 400);
    let shown = desk.says(&["session", "show", &text(&opened["session"]["id"])]);
    assert!(
        shown.contains("by keyfob itself: refresh_reuse - a spent refresh token was presented again:"),
        "{shown}"
    );
    let id = text(&desk.open("alice")["session"]["id"]);
    assert_eq!(
        server.json("DELETE", &format!("/v1/sessions/{id}"), Some(&desk.app), &json!(null)).status,
        204
    );
    assert!(desk.says(&["session", "show", &id]).contains("by app: logout - "));
}

#[test]
fn a_token_is_introspected_and_revoked_from_an_argument_and_from_standard_input() {
    for desk in Desk::both() {
        let opened = desk.open("alice");
        let (access, refresh) = (text(&opened["access_token"]), text(&opened["refresh_token"]));
        let reported = desk.json(&["token", "introspect", &access]);
        assert_eq!(
            (&reported["active"], &reported["sub"], &reported["sid"]),
            (&json!(true), &json!("alice"), &opened["session"]["id"])
        );
        let shown = piped(desk.path(), &["token", "introspect", "-"], &access).text();
        assert!(shown.starts_with("active\n") && shown.contains("(in 5 min)"), "{shown}");
        assert_eq!(
            piped(desk.path(), &["--json", "token", "revoke", "-"], &access).json(),
            json!({ "revoked": true })
        );
        assert!(
            !desk.is_active(&json!(access)) && desk.is_active(&json!(refresh)),
            "an access token dies alone"
        );
        desk.says(&["token", "revoke", &refresh]);
        assert!(!desk.is_active(&opened["session_token"]), "its last family takes the session along");
        assert!(desk.says(&["token", "introspect", &refresh]).starts_with("inactive: "));
        let shown = desk.says(&["session", "show", &text(&opened["session"]["id"])]);
        assert!(shown.contains("token_revoked - its last refresh token was revoked"), "{shown}");
        assert!(
            desk.says(&["token", "revoke", "nonsense"]).starts_with("revoked, if it was a token"),
            "as the route answers it"
        );
        assert!(
            piped(desk.path(), &["token", "revoke", "-"], "")
                .refusal()
                .contains("no token on standard input")
        );
    }
}

/// The JSON library gives a meaning of its own to this key; the commands once failed at it, or printed `1`
/// for it, and rounded numbers before they sent them.
#[test]
fn stored_json_is_sent_and_printed_as_it_is() {
    for desk in Desk::both() {
        let create = ["session", "create", "--subject", "alice", "--client-id", "app", "--claims"];
        let object = r#"{"$serde_json::private::RawValue":"1","n":0.1}"#;
        let opened = desk.says(&[&["--json"], &create[..], &[object, "--data", object]].concat());
        let plain = |text: &str| text.replace([' ', '\n'], "");
        assert_eq!(plain(&opened).matches(object).count(), 2, "{opened}");
        let member = |name: &str| {
            opened.split(&format!("\"{name}\": \"")).nth(1).unwrap().split('"').next().unwrap().to_owned()
        };
        let (id, access) = (member("id"), member("access_token"));
        for (arguments, times) in [
            (vec!["session", "show", &id], 2),
            (vec!["session", "list"], 2),
            (vec!["token", "introspect", &access], 1),
            (vec!["token", "decode", &access], 1),
        ] {
            let printed = desk.says(&[&["--json"], &arguments[..]].concat());
            assert_eq!(plain(&printed).matches(object).count(), times, "{printed}");
            let shown = if arguments[1] == "list" { 0 } else { times };
            let printed = desk.says(&arguments);
            assert_eq!(plain(&printed).matches(object).count(), shown, "{printed}");
        }
        for wrong in [r#"{"a":[12345678901234567890123]}"#, r#"{"a":1,"a":1}"#, "[1]", "{"] {
            let output = run(desk.path(), &[&create[..], &[wrong]].concat());
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(2), "{said}");
            assert!(said.contains("expected a JSON object, such as"), "{said}");
            assert!(!wrong.contains("123") || said.contains("a[0] is a number"), "{said}");
        }
    }
}

/// A mobile client without an audience got access tokens that a service saw inactive, and nothing said why.
#[test]
fn introspect_as_a_client_says_what_it_gets_and_why_a_token_is_inactive_for_it() {
    for desk in Desk::both() {
        let serves = ["--permission", "introspect", "--serves", "https://api.example.com"];
        desk.says(&[&["client", "create", "api"][..], &serves].concat());
        desk.says(&["client", "create", "plain"]);
        let opened = desk.open("alice");
        let (access, refresh) = (text(&opened["access_token"]), text(&opened["refresh_token"]));
        let introspect = |client, token| desk.json(&["token", "introspect", "--as", client, token]);
        let owned = introspect("app", &access);
        assert_eq!(
            (&owned["active"], &owned["sub"], owned.get("reason")),
            (&json!(true), &json!("alice"), None)
        );
        let reason = |client, token| {
            let answer = introspect(client, token);
            assert_eq!(answer["active"], false);
            text(&answer["reason"])
        };
        assert_eq!(reason("api", &access), "audience");
        let said = desk.says(&["token", "introspect", "--as", "api", &access]);
        for words in
            ["inactive (audience): its audience is http://", "issued to app", "--serves", "--audience"]
        {
            assert!(said.contains(words), "{words} in {said}");
        }
        assert_eq!(reason("api", &refresh), "owner");
        assert_eq!(reason("app", "nonsense"), "unknown");
        desk.says(&["token", "revoke", &access]);
        assert_eq!(reason("app", &access), "revoked");
        desk.says(&["session", "revoke", &text(&opened["session"]["id"])]);
        assert_eq!(reason("app", &refresh), "session_ended");
        let forbidden = desk.refuses(&["token", "introspect", "--as", "plain", &access]);
        assert!(
            forbidden.contains("403") && forbidden.contains("`client update plain --permission`"),
            "{forbidden}"
        );
        desk.says(&["client", "create", "phone", "--public"]);
        let public = desk.refuses(&["token", "introspect", "--as", "phone", &access]);
        let expected =
            "the client phone is public and gets 401: without a secret it cannot introspect; its API";
        assert!(public.contains(expected) && public.contains("name that one"), "{public}");
        assert!(desk.refuses(&["token", "introspect", "--as", "unknown", &access]).contains("no client"));
        if let Some(server) = &desk.server {
            let form = [("token", &*access), ("as", "api")];
            let answer = server.form("/oauth2/introspect", Some(&desk.app), &form);
            assert_eq!(answer.text(), r#"{"active":false}"#, "the reason is for the admin socket alone");
        }
    }
}

#[test]
fn decode_needs_no_server_and_says_whether_it_verified() {
    let desk = Desk::new(true);
    let token = text(&desk.open("alice")["access_token"]);
    let published =
        desk.server.as_ref().unwrap().send("GET", "/.well-known/paserk.json", None, "", "").unwrap().json();
    let key = text(&published["keys"][0]["key"]);
    let elsewhere = TempDir::new().unwrap();
    std::fs::write(elsewhere.path().join("config.toml"), "this is no configuration").unwrap();
    let decode =
        |arguments: &[&str]| piped(elsewhere.path(), &[&["token", "decode"], arguments].concat(), &token);

    let unverified = decode(&["-"]).text();
    assert!(unverified.starts_with("NOT VERIFIED: this token may be forged."), "{unverified}");
    assert!(unverified.contains("\"sub\": \"alice\"") && unverified.contains("(in 5 min)"), "{unverified}");
    let verified = decode(&["-", "--key", &key]).text();
    assert!(
        verified.starts_with(&format!("VERIFIED: signed by the key {}", text(&published["keys"][0]["kid"]))),
        "{verified}"
    );
    let reported = decode(&["-", "--json"]).json();
    assert_eq!(
        (&reported["verified"], &reported["verified_with"], &reported["payload"]["sub"]),
        (&json!(false), &Value::Null, &json!("alice"))
    );
    let reported = decode(&["-", "--json", "--key", &key]).json();
    assert_eq!(
        (&reported["verified"], &reported["verified_with"], &reported["footer"]["kid"]),
        (&json!(true), &published["keys"][0]["kid"], &published["keys"][0]["kid"])
    );

    let another = "k4.public.11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
    assert!(
        decode(&["-", "--key", another]).refusal().contains("this key did not sign this token"),
        "nothing is shown"
    );
    let swapped = decode(&["--key", &key, &token.replacen("v4.public.eyJ", "v4.public.eyK", 1)]);
    assert!(swapped.refusal().contains("this key did not sign this token"));
    for secret in ["k4.secret.cHJpdmF0ZQ", "k4.public.cHJpdmF0ZQ", &format!("k4.public.{}", "A".repeat(43))] {
        let refusal = decode(&["-", "--key", secret]).refusal();
        assert!(refusal.contains("--key is not a public key") && !refusal.contains(secret), "{refusal}");
    }
    for foreign in ["v4.local.AAAA", "v4.public.AAAA", "a.b", "", "hello"] {
        assert!(decode(&[foreign]).refusal().contains("not a keyfob token"), "{foreign}");
    }
}

/// Any part of a token, encoded again.
fn part(json: &str) -> String {
    Base64UrlUnpadded::encode_string(json.as_bytes())
}

/// ASV-02: what is not signed as keyfob signs is not shown as if it were.
#[test]
fn decode_reads_jwts_and_refuses_every_other_algorithm() {
    let desk = Desk::new(true);
    desk.json(&["client", "update", "app", "--access-token-format", "jwt"]);
    let token = text(&desk.open("alice")["access_token"]);
    let published =
        desk.server.as_ref().unwrap().send("GET", "/.well-known/jwks.json", None, "", "").unwrap().json();
    let (key, kid) =
        (format!("k4.public.{}", text(&published["keys"][0]["x"])), text(&published["keys"][0]["kid"]));
    let elsewhere = TempDir::new().unwrap();
    let decode =
        |arguments: &[&str]| piped(elsewhere.path(), &[&["token", "decode"], arguments].concat(), &token);

    let unverified = decode(&["-"]).text();
    assert!(unverified.starts_with("NOT VERIFIED: this token may be forged."), "{unverified}");
    assert!(
        unverified.contains("\"typ\": \"at+jwt\"") && unverified.contains("\"sub\": \"alice\""),
        "{unverified}"
    );
    assert!(unverified.contains("(in 5 min)"), "{unverified}");
    let verified = decode(&["-", "--key", &key]).text();
    assert!(verified.starts_with(&format!("VERIFIED: signed by the key {kid}")), "{verified}");
    let reported = decode(&["-", "--json", "--key", &key]).json();
    assert_eq!(
        (&reported["verified"], &reported["verified_with"], &reported["header"]["kid"]),
        (&json!(true), &json!(kid), &json!(kid))
    );
    assert_eq!((&reported["payload"]["sub"], reported.get("footer")), (&json!("alice"), None));

    let [header, payload, signature] = token.split('.').collect::<Vec<_>>()[..] else { panic!("{token}") };
    let another = "k4.public.11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
    assert!(decode(&["-", "--key", another]).refusal().contains("this key did not sign this token"));
    let changed = format!("{header}.{}.{signature}", part(r#"{"sub":"root"}"#));
    assert!(decode(&[&changed, "--key", &key]).refusal().contains("this key did not sign this token"));
    assert!(decode(&[&changed]).text().contains("root"), "without a key nothing is promised");
    for (algorithm, rest) in
        [("none", ""), ("None", signature), ("HS256", signature), ("ES384", signature), ("eddsa", signature)]
    {
        let forged =
            format!("{}.{payload}.{rest}", part(&format!(r#"{{"typ":"at+jwt","alg":"{algorithm}"}}"#)));
        for arguments in [&[&*forged][..], &[&forged, "--key", &key]] {
            let refusal = decode(arguments).refusal();
            assert!(refusal.contains("EdDSA") && !refusal.contains("alice"), "{refusal}");
        }
    }
    for header in
        [r#"{"typ":"at+jwt"}"#, r#"{"alg":7}"#, r#"["EdDSA"]"#, r#"{"alg":"EdDSA","alg":"none"}"#, "no json"]
    {
        assert_eq!(
            decode(&[&format!("{}.{payload}.{signature}", part(header))]).0.status.code(),
            Some(1),
            "{header}"
        );
    }
    // What must be understood to trust it is not (RFC 7515 §4.1.11).
    let critical = part(r#"{"alg":"EdDSA","crit":["exp"],"exp":1}"#);
    assert!(
        decode(&[&format!("{critical}.{payload}.{signature}"), "--key", &key]).refusal().contains("crit")
    );
}

/// With the JWK as it is published; another key, also one of the other algorithm, does not verify it.
#[test]
fn decode_verifies_es256_with_a_published_jwk() {
    let desk = Desk::new(true);
    desk.json(&["client", "update", "app", "--access-token-format", "jwt_es256"]);
    let token = text(&desk.open("alice")["access_token"]);
    let published =
        desk.server.as_ref().unwrap().send("GET", "/.well-known/jwks.json", None, "", "").unwrap().json();
    let keys = published["keys"].as_array().unwrap();
    let elsewhere = TempDir::new().unwrap();
    let decode =
        |key: &str| piped(elsewhere.path(), &["token", "decode", "-", "--json", "--key", key], &token);
    let [signing, others @ ..] = &keys.iter().filter(|key| key["alg"] == "ES256").collect::<Vec<_>>()[..]
    else {
        panic!("{published}")
    };
    let reported = decode(&signing.to_string()).json();
    assert_eq!(
        (
            &reported["verified"],
            &reported["verified_with"],
            &reported["header"]["alg"],
            &reported["payload"]["sub"]
        ),
        (&json!(true), &signing["kid"], &json!("ES256"), &json!("alice"))
    );
    for other in others.iter().copied().chain(keys.iter().filter(|key| key["alg"] == "EdDSA")) {
        assert!(decode(&other.to_string()).refusal().contains("did not sign"), "{other}");
    }
    for malformed in
        ["{}", "{", r#"{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}"#, r#"{"kty":"oct","k":"AA"}"#]
    {
        assert!(decode(malformed).refusal().contains("--key is not a public key"), "{malformed}");
    }
}

/// The public part of an opaque token names its session; the secret part is never printed.
#[test]
fn decode_describes_an_opaque_token_and_prints_no_secret() {
    let desk = Desk::new(true);
    let opened = desk.open("alice");
    let (refresh_token, session_token) = (text(&opened["refresh_token"]), text(&opened["session_token"]));
    let id = text(&opened["session"]["id"]);
    let decode = |token: &str, arguments: &[&str]| {
        piped(desk.path(), &[&["token", "decode", "-"], arguments].concat(), token)
    };

    let said = decode(&refresh_token, &[]).text();
    assert!(said.starts_with("NOT VERIFIED: this token may be forged."), "{said}");
    assert!(
        said.contains("a refresh token")
            && said.contains(&id)
            && said.contains("family")
            && said.contains("generation"),
        "{said}"
    );
    let reported = decode(&refresh_token, &["--json"]).json();
    let expected = json!({
        "verified": false, "verified_with": null, "token": "refresh_token", "session_id": id, "family": 1,
        "generation": 0,
    });
    assert_eq!(reported, expected);
    let reported = decode(&session_token, &["--json"]).json();
    assert_eq!(
        reported,
        json!({
            "verified": false, "verified_with": null, "token": "session_token", "session_id": id,
            "renewals": 0,
        })
    );
    for token in [&refresh_token, &session_token] {
        for arguments in [&[][..], &["--json"]] {
            let said = decode(token, arguments).text();
            let secret = |from: usize| {
                token.as_bytes()[from..]
                    .windows(8)
                    .any(|piece| said.contains(std::str::from_utf8(piece).unwrap()))
            };
            assert!(!secret(36), "{said}");
        }
        let key = "k4.public.11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
        assert!(decode(token, &["--key", key]).refusal().contains("only the server can verify it"));
    }
    for broken in [
        "kfr_AAAA",
        &refresh_token[..99],
        &format!("{refresh_token}A"),
        &refresh_token.replacen("AQ", "Ag", 1),
    ] {
        let refusal = decode(broken, &[]).refusal();
        assert!(refusal.contains("starts like a refresh token") && !refusal.contains(broken), "{refusal}");
    }
    let secret = decode(&desk.app.secret, &[]).refusal();
    assert!(secret.contains("a client's secret") && !secret.contains(&desk.app.secret), "{secret}");
}

/// Contract, section 2: 1 rejected or failed, with one line that names the cause; 2 invalid usage.
#[test]
fn errors_are_one_line_and_invalid_usage_has_another_code() {
    for desk in Desk::both() {
        let absent = "01a20bcd-602b-7b2e-b570-2e8fbbb8e205";
        assert!(desk.refuses(&["session", "show", absent]).contains("there is no such session"));
        assert!(desk.refuses(&["session", "revoke", "../clients/app"]).contains("there is no such session"));
        assert!(
            desk.refuses(&["session", "create", "--subject", "alice", "--client-id", "unknown"])
                .contains("there is no such client")
        );
        assert!(
            desk.refuses(&[
                "session",
                "create",
                "--subject",
                "alice",
                "--client-id",
                "app",
                "--scope",
                "root"
            ])
            .contains("scope")
        );
        assert!(desk.refuses(&["subject", "revoke", "alice", "--except", "x"]).contains("except"));
        for usage in [
            &["session", "create", "--subject", "alice"][..],
            &["session", "create", "--subject", "alice", "--client-id", "app", "--claims", "[]"],
            &["session", "list", "--state", "gone"],
            &["session", "list", "--limit", "0"],
            &["subject", "revoke"],
            &["token", "introspect"],
            &["session"],
        ] {
            assert_eq!(run(desk.path(), usage).status.code(), Some(2), "{usage:?}");
        }
    }
    let empty = TempDir::new().unwrap();
    let output = run(empty.path(), &["session", "list"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("keyfob init"), "it says how to go on");
}

#[test]
fn config_reports_what_a_preset_changed() {
    let directory = TempDir::new().unwrap();
    std::fs::write(
        directory.path().join("config.toml"),
        "[policy.default]\npreset = \"aal2\"\nidle_timeout = \"2h\"\n",
    )
    .unwrap();
    let says = |arguments: &[&str]| Printed(run(directory.path(), arguments)).text();
    let check = says(&["config", "check"]);
    assert!(
        check.contains(
            "preset aal2 sets policy.default.remember.idle_timeout to \"1h\"; without it the value is \
             \"14d\"\n"
        ),
        "{check}"
    );
    assert!(
        check.contains(
            "warning: policy.default.idle_timeout is \"2h\" (config.toml): preset aal2 recommends at most \
             \"1h\""
        ),
        "{check}"
    );
    assert!(check.ends_with("the configuration is valid\n"), "{check}");
    let check: Value = serde_json::from_str(&says(&["config", "check", "--json"])).unwrap();
    let change = json!({
        "preset": "aal2", "key": "policy.default.remember.idle_timeout", "value": "1h", "otherwise": "14d",
    });
    assert_eq!(check["preset_changes"][0], change);
    let show = says(&["config", "show"]);
    let line = show.lines().find(|line| line.starts_with("policy.default.absolute_lifetime")).unwrap();
    assert!(line.ends_with("preset aal2"), "{line}");
    std::fs::write(
        directory.path().join("config.toml"),
        "[policy.default]\npreset = \"aal3\"\nabsolute_lifetime = \"24h\"\n",
    )
    .unwrap();
    let refused = Printed(run(directory.path(), &["config", "check"])).refusal();
    assert!(
        refused.contains("as preset aal3 (config.toml) requires (NIST SP 800-63B-4 §2.3.3, SHALL)"),
        "{refused}"
    );
    let url = "[store]\nurl = \"postgres://keyfob:secret@db1/keyfob?colour=red\"\n";
    std::fs::write(directory.path().join("config.toml"), url).unwrap();
    let refused = Printed(run(directory.path(), &["config", "check"])).refusal();
    let is_named = refused.contains("colour") && refused.contains("correct store.url");
    assert!(is_named && !refused.contains("secret"), "{refused}");
}

#[test]
fn keys_are_listed_rotated_and_revoked() {
    for desk in Desk::both() {
        let opened = desk.open("alice");
        let kids = |desk: &Desk| -> Vec<String> {
            desk.json(&["key", "list"]).as_array().unwrap().iter().map(|key| text(&key["kid"])).collect()
        };
        let before = kids(&desk);
        assert!(desk.refuses(&["key", "rotate"]).contains("key rotate --force"));
        assert_eq!(desk.json(&["key", "rotate", "--force"])["kid"], json!(before[1]));
        assert!(desk.is_active(&opened["access_token"]), "a rotation ends no session");
        assert!(rows(&desk.says(&["key", "list"]))[0].contains("retired"));
        assert!(desk.says(&["key", "revoke", &before[0]]).starts_with("revoked k4.pid."));
        assert!(!desk.is_active(&opened["access_token"]));
        assert_eq!(kids(&desk).len(), 2);
        assert!(desk.refuses(&["key", "revoke", "k4.pid.unknown"]).contains("there is no such key"));
    }
}

#[test]
fn the_event_log_is_printed_after_a_cursor() {
    for desk in Desk::both() {
        let opened = desk.open("alice");
        let id = text(&opened["session"]["id"]);
        desk.says(&["session", "revoke", &id]);
        let lines: Vec<Value> = desk
            .says(&["--json", "events", "tail"])
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let kinds: Vec<String> = lines.iter().map(|event| text(&event["type"])).collect();
        assert_eq!(kinds, ["client.created", "client.created", "session.opened", "session.ended"]);
        let last = desk.says(&["events", "tail", "--after", &text(&lines[2]["cursor"])]);
        assert!(
            last.lines().count() == 1
                && last.contains("session.ended")
                && last.contains(&format!("session_id={id}")),
            "{last}"
        );
        assert!(desk.refuses(&["events", "tail", "--after", "999"]).contains("has not reached"));
    }
}

/// A command that does not end by itself. Killed when dropped.
struct Endless(Child);

impl Drop for Endless {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Contract, section 2: the store is free for other commands meanwhile, and a restart of the server does not
/// end it.
#[test]
fn a_follower_does_not_hold_the_store_and_survives_a_restart() {
    let directory = Desk::new(false).directory;
    let mut follow = keyfob(directory.path(), &["--json", "events", "tail", "--follow"]);
    let mut follower = Endless(follow.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap());
    let mut lines = BufReader::new(follower.0.stdout.take().unwrap()).lines();
    let mut next = || serde_json::from_str::<Value>(&lines.next().expect("it goes on").unwrap()).unwrap();
    assert_eq!([next(), next()].map(|event| text(&event["type"])), ["client.created"; 2]);
    for id in ["first", "second"] {
        let server = Process::start(directory.path());
        assert!(run(directory.path(), &["client", "create", id]).status.success());
        assert_eq!(next()["client_id"], id);
        assert_eq!(server.stop(), 0);
    }
    assert!(run(directory.path(), &["client", "create", "third"]).status.success(), "the store is free");
    let _server = Process::start(directory.path());
    assert_eq!(next()["client_id"], "third", "nothing is left out");
}

#[test]
fn a_name_cannot_forge_an_event() {
    let desk = Desk::new(false);
    desk.open("al \"x\" client_id=root");
    desk.open("\u{202e}ecila");
    let reported = desk.says(&["events", "tail"]);
    assert!(reported.contains(r#" subject="al \"x\" client_id=root" client_id=app"#), "{reported}");
    assert!(reported.contains(r" subject=\u202eecila client_id=app"), "{reported}");
}

#[test]
fn a_list_is_emptied_and_a_change_names_something_to_change() {
    let desk = Desk::new(true);
    let emptied = desk.json(&["client", "update", "app", "--permission", "", "--scope=", "--opens-for", ""]);
    assert_eq!([&emptied["permissions"], &emptied["scopes"], &emptied["opens_for"]], [&json!([]); 3]);
    assert_eq!(emptied["grants"], json!(["refresh_token"]));
    let before = desk.json(&["client", "show", "app"]);
    let output = run(desk.path(), &["client", "update", "app"]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(
        error.contains("name something to change") && error.contains("Usage: keyfob client update"),
        "{error}"
    );
    assert_eq!(desk.json(&["client", "show", "app"]), before);
}

#[test]
fn an_empty_name_is_invalid_usage() {
    let directory = TempDir::new().unwrap();
    for line in [
        "client show",
        "client delete",
        "client rotate-secret",
        "client revoke-tokens",
        "key revoke",
        "session show",
        "session revoke",
        "subject revoke",
    ] {
        let arguments: Vec<&str> = line.split(' ').chain([""]).collect();
        assert_eq!(run(directory.path(), &arguments).status.code(), Some(2), "{line}");
    }
}
