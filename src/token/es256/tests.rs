//! ES256 against the published examples and a second implementation.

use ring::signature::{ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};

use super::*;
use crate::token::vectors::unhex;

/// n - s for a big-endian s.
fn negated(s: &[u8]) -> Vec<u8> {
    let order = unhex("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551");
    let mut borrow = 0;
    let mut result = vec![0; 32];
    for at in (0..32).rev() {
        let difference = i16::from(order[at]) - i16::from(s[at]) - borrow;
        borrow = i16::from(difference < 0);
        result[at] = u8::try_from(difference.rem_euclid(256)).unwrap();
    }
    result
}

fn signature(r: &[u8], s: &[u8]) -> [u8; 64] {
    [r, s].concat().try_into().unwrap()
}

/// RFC 6979 A.2.5, SHA-256. The first s is in the upper half, so ours is n - s.
#[test]
fn the_signatures_of_rfc_6979_are_made() {
    let key =
        P256SecretKey::from_bytes(&unhex("c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721"))
            .unwrap();
    let public = [
        "60fed4ba255a9d31c961eb74c6356d68c049b8923b61fa6ce669622e60f29fb6",
        "7903fe1008b8bc99a41ae9e95628bc64f2f1b20c2d7e9f5177a3c294d4462299",
    ];
    assert_eq!(key.public().to_bytes().as_slice(), unhex(&public.concat()));
    let [r, s] = [
        "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716",
        "f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8",
    ];
    assert_eq!(key.sign(b"sample"), signature(&unhex(r), &negated(&unhex(s))));
    let [r, s] = [
        "f1abb023518351cd71d881567b1ea663ed3efcf6c5132b354f28d3b0b7d38367",
        "019f4113742a2b14bd25926b49c649155f267e60d3814b4c0cc84250e46f0083",
    ];
    assert_eq!(key.sign(b"test"), signature(&unhex(r), &unhex(s)));
}

/// RFC 7515 A.3: key and signature. Its s is in the upper half, so only n - s is accepted.
#[test]
fn the_example_of_rfc_7515_verifies_with_the_lower_s() {
    let decode = |text: &str| Base64UrlUnpadded::decode_vec(text).unwrap();
    let public = P256PublicKey::from_bytes(
        &[
            decode("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU"),
            decode("x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"),
        ]
        .concat(),
    )
    .unwrap();
    let secret = P256SecretKey::from_bytes(&decode("jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI")).unwrap();
    assert_eq!(secret.public(), public);
    let signed = concat!(
        "eyJhbGciOiJFUzI1NiJ9",
        ".",
        "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
    );
    let bytes =
        decode("DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q");
    let (r, s) = bytes.split_at(32);
    assert!(!public.has_signed(signed.as_bytes(), &signature(r, s)));
    assert!(public.has_signed(signed.as_bytes(), &signature(r, &negated(s))));
    assert!(!public.has_signed(b"something else", &signature(r, &negated(s))));
}

/// RFC 7638 §3, with the members of an EC key: computed with another program for the key of RFC 7515 A.3.
#[test]
fn the_id_of_a_key_is_its_jwk_thumbprint() {
    let secret = P256SecretKey::from_bytes(
        &Base64UrlUnpadded::decode_vec("jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI").unwrap(),
    )
    .unwrap();
    assert_eq!(secret.public().id().to_string(), "oKIywvGUpTVTyxMQ3bwIIeQUudfr_CkLMjCE19ECD-U");
}

/// Retries must get the same bytes.
#[test]
fn a_signature_is_deterministic_and_its_s_is_low() {
    for seed in 1..50_u8 {
        let key = P256SecretKey::generate([seed; 32]);
        let signature = key.sign(&[seed]);
        assert_eq!(signature, P256SecretKey::generate([seed; 32]).sign(&[seed]));
        assert!(key.public().has_signed(&[seed], &signature));
        let (r, s) = signature.split_at(32);
        assert!(s[0] < 0x80, "the lower half ends at 7fffffff80…");
        assert!(!key.public().has_signed(&[seed], &super::tests::signature(r, &negated(s))));
    }
}

#[test]
fn bytes_that_are_no_secret_key_are_hashed_until_they_are_one() {
    for random in [[0; 32], [0xff; 32]] {
        assert!(P256SecretKey::from_bytes(&random).is_none());
        let hashed: [u8; 32] = Sha256::digest(random).into();
        assert_eq!(P256SecretKey::generate(random).to_bytes().as_slice(), hashed);
    }
}

#[test]
fn bytes_that_are_no_point_of_the_curve_are_rejected() {
    let valid = P256SecretKey::generate([1; 32]).public().to_bytes();
    assert!(P256PublicKey::from_bytes(&valid).is_some());
    let mut off_curve = valid;
    off_curve[63] ^= 1;
    for wrong in [&off_curve[..], &[0; 64], &[0xff; 64], &valid[..63], &[&[4], &valid[..]].concat(), &[]] {
        assert!(P256PublicKey::from_bytes(wrong).is_none());
    }
}

#[test]
fn signatures_with_r_or_s_out_of_range_are_rejected() {
    let key = P256SecretKey::generate([1; 32]);
    let valid = key.sign(b"m");
    let order = unhex("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551");
    for (r, s) in [
        (&[0; 32][..], &valid[32..]),
        (&valid[..32], &[0; 32]),
        (&order, &valid[32..]),
        (&valid[..32], &order),
    ] {
        assert!(!key.public().has_signed(b"m", &signature(r, s)));
    }
    assert!(!key.public().has_signed(b"m", &[0; 64]));
}

/// ring signs with random nonces and either s, and verifies both forms.
#[test]
fn a_second_implementation_verifies_our_signatures() {
    for seed in 1..20_u8 {
        let key = P256SecretKey::generate([seed; 32]);
        let point = [&[4], &key.public().to_bytes()[..]].concat();
        let message = vec![seed; usize::from(seed) * 9];
        let signature = key.sign(&message);
        let theirs = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &point);
        assert!(theirs.verify(&message, &signature).is_ok());
        assert!(theirs.verify(b"another", &signature).is_err());
        let der = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &point);
        assert!(der.verify(&message, &signature).is_err(), "r ‖ s is not DER");
    }
}
