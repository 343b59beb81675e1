//! The limit of failed authentications: addresses that an attacker invents, and who must not be locked out.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::json;
use tempfile::tempdir;

use super::Attacks;
use crate::harness::process::{Process, admin, keyfob};
use crate::harness::server::{Client, basic};

/// A request with wrong credentials and these headers: its status.
fn fail(server: &Process, headers: &str) -> u16 {
    let authorization = basic("admin", "kfc_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
    ask(server, &authorization, headers)
}

fn ask(server: &Process, authorization: &str, headers: &str) -> u16 {
    let mut stream = TcpStream::connect(&server.address).unwrap();
    write!(
        stream,
        "GET /v1/clients HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAuthorization: \
         {authorization}\r\n{headers}\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer[9..12].parse().unwrap()
}

/// The attacker has one address, and writes what it likes before the trusted proxy appends that address. The
/// proxy is the test's own connection.
#[test]
fn an_attacker_behind_a_proxy_has_one_address_whatever_it_writes() {
    let directory = tempdir().unwrap();
    let settings =
        [("KEYFOB_SERVER__TRUSTED_PROXIES", "127.0.0.1/32"), ("KEYFOB_LIMITS__FAILED_AUTH_PER_MINUTE", "1")];
    let server = Process::with(directory.path(), &settings);
    assert_eq!(fail(&server, "X-Forwarded-For: 192.0.2.7\r\n"), 401);
    let mut attacks = Attacks::of("invented addresses behind a proxy");
    for (name, headers) in [
        ("nothing more", "X-Forwarded-For: 192.0.2.7\r\n"),
        ("another before it", "X-Forwarded-For: 198.51.100.1, 192.0.2.7\r\n"),
        ("the proxy's before it", "X-Forwarded-For: 127.0.0.1, 192.0.2.7\r\n"),
        ("many before it", "X-Forwarded-For: 198.51.100.1, 198.51.100.2, 198.51.100.3, 192.0.2.7\r\n"),
        ("another header before it", "X-Forwarded-For: 198.51.100.1\r\nX-Forwarded-For: 192.0.2.7\r\n"),
        ("no address before it", "X-Forwarded-For: unknown, 192.0.2.7\r\n"),
        ("an empty entry before it", "X-Forwarded-For: , 192.0.2.7\r\n"),
        ("with a port", "X-Forwarded-For: 192.0.2.7:4711\r\n"),
        ("with another port", "X-Forwarded-For: 192.0.2.7:4712\r\n"),
        ("as IPv6", "X-Forwarded-For: ::ffff:192.0.2.7\r\n"),
        ("as IPv6 with a port", "X-Forwarded-For: [::ffff:192.0.2.7]:4711\r\n"),
        ("as IPv6 in hexadecimal", "X-Forwarded-For: ::ffff:c000:207\r\n"),
        ("no spaces", "X-Forwarded-For: 198.51.100.9,192.0.2.7\r\n"),
        ("tabs", "X-Forwarded-For: 198.51.100.9\t,\t192.0.2.7\r\n"),
        ("in lower case", "x-forwarded-for: 198.51.100.10, 192.0.2.7\r\n"),
        ("and Forwarded", "X-Forwarded-For: 192.0.2.7\r\nForwarded: for=198.51.100.4\r\n"),
        ("and X-Real-IP", "X-Forwarded-For: 192.0.2.7\r\nX-Real-IP: 198.51.100.5\r\n"),
        ("and True-Client-IP", "X-Forwarded-For: 192.0.2.7\r\nTrue-Client-IP: 198.51.100.6\r\n"),
        ("and CF-Connecting-IP", "X-Forwarded-For: 192.0.2.7\r\nCF-Connecting-IP: 198.51.100.7\r\n"),
        ("and X-Client-IP", "X-Forwarded-For: 192.0.2.7\r\nX-Client-IP: 198.51.100.8\r\n"),
    ] {
        attacks.expect(name, fail(&server, headers), 429);
    }
    assert_eq!(fail(&server, "X-Forwarded-For: 203.0.113.9\r\n"), 401, "another address has its own");
    let right = admin(directory.path());
    let right = ask(&server, &basic(&right.id, &right.secret), "X-Forwarded-For: 192.0.2.7\r\n");
    assert_eq!(right, 200, "the right secret is never refused");
    attacks.finish(20);
}

/// Without a trusted proxy every header is the attacker's. No other route or client is a way around.
#[test]
fn an_attacker_without_a_proxy_has_the_address_of_its_connection() {
    let directory = tempdir().unwrap();
    let settings =
        [("KEYFOB_SERVER__TRUSTED_PROXIES", "192.0.2.1/32"), ("KEYFOB_LIMITS__FAILED_AUTH_PER_MINUTE", "1")];
    let server = Process::with(directory.path(), &settings);
    assert_eq!(fail(&server, ""), 401);
    let mut attacks = Attacks::of("invented addresses without a proxy");
    for header in [
        "X-Forwarded-For: 198.51.100.1",
        "X-Forwarded-For: 192.0.2.1",
        "X-Forwarded-For: 192.0.2.1, 198.51.100.2",
        "Forwarded: for=198.51.100.1",
        "X-Real-IP: 198.51.100.1",
        "True-Client-IP: 198.51.100.1",
        "X-Forwarded: for=198.51.100.1",
        "Via: 1.1 proxy",
    ] {
        attacks.expect(header, fail(&server, &format!("{header}\r\n")), 429);
    }
    // Other clients, other routes and other kinds of credentials share the limit of the address.
    let wrong = |id: &str| Client { id: id.into(), secret: "kfc_x".into() };
    for id in ["admin", "unknown", "Admin", "a b", "x"] {
        let answer = server.form("/oauth2/token", Some(&wrong(id)), &[("grant_type", "client_credentials")]);
        attacks.expect(format!("{id} at the token endpoint"), answer.status, 429);
        let answer = server.form("/oauth2/introspect", Some(&wrong(id)), &[("token", "x")]);
        attacks.expect(format!("{id} at introspection"), answer.status, 429);
        let answer =
            server.form("/oauth2/revoke", None, &[("token", "x"), ("client_id", id), ("client_secret", "x")]);
        attacks.expect(format!("{id} in a form"), answer.status, 429);
    }
    let right = admin(directory.path());
    let created = server.json("POST", "/v1/clients", Some(&right), &json!({"client_id": "app"}));
    assert_eq!(created.status, 201, "a right secret is never refused, and resets nothing");
    attacks.expect("after a right secret", fail(&server, ""), 429);
    let output = keyfob(directory.path(), &["client", "list"]).output().unwrap();
    assert!(output.status.success(), "the admin socket has no limit");
    attacks.finish(8 + 15 + 1);
}
