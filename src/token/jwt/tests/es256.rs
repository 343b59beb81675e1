//! JWTs with ES256: their own form, and confusion with the algorithm and the keys of EdDSA (RFC 8725 §2.1,
//! §3.1).

use p256::ecdsa::Signature;

use super::*;
use crate::token::access::tests::record_es256;
use crate::token::es256::P256SecretKey;

fn es256_token() -> String {
    signed(&of_client(), TokenFormat::JwtEs256, &keyring())
}

/// The active keys of the ring.
fn ed25519() -> SigningKey {
    SigningKey::from_bytes(&[2; 32])
}

fn p256() -> P256SecretKey {
    P256SecretKey::generate([2; 32])
}

fn kid_es256() -> KeyId {
    keyring().active_for(TokenFormat::JwtEs256).unwrap().id
}

/// A valid payload under this header, signed by the active P-256 key.
fn under(header: &str) -> String {
    sign(&base64url(header), payload(&of_client()).as_bytes(), |signed| p256().sign(signed))
}

#[test]
fn a_jwt_with_es256_has_the_same_claims_under_another_header() {
    for of in [of_client(), of_session()] {
        let (ring, text) = (keyring(), signed(&of, TokenFormat::JwtEs256, &keyring()));
        let [header, claims, signature] = parts(&text);
        assert_eq!(
            decoded(header),
            format!(r#"{{"typ":"at+jwt","alg":"ES256","kid":"{}"}}"#, p256().public().id())
        );
        assert_eq!(decoded(claims), payload(&of));
        assert_eq!(Base64UrlUnpadded::decode_vec(signature).unwrap().len(), 64, "r ‖ s (RFC 7518 §3.4)");
        assert!(verify(&text, &ring) == Some(of.clone()));
        assert_eq!(signed(&of, TokenFormat::JwtEs256, &ring), text, "a retry gets the same bytes");
    }
}

#[test]
fn no_key_signs_in_a_format_of_the_other_algorithm() {
    let ring = keyring();
    let es256 = ring.active_for(TokenFormat::JwtEs256).unwrap();
    assert!(sign_access_token(&of_client(), TokenFormat::JwtEs256, ring.active()).is_none());
    for format in [TokenFormat::Jwt, TokenFormat::Paseto] {
        assert!(sign_access_token(&of_client(), format, es256).is_none());
    }
    let message = || payload(&of_client()).into_bytes();
    let paseto = ring.active().sign(message(), TokenFormat::Paseto).unwrap();
    let body = paseto.split('.').nth(2).unwrap();
    let footer = base64url(format!(r#"{{"kid":"{}"}}"#, es256.id));
    assert!(verify(&format!("v4.public.{body}.{footer}"), &ring).is_none());
}

/// ASV-02, JWP-02: each signature is valid for the key that made it.
#[test]
fn a_token_of_one_algorithm_is_rejected_under_the_key_of_the_other() {
    let (kid_eddsa, kid_es256) = (keyring().active().id, kid_es256());
    let claims = payload(&of_client());
    let header =
        |alg: &str, kid: &KeyId| base64url(format!(r#"{{"typ":"at+jwt","alg":"{alg}","kid":"{kid}"}}"#));
    let by_ed25519 = |header: &str| sign_with(&ed25519(), header, claims.as_bytes());
    let by_p256 = |header: &str| sign(header, claims.as_bytes(), |signed| p256().sign(signed));
    assert!(is_accepted(&by_ed25519(&header("EdDSA", &kid_eddsa))));
    assert!(is_accepted(&by_p256(&header("ES256", &kid_es256))));
    for (alg, kid) in [("EdDSA", &kid_es256), ("ES256", &kid_eddsa)] {
        assert!(!is_accepted(&by_ed25519(&header(alg, kid))), "{alg} {kid}");
        assert!(!is_accepted(&by_p256(&header(alg, kid))), "{alg} {kid}");
    }
    assert!(!is_accepted(&by_ed25519(&header("ES256", &kid_es256))));
    assert!(!is_accepted(&by_p256(&header("EdDSA", &kid_eddsa))));
}

/// The same with a key that the caller chose, as in `token decode --key`.
#[test]
fn a_key_verifies_only_tokens_whose_header_names_it_and_its_algorithm() {
    let ring = keyring();
    let keys: Vec<_> = ring.published().collect();
    for format in [TokenFormat::Jwt, TokenFormat::JwtEs256] {
        let text = signed(&of_client(), format, &ring);
        let verified: Vec<_> = keys
            .iter()
            .filter(|key| UnverifiedJwt::parse(&text).unwrap().verify(&key.public).is_some())
            .map(|key| key.id)
            .collect();
        assert_eq!(verified, [ring.active_for(format).unwrap().id]);
    }
}

/// ASV-02, ASV-03, JWP-02: every signature here is valid; only the header decides.
#[test]
fn only_our_own_header_is_accepted_with_es256() {
    let kid = kid_es256();
    let (x, y) = p256().public().coordinates();
    let (retired, unknown) = (record_es256(3, KeyStatus::Retired).id, record_es256(4, KeyStatus::Active).id);
    assert!(is_accepted(&under(&format!(r#"{{"typ":"at+jwt","alg":"ES256","kid":"{kid}"}}"#))));
    for header in [
        format!(r#"{{"typ":"at+jwt","alg":"none","kid":"{kid}"}}"#),
        format!(r#"{{"typ":"at+jwt","alg":"HS256","kid":"{kid}"}}"#),
        format!(r#"{{"typ":"at+jwt","alg":"es256","kid":"{kid}"}}"#),
        format!(r#"{{"typ":"at+jwt","alg":"ES256K","kid":"{kid}"}}"#),
        format!(r#"{{"typ":"at+jwt","alg":"ES384","kid":"{kid}"}}"#),
        format!(r#"{{"typ":"at+jwt","alg":"EdDSA","kid":"{kid}"}}"#),
        format!(r#"{{"typ":"at+jwt","kid":"{kid}"}}"#),
        format!(r#"{{"typ":"JWT","alg":"ES256","kid":"{kid}"}}"#),
        format!(r#"{{"typ":"application/at+jwt","alg":"ES256","kid":"{kid}"}}"#),
        format!(r#"{{"alg":"ES256","kid":"{kid}"}}"#),
        r#"{"typ":"at+jwt","alg":"ES256"}"#.into(),
        format!(r#"{{"typ":"at+jwt","alg":"ES256","kid":"{unknown}"}}"#),
        format!(r#"{{"typ":"at+jwt","alg":"ES256","kid":"{retired}"}}"#),
        format!(
            r#"{{"typ":"at+jwt","alg":"ES256","kid":"{kid}","jwk":{{"kty":"EC","crv":"P-256","x":"{x}","y":"{y}"}}}}"#
        ),
        format!(r#"{{"typ":"at+jwt","alg":"ES256","kid":"{kid}","crit":["b64"],"b64":false}}"#),
        format!(r#"{{"alg":"ES256","typ":"at+jwt","kid":"{kid}"}}"#),
    ] {
        assert!(!is_accepted(&under(&header)), "{header}");
    }
}

/// ASV-02: RFC 8725 §3.1, with every text and encoding of the public key as the secret of the MAC.
#[test]
fn a_mac_under_the_public_p256_key_is_rejected() {
    let kid = kid_es256();
    let public = p256().public();
    let (x, y) = public.coordinates();
    let point = [&[4], &public.to_bytes()[..]].concat();
    for algorithm in ["HS256", "ES256", "none"] {
        let header = base64url(format!(r#"{{"typ":"at+jwt","alg":"{algorithm}","kid":"{kid}"}}"#));
        let signed = format!("{header}.{}", base64url(payload(&of_client())));
        for secret in [
            public.to_bytes().to_vec(),
            point.clone(),
            format!(r#"{{"kty":"EC","crv":"P-256","x":"{x}","y":"{y}"}}"#).into_bytes(),
            x.clone().into_bytes(),
            vec![],
        ] {
            let mac = Hmac::<Sha256>::new_from_slice(&secret).unwrap().chain_update(&signed).finalize();
            assert!(!is_accepted(&format!("{signed}.{}", base64url(mac.into_bytes()))), "{algorithm}");
        }
        assert!(!is_accepted(&format!("{signed}.{}", base64url([0; 64]))), "{algorithm}: r and s are 0");
        assert!(!is_accepted(&format!("{signed}.")), "{algorithm}");
    }
}

/// One token, one spelling: neither the other s nor ASN.1 DER is accepted.
#[test]
fn a_signature_in_another_form_is_rejected() {
    let text = es256_token();
    let [header, claims, signature] = parts(&text);
    let parsed = Signature::from_slice(&Base64UrlUnpadded::decode_vec(signature).unwrap()).unwrap();
    let (r, s) = parsed.split_scalars();
    let high = Signature::from_scalars(r, -s).unwrap();
    assert_eq!(high.normalize_s(), parsed, "the same signature with n - s");
    let with = |bytes: &[u8]| format!("{header}.{claims}.{}", base64url(bytes));
    assert!(is_accepted(&with(&parsed.to_bytes())));
    assert!(!is_accepted(&with(&high.to_bytes())));
    assert!(!is_accepted(&with(parsed.to_der().as_bytes())));
    assert!(!is_accepted(&with(high.to_der().as_bytes())));
    assert!(!is_accepted(&with(&[&[0], &parsed.to_bytes()[..]].concat())));
}

/// ASV-01.
#[test]
fn a_jwt_with_es256_changed_anywhere_or_truncated_is_rejected() {
    let valid = es256_token();
    for at in 0..valid.len() {
        let mut changed = valid.clone().into_bytes();
        changed[at] ^= 1;
        assert!(!is_accepted(&String::from_utf8(changed).unwrap()), "byte {at}");
        assert!(!is_accepted(&valid[..at]), "{at} bytes");
    }
}
