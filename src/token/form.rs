//! The form of a bearer token: whether keyfob can have issued it. Nothing is verified.

use std::borrow::Cow;

use base64ct::{Base64UrlUnpadded, Encoding};
use serde::Deserialize;

use super::opaque::OpaqueKind;
use super::paseto::{HEADER, TOKEN_BYTES_MAX};

/// Whether `token` has the form of a token of keyfob: opaque, PASETO, or a JWT whose `iss`, which is not
/// verified, is `issuer`. Any other bearer token is one of the application's own.
pub fn has_form_of_ours(token: &str, issuer: &str) -> bool {
    let prefixes = [HEADER, OpaqueKind::Session.as_str(), OpaqueKind::Refresh.as_str()];
    prefixes.iter().any(|prefix| token.starts_with(prefix)) || is_jwt_of(token, issuer)
}

fn is_jwt_of(token: &str, issuer: &str) -> bool {
    #[derive(Deserialize)]
    struct IssuerClaim<'a> {
        #[serde(borrow)]
        iss: Cow<'a, str>,
    }
    if token.len() > TOKEN_BYTES_MAX {
        return false;
    }
    let mut parts = token.split('.');
    let (Some(_), Some(payload), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    let payload = Base64UrlUnpadded::decode_vec(payload).unwrap_or_default();
    serde_json::from_slice::<IssuerClaim<'_>>(&payload).is_ok_and(|claim| claim.iss == issuer)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jwt(payload: &str) -> String {
        format!("e30.{}.c2ln", Base64UrlUnpadded::encode_string(payload.as_bytes()))
    }

    #[test]
    fn a_token_of_the_application_itself_does_not_have_our_form() {
        let ours = |token: &str| has_form_of_ours(token, "https://id.example");
        for token in ["kfs_x", "kfr_", "v4.public.x", &jwt(r#"{"sub":"a","iss":"https://id.example"}"#)] {
            assert!(ours(token), "{token}");
        }
        let other = jwt(r#"{"iss":"https://idp.example"}"#);
        let filled =
            |bytes: usize| jwt(&format!(r#"{{"iss":"https://id.example","x":"{}"}}"#, "x".repeat(bytes)));
        let (longest, long) = (filled(6102), filled(6103));
        assert_eq!((longest.len(), long.len()), (TOKEN_BYTES_MAX, TOKEN_BYTES_MAX + 1));
        assert!(ours(&longest));
        for token in [
            "",
            "undefined",
            "null",
            "ghp_abc",
            "kfc_x",
            "v2.public.x",
            "KFS_x",
            "a.b.c",
            "e30.e30.",
            &other,
            &long,
            &format!("{}.x", jwt(r#"{"iss":"https://id.example"}"#)),
            &jwt(r#"{"iss":["https://id.example"]}"#),
        ] {
            assert!(!ours(token), "{token}");
        }
    }
}
