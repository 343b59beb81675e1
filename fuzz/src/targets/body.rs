//! JSON bodies: what is accepted can be read again, and the store stays whole.

use std::cell::RefCell;

use keyfob::domain::id::{ClientId, Subject};
use keyfob::fuzzing::{ScopeSet, has_unique_keys, json_value};
use keyfob::store::Store;
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::server::{JSON, Server, runtime};
use crate::text::first_line;

/// The operations with a body. A name in braces is that of a fact.
const OPERATIONS: [(&str, &str); 8] = [
    ("POST", "/v1/sessions"),
    ("PATCH", "/v1/sessions/{app.id}"),
    ("POST", "/v1/sessions/{app.id}/renew"),
    ("POST", "/v1/sessions/{app.id}/families"),
    ("POST", "/v1/sessions/check"),
    ("POST", "/v1/clients"),
    ("PATCH", "/v1/clients/spa"),
    ("POST", "/v1/clients/app/secret"),
];

thread_local! {
    static SERVER: RefCell<Option<(Runtime, Server)>> = const { RefCell::new(None) };
}

/// The first line is the number of an operation, the rest the body.
pub fn run(input: &[u8]) {
    let (number, body) = first_line(input);
    let number = std::str::from_utf8(number).ok().and_then(|number| number.parse::<usize>().ok());
    let Some((method, path)) = number.and_then(|number| OPERATIONS.get(number)) else { return };
    strict(body);
    let Ok(body) = String::from_utf8(body.to_vec()) else { return };
    SERVER.with_borrow_mut(|slot| {
        let (runtime, mut server) = slot.take().unwrap_or_else(|| {
            let runtime = runtime();
            let server = runtime.block_on(Server::start());
            (runtime, server)
        });
        let head = server.store.head();
        let path = server.facts.filled(path);
        runtime.block_on(send(&mut server, method, &path, body));
        if server.store.head() == head {
            *slot = Some((runtime, server));
        }
    });
}

/// A value is read only if no reader can take it for another one.
fn strict(body: &[u8]) {
    let Ok(value) = json_value(body, 32) else { return };
    assert!(std::str::from_utf8(body).is_ok_and(has_unique_keys));
    let printed = serde_json::to_vec(&value).expect("it is JSON");
    assert_eq!(json_value(&printed, 32).ok(), Some(value));
}

async fn send(server: &mut Server, method: &str, path: &str, body: String) {
    let method = method.parse().expect("it is a method");
    let head = server.store.head();
    let (status, answer) = server.ask(method, path, "", JSON, body).await;
    match status {
        200 | 201 => shown_again(server, path, &answer).await,
        400..500 => {
            assert!(answer["title"].is_string() && answer["status"] == status, "{answer}");
            assert!(answer["detail"].as_str().is_none_or(|detail| detail.len() < 1_000), "{answer}");
        }
        _ => panic!("{path}: {status} {answer}"),
    }
    if server.store.head() != head {
        assert!(status < 300, "{status} {answer}");
        server.check().await;
    }
}

/// A reader gets what the answer says, and it is valid.
async fn shown_again(server: &mut Server, path: &str, answer: &Value) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let session = if answer["session"].is_object() { &answer["session"] } else { answer };
    if session["subject"].is_string() && session["id"].is_string() {
        let id = text(&session["id"]);
        let (status, shown) = server.get(&format!("/v1/sessions/{id}")).await;
        assert_eq!((status, &shown), (200, session));
        assert!(Subject::new(&text(&session["subject"])).is_ok());
        assert!(text(&session["scope"]).parse::<ScopeSet>().is_ok());
    } else if answer["client_id"].is_string() && path.starts_with("/v1/clients") {
        let id = text(&answer["client_id"]);
        assert!(ClientId::new(&id).is_ok());
        let (status, shown) = server.get(&format!("/v1/clients/{id}")).await;
        let mut expected = answer.clone();
        if let Value::Object(members) = &mut expected {
            members.remove("client_secret");
        }
        assert_eq!((status, shown), (200, expected));
    }
}
