//! Request smuggling, over raw sockets: what two parsers could read as different requests is refused and the
//! connection closed, or is read as RFC 9112 says.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use tempfile::{TempDir, tempdir};

use super::Attacks;
use crate::harness::process::{Process, admin};
use crate::harness::server::Client;

/// The body of the first request; read whole, it is answered by 401.
const BODY: &str = "token=x&client_id=a";
/// The request behind it; answered by 200.
const NEXT: &str = "GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
/// Nothing is answered but that the request is malformed, and nothing behind it is read.
const REFUSED: &[u16] = &[400];
/// The first request is answered, and nothing behind it is read.
const LAST: &[u16] = &[401];
/// Both requests, each once.
const BOTH: &[u16] = &[401, 200];

/// A server for raw requests.
pub(in crate::attacks) struct Target {
    pub server: Process,
    directory: TempDir,
}

/// What came back for some bytes.
pub(in crate::attacks) struct Received {
    /// The status of each answer, in order.
    pub statuses: Vec<u16>,
    /// Whether the server closed the connection.
    pub is_closed: bool,
    pub text: String,
}

impl Target {
    pub fn start() -> Self {
        let directory = tempdir().unwrap();
        let settings = [("KEYFOB_LIMITS__FAILED_AUTH_PER_MINUTE", "100000")];
        Self { server: Process::with(directory.path(), &settings), directory }
    }

    pub fn admin(&self) -> Client {
        admin(self.directory.path())
    }

    /// Sends bytes on a connection of their own, and reads until it is closed.
    pub fn send(&self, bytes: &[u8]) -> Received {
        let mut stream = TcpStream::connect(&self.server.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        // The server may refuse and close while this writes.
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(Shutdown::Write);
        let mut received = vec![];
        let read = stream.read_to_end(&mut received);
        let is_closed = read.is_ok();
        let text = String::from_utf8_lossy(&received).into_owned();
        let status = |piece: &str| piece.get(..3).and_then(|code| code.parse().ok());
        let statuses = text.split("HTTP/1.1 ").skip(1).filter_map(status).collect();
        Received { statuses, is_closed, text }
    }

    fn attack(&self, attacks: &mut Attacks, name: &str, request: &str, expected: &[u16]) {
        // Each character is a byte.
        let bytes: Vec<u8> = request.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect();
        let received = self.send(&bytes);
        let held = received.statuses == expected && received.is_closed;
        attacks.check(name, held, (received.statuses, expected, received.text));
    }
}

/// A first request with these headers and this body, and a second behind it.
fn two(headers: &str, body: &str) -> String {
    format!(
        "POST /oauth2/revoke HTTP/1.1\r\nHost: a\r\nContent-Type: \
         application/x-www-form-urlencoded\r\n{headers}\r\n{body}{NEXT}"
    )
}

fn chunked(body: &str) -> String {
    format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len())
}

#[test]
fn a_body_whose_length_is_ambiguous_is_refused() {
    let target = Target::start();
    let mut attacks = Attacks::of("lengths of bodies");
    let length = BODY.len();
    for (value, expected) in [
        ("+19", REFUSED),
        ("-19", REFUSED),
        ("0x13", REFUSED),
        ("19,19", REFUSED),
        ("19, 19", REFUSED),
        ("19, 0", REFUSED),
        ("1 9", REFUSED),
        ("19.0", REFUSED),
        ("19e0", REFUSED),
        ("19;", REFUSED),
        ("\"19\"", REFUSED),
        ("", REFUSED),
        ("nineteen", REFUSED),
        ("19\u{b}", REFUSED),
        ("19\u{0}", REFUSED),
        ("\u{b2}", REFUSED),
        ("18446744073709551616", REFUSED),
        ("18446744073709551635", REFUSED),
        ("99999999999999999999", REFUSED),
        ("019", BOTH),
        ("0000019", BOTH),
        ("19 ", BOTH),
    ] {
        let request = two(&format!("Content-Length: {value}\r\n"), BODY);
        target.attack(&mut attacks, &format!("Content-Length {value:?}"), &request, expected);
    }
    for (name, headers, expected) in [
        ("twice, the same", "Content-Length: 19\r\nContent-Length: 19\r\n", BOTH),
        ("twice, 19 and 0", "Content-Length: 19\r\nContent-Length: 0\r\n", REFUSED),
        ("twice, 0 and 19", "Content-Length: 0\r\nContent-Length: 19\r\n", REFUSED),
        ("a space before the colon", "Content-Length : 19\r\n", REFUSED),
        ("on a folded line", "Content-Length:\r\n 19\r\n", REFUSED),
        ("behind a folded line", "X: y\r\n Content-Length: 19\r\n", REFUSED),
        ("in a line of its own without a name", ": 19\r\n", REFUSED),
        ("hop by hop", "Connection: Content-Length\r\nContent-Length: 19\r\n", BOTH),
    ] {
        target.attack(&mut attacks, &format!("Content-Length, {name}"), &two(headers, BODY), expected);
    }
    let both = |body: &str, length: usize| {
        two(&format!("Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n"), body)
    };
    let reversed = |body: &str, length: usize| {
        two(&format!("Transfer-Encoding: chunked\r\nContent-Length: {length}\r\n"), body)
    };
    // RFC 9112 §6.3: the encoding counts, and nothing behind such a request is read.
    target.attack(&mut attacks, "both, the length first", &both(&chunked(BODY), length), LAST);
    target.attack(&mut attacks, "both, the length last", &reversed(&chunked(BODY), length), LAST);
    target.attack(&mut attacks, "CL.TE", &both("0\r\n\r\nX", 6), REFUSED);
    target.attack(&mut attacks, "TE.CL", &reversed(&chunked(NEXT), 4), REFUSED);
    target.attack(&mut attacks, "CL.0", &two("Content-Length: 0\r\n", ""), &[400, 200]);
    attacks.finish(22 + 8 + 5);
}

