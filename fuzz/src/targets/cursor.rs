//! Cursors: those of lists open for their caller alone, and no text breaks a page.

use std::cell::RefCell;

use keyfob::domain::id::SessionId;
use keyfob::token::cursor::{open_cursor, seal_cursor};
use poem::http::Method;
use tokio::runtime::Runtime;

use crate::server::{Server, keys, runtime};
use crate::text::{first_line, percent_encoded};

thread_local! {
    static READ: RefCell<(Runtime, Server)> = {
        let runtime = runtime();
        let server = runtime.block_on(Server::start());
        RefCell::new((runtime, server))
    };
}

/// The first line is a caller's name, the rest a cursor and the bytes of an identifier.
pub fn run(input: &[u8]) {
    let (name, cursor) = first_line(input);
    let (Ok(name), Ok(cursor)) = (std::str::from_utf8(name), std::str::from_utf8(cursor)) else { return };
    if cursor.len() > 4096 {
        return;
    }
    let keys = keys();
    if let Some(id) = open_cursor(keys, name, cursor) {
        assert_eq!(seal_cursor(keys, name, id), cursor);
        assert_eq!(open_cursor(keys, &format!("{name}x"), cursor), None);
    }
    if let Some(id) = cursor.as_bytes().first_chunk() {
        let id = SessionId(*id);
        assert_eq!(open_cursor(keys, name, &seal_cursor(keys, name, id)), Some(id));
    }
    READ.with_borrow_mut(|(runtime, server)| {
        let auth = server.facts.names["app"].clone();
        for page in ["sessions?cursor", "events?after", "feed?after", "feed?since", "sessions?limit"] {
            let path = format!("/v1/{page}={}", percent_encoded(cursor));
            let asking = server.ask(Method::GET, &path, &auth, "", String::new());
            let (status, answer) = runtime.block_on(asking);
            assert!(matches!(status, 200 | 400 | 410), "{path}: {status} {answer}");
        }
    });
}
