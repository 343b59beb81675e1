//! Published test vectors and a second implementation, compared with ours. Sources and licences:
//! `tests/vectors/README.md`.

use ed25519_dalek::{Signer, SigningKey};
use pasetors::keys::{AsymmetricPublicKey, AsymmetricSecretKey};
use pasetors::token::UntrustedToken;
use pasetors::version4::{PublicToken, V4};
use serde_json::Value;

use super::paserk;
use super::paseto::{self, Ed25519PublicKey, UnsoundKey, UnverifiedPaseto};

/// A file of `tests/vectors`.
macro_rules! vectors {
    ($file:literal) => {
        serde_json::from_str::<Value>(include_str!(concat!("../../tests/vectors/", $file))).unwrap()
    };
}

/// Bytes from hexadecimal text.
pub fn unhex(hex: &str) -> Vec<u8> {
    assert!(hex.len().is_multiple_of(2), "{hex}");
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

/// The row with this name in PASETO's vectors for version 4.
pub fn paseto_v4(name: &str) -> Value {
    let rows = vectors!("paseto-v4.json");
    rows["tests"].as_array().unwrap().iter().find(|row| row["name"] == name).unwrap().clone()
}

/// A member of a row, as text.
pub fn text<'a>(row: &'a Value, member: &str) -> &'a str {
    row[member].as_str().unwrap_or_else(|| panic!("{member} in {row}"))
}

/// A member of a row as `N` bytes; `None` if the length differs.
fn key<const N: usize>(row: &Value, member: &str) -> Option<[u8; N]> {
    unhex(text(row, member)).try_into().ok()
}

/// The message, if the token verifies under the key of the 4-S rows.
fn open(token: &str, implicit: &str) -> Option<Vec<u8>> {
    let public = Ed25519PublicKey::from_bytes(&key(&paseto_v4("4-S-1"), "public-key").unwrap()).unwrap();
    UnverifiedPaseto::parse(token)?.verify(&public, implicit.as_bytes())
}

/// VEC-01, PAS-03.
#[test]
fn the_vectors_of_paseto_v4_public_are_signed_and_verified_byte_for_byte() {
    for name in ["4-S-1", "4-S-2", "4-S-3"] {
        let row = paseto_v4(name);
        let (token, payload, implicit) =
            (text(&row, "token"), text(&row, "payload"), text(&row, "implicit-assertion"));
        assert_eq!(open(token, implicit).as_deref(), Some(payload.as_bytes()), "{name}");
        let signing = SigningKey::from_bytes(&key(&row, "secret-key-seed").unwrap());
        assert_eq!(
            paseto::sign(&signing, payload.into(), text(&row, "footer").as_bytes(), implicit.as_bytes()),
            token,
            "{name}"
        );
        let (shown, footer) = UnverifiedPaseto::parse(token).unwrap().expose_unverified().unwrap();
        assert_eq!((shown, footer), (payload.into(), text(&row, "footer").into()), "{name}");
    }
}

/// VEC-02, ASV-02: only v4.public is supported.
#[test]
fn no_failing_vector_and_no_local_token_verifies() {
    let rows = vectors!("paseto-v4.json");
    let mut refused = 0;
    for row in rows["tests"].as_array().unwrap() {
        if row["expect-fail"] == true || text(row, "token").starts_with("v4.local.") {
            assert_eq!(open(text(row, "token"), text(row, "implicit-assertion")), None, "{row}");
            refused += 1;
        }
    }
    assert_eq!(refused, 14);
}

/// VEC-03, PAS-45, EDS-04: without point validation; rows 2 and 3 are off the curve, row 1 has order 4. Texts
/// of secret keys (`k4.secret`, `k4.sid`) are neither read nor written by keyfob.
#[test]
fn public_keys_and_their_ids_have_the_published_text() {
    let mut rows = 0;
    let mut check =
        |file: Value, serialised: fn(&Value) -> Option<String>, parsed: fn(&str) -> Option<Vec<u8>>| {
            for row in file["tests"].as_array().unwrap() {
                let expected = row["paserk"].as_str();
                assert_eq!(serialised(row).as_deref(), expected, "{row}");
                assert_eq!(row["expect-fail"].as_bool().unwrap(), expected.is_none(), "{row}");
                if let Some(bytes) = expected.and_then(parsed) {
                    assert_eq!(bytes, unhex(text(row, "key")), "{row}");
                }
                rows += 1;
            }
        };
    check(
        vectors!("paserk-k4.public.json"),
        |row| Some(paserk::public_text(&key(row, "key")?)),
        |t| Some(paserk::parse_public(t)?.into()),
    );
    check(
        vectors!("paserk-k4.pid.json"),
        |row| Some(paserk::public_id(&key(row, "key")?).to_string()),
        |_| None,
    );
    assert_eq!(rows, 4 + 5);
    let signer = key(&paseto_v4("4-S-1"), "public-key").unwrap();
    assert_eq!(paserk::public_id(&signer).to_string(), "k4.pid.yh4-bJYjOYAG6CWy0zsfPmpKylxS7uAWrxqVmBN2KAiJ");
}

