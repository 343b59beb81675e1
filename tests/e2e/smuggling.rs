//! Request smuggling through real nginx, which keeps connections to keyfob open: what two parsers read as
//! different requests reaches a route that nginx denies, or answers another client's request.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Child;
use std::time::Duration;

use tempfile::TempDir;

use crate::house::{Running, curl, free_port, serve};
use crate::restart::configured_nginx;

/// The route that nginx denies, and that no other request asks for.
const DENIED: &str = "/.well-known/paserk.json";
const BODY: &str = "token=x&client_id=a";

/// nginx in front of keyfob.
struct Chain {
    nginx: Child,
    nginx_port: u16,
    keyfob_port: u16,
    _keyfob: Running,
    _directory: TempDir,
}

impl Drop for Chain {
    fn drop(&mut self) {
        let _ = self.nginx.kill();
        let _ = self.nginx.wait();
    }
}

impl Chain {
    fn start() -> Self {
        let directory = TempDir::new().unwrap();
        let (keyfob_port, nginx_port) = (free_port(), free_port());
        let address = format!("127.0.0.1:{keyfob_port}");
        let settings =
            [("KEYFOB_SERVER__METRICS_PUBLIC", "true"), ("KEYFOB_LIMITS__FAILED_AUTH_PER_MINUTE", "100000")];
        // One process, whose figures say what reached it.
        let keyfob = serve(directory.path(), &address, &format!("http://{address}"), &settings);
        // An attack that leaves nginx waiting ends soon.
        let deny = format!(
            "keepalive_timeout 200ms; client_body_timeout 200ms; client_header_timeout 200ms; \
             location = {DENIED} {{ return 403; }}"
        );
        let nginx = configured_nginx(directory.path(), keyfob_port, nginx_port, &deny);
        Self { nginx, nginx_port, keyfob_port, _keyfob: keyfob, _directory: directory }
    }

