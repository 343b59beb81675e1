//! The file is lost and a backup restored: what each token that was issued before answers. The table is the
//! one of docs/backup.md.

use std::fs;

use serde_json::{Value, json};

use super::{House, client, json_of, says};
use crate::harness::process::{Process, data};
use crate::harness::server::{Client, text};

/// The tokens of one row.
struct Row {
    issued: &'static str,
    since: &'static str,
    client: Client,
    opened: Value,
    /// The refresh token to present: the newest that was given out.
    refresh: String,
}

impl House {
    fn row(&self, issued: &'static str, since: &'static str, client: &Client) -> Row {
        let body = json!({ "subject": if since == "-" { "alice" } else { since } });
        let answer = self.server().json("POST", "/v1/sessions", Some(client), &body);
        assert_eq!(answer.status, 201, "{}", answer.text());
        let opened = answer.json();
        Row { issued, since, client: client.clone(), refresh: text(&opened["refresh_token"]), opened }
    }

    fn refresh(&self, client: &Client, token: &str) -> Value {
        let fields = [("grant_type", "refresh_token"), ("refresh_token", token)];
        self.server().form("/oauth2/token", Some(client), &fields).json()
    }

    fn introspect(&self, client: &Client, token: &Value) -> Value {
        self.server().form("/oauth2/introspect", Some(client), &[("token", &text(token))]).json()
    }

    fn active(&self, client: &Client, token: &Value) -> &'static str {
        if self.introspect(client, token)["active"] == json!(true) { "active" } else { "inactive" }
    }

    fn own_token(&self, client: &Client) -> Value {
        let fields = [("grant_type", "client_credentials")];
        self.server().form("/oauth2/token", Some(client), &fields).json()["access_token"].clone()
    }

    fn end(&self, row: &Row) {
        let path = format!("/v1/sessions/{}", text(&row.opened["session"]["id"]));
        assert_eq!(self.server().json("DELETE", &path, Some(&row.client), &json!(null)).status, 204);
    }

    /// The row as docs/backup.md has it.
    fn answers(&self, row: &Row) -> String {
        let Row { issued, since, client, opened, .. } = row;
        let [access, session] =
            ["access_token", "session_token"].map(|name| self.active(client, &opened[name]));
        let refresh = self.refresh(client, &row.refresh);
        let refresh = refresh["error"].as_str().unwrap_or("a new pair");
        let shown = self.server().json(
            "GET",
            &format!("/v1/sessions/{}", text(&opened["session"]["id"])),
            Some(client),
            &json!(null),
        );
        let shown = match shown.status {
            200 => shown.json()["ended"]["reason"]
                .as_str()
                .map_or_else(|| "active".to_owned(), |reason| format!("`{reason}`")),
            status => status.to_string(),
        };
        format!("| {issued} | {since} | {access} | `{refresh}` | {session} | {shown} |")
    }

    fn events(&self, query: &str) -> Value {
        let admin = crate::harness::process::admin(self.path());
        let answer = self
            .server()
            .send("GET", &format!("/v1/events{query}"), Some(&admin), "application/json", "")
            .unwrap();
        if answer.status == 200 {
            answer.json()
        } else {
            json!({ "status": answer.status, "detail": answer.json()["detail"] })
        }
    }
}