/// Whether key and signature pass every check.
fn accepts(public: &[u8], message: &[u8], signature: &[u8]) -> bool {
    let (Ok(public), Ok(signature)) = (public.try_into(), signature.try_into()) else { return false };
    Ed25519PublicKey::from_bytes(public).is_ok_and(|key| key.has_signed(message, signature))
}

/// RFC 8032 §7.1: tests 1, 2, 3 and SHA(abc). The one of 1023 bytes is among Wycheproof's.
#[test]
fn the_signatures_of_rfc_8032_are_made_and_accepted() {
    let abc = "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f";
    for (seed, public, message, signature) in [
        (
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            "",
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
        ),
        (
            "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            "72",
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
        ),
        (
            "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
            "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
            "af82",
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
        ),
        (
            "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
            "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
            abc,
            "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b58909351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17ad9bef1177331a704",
        ),
    ] {
        let signing = SigningKey::from_bytes(&unhex(seed).try_into().unwrap());
        assert_eq!(signing.verifying_key().as_bytes().as_slice(), unhex(public));
        assert_eq!(signing.sign(&unhex(message)).to_bytes().as_slice(), unhex(signature));
        assert!(accepts(&unhex(public), &unhex(message), &unhex(signature)));
    }
}

/// EDS-01: the strict rule accepts number 3 only.
#[test]
fn only_the_unambiguous_signature_of_speccheck_is_accepted() {
    let cases = vectors!("ed25519-speccheck.json");
    let verdict = |case: &Value| {
        accepts(&unhex(text(case, "pub_key")), &unhex(text(case, "message")), &unhex(text(case, "signature")))
    };
    let bitmap: String =
        cases.as_array().unwrap().iter().map(|case| if verdict(case) { '1' } else { '0' }).collect();
    assert_eq!(bitmap, "000100000000");
}

/// EDS-02.
#[test]
fn valid_signatures_of_wycheproof_are_accepted_and_the_others_rejected() {
    let file = vectors!("ed25519-wycheproof.json");
    let (mut valid, mut invalid) = (0, 0);
    for group in file["testGroups"].as_array().unwrap() {
        let public = unhex(text(&group["publicKey"], "pk"));
        for test in group["tests"].as_array().unwrap() {
            let expected = test["result"] == "valid";
            assert_eq!(
                accepts(&public, &unhex(text(test, "msg")), &unhex(text(test, "sig"))),
                expected,
                "{test}"
            );
            *(if expected { &mut valid } else { &mut invalid }) += 1;
        }
    }
    assert_eq!((valid, invalid), (88, 63));
}

/// EDS-03: every encoding of a point of small order, canonical or not.
#[test]
fn a_public_key_of_small_order_or_off_the_curve_is_rejected() {
    let low = "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc";
    let lower = "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03";
    let filled = |first: &str, middle: &str, last: &str| format!("{first}{}{last}", middle.repeat(30));
    let mut refused = 0;
    for small in [
        filled("00", "00", "00"),
        filled("00", "00", "80"),
        filled("01", "00", "00"),
        filled("01", "00", "80"),
        format!("{low}05"),
        format!("{low}85"),
        format!("{lower}7a"),
        format!("{lower}fa"),
        filled("ec", "ff", "7f"),
        filled("ec", "ff", "ff"),
        filled("ed", "ff", "7f"),
        filled("ed", "ff", "ff"),
        filled("ee", "ff", "7f"),
        filled("ee", "ff", "ff"),
    ] {
        assert!(Ed25519PublicKey::from_bytes(&unhex(&small).try_into().unwrap()).is_err(), "{small}");
        refused += 1;
    }
    assert_eq!(refused, 14);
    assert_eq!(Ed25519PublicKey::from_bytes(&[0; 32]), Err(UnsoundKey::SmallOrder));
    let off_curve: Vec<u8> = (0x70..0x90).collect();
    assert_eq!(Ed25519PublicKey::from_bytes(&off_curve.try_into().unwrap()), Err(UnsoundKey::OffCurve));
}

/// ASV-01: a second implementation signs the same bytes, accepts ours, and is accepted.
#[test]
fn a_second_implementation_writes_the_same_tokens_and_reads_ours() {
    for seed in 1..20_u8 {
        let signing = SigningKey::from_bytes(&[seed; 32]);
        let public = Ed25519PublicKey::from_bytes(signing.verifying_key().as_bytes()).unwrap();
        let their_secret = AsymmetricSecretKey::<V4>::from(&signing.to_keypair_bytes()).unwrap();
        let their_public = AsymmetricPublicKey::<V4>::from(public.as_bytes()).unwrap();
        let message = vec![b'x'; usize::from(seed) * 7 + 1];
        let footer = vec![b'f'; usize::from(seed) % 4 * 5];
        let implicit = vec![b'i'; usize::from(seed) % 3];
        let ours = paseto::sign(&signing, message.clone(), &footer, &implicit);
        assert_eq!(PublicToken::sign(&their_secret, &message, Some(&footer), Some(&implicit)).unwrap(), ours);
        let untrusted = UntrustedToken::try_from(ours.as_str()).unwrap();
        assert!(
            PublicToken::verify(&their_public, &untrusted, None, Some(&implicit))
                .is_ok_and(|read| read.payload().as_bytes() == message)
        );
        assert_eq!(UnverifiedPaseto::parse(&ours).unwrap().verify(&public, &implicit), Some(message));
    }
}