    /// Sends bytes to nginx on a connection of their own, and reads until it is closed. The sending side
    /// stays open: for nginx its end is the end of the client.
    fn send(&self, request: &str) -> String {
        let bytes: Vec<u8> = request.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect();
        let mut stream = TcpStream::connect(("127.0.0.1", self.nginx_port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let _ = stream.write_all(&bytes);
        let mut received = vec![];
        let _ = stream.read_to_end(&mut received);
        String::from_utf8_lossy(&received).into_owned()
    }

    /// How often keyfob was asked for the denied route.
    fn reached(&self) -> usize {
        let page = curl(&[&format!("http://127.0.0.1:{}/metrics", self.keyfob_port)]);
        assert_eq!(page.status, 200);
        let ours = page.body.lines().filter(|line| {
            line.starts_with("keyfob_http_requests_total{") && line.contains(&format!("\"{DENIED}\""))
        });
        ours.map(|line| line.rsplit(' ').next().unwrap().parse::<usize>().unwrap()).sum()
    }
}

/// A request that nginx passes on, and the denied one behind or within it.
fn post(headers: &str, body: &str) -> String {
    format!(
        "POST /oauth2/revoke HTTP/1.1\r\nHost: a\r\nContent-Type: \
         application/x-www-form-urlencoded\r\n{headers}\r\n{body}"
    )
}

#[test]
fn no_request_is_smuggled_through_nginx() {
    let chain = Chain::start();
    let inner = format!("GET {DENIED} HTTP/1.1\r\nHost: a\r\n\r\n");
    let (length, in_all) = (BODY.len(), BODY.len() + inner.len());
    let chunk = |body: &str| format!("{:x}\r\n{body}\r\n", body.len());
    let mut table: Vec<(String, String)> = vec![];
    let mut add = |name: &str, request: String| table.push((name.to_owned(), request));
    add(
        "CL.TE",
        post(
            &format!("Content-Length: {}\r\nTransfer-Encoding: chunked\r\n", 5 + inner.len()),
            &format!("0\r\n\r\n{inner}"),
        ),
    );
    add(
        "TE.CL",
        post("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", &format!("{}0\r\n\r\n", chunk(&inner))),
    );
    add(
        "CL.CL, the longer first",
        post(&format!("Content-Length: {in_all}\r\nContent-Length: {length}\r\n"), &format!("{BODY}{inner}")),
    );
    add(
        "CL.CL, the shorter first",
        post(&format!("Content-Length: {length}\r\nContent-Length: {in_all}\r\n"), &format!("{BODY}{inner}")),
    );
    add("CL.0", post(&format!("Content-Length: {in_all}\r\n"), &format!("{BODY}{inner}")));
    add(
        "a list of lengths",
        post(&format!("Content-Length: {length}, {in_all}\r\n"), &format!("{BODY}{inner}")),
    );
    for value in ["+", "-", " ", "0x", "0", "\u{b}", "\u{0}"] {
        let headers = format!("Content-Length: {value}{in_all}\r\n");
        add(&format!("a length with {value:?}"), post(&headers, &format!("{BODY}{inner}")));
    }
    for value in [
        "identity",
        "xchunked",
        "chunked, identity",
        "identity, chunked",
        "chunked, chunked",
        "gzip, chunked",
        "chunked;q=1",
        "CHUNKED",
        "\u{b}chunked",
        "chunked\u{0}",
        "\"chunked\"",
        "chunked,",
    ] {
        let headers = format!("Content-Length: {}\r\nTransfer-Encoding: {value}\r\n", 5 + inner.len());
        add(&format!("both, the encoding {value:?}"), post(&headers, &format!("0\r\n\r\n{inner}")));
        let headers = format!("Transfer-Encoding: {value}\r\n");
        add(
            &format!("the encoding {value:?}"),
            post(&headers, &format!("{}0\r\n\r\n", chunk(&format!("{BODY}{inner}")))),
        );
    }
    for (name, line) in [
        ("a space before the colon", "Transfer-Encoding : chunked\r\n"),
        ("a tab before the colon", "Transfer-Encoding\t: chunked\r\n"),
        ("a folded line", "Transfer-Encoding:\r\n chunked\r\n"),
        ("an underscore", "Transfer_Encoding: chunked\r\n"),
        ("behind a carriage return", "X: y\rTransfer-Encoding: chunked\r\n"),
        ("behind a line feed", "X: y\nTransfer-Encoding: chunked\r\n"),
    ] {
        let headers = format!("Content-Length: {}\r\n{line}", 5 + inner.len());
        add(&format!("the encoding with {name}"), post(&headers, &format!("0\r\n\r\n{inner}")));
    }
    let chunked = "Transfer-Encoding: chunked\r\n";
    for (name, body) in [
        ("an extension with a line feed", format!("{length:x};a\n{BODY}\r\n0\r\n\r\n{inner}")),
        ("a negative size", format!("-1\r\n{inner}\r\n0\r\n\r\n")),
        ("a size beyond 64 bits", format!("1000000000000000{length:x}\r\n{BODY}{inner}\r\n0\r\n\r\n")),
        ("a size with 0x", format!("0x{:x}\r\n{inner}\r\n0\r\n\r\n", inner.len())),
        ("line feeds alone", format!("{length:x}\n{BODY}\n0\n\n{inner}")),
        ("a trailer of another length", format!("{}0\r\nContent-Length: {in_all}\r\n\r\n", chunk(&inner))),
        ("a trailer that is a request", format!("{}0\r\n{inner}", chunk(BODY))),
        ("a request in a chunk", format!("{}0\r\n\r\n", chunk(&inner))),
    ] {
        add(&format!("chunks with {name}"), post(chunked, &body));
    }
    let get = "GET /healthz HTTP/1.1\r\nHost: a\r\n";
    for (name, request) in [
        ("a body of a GET", format!("{get}Content-Length: {}\r\n\r\n{inner}", inner.len())),
        ("a chunk of a GET", format!("{get}{chunked}\r\n{}0\r\n\r\n", chunk(&inner))),
        (
            "a wish to upgrade",
            format!(
                "{get}Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: {}\r\n\r\n{inner}",
                inner.len()
            ),
        ),
        (
            "a wish to continue",
            post(&format!("Expect: 100-continue\r\nContent-Length: {in_all}\r\n"), &format!("{BODY}{inner}")),
        ),
        (
            "a length that is hop by hop",
            post(
                &format!("Connection: Content-Length\r\nContent-Length: {in_all}\r\n"),
                &format!("{BODY}{inner}"),
            ),
        ),
        ("a path with a line feed", format!("GET /x%0a%0d%0a{DENIED} HTTP/1.1\r\nHost: a\r\n\r\n")),
        (
            "a path with a request",
            format!("GET /x%20HTTP/1.1%0d%0aHost:%20a%0d%0a%0d%0aGET%20{DENIED} HTTP/1.1\r\nHost: a\r\n\r\n"),
        ),
        ("a host with a request", format!("GET /healthz HTTP/1.1\r\nHost: a\rGET {DENIED} HTTP/1.1\r\n\r\n")),
        (
            "HTTP/1.0 with an encoding",
            post(chunked, &format!("0\r\n\r\n{inner}")).replacen("HTTP/1.1", "HTTP/1.0", 1),
        ),
        ("the denied path encoded", "GET /.well-known%2fpaserk.json HTTP/1.1\r\nHost: a\r\n\r\n".to_owned()),
        ("the denied path with dots", format!("GET /x/..{DENIED} HTTP/1.1\r\nHost: a\r\n\r\n")),
        (
            "the denied path in another case",
            "GET /.well-known/PASERK.json HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
        ),
        ("the denied path with a slash", format!("GET {DENIED}/ HTTP/1.1\r\nHost: a\r\n\r\n")),
        ("the denied path with two slashes", format!("GET /{DENIED} HTTP/1.1\r\nHost: a\r\n\r\n")),
        ("the denied path with a parameter", format!("GET {DENIED};x HTTP/1.1\r\nHost: a\r\n\r\n")),
        ("the denied path in absolute form", format!("GET http://b{DENIED} HTTP/1.1\r\nHost: a\r\n\r\n")),
        (
            "the denied path in other headers",
            format!("{get}X-Original-URL: {DENIED}\r\nX-Rewrite-URL: {DENIED}\r\n\r\n"),
        ),
    ] {
        add(name, request);
    }

    let (mut names, mut failures) = (BTreeSet::new(), vec![]);
    for (name, request) in table {
        assert!(names.insert(name.clone()), "{name} is there twice");
        let before = chain.reached();
        let received = chain.send(&request);
        // The next clients get the answers to their own requests, over the same connections to keyfob.
        let next: Vec<String> = (0..2)
            .map(|_| chain.send("GET /v1/nothing-of-mine HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"))
            .collect();
        let is_own = next.iter().all(|answer| answer.starts_with("HTTP/1.1 404 "));
        if chain.reached() > before || !is_own || received.contains("k4.public") {
            failures.push(format!("{name}: {received}\n{next:?}"));
        }
    }
    println!("smuggling through nginx: {} attacks", names.len());
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), names.len(), failures.join("\n"));
    assert_eq!(names.len(), 6 + 7 + 24 + 6 + 8 + 17);

    // That the route is counted when it is reached, so that its absence means something.
    assert_eq!(curl(&[&format!("http://127.0.0.1:{}{DENIED}", chain.keyfob_port)]).status, 200);
    assert_eq!(chain.reached(), 1);
    assert!(chain.send(&inner).starts_with("HTTP/1.1 403 "));
}
