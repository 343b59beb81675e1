//! Tokens: opaque ones read and written, PASETOs and JWTs signed, verified, and known again.

use divan::Bencher;
use keyfob::domain::access::TokenFormat;
use keyfob::token::access::{sign, verify};
use keyfob::token::opaque::{Opaque, OpaqueKeys, OpaqueKind};
use keyfob::token::verifier::TokenVerifier;

use crate::fixture::{access_token, keyring, keys, opaque, successor};

#[divan::bench]
fn opaque_encode(bencher: Bencher) {
    let (keys, token) = (OpaqueKeys::new(&keys()), opaque(OpaqueKind::Refresh));
    bencher.bench(|| token.encode(&keys));
}

#[divan::bench]
fn opaque_decode(bencher: Bencher) {
    let keys = OpaqueKeys::new(&keys());
    let text = opaque(OpaqueKind::Refresh).encode(&keys);
    bencher.bench(|| {
        Opaque::decode(divan::black_box(text.expose()), &keys).map(|token| token.hash()).expect("it is ours")
    });
}

#[divan::bench]
fn opaque_verify_known(bencher: Bencher) {
    let (keys, verifier) = (OpaqueKeys::new(&keys()), TokenVerifier::new([7; 16]));
    let text = opaque(OpaqueKind::Refresh).encode(&keys);
    bencher.bench(|| verifier.opaque(divan::black_box(text.expose()), &keys).expect("it is ours"));
}

#[divan::bench]
fn opaque_successor(bencher: Bencher) {
    let keys = OpaqueKeys::new(&keys());
    bencher.bench(|| successor(&keys));
}

#[divan::bench]
fn paseto_sign(bencher: Bencher) {
    let (ring, token) = (keyring(), access_token());
    bencher.bench(|| sign(&token, TokenFormat::Paseto, ring.active()));
}

#[divan::bench]
fn paseto_verify(bencher: Bencher) {
    let ring = keyring();
    let text = sign(&access_token(), TokenFormat::Paseto, ring.active()).expect("the key has this algorithm");
    bencher.bench(|| verify(divan::black_box(&text), &ring).expect("it is ours"));
}

#[divan::bench]
fn jwt_sign(bencher: Bencher) {
    let (ring, token) = (keyring(), access_token());
    bencher.bench(|| sign(&token, TokenFormat::Jwt, ring.active()));
}

#[divan::bench]
fn jwt_verify(bencher: Bencher) {
    let ring = keyring();
    let text = sign(&access_token(), TokenFormat::Jwt, ring.active()).expect("the key has this algorithm");
    bencher.bench(|| verify(divan::black_box(&text), &ring).expect("it is ours"));
}

#[divan::bench]
fn jwt_es256_sign(bencher: Bencher) {
    let (ring, token) = (keyring(), access_token());
    let key = ring.active_for(TokenFormat::JwtEs256).expect("the ring has one");
    bencher.bench(|| sign(&token, TokenFormat::JwtEs256, key));
}

#[divan::bench]
fn jwt_es256_verify(bencher: Bencher) {
    let ring = keyring();
    let key = ring.active_for(TokenFormat::JwtEs256).expect("the ring has one");
    let text = sign(&access_token(), TokenFormat::JwtEs256, key).expect("the key has this algorithm");
    bencher.bench(|| verify(divan::black_box(&text), &ring).expect("it is ours"));
}

#[divan::bench]
fn paseto_verify_known(bencher: Bencher) {
    let (ring, verifier) = (keyring(), TokenVerifier::new([7; 16]));
    let text = sign(&access_token(), TokenFormat::Paseto, ring.active()).expect("the key has this algorithm");
    bencher.bench(|| verifier.access(divan::black_box(&text), &ring).expect("it is ours"));
}
