//! The runbook for a stolen client secret in `docs/operations.md`: its lines, run as they are printed.

use serde_json::{Value, json};
use tempfile::tempdir;

use crate::harness::process::{Process, admin, run};
use crate::harness::server::{Client, text};

/// The command lines of the blocks with this mark, without `sudo keyfob`.
fn marked(page: &str, mark: &str) -> Vec<String> {
    let mut inside = false;
    let mut lines = vec![];
    for line in page.lines() {
        match line {
            "```" => inside = false,
            _ if inside => lines.push(line.strip_prefix("sudo keyfob ").unwrap().to_owned()),
            _ => inside = line == format!("```sh {mark}"),
        }
    }
    lines
}

#[test]
fn after_the_runbook_nothing_that_the_thief_of_a_secret_has_is_valid() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations.md")).unwrap();
    let lines = marked(&page, "secret-stolen");
    let directory = tempdir().unwrap();
    let server = Process::start(directory.path());
    let keyfob = |line: &str| {
        let output = run(directory.path(), &line.split(' ').collect::<Vec<_>>());
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let created = keyfob("--json client create shop --permission sessions --grant client_credentials");
    let created: Value = serde_json::from_str(&created).unwrap();
    let stolen = Client { id: "shop".into(), secret: text(&created["client_secret"]) };
    let open = |who: &Client, subject: &str| {
        server.json("POST", "/v1/sessions", Some(who), &json!({"subject": subject})).json()["session"].clone()
    };
    let own_token = |who: &Client| {
        let fields = [("grant_type", "client_credentials")];
        text(&server.form("/oauth2/token", Some(who), &fields).json()["access_token"])
    };
    let is_active = |token: &str| {
        let admin = admin(directory.path());
        server.form("/oauth2/introspect", Some(&admin), &[("token", token)]).json()["active"] == true
    };
    let (of_alice, of_thief) = (open(&stolen, "alice"), open(&stolen, "any person"));
    let token = own_token(&stolen);
    let [rotate, list, revoke, revoke_tokens] = lines.try_into().expect("the lines of the runbook");

    let rotated = keyfob(&rotate);
    assert!(!is_active(&token));
    assert_eq!(server.json("POST", "/v1/sessions", Some(&stolen), &json!({"subject": "x"})).status, 401);
    let secret = rotated.split_whitespace().find(|word| word.starts_with("kfc_")).unwrap();
    let shop = Client { secret: secret.into(), ..stolen };
    let listed = keyfob(&list);
    for session in [&of_alice, &of_thief] {
        assert!(listed.contains(&text(&session["id"])), "{listed}");
    }
    keyfob(&revoke.replace("ID", &text(&of_thief["id"])));
    let state = |session: &Value| {
        let path = format!("/v1/sessions/{}", text(&session["id"]));
        text(&server.json("GET", &path, Some(&shop), &Value::Null).json()["state"])
    };
    assert_eq!((state(&of_alice), state(&of_thief)), ("active".into(), "ended".into()));
    let token = own_token(&shop);
    assert!(is_active(&token));
    keyfob(&revoke_tokens);
    assert!(!is_active(&token) && is_active(&own_token(&shop)));
}