#[test]
fn an_encoding_that_two_parsers_could_read_differently_is_refused() {
    let target = Target::start();
    let mut attacks = Attacks::of("transfer encodings");
    for (value, expected) in [
        ("identity", REFUSED),
        ("xchunked", REFUSED),
        ("chunke", REFUSED),
        ("chunked, identity", REFUSED),
        ("chunked,", REFUSED),
        ("chunked;q=1", REFUSED),
        ("\"chunked\"", REFUSED),
        ("chunked\u{0}", REFUSED),
        ("\u{b}chunked", REFUSED),
        ("\u{c}chunked", REFUSED),
        ("chun\u{a0}ked", REFUSED),
        ("gzip", REFUSED),
        ("", REFUSED),
        ("CHUNKED", BOTH),
        ("\tchunked", BOTH),
        ("chunked ", BOTH),
    ] {
        let request = two(&format!("Transfer-Encoding: {value}\r\n"), &chunked(BODY));
        target.attack(&mut attacks, &format!("Transfer-Encoding {value:?}"), &request, expected);
    }
    for (name, headers, expected) in [
        (
            "twice, the last identity",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
            REFUSED,
        ),
        ("a space before the colon", "Transfer-Encoding : chunked\r\n", REFUSED),
        ("a tab before the colon", "Transfer-Encoding\t: chunked\r\n", REFUSED),
        ("on a folded line", "Transfer-Encoding:\r\n chunked\r\n", REFUSED),
        ("behind a folded line", "X: y\r\n Transfer-Encoding: chunked\r\n", REFUSED),
        ("behind a carriage return", "X: y\rTransfer-Encoding: chunked\r\n", REFUSED),
        ("a zero byte in its name", "Transfer-Encoding\u{0}: chunked\r\n", REFUSED),
        ("hop by hop", "Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n", BOTH),
    ] {
        let request = two(headers, &chunked(BODY));
        target.attack(&mut attacks, &format!("Transfer-Encoding, {name}"), &request, expected);
    }
    let old = two("Transfer-Encoding: chunked\r\n", &chunked(BODY)).replacen("HTTP/1.1", "HTTP/1.0", 1);
    target.attack(&mut attacks, "Transfer-Encoding in HTTP/1.0", &old, REFUSED);
    attacks.finish(16 + 8 + 1);
}

