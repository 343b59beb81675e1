//! Random headers, over a socket: no request is a failure of the server, and none is admitted.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::Attacks;
use super::smuggling::Target;

const REQUESTS: usize = 4_000;
/// Requests on one connection, if none of them closes it.
const TOGETHER: usize = 50;

/// Names that some program reads.
const NAMES: [&str; 24] = [
    "Authorization",
    "Cookie",
    "Content-Type",
    "Accept",
    "Accept-Encoding",
    "Origin",
    "Sec-Fetch-Site",
    "Referer",
    "If-Match",
    "If-None-Match",
    "Range",
    "Expect",
    "X-Forwarded-For",
    "X-Forwarded-Proto",
    "Forwarded",
    "X-Request-Id",
    "X-Keyfob-Subject",
    "Idempotency-Key",
    "Traceparent",
    "Upgrade",
    "TE",
    "Via",
    "User-Agent",
    "X",
];
/// Beginnings of values, to which random bytes are added.
const VALUES: [&str; 16] = [
    "Basic ",
    "Basic YWRtaW46",
    "Bearer ",
    "Bearer v4.public.",
    "Bearer kfs_",
    "__Host-keyfob=",
    "__Host-keyfob=kfs_",
    "application/json",
    "application/x-www-form-urlencoded",
    "127.0.0.1",
    "same-origin",
    "\"",
    "W/\"",
    "bytes=",
    "*",
    "",
];
const PATHS: [&str; 12] = [
    "/v1/session",
    "/v1/sessions",
    "/v1/clients",
    "/v1/keys",
    "/v1/events",
    "/v1/forward-auth",
    "/v1/sessions/x",
    "/v1/db/backup",
    "/metrics",
    "/v1/feed",
    "/v1/clients/admin",
    "/v1/sessions?limit=1",
];
const METHODS: [&str; 5] = ["GET", "GET", "DELETE", "PATCH", "POST"];

/// A row of numbers that is the same each time (SplitMix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) >> 8).unwrap() % limit
    }

    fn of<'a>(&mut self, row: &[&'a str]) -> &'a str {
        row[self.below(row.len())]
    }

    /// A value of a header: no line feed, no carriage return and no zero, which are tried in `smuggling`.
    fn value(&mut self) -> Vec<u8> {
        let mut value = self.of(&VALUES).as_bytes().to_vec();
        for _ in 0..self.below(40) {
            let byte = u8::try_from(self.below(256)).unwrap();
            value.push(if matches!(byte, b'\r' | b'\n' | 0..=8 | 11..=31 | 127) { b'~' } else { byte });
        }
        value
    }

    fn request(&mut self) -> Vec<u8> {
        let mut request =
            format!("{} {} HTTP/1.1\r\nHost: a\r\n", self.of(&METHODS), self.of(&PATHS)).into_bytes();
        for _ in 0..self.below(12) {
            request.extend(self.of(&NAMES).as_bytes());
            request.extend(b": ");
            request.extend(self.value());
            request.extend(b"\r\n");
        }
        request.extend(b"\r\n");
        request
    }
}

/// The status of the next answer. What is not read yet stays in the buffer.
fn answer(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<u16> {
    loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&buffer[..end]).to_lowercase();
            let length =
                head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.parse().ok());
            let whole = end + 4 + length.unwrap_or(0);
            if buffer.len() >= whole {
                buffer.drain(..whole);
                let status = head[9..12].parse().unwrap();
                if status == 100 {
                    continue;
                }
                return Some(status);
            }
        }
        let mut piece = [0; 16_384];
        match stream.read(&mut piece) {
            Ok(length) if length > 0 => buffer.extend(&piece[..length]),
            _ => return None,
        }
    }
}

#[test]
fn no_random_header_is_a_failure_or_admits_a_request() {
    let target = Target::start();
    let mut dice = Dice(1);
    let mut attacks = Attacks::of("random headers");
    let (mut connection, mut left): (Option<(TcpStream, Vec<u8>)>, usize) = (None, 0);
    let memory = |target: &Target| {
        let status = std::fs::read_to_string(format!("/proc/{}/status", target.server.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<usize>().unwrap()
    };
    let mut before = 0;
    for number in 0..REQUESTS {
        if number == REQUESTS / 4 {
            before = memory(&target);
        }
        if left == 0 {
            connection = None;
        }
        let (stream, buffer) = connection.get_or_insert_with(|| {
            left = TOGETHER;
            (TcpStream::connect(&target.server.address).unwrap(), vec![])
        });
        left -= 1;
        let request = dice.request();
        stream.write_all(&request).unwrap();
        let status = answer(stream, buffer);
        // After an answer that closes the connection the next request has another one.
        let closes = String::from_utf8_lossy(&request).contains("Expect")
            || !matches!(status, Some(401 | 403 | 404 | 405));
        if closes {
            left = 0;
        }
        let refused = status.is_some_and(|status| (400..500).contains(&status));
        attacks.check(format!("request {number}"), refused, (status, String::from_utf8_lossy(&request)));
    }
    let grown = memory(&target).saturating_sub(before);
    assert!(grown < 2_048, "{grown} KiB for {REQUESTS} requests");
    attacks.finish(REQUESTS);
}
