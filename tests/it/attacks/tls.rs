//! TLS: handshakes that must not complete, and connections that are no TLS.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tempfile::tempdir;

use super::Attacks;
use crate::harness::process::exchange;
use crate::process::tls::{certify, start};

/// What a client offers.
#[derive(Clone)]
struct Hello {
    version: u16,
    ciphers: Vec<u16>,
    compressions: Vec<u8>,
    groups: Vec<u16>,
    signatures: Vec<u16>,
    protocols: Vec<&'static str>,
}

impl Hello {
    /// A client of TLS 1.2 that the server answers.
    fn valid() -> Self {
        Self {
            version: 0x0303,
            ciphers: vec![0xc02b],
            compressions: vec![0],
            groups: vec![0x001d, 0x0017],
            signatures: vec![0x0403],
            protocols: vec![],
        }
    }

    fn with_ciphers(ciphers: &[u16]) -> Self {
        Self { ciphers: ciphers.to_vec(), ..Self::valid() }
    }

    fn bytes(&self) -> Vec<u8> {
        let short =
            |bytes: Vec<u8>| [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], &bytes].concat();
        let list = |values: &[u16]| short(values.iter().flat_map(|value| value.to_be_bytes()).collect());
        let extension = |id: u16, content: Vec<u8>| [&id.to_be_bytes()[..], &short(content)].concat();
        let name = b"id.example.test".to_vec();
        let mut extensions = extension(0, short([&[0_u8][..], &short(name)].concat()));
        extensions.extend(extension(10, list(&self.groups)));
        extensions.extend(extension(11, vec![1, 0]));
        extensions.extend(extension(13, list(&self.signatures)));
        extensions.extend(extension(23, vec![]));
        if !self.protocols.is_empty() {
            let named = |name: &&str| [&[u8::try_from(name.len()).unwrap()][..], name.as_bytes()].concat();
            extensions.extend(extension(16, short(self.protocols.iter().flat_map(named).collect())));
        }
        let mut hello = self.version.to_be_bytes().to_vec();
        hello.extend([7; 32]);
        hello.push(0);
        hello.extend(list(&self.ciphers));
        hello.push(u8::try_from(self.compressions.len()).unwrap());
        hello.extend(&self.compressions);
        hello.extend(short(extensions));
        let length = u32::try_from(hello.len()).unwrap().to_be_bytes();
        record(0x16, &[&[1_u8][..], &length[1..], &hello].concat())
    }
}

fn record(kind: u8, content: &[u8]) -> Vec<u8> {
    [&[kind, 3, 1][..], &u16::try_from(content.len()).unwrap().to_be_bytes(), content].concat()
}

/// What the server sends before it closes.
fn answer(address: &str, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let mut received = vec![];
    match stream.read_to_end(&mut received) {
        // It may reset a connection that it did not read to its end.
        Err(error) if error.kind() != std::io::ErrorKind::ConnectionReset => Err(error),
        _ => Ok(received),
    }
}