#[test]
fn a_malformed_chunk_is_refused_and_nothing_behind_it_is_read() {
    let target = Target::start();
    let mut attacks = Attacks::of("chunks");
    for (name, body, expected) in [
        ("a size of 0x13", "0x13\r\ntoken=x&client_id=a\r\n0\r\n\r\n", REFUSED),
        ("a size with a sign", "+13\r\ntoken=x&client_id=a\r\n0\r\n\r\n", REFUSED),
        ("a negative size", "-13\r\ntoken=x&client_id=a\r\n0\r\n\r\n", REFUSED),
        ("a space before the size", " 13\r\ntoken=x&client_id=a\r\n0\r\n\r\n", REFUSED),
        ("a letter in the size", "13g\r\ntoken=x&client_id=a\r\n0\r\n\r\n", REFUSED),
        ("no size", "\r\ntoken=x&client_id=a\r\n0\r\n\r\n", REFUSED),
        ("a size beyond 64 bits", "10000000000000013\r\ntoken=x&client_id=a\r\n0\r\n\r\n", REFUSED),
        ("the largest size", "ffffffffffffffff\r\ntoken=x&client_id=a\r\n0\r\n\r\n", REFUSED),
        ("a size in another script", "\u{b9}3\r\ntoken=x&client_id=a\r\n0\r\n\r\n", REFUSED),
        ("line feeds alone", "13\ntoken=x&client_id=a\n0\n\n", REFUSED),
        ("carriage returns alone", "13\rtoken=x&client_id=a\r0\r\r", REFUSED),
        ("a line feed in the extension", "13;a\ntoken=x&client_id=a\r\n0\r\n\r\n", REFUSED),
        ("a quoted line feed in the extension", "13;a=\"\n\"\r\ntoken=x&client_id=a\r\n0\r\n\r\n", REFUSED),
        ("data without an end", "13\r\ntoken=x&client_id=a0\r\n\r\n", REFUSED),
        ("data with another end", "13\r\ntoken=x&client_id=aXX0\r\n\r\n", REFUSED),
        ("a line feed behind the data", "13\r\ntoken=x&client_id=a\n0\r\n\r\n", REFUSED),
        ("data longer than the size", "12\r\ntoken=x&client_id=a\r\n0\r\n\r\n", REFUSED),
        ("data shorter than the size", "14\r\ntoken=x&client_id=a\r\n0\r\n\r\n", REFUSED),
        ("no last chunk", "13\r\ntoken=x&client_id=a\r\n", REFUSED),
        ("a last chunk with line feeds", "13\r\ntoken=x&client_id=a\r\n0\n\n", REFUSED),
        ("a last chunk that ends early", "13\r\ntoken=x&client_id=a\r\n0\r\n\r", REFUSED),
        ("a trailer with line feeds", "13\r\ntoken=x&client_id=a\r\n0\r\nX: y\n\n", LAST),
        ("a trailer without a colon", "13\r\ntoken=x&client_id=a\r\n0\r\nX\r\n\r\n", REFUSED),
        ("a trailer of another length", "13\r\ntoken=x&client_id=a\r\n0\r\nContent-Length: 50\r\n\r\n", BOTH),
        (
            "a trailer of another encoding",
            "13\r\ntoken=x&client_id=a\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n",
            BOTH,
        ),
        (
            "credentials in a trailer",
            "13\r\ntoken=x&client_id=a\r\n0\r\nAuthorization: Basic eDp5\r\n\r\n",
            BOTH,
        ),
        ("an extension", "13;a=b\r\ntoken=x&client_id=a\r\n0\r\n\r\n", BOTH),
        ("a size with zeros", "00000013\r\ntoken=x&client_id=a\r\n0\r\n\r\n", BOTH),
    ] {
        target.attack(&mut attacks, name, &two("Transfer-Encoding: chunked\r\n", body), expected);
    }
    let long = format!("13;{}\r\n{BODY}\r\n0\r\n\r\n", "a".repeat(20_000));
    target.attack(
        &mut attacks,
        "an extension of 20 kB",
        &two("Transfer-Encoding: chunked\r\n", &long),
        REFUSED,
    );
    attacks.finish(29);
}