/// ROT-18, and the issue's own words: back up, revoke, rotate, open, delete a client, revoke a key, lose the
/// file, restore; nothing that was ended comes back to life, and nothing newer than the backup is believed.
#[test]
fn after_a_restore_every_old_token_is_refused_and_says_why() {
    let mut house = House::new();
    let port: u16 = house.server().address.rsplit_once(':').unwrap().1.parse().unwrap();
    let doomed = client(house.path(), "doomed");
    let [untouched, revoked, rotated, everywhere] =
        ["nothing", "it was ended", "refreshed twice", "its subject was logged out everywhere"]
            .map(|since| house.row("before", since, &house.app));
    let mut rotated = rotated;
    let ended = house.row("before", "it had logged out before the backup", &house.app);
    house.end(&ended);
    let deleted = house.row("before", "its client was deleted", &doomed);
    let own_before = house.own_token(&house.app);
    for row in [&untouched, &revoked, &deleted] {
        assert_eq!(house.active(&row.client, &row.opened["access_token"]), "active");
    }

    let backed_up = house.json(&["db", "backup", "b.backup"]);
    assert_eq!(
        (&backed_up["sessions"], &backed_up["clients"], &backed_up["master_key_included"]),
        (&json!(6), &json!(3), &json!(false))
    );
    let at_backup = text(&house.events("")["head"]);

    house.end(&revoked);
    for _ in 0..2 {
        rotated.refresh = text(&house.refresh(&house.app, &rotated.refresh)["refresh_token"]);
    }
    says(house.path(), &["subject", "revoke", everywhere.since]);
    let later = house.row("after", "-", &house.app);
    says(house.path(), &["client", "delete", "doomed"]);
    says(house.path(), &["client", "create", "newcomer"]);
    let keys_before = house.json(&["key", "list"]);
    says(house.path(), &["key", "revoke", &text(&keys_before[0]["kid"])]);
    let rotated_secret = Client {
        secret: text(&house.json(&["client", "rotate-secret", "app"])["client_secret"]),
        ..house.app.clone()
    };
    let own_after = house.own_token(&rotated_secret);
    assert_eq!(house.active(&rotated_secret, &own_after), "active");
    let lost = text(&house.events("?limit=200")["head"]);

    house.server.take().unwrap().kill();
    fs::remove_file(data(house.path(), "keyfob.redb")).unwrap();
    let restored = house.json(&["db", "restore", "b.backup"]);
    assert_eq!(
        (&restored["sessions"], &restored["sessions_ended"], &restored["kept"]),
        (&json!(6), &json!(5), &Value::Null)
    );
    house.server = Some(Process::at(house.path(), port, &[]));

    let document = include_str!("../../../../docs/backup.md");
    for row in [&untouched, &revoked, &rotated, &everywhere, &deleted, &ended, &later] {
        let line = house.answers(row);
        assert!(document.lines().any(|documented| documented == line), "docs/backup.md does not say: {line}");
    }
    assert_eq!([&own_before, &own_after].map(|token| house.active(&house.app, token)), ["inactive"; 2]);
    assert_eq!(
        house.server().form("/oauth2/introspect", Some(&rotated_secret), &[("token", "x")]).status,
        401,
        "the old secret is back"
    );
    assert_eq!(
        house.refresh(&Client { id: "newcomer".into(), secret: String::new() }, "x")["error"],
        "invalid_client"
    );

    let log = fs::read_to_string(house.file("log.txt")).unwrap();
    assert!(log.contains("a refresh token is newer than the store"), "{log}");
    let shown = says(house.path(), &["session", "show", &text(&rotated.opened["session"]["id"])]);
    assert!(shown.contains("store_rollback - the database was restored to an earlier state"), "{shown}");
    let keys = house.json(&["key", "list"]);
    let kids =
        |keys: &Value| keys.as_array().unwrap().iter().map(|key| text(&key["kid"])).collect::<Vec<_>>();
    assert!(kids(&keys).len() == 2 && kids(&keys).iter().all(|kid| !kids(&keys_before).contains(kid)));

    // The log: from the end of the backup it continues with the restore; from the lost history it does not;
    // a reader of the whole log passes from one to the other.
    let page = house.events(&format!("?after={at_backup}"));
    let first = &page["items"][0];
    assert_eq!(
        (&first["type"], &first["by"], &first["cursor"]),
        (&json!("store.restored"), &json!("admin.sock"), &restored["cursor"])
    );
    assert!(text(&first["note"]).ends_with("; 5 sessions that were active then have ended"), "{first}");
    let gone = house.events(&format!("?after={lost}"));
    assert!(
        gone["status"] == 410 && text(&gone["detail"]).contains("restored from an older backup"),
        "{gone}"
    );
    assert_eq!(house.events(&format!("?after={}", lost.parse::<u64>().unwrap() + 1))["status"], 410);
    let (mut cursor, mut all) = ("?limit=3".to_owned(), vec![]);
    loop {
        let page = house.events(&cursor);
        let items = page["items"].as_array().unwrap();
        let Some(last) = items.last() else { break };
        cursor = format!("?limit=3&after={}", text(&last["cursor"]));
        all.extend(items.iter().map(|event| text(&event["type"])));
    }
    assert_eq!(all.iter().filter(|kind| *kind == "store.restored").count(), 1);
    assert_eq!(all.len() as u64, backed_up["events"].as_u64().unwrap() + 1);

    // The server continues: all users sign in again, at positions after all earlier ones.
    let fresh = house.row("now", "-", &house.app);
    let reported = house.introspect(&house.app, &fresh.opened["access_token"]);
    assert_eq!(reported["active"], true);
    let position = |text: String| text.parse::<u64>().unwrap();
    assert!(
        position(text(&reported["feed_seq"])) > position(text(&restored["cursor"]))
            && position(text(&restored["cursor"])) > position(lost) + (1 << 30)
    );
    assert!(house.refresh(&house.app, &fresh.refresh)["refresh_token"].is_string());
    assert_eq!(house.json(&["db", "check"])["finds"], json!([]));
    assert_eq!(house.json(&["db", "stats"])["epoch"], 2);

    // The same backup once more: another epoch, in which the one before is lost.
    let second = position(text(&house.events("?limit=200")["head"]));
    assert_eq!(house.server.take().unwrap().stop(), 0);
    let again = json_of(house.path(), &["db", "restore", "b.backup"]);
    assert!(position(text(&again["cursor"])) > second);
    assert!(
        fs::metadata(house.file(&text(&again["kept"]))).unwrap().len() > 0,
        "the database that was there is kept"
    );
    house.server = Some(Process::at(house.path(), port, &[]));
    assert_eq!(house.events(&format!("?after={second}"))["status"], 410);
    let beyond = position(text(&again["cursor"])) + (1 << 50);
    assert_eq!(
        house.events(&format!("?after={beyond}"))["status"],
        410,
        "a restore under a clock that was ahead can have reached it"
    );
    assert_eq!(
        house.json(&["db", "stats"])["epoch"],
        3,
        "the backup is of the first, and what it replaces was the second"
    );
    assert_eq!(house.active(&house.app, &fresh.opened["access_token"]), "inactive");
    assert_eq!(text(&house.events(&format!("?after={at_backup}"))["items"][0]["type"]), "store.restored");
}