#[test]
fn only_a_handshake_of_tls_1_2_or_1_3_with_strong_ciphers_completes() {
    let directory = tempdir().unwrap();
    certify(directory.path());
    let server = start(directory.path(), &[]);
    let valid = Hello::valid();
    let begins = |bytes: &[u8]| answer(&server.address, bytes).map(|answer| answer.first().copied());
    assert_eq!(begins(&valid.bytes()).unwrap(), Some(0x16), "the hello that the others are made from");
    let mut attacks = Attacks::of("handshakes");
    let offered = |version: u16| Hello { version, ..valid.clone() }.bytes();
    let ciphers = |ciphers: &[u16]| Hello::with_ciphers(ciphers).bytes();
    let hello = valid.bytes();
    for (name, bytes) in [
        ("SSL 3.0", offered(0x0300)),
        ("TLS 1.0", offered(0x0301)),
        ("TLS 1.1", offered(0x0302)),
        (
            "TLS 1.3 by its old field",
            Hello { version: 0x0304, ciphers: vec![0x1301], ..valid.clone() }.bytes(),
        ),
        ("no cipher", ciphers(&[])),
        ("no encryption", ciphers(&[0x0001, 0x0002, 0x003b, 0xc006])),
        ("RC4", ciphers(&[0x0004, 0x0005, 0xc007, 0xc011])),
        ("export ciphers", ciphers(&[0x0003, 0x0006, 0x0008, 0x0014])),
        ("DES", ciphers(&[0x0009, 0x0015])),
        ("triple DES", ciphers(&[0x000a, 0xc008, 0xc012])),
        ("CBC", ciphers(&[0xc009, 0xc00a, 0xc023, 0xc024])),
        ("CBC with RSA", ciphers(&[0x002f, 0x0035, 0x003c, 0x003d])),
        ("no forward secrecy", ciphers(&[0x009c, 0x009d, 0xc02d, 0xc02e])),
        ("static Diffie-Hellman", ciphers(&[0xc025, 0xc026, 0xc004, 0xc005])),
        ("finite-field Diffie-Hellman", ciphers(&[0x0033, 0x0039, 0x009e, 0x009f])),
        ("anonymous", ciphers(&[0x0018, 0x0034, 0x00a6, 0xc018])),
        ("shared keys", ciphers(&[0x00a8, 0x008c, 0xc035])),
        ("SHA-1 signatures", Hello { signatures: vec![0x0203, 0x0201], ..valid.clone() }.bytes()),
        ("MD5 signatures", Hello { signatures: vec![0x0101], ..valid.clone() }.bytes()),
        ("weak groups", Hello { groups: vec![0x0013, 0x0015, 0x0001], ..valid.clone() }.bytes()),
        ("no groups", Hello { groups: vec![], ..valid.clone() }.bytes()),
        ("compression alone", Hello { compressions: vec![1], ..valid.clone() }.bytes()),
        ("HTTP/2 alone", Hello { protocols: vec!["h2"], ..valid.clone() }.bytes()),
        ("another protocol", Hello { protocols: vec!["acme-tls/1"], ..valid.clone() }.bytes()),
        ("SSL 2.0", b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10\x01\x00\x80\x02\x00\x80".to_vec()),
        ("a heartbeat", b"\x18\x03\x02\x00\x03\x01\x40\x00".to_vec()),
        ("data before the handshake", record(0x17, b"GET / HTTP/1.1\r\n\r\n")),
        ("a change of ciphers first", record(0x14, &[1])),
        ("an alert first", record(0x15, &[2, 40])),
        ("a record of another kind", record(0x63, &[0; 8])),
        ("a server's hello", record(0x16, &[2, 0, 0, 2, 3, 3])),
        ("a message of 16 MB", record(0x16, &[1, 0xff, 0xff, 0xff, 3, 3])),
        ("a record that is too long", [&[0x16, 3, 1, 0xff, 0xff][..], &[0; 65_535]].concat()),
        ("an empty record", record(0x16, &[])),
        ("half a hello", hello[..hello.len() / 2].to_vec()),
        ("a hello cut off in its header", hello[..3].to_vec()),
        ("a hello with another length", [&hello[..3], &[0, 9], &hello[5..]].concat()),
        ("plain HTTP", b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n".to_vec()),
        ("plain HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec()),
        ("a PROXY line", [b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n", &hello[..]].concat()),
        ("zeros", vec![0; 512]),
        ("nothing", vec![]),
    ] {
        let first = begins(&bytes).map_err(|error| error.kind());
        // An alert, or the end of the connection.
        attacks.check(name, matches!(first, Ok(None | Some(0x15))), first);
    }
    assert_eq!(begins(&hello).unwrap(), Some(0x16), "the server goes on");
    attacks.finish(42);
}

/// What a client sends before the handshake is complete can be sent again by anyone who saw it (RFC 8446
/// §8). No ticket permits it.
#[test]
fn a_resumed_connection_has_no_early_data() {
    let directory = tempdir().unwrap();
    let certificate = certify(directory.path());
    let server = start(directory.path(), &[]);
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.enable_early_data = true;
    let config = Arc::new(config);
    let name = ServerName::try_from("id.example.test").unwrap();
    let mut attacks = Attacks::of("early data");
    for attempt in ["the first connection", "the second", "the third"] {
        let mut client = ClientConnection::new(config.clone(), name.clone()).unwrap();
        attacks.check(attempt, client.early_data().is_none(), "early data can be sent");
        let mut stream = StreamOwned::new(client, TcpStream::connect(&server.address).unwrap());
        let answer = exchange(&mut stream, "GET", "/healthz", None, "text/plain", "").unwrap();
        assert_eq!(answer.status, 200);
    }
    attacks.finish(3);
}

/// A handshake is limited like a head.
#[test]
fn a_silent_handshake_is_closed_after_the_time_for_a_head() {
    let directory = tempdir().unwrap();
    certify(directory.path());
    let server = start(directory.path(), &[("KEYFOB_LIMITS__HEADER_TIMEOUT", "1s")]);
    let hello = Hello::valid().bytes();
    let mut attacks = Attacks::of("silent handshakes");
    let mut open = vec![];
    for (name, bytes) in [
        ("nothing", &[][..]),
        ("a byte", &hello[..1]),
        ("half a hello", &hello[..hello.len() / 2]),
        ("a hello and no more", &hello),
    ] {
        let mut stream = TcpStream::connect(&server.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(bytes).unwrap();
        open.push((name, stream));
    }
    for (name, mut stream) in open {
        let closed = stream.read_to_end(&mut vec![]).is_ok();
        attacks.check(name, closed, "open after 20 seconds");
    }
    attacks.finish(4);
}
