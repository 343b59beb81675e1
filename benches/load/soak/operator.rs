//! What an operator does meanwhile: clients come and go, keys rotate, backups are made.

use std::rc::Rc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::watch;
use tokio::time::sleep;

use super::Shared;
use super::calls::{introspect, open, text};
use super::credentials::{OPERATOR, basic, declared};
use super::ledger::is;
use super::line::{Ask, Door, Line};

const CLIENT_EVERY: Duration = Duration::from_secs(3);
const ROTATE_EVERY: Duration = Duration::from_secs(15);
const BACKUP_EVERY: Duration = Duration::from_secs(120);
/// Names of clients, each used again and again.
const NAMES: [&str; 4] = ["north", "south", "east", "west"];

/// Starts all; they run until the run ends.
pub fn spawn(door: &watch::Receiver<Option<Door>>, shared: &Rc<Shared>) {
    let mut line = Line::new(door.clone());
    let clients = shared.clone();
    tokio::task::spawn_local(async move {
        for number in 0.. {
            sleep(CLIENT_EVERY).await;
            client(&mut line, &clients, number).await;
        }
    });
    let rotate = || Ask::post("/v1/keys/rotate?force=true", &declared(OPERATOR));
    every(ROTATE_EVERY, "rotate keys", rotate, Line::new(door.clone()), shared.clone());
    let backup = || Ask::get("/v1/db/backup", &declared(OPERATOR));
    every(BACKUP_EVERY, "backup", backup, Line::new(door.clone()), shared.clone());
}

fn every(pause: Duration, kind: &'static str, ask: fn() -> Ask, mut line: Line, shared: Rc<Shared>) {
    tokio::task::spawn_local(async move {
        loop {
            sleep(pause).await;
            let ask = ask();
            let answer = line.send(&ask).await;
            let fits = answer.status == 200;
            shared.ledger.borrow_mut().expect(kind, &ask, &answer, fits);
        }
    });
}

/// A client is created, gets another secret, opens a session, and is deleted; with it, its session ends.
async fn client(line: &mut Line, shared: &Shared, number: usize) {
    let (name, admin) = (NAMES[number % NAMES.len()], declared(OPERATOR));
    let own = format!("/v1/clients/{name}");
    let fields = json!({
        "client_id": name, "kind": "confidential", "permissions": ["sessions", "introspect"],
        "grants": ["refresh_token"],
    });
    let create = Ask::json("POST", "/v1/clients", &admin, &fields);
    // If a restart took the answer, the name is in use.
    let created = line.send(&create).await;
    let again = created.status == 409 && created.took.is_none();
    shared.ledger.borrow_mut().expect("create a client", &create, &created, again || created.status == 201);
    let rotate = Ask::json("POST", &format!("{own}/secret"), &admin, &json!({}));
    let rotated = line.send(&rotate).await;
    let fits = rotated.status == 200;
    shared.ledger.borrow_mut().expect("rotate a secret", &rotate, &rotated, fits);
    let authorization = basic(name, &text(&rotated.json(), "client_secret"));
    let open = open("visitor", &authorization, &number.to_string());
    let opened = line.send(&open).await;
    shared.ledger.borrow_mut().expect("open for a new client", &open, &opened, opened.status == 201);
    let token = text(&opened.json(), "refresh_token");
    let ask = introspect(&token, &authorization);
    let answer = line.send(&ask).await;
    shared.ledger.borrow_mut().expect("introspect by a new client", &ask, &answer, is(&answer, true));
    let delete = Ask::delete(&own, &admin);
    let deleted = line.send(&delete).await;
    let fits = deleted.status == 204 || deleted.status == 404 && deleted.took.is_none();
    let mut ledger = shared.ledger.borrow_mut();
    if ledger.expect("delete a client", &delete, &deleted, fits) {
        ledger.end_token(token);
    }
}
