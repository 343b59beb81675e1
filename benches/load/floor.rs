//! The floor of rotation: a bare hyper server that reads the same form, makes one Ed25519 signature, appends
//! a record to a log and answers after an fdatasync that it shares with all waiting requests.

use std::fs::File;
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use base64ct::{Base64UrlUnpadded, Encoding};
use bytes::Bytes;
use ed25519_dalek::{Signer, SigningKey};
use tokio::sync::oneshot;

use crate::bare::{field, serve_forms};

/// What a rotation appends.
const RECORD_BYTES: usize = 300;
/// The length of a signature in base64.
const SIGNATURE_CHARS: usize = 86;

/// What is to be appended, and what tells the request that it is on the disk.
type Append = (Vec<u8>, oneshot::Sender<()>);

/// The server. It returns the content of the file `answer` with a new signature in its access token.
pub fn serve(port: &str, answer: &str, log: &str) -> ExitCode {
    let answer = Arc::new(std::fs::read(answer).expect("the answer is in the file"));
    let prefix = br#""access_token":""#;
    let at =
        answer.windows(prefix.len()).position(|window| window == prefix).expect("it has an access token")
            + prefix.len();
    let log = File::create(log).expect("the directory is ours");
    let (appends, waiting) = channel();
    std::thread::spawn(move || append(log, waiting));
    let key = SigningKey::from_bytes(&[7; 32]);
    serve_forms(port, move |body| {
        let mut record = claims(field(&body, b"refresh_token=").expect("the load sends one"));
        let mut answer = answer.to_vec();
        let signature = key.sign(&record).to_bytes();
        let signed = &mut answer[at..at + SIGNATURE_CHARS];
        Base64UrlUnpadded::encode(&signature, signed).expect("it is as long");
        record.resize(RECORD_BYTES, b' ');
        let (stored, durable) = oneshot::channel();
        appends.send((record, stored)).expect("the log's thread runs");
        async {
            durable.await.expect("the log's thread runs");
            Bytes::from(answer)
        }
    })
}

/// Claims as long as those of a keyfob access token.
fn claims(token: &[u8]) -> Vec<u8> {
    let id = String::from_utf8_lossy(&token[token.len().saturating_sub(22)..]);
    format!(
        r#"{{"iss":"http://127.0.0.1:8080","sub":"user-00000000","aud":"https://api.example.com","exp":"2026-11-28T23:05:00Z","iat":"2026-11-28T23:00:00Z","jti":"{id}","sid":"01938c6e-7c1a-7d3f-9f6e-000000000000","fam":1,"client_id":"backend","scope":"read write","auth_time":1800000000,"acr":"aal1","amr":["pwd"],"claims":{{"tenant":"north","roles":["editor","reviewer"]}}}}"#
    )
    .into_bytes()
}

/// Appends all that wait, syncs once, acknowledges them all. Meanwhile the next ones collect.
fn append(mut log: File, waiting: Receiver<Append>) {
    while let Ok(first) = waiting.recv() {
        let (mut records, mut acknowledged) = (vec![], vec![]);
        for (record, stored) in std::iter::once(first).chain(waiting.try_iter()) {
            records.extend_from_slice(&record);
            acknowledged.push(stored);
        }
        log.write_all(&records).and_then(|()| log.sync_data()).expect("the disk takes it");
        for stored in acknowledged {
            let _ = stored.send(());
        }
    }
}
