//! Records: a session written and read, and the sealing within.

use divan::Bencher;
use keyfob::store::record::Codec;
use keyfob::token::keys::SecretKey;
use keyfob::token::seal::Sealer;

use crate::fixture::{keys, session};

#[divan::bench]
fn session_encode(bencher: Bencher) {
    let (codec, session) = (Codec::new(&keys()), session());
    bencher.bench(|| codec.encode_session(&session, session.expires_at, None));
}

#[divan::bench]
fn session_decode(bencher: Bencher) {
    let (codec, session) = (Codec::new(&keys()), session());
    let bytes = codec.encode_session(&session, session.expires_at, None);
    bencher.bench(|| codec.decode_session(session.id, divan::black_box(&bytes)).expect("it is ours"));
}

#[divan::bench]
fn seal(bencher: Bencher) {
    let sealer = Sealer::new(&SecretKey::new([7; 32]));
    bencher.bench(|| sealer.seal(b"sessions/0123456789abcdef", divan::black_box(&[7; 160])));
}

#[divan::bench]
fn open(bencher: Bencher) {
    let sealer = Sealer::new(&SecretKey::new([7; 32]));
    let sealed = sealer.seal(b"sessions/0123456789abcdef", &[7; 160]);
    bencher
        .bench(|| sealer.open(b"sessions/0123456789abcdef", divan::black_box(&sealed)).expect("it is ours"));
}