#[test]
fn a_malformed_head_is_refused_and_a_whole_one_is_one_request() {
    let target = Target::start();
    let mut attacks = Attacks::of("heads");
    for (name, head, expected) in [
        ("a carriage return in a value", "X: a\rContent-Length: 19\r\n", REFUSED),
        ("a zero byte in a value", "X: a\u{0}b\r\n", REFUSED),
        ("a zero byte in a name", "X\u{0}: a\r\n", REFUSED),
        ("a space in a name", "X Y: a\r\n", REFUSED),
        ("a space before a name", " X: a\r\n", REFUSED),
        ("a tab before a name", "\tX: a\r\n", REFUSED),
        ("a line without a colon", "X\r\n", REFUSED),
        ("a letter that is not ASCII in a name", "\u{e9}: a\r\n", REFUSED),
        ("a folded line", "X: a\r\n b\r\n", REFUSED),
        ("a line folded by a tab", "X: a\r\n\tb\r\n", REFUSED),
        ("another host", "Host: b\r\n", REFUSED),
        ("the same host again", "Host: a\r\n", REFUSED),
        (
            "a wish for HTTP/2",
            "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n",
            &[200],
        ),
        (
            "a wish for a WebSocket",
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
            &[200],
        ),
    ] {
        let request = format!("GET /healthz HTTP/1.1\r\nHost: a\r\n{head}\r\n");
        target.attack(&mut attacks, name, &request, expected);
    }
    for (name, line, expected) in [
        ("no host", "GET /healthz HTTP/1.1\r\n\r\n", REFUSED),
        ("a host with a space", "GET /healthz HTTP/1.1\r\nHost: a b\r\n\r\n", REFUSED),
        ("a host with a name", "GET /healthz HTTP/1.1\r\nHost: a@b\r\n\r\n", REFUSED),
        ("a host with a path", "GET /healthz HTTP/1.1\r\nHost: a/b\r\n\r\n", REFUSED),
        ("HTTP/0.9", "GET /healthz\r\n\r\n", REFUSED),
        ("HTTP/1.2", "GET /healthz HTTP/1.2\r\nHost: a\r\n\r\n", REFUSED),
        ("HTTP/2.0", "GET /healthz HTTP/2.0\r\nHost: a\r\n\r\n", REFUSED),
        ("HTTP/1.1x", "GET /healthz HTTP/1.1x\r\nHost: a\r\n\r\n", REFUSED),
        ("http/1.1", "GET /healthz http/1.1\r\nHost: a\r\n\r\n", REFUSED),
        ("HTTP/2 by prior knowledge", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &[]),
        ("two spaces before the path", "GET  /healthz HTTP/1.1\r\nHost: a\r\n\r\n", REFUSED),
        ("two spaces behind the path", "GET /healthz  HTTP/1.1\r\nHost: a\r\n\r\n", REFUSED),
        ("tabs for spaces", "GET\t/healthz\tHTTP/1.1\r\nHost: a\r\n\r\n", REFUSED),
        ("a space in the path", "GET /healthz x HTTP/1.1\r\nHost: a\r\n\r\n", REFUSED),
        ("a vertical tab for a space", "GET\u{b}/healthz HTTP/1.1\r\nHost: a\r\n\r\n", REFUSED),
        ("a space first", " GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n", REFUSED),
        ("a method that is no token", "G@T /healthz HTTP/1.1\r\nHost: a\r\n\r\n", REFUSED),
        ("a method in lower case", "get /healthz HTTP/1.1\r\nHost: a\r\n\r\n", &[405]),
        ("a zero byte in the path", "GET /healthz\u{0} HTTP/1.1\r\nHost: a\r\n\r\n", REFUSED),
        ("a letter that is not ASCII in the path", "GET /h\u{e9} HTTP/1.1\r\nHost: a\r\n\r\n", REFUSED),
        ("a backslash for the slash", "GET \\healthz HTTP/1.1\r\nHost: a\r\n\r\n", REFUSED),
        ("carriage returns alone in the head", "GET /healthz HTTP/1.1\rHost: a\r\r", REFUSED),
        ("a file", "GET file:///etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n", REFUSED),
        (
            "another host in absolute form",
            "GET http://evil.example/v1/keys HTTP/1.1\r\nHost: a\r\n\r\n",
            &[401],
        ),
        ("a tunnel", "CONNECT evil.example:443 HTTP/1.1\r\nHost: a\r\n\r\n", &[404]),
        ("the asterisk", "GET * HTTP/1.1\r\nHost: a\r\n\r\n", &[405]),
        (
            "a PROXY line",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nGET /healthz HTTP/1.1\r\nHost: a\r\n\r\n",
            REFUSED,
        ),
        ("a TLS handshake", "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\u{0}\u{1}\u{fc}\u{3}\u{3}", REFUSED),
        ("nothing that is text", "\u{ff}\u{fe}\u{0}\u{1}\r\n\r\n", REFUSED),
        ("nothing", "", &[]),
    ] {
        target.attack(&mut attacks, name, line, expected);
    }
    let get = "GET /healthz HTTP/1.1\r\nHost: a\r\n";
    let closing = "Connection: close\r\n\r\n";
    let inside = format!("Content-Length: {}\r\n\r\n{NEXT}", NEXT.len());
    let upgrade = "Connection: Upgrade\r\nUpgrade: x\r\n\r\n";
    for (name, request, expected) in [
        ("a request in the body of a GET", format!("{get}{inside}"), &[200][..]),
        (
            "a request in a chunk of a GET",
            format!("{get}Transfer-Encoding: chunked\r\n\r\n{}", chunked(NEXT)),
            &[200],
        ),
        ("a request behind the last one", format!("{get}{closing}{NEXT}"), &[200]),
        ("a request behind a wish to upgrade", format!("{get}{upgrade}{NEXT}"), &[200, 200]),
        ("three at once", format!("{get}\r\n{get}\r\n{NEXT}"), &[200, 200, 200]),
        ("one behind a rejected one", format!("GET /v1/keys HTTP/1.1\r\nHost: a\r\n\r\n{NEXT}"), &[401, 200]),
        (
            "one behind a body that is too large",
            two("Content-Length: 100000\r\n", &"a".repeat(100_000)),
            &[413],
        ),
        ("101 headers", format!("{get}{}\r\n", "X: y\r\n".repeat(101)), &[431]),
        ("a path of 70 kB", format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(70_000)), &[431]),
        ("a method of 5 kB", format!("{} / HTTP/1.1\r\nHost: a\r\n\r\n", "A".repeat(5_000)), &[405]),
    ] {
        target.attack(&mut attacks, name, &request, expected);
    }
    attacks.finish(14 + 30 + 10);
}
