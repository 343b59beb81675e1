//! Token confusion: tokens that were altered, and payloads that a key of the server signed but that are no
//! tokens.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use base64ct::{Base64, Base64UrlUnpadded, Encoding};
use ed25519_compact::{KeyPair, Seed};
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderValue, Method};
use keyfob::domain::algorithm::Algorithm;
use keyfob::domain::key::KeyStatus;
use keyfob::domain::time::Timestamp;
use keyfob::store::Store;
use keyfob::token::keyring::generate;
use p256::ecdsa::signature::Signer;
use serde_json::{Value, json};
use sha2::Sha256;
use tempfile::TempDir;

use super::Attacks;
use crate::harness::fixture;
use crate::harness::server::{Auth, Client, ISSUER, NOW_S, Server, encoded, text};

/// The seed of both signing keys, which the attacker of the second table can make sign anything.
const SEED: [u8; 32] = [1; 32];
/// The order of Ed25519's group, and of P-256's, little-endian and big-endian.
const ED25519_ORDER: &str = "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010";
const P256_ORDER: &str = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";

fn b64(bytes: impl AsRef<[u8]>) -> String {
    Base64UrlUnpadded::encode_string(bytes.as_ref())
}

fn unb64(text: &str) -> Vec<u8> {
    Base64UrlUnpadded::decode_vec(text).unwrap()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// A server whose signing keys are those of [`SEED`], and the tokens that an attacker has.
struct World {
    server: Server,
    app: Client,
    /// By name: the access tokens of a session in each format, and its opaque tokens.
    genuine: Vec<(&'static str, String)>,
    /// Its own token, as a JWT.
    own: String,
}

async fn world() -> World {
    let directory = TempDir::new().unwrap();
    let data = directory.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::set_permissions(&data, fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(data.join("master.key"), b64([7; 32]) + "\n").unwrap();
    fs::set_permissions(data.join("master.key"), fs::Permissions::from_mode(0o600)).unwrap();
    let mut server = Server::on(directory, NOW_S, &[]).await;
    let client = async |id: &str, format: &str| {
        let fields = json!({
            "client_id": id, "permissions": ["sessions", "introspect", "admin"],
            "grants": ["refresh_token", "client_credentials"], "access_token_format": format,
        });
        server.client(fields).await
    };
    let app = client("app", "paseto").await;
    let (eddsa, es256) = (client("eddsa", "jwt").await, client("es256", "jwt_es256").await);
    let keys = [Algorithm::EdDsa, Algorithm::Es256].map(|algorithm| {
        generate(algorithm, SEED, &fixture::keys(), KeyStatus::Active, Timestamp::from_seconds(NOW_S))
    });
    let replace = move |stored: &mut Vec<_>, _: &_| {
        *stored = keys.to_vec();
        keyfob::domain::session::Decision::answer(())
    };
    server.app().store().update_keys(replace).await.unwrap();
    server.restart().await;
    let opened = server.open(&app).await;
    let mut genuine = vec![];
    for (name, client) in [("PASETO", &app), ("EdDSA", &eddsa), ("ES256", &es256)] {
        let opened = server.open(client).await;
        genuine.push((name, text(&opened["access_token"])));
    }
    for (name, member) in [("refresh token", "refresh_token"), ("session token", "session_token")] {
        genuine.push((name, text(&opened[member])));
    }
    let own = server.own_token(&eddsa).await;
    World { server, app, genuine, own }
}

impl World {
    /// Where this token is accepted. Texts that no header can carry are tried in forms only.
    async fn accepted(&self, token: &str) -> Vec<(&'static str, u16)> {
        let server = &self.server;
        let mut accepted = vec![];
        let reported =
            server.form("/oauth2/introspect", Auth::Basic(&server.admin), &[("token", token)]).await;
        if reported.text() != r#"{"active":false}"# {
            accepted.push(("introspection", reported.status));
        }
        let fields = [("grant_type", "refresh_token"), ("refresh_token", token)];
        let refreshed = server.raw_form("/oauth2/token", Auth::Basic(&self.app), &encoded(&fields)).await;
        if refreshed.status != 400 {
            accepted.push(("the token endpoint", refreshed.status));
        }
        let check = json!({"token": token});
        let checked =
            server.json(Method::POST, "/v1/sessions/check", Auth::Basic(&server.admin), check).await;
        if checked.text() != r#"{"active":false}"# {
            accepted.push(("a check", checked.status));
        }
        let bearer = format!("Bearer {token}");
        if HeaderValue::from_str(&bearer).is_ok() && token.trim() == token {
            for path in ["/v1/session", "/v1/forward-auth", "/v1/clients"] {
                let answer = server.get(path, Auth::Header(&bearer)).await;
                if answer.status != 401 {
                    accepted.push((path, answer.status));
                }
            }
            let cookie = [("cookie", &*format!("__Host-keyfob={token}"))];
            let answer = server.send(Method::GET, "/v1/session", Auth::None, &cookie, "").await;
            if answer.status != 401 {
                accepted.push(("a cookie", answer.status));
            }
        }
        accepted
    }

    /// Tries every token everywhere, and revokes it. The genuine ones must stay active.
    async fn attack(&self, attacks: &mut Attacks, tokens: Vec<(String, String)>, revokes: bool) {
        let mut known = BTreeSet::new();
        for (name, token) in tokens {
            // By name: two alterations of a token, whose bytes are random, can have the same result.
            assert!(known.insert(name.clone()), "{name} is there twice");
            assert!(self.genuine.iter().all(|(_, genuine)| *genuine != token), "{name} is genuine");
            let mut accepted = self.accepted(&token).await;
            if revokes {
                let revoked = self.server.revoke(&self.server.admin, &token).await;
                accepted.extend((revoked.status != 200).then_some(("revocation", revoked.status)));
            }
            attacks.check(name, accepted.is_empty(), (accepted, token));
        }
        for (name, token) in &self.genuine {
            let is_active = self.server.is_active(&self.server.admin, token).await;
            attacks.control(format!("{name} stays active"), is_active);
        }
    }
}

/// What can be done to the text of any token: its encoding and what stands around it.
fn misspelt(token: &str) -> Vec<(&'static str, String)> {
    let (last, rest) = (token.chars().next_back().unwrap(), &token[..token.len() - 1]);
    // By more than its last bit, which is changed by itself elsewhere.
    let other = if matches!(last, '-' | '_') { 'A' } else { '-' };
    let middle = token.len() / 2;
    let (before, after) = token.split_at(middle);
    vec![
        ("its last character changed", format!("{rest}{other}")),
        ("without its last character", rest.to_owned()),
        ("with a character more", format!("{token}A")),
        ("padded", format!("{token}=")),
        ("padded twice", format!("{token}==")),
        ("a space before it", format!(" {token}")),
        ("a space after it", format!("{token} ")),
        ("a line feed after it", format!("{token}\n")),
        ("a zero byte after it", format!("{token}\0")),
        ("a line feed in it", format!("{before}\n{after}")),
        ("a space in it", format!("{before} {after}")),
        ("in upper case", token.to_uppercase()),
        ("in lower case", token.to_lowercase()),
        ("percent-encoded", token.replace('.', "%2E").replacen('_', "%5F", 1) + "%41"),
        ("twice", format!("{token}{token}")),
        ("as a list", format!("{token},{token}")),
        ("in quotation marks", format!("\"{token}\"")),
        ("as a bearer header", format!("Bearer {token}")),
        ("a dot before it", format!(".{token}")),
        ("a dot after it", format!("{token}.")),
        ("a byte order mark before it", format!("\u{feff}{token}")),
        ("an equal letter of another alphabet", format!("{rest}\u{430}")),
        ("its first half", before.to_owned()),
        ("behind a PASETO's prefix", format!("v4.public.{token}")),
        ("behind a session token's prefix", format!("kfs_{token}")),
        ("behind a secret's prefix", format!("kfc_{token}")),
        ("encoded once more", b64(token)),
    ]
}

/// What can be done to a JWT without its key.
fn altered_jwts(token: &str, public: &[u8], published: &Value) -> Vec<(&'static str, String)> {
    let [header, payload, signature] = token.split('.').collect::<Vec<_>>().try_into().unwrap();
    let head: Value = serde_json::from_slice(&unb64(header)).unwrap();
    let kid = text(&head["kid"]);
    let alg = text(&head["alg"]);
    let under = |header: Value| format!("{}.{payload}", b64(header.to_string()));
    let with = |member: &str, value: Value| {
        let mut head = head.clone();
        head[member] = value;
        under(head)
    };
    let mac = |key: &[u8]| {
        let signed = with("alg", json!("HS256"));
        let mac = Hmac::<Sha256>::new_from_slice(key).unwrap().chain_update(&signed).finalize();
        format!("{signed}.{}", b64(mac.into_bytes()))
    };
    let stranger = KeyPair::from_seed(Seed::new([9; 32]));
    let by_stranger = |signed: String| {
        let signature = stranger.sk.sign(&signed, None);
        format!("{signed}.{}", b64(signature.as_ref()))
    };
    let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": b64(stranger.pk.as_ref())});
    let genuine = |signed: String| format!("{signed}.{signature}");
    let resigned = |bytes: Vec<u8>| format!("{header}.{payload}.{}", b64(bytes));
    let bytes = unb64(signature);
    let mut zero_r = bytes.clone();
    zero_r[..32].fill(0);
    let mut zero_s = bytes.clone();
    zero_s[32..].fill(0);
    let mut small_order = vec![0; 64];
    small_order[0] = 1;
    let mut claims: Value = serde_json::from_slice(&unb64(payload)).unwrap();
    claims["sub"] = json!("root");
    let der = {
        let mut der = vec![0x30, 0x44, 0x02, 0x20];
        der.extend(&bytes[..32]);
        der.extend([0x02, 0x20]);
        der.extend(&bytes[32..]);
        der
    };
    let json = json!({"payload": payload, "signatures": [{"protected": header, "signature": signature}]});
    let flat = json!({"payload": payload, "protected": header, "signature": signature});
    let twice = format!(r#"{{"typ":"at+jwt","alg":"none","alg":"{alg}","kid":"{kid}"}}"#);
    vec![
        ("alg none, unsigned", format!("{}.", with("alg", json!("none")))),
        ("alg none, signed", genuine(with("alg", json!("none")))),
        ("alg None", format!("{}.", with("alg", json!("None")))),
        ("alg NONE", format!("{}.", with("alg", json!("NONE")))),
        ("alg empty", format!("{}.", with("alg", json!("")))),
        ("alg null", format!("{}.", with("alg", json!(null)))),
        ("alg as a list", genuine(with("alg", json!([alg])))),
        ("alg twice", genuine(format!("{}.{payload}", b64(twice)))),
        ("alg in lower case", genuine(with("alg", json!(alg.to_lowercase())))),
        ("alg Ed25519", genuine(with("alg", json!("Ed25519")))),
        ("alg RS256", genuine(with("alg", json!("RS256")))),
        ("alg PS256", genuine(with("alg", json!("PS256")))),
        ("alg ES384", genuine(with("alg", json!("ES384")))),
        ("alg of the other key", genuine(with("alg", json!(if alg == "EdDSA" { "ES256" } else { "EdDSA" })))),
        ("HS256 under the public key", mac(public)),
        ("HS256 under the encoded public key", mac(b64(public).as_bytes())),
        ("HS256 under the published keys", mac(published.to_string().as_bytes())),
        ("HS256 under the published key", mac(published["keys"][0].to_string().as_bytes())),
        ("HS256 under the name of the key", mac(kid.as_bytes())),
        ("HS256 under no key", mac(b"")),
        ("HS256 under the signature", mac(&bytes)),
        ("kid of a file", genuine(with("kid", json!("../../../../dev/null")))),
        ("kid with SQL", genuine(with("kid", json!("x' UNION SELECT 'key")))),
        ("kid empty", genuine(with("kid", json!("")))),
        ("kid as a number", genuine(with("kid", json!(0)))),
        ("kid in upper case", genuine(with("kid", json!(kid.to_uppercase())))),
        ("no kid", genuine(under(json!({"typ": "at+jwt", "alg": alg})))),
        ("typ JWT", genuine(with("typ", json!("JWT")))),
        ("typ logout+jwt", genuine(with("typ", json!("logout+jwt")))),
        ("no typ", genuine(under(json!({"alg": alg, "kid": kid})))),
        ("a key in the header", by_stranger(with("jwk", jwk.clone()))),
        ("a key by URL", by_stranger(with("jku", json!("https://evil.example/jwks.json")))),
        ("a certificate in the header", by_stranger(with("x5c", json!([b64(stranger.pk.as_ref())])))),
        ("a certificate by URL", by_stranger(with("x5u", json!("https://evil.example/x.pem")))),
        ("crit", genuine(with("crit", json!(["exp"])))),
        ("a payload that is not encoded", genuine(with("b64", json!(false)))),
        ("compressed", genuine(with("zip", json!("DEF")))),
        ("nested", genuine(with("cty", json!("JWT")))),
        ("the header in another order", genuine(under(json!({"kid": kid, "alg": alg, "typ": "at+jwt"})))),
        ("the header with spaces", genuine(format!("{}.{payload}", b64(format!("{head:#}"))))),
        ("the signature of another key", by_stranger(format!("{header}.{payload}"))),
        ("another payload", format!("{header}.{}.{signature}", b64(claims.to_string()))),
        ("no payload", format!("{header}..{signature}")),
        ("no header", format!(".{payload}.{signature}")),
        ("no signature", format!("{header}.{payload}.")),
        ("two parts", format!("{header}.{payload}")),
        ("four parts", format!("{token}.{signature}")),
        ("five parts, as if encrypted", format!("{header}.{signature}.{signature}.{payload}.{signature}")),
        ("payload and header exchanged", format!("{payload}.{header}.{signature}")),
        ("as JSON", json.to_string()),
        ("as flattened JSON", flat.to_string()),
        ("a signature of zeros", resigned(vec![0; 64])),
        ("a signature of ones", resigned(vec![255; 64])),
        ("R is zero", resigned(zero_r)),
        ("S is zero", resigned(zero_s)),
        ("R of small order, S zero", resigned(small_order)),
        ("a shorter signature", resigned(bytes[..63].to_vec())),
        ("two signatures", resigned([&bytes[..], &bytes[..]].concat())),
        ("its halves exchanged", resigned([&bytes[32..], &bytes[..32]].concat())),
        ("the signature as DER", resigned(der)),
        (
            "the signature in the other alphabet",
            format!("{header}.{payload}.{}", Base64::encode_string(&bytes)),
        ),
        ("malleable S", resigned([&bytes[..32], &other_s(&bytes[32..], &alg)].concat())),
    ]
}

/// The other S with which a signature is valid where no verifier asks for the canonical one.
fn other_s(s: &[u8], alg: &str) -> Vec<u8> {
    let (order, little) =
        if alg == "ES256" { (unhex(P256_ORDER), false) } else { (unhex(ED25519_ORDER), true) };
    let (mut carry, mut sum) = (0i16, vec![0; 32]);
    for n in 0..32 {
        let at = if little { n } else { 31 - n };
        // S + L for Ed25519; n − s for P-256.
        let value = if little {
            i16::from(s[at]) + i16::from(order[at])
        } else {
            i16::from(order[at]) - i16::from(s[at])
        };
        let value = value + carry;
        sum[at] = u8::try_from(value.rem_euclid(256)).unwrap();
        carry = value.div_euclid(256);
    }
    sum
}

fn altered_pasetos(token: &str, jwt: &str) -> Vec<(&'static str, String)> {
    let [.., body, footer] = token.split('.').collect::<Vec<_>>()[..] else { panic!("{token}") };
    let bytes = unb64(body);
    let (message, signature) = bytes.split_at(bytes.len() - 64);
    let joined = |message: &[u8], signature: &[u8]| {
        format!("v4.public.{}.{footer}", b64([message, signature].concat()))
    };
    let parts: Vec<_> = jwt.split('.').collect();
    let kid = String::from_utf8(unb64(footer)).unwrap();
    let other = kid.replace("k4.pid.", "k4.pid.A");
    let root = String::from_utf8(message.to_vec()).unwrap().replace("alice", "admin");
    let footed = |footer: &str| format!("v4.public.{body}.{}", b64(footer));
    let stranger = KeyPair::from_seed(Seed::new([9; 32])).sk.sign(message, None);
    let mut small_order = [0; 64];
    small_order[0] = 1;
    vec![
        ("as v4.local", token.replacen("v4.public", "v4.local", 1)),
        ("as v3.public", token.replacen("v4.public", "v3.public", 1)),
        ("as v2.public", token.replacen("v4.public", "v2.public", 1)),
        ("as v1.public", token.replacen("v4.public", "v1.public", 1)),
        ("as v5.public", token.replacen("v4.public", "v5.public", 1)),
        ("as V4.public", token.replacen("v4.public", "V4.public", 1)),
        ("as v4.Public", token.replacen("v4.public", "v4.Public", 1)),
        ("without a version", token.replacen("v4.public.", "", 1)),
        ("without its footer", format!("v4.public.{body}")),
        ("an empty footer", format!("v4.public.{body}.")),
        ("a footer twice", format!("{token}.{footer}")),
        ("the footer of another key", footed(&other)),
        ("a footer with spaces", footed(&kid.replace(':', ": "))),
        ("a footer with another member", footed(&kid.replacen('{', r#"{"wpk":"x","#, 1))),
        ("a footer with the name twice", footed(&kid.replacen('{', r#"{"kid":"x","#, 1))),
        (
            "a footer that is the name",
            footed(kid.trim_start_matches(r#"{"kid":""#).trim_end_matches(r#""}"#)),
        ),
        ("a JWT's header as footer", format!("v4.public.{body}.{}", parts[0])),
        ("another message", joined(root.as_bytes(), signature)),
        ("no message", joined(b"", signature)),
        ("no body", format!("v4.public..{footer}")),
        ("no signature", joined(message, b"")),
        ("a signature of zeros", joined(message, &[0; 64])),
        ("the signature of another key", joined(message, stranger.as_ref())),
        ("the signature of a JWT", joined(message, &unb64(parts[2]))),
        ("a JWT's payload and signature", joined(&unb64(parts[1]), &unb64(parts[2]))),
        ("the signature first", joined(signature, message)),
        ("R of small order, S zero", joined(message, &small_order)),
        ("malleable S", joined(message, &[&signature[..32], &other_s(&signature[32..], "EdDSA")].concat())),
        ("a message that is longer by a space", joined(&[message, b" "].concat(), signature)),
        ("its payload as a JWT", format!("{}.{}.{}", parts[0], b64(message), b64(signature))),
    ]
}

/// The layout: version 1, key index 1, session 16, family 2, generation 4, secret 32, code 16.
fn altered_opaques(token: &str, other: &str) -> Vec<(&'static str, String)> {
    let (prefix, genuine) = (&token[..4], unb64(&token[4..]));
    let changed = |at: usize, bit: u8| {
        let mut bytes = genuine.clone();
        bytes[at] ^= bit;
        format!("{prefix}{}", b64(bytes))
    };
    let filled = |from: usize, to: usize, with: u8| {
        let mut bytes = genuine.clone();
        bytes[from..to].fill(with);
        format!("{prefix}{}", b64(bytes))
    };
    let mixed = |from: usize, to: usize| {
        let mut bytes = genuine.clone();
        bytes[from..to].copy_from_slice(&unb64(&other[4..])[from..to]);
        format!("{prefix}{}", b64(bytes))
    };
    vec![
        ("another version", changed(0, 1)),
        ("another master key", changed(1, 1)),
        ("another time of its session", changed(2, 128)),
        ("another session", changed(17, 1)),
        ("another family", changed(19, 1)),
        ("the next generation", changed(23, 1)),
        ("the highest generation", filled(20, 24, 255)),
        ("another secret, first bit", changed(24, 128)),
        ("another secret, last bit", changed(55, 1)),
        ("another code, first bit", changed(56, 128)),
        ("another code, last bit", changed(71, 1)),
        ("a code of zeros", filled(56, 72, 0)),
        ("a secret of zeros", filled(24, 56, 0)),
        ("nothing but zeros", filled(0, 72, 0)),
        ("the code of its sister", mixed(56, 72)),
        ("the secret of its sister", mixed(24, 56)),
        ("all but the code of its sister", mixed(0, 56)),
        ("under its sister's prefix", format!("{}{}", &other[..4], &token[4..])),
        ("under the prefix of secrets", format!("kfc_{}", &token[4..])),
        ("under an unknown prefix", format!("kft_{}", &token[4..])),
        ("its prefix in upper case", format!("{}{}", prefix.to_uppercase(), &token[4..])),
        ("without its prefix", token[4..].to_owned()),
        ("its prefix alone", prefix.to_owned()),
        ("three bytes more", format!("{prefix}{}", b64([&genuine[..], &[0; 3]].concat()))),
        ("three bytes less", format!("{prefix}{}", b64(&genuine[..69]))),
        ("in the other alphabet", format!("{prefix}{}+/", &token[4..token.len() - 2])),
    ]
}

/// JWP-02, ASV-02, ASV-05: a token that resembles ours is inactive, authenticates no client or subject and
/// revokes nothing.
#[tokio::test]
async fn a_token_that_was_altered_without_a_key_is_accepted_nowhere() {
    let world = world().await;
    let published = world.server.get("/.well-known/jwks.json", Auth::None).await.json();
    let key = |alg: &str| {
        let keys = published["keys"].as_array().unwrap();
        let key = keys.iter().find(|key| key["alg"] == alg).unwrap();
        let y = key["y"].as_str().unwrap_or_default();
        [unb64(&text(&key["x"])), unb64(y)].concat()
    };
    let mut attacks = Attacks::of("altered tokens");
    let [paseto, eddsa, es256, refresh, session] = &world.genuine[..] else { panic!() };
    let mut tables = vec![
        (paseto, altered_pasetos(&paseto.1, &eddsa.1)),
        (eddsa, altered_jwts(&eddsa.1, &key("EdDSA"), &published)),
        (es256, altered_jwts(&es256.1, &key("ES256"), &published)),
        (refresh, altered_opaques(&refresh.1, &session.1)),
        (session, altered_opaques(&session.1, &refresh.1)),
    ];
    for (name, token) in &world.genuine {
        tables.iter_mut().find(|((known, _), _)| known == name).unwrap().1.extend(misspelt(token));
    }
    for ((name, _), altered) in tables {
        let named = altered.into_iter().map(|(what, token)| (format!("{name}: {what}"), token)).collect();
        world.attack(&mut attacks, named, true).await;
    }
    attacks.finish(30 + 2 * 62 + 2 * 26 + 5 * 27);
}

/// Pre-authentication encoding.
fn pae(parts: &[&[u8]]) -> Vec<u8> {
    let mut encoded = (parts.len() as u64).to_le_bytes().to_vec();
    for part in parts {
        encoded.extend((part.len() as u64).to_le_bytes());
        encoded.extend(*part);
    }
    encoded
}

fn by_ed25519(message: impl AsRef<[u8]>) -> Vec<u8> {
    KeyPair::from_seed(Seed::new(SEED)).sk.sign(message, None).to_vec()
}

fn by_p256(message: &[u8]) -> Vec<u8> {
    let signature: p256::ecdsa::Signature = p256::ecdsa::SigningKey::from_slice(&SEED).unwrap().sign(message);
    signature.normalize_s().to_bytes().to_vec()
}

fn jwt(header: &str, payload: impl AsRef<[u8]>) -> String {
    let signed = format!("{}.{}", b64(header), b64(payload));
    let es256 = header.contains("ES256");
    let signature = if es256 { by_p256(signed.as_bytes()) } else { by_ed25519(&signed) };
    format!("{signed}.{}", b64(signature))
}

fn paseto(payload: &[u8], footer: &[u8], header: &[u8], implicit: &[u8]) -> String {
    let signature = by_ed25519(pae(&[header, payload, footer, implicit]));
    format!("v4.public.{}.{}", b64([payload, &signature].concat()), b64(footer))
}

/// Each change of a payload that no token of ours has. `time` writes seconds since 1970 as the format does.
fn payloads(genuine: &Value, time: impl Fn(i64) -> Value) -> Vec<(String, String)> {
    let with = |member: &str, value: Value| {
        let mut payload = genuine.clone();
        payload[member] = value;
        payload.to_string()
    };
    let mut payloads = vec![];
    for member in ["iss", "sub", "aud", "exp", "iat", "jti", "client_id"] {
        let mut payload = genuine.clone();
        payload.as_object_mut().unwrap().remove(member);
        payloads.push((format!("no {member}"), payload.to_string()));
    }
    for member in ["iss", "sub", "aud", "exp", "iat", "jti", "client_id", "sid", "fam", "auth_time"] {
        for (kind, value) in
            [("null", json!(null)), ("a list", json!([genuine[member]])), ("an object", json!({}))]
        {
            payloads.push((format!("{member} is {kind}"), with(member, value)));
        }
    }
    let whole = genuine.to_string();
    let (other, far) = ("00000000-0000-7000-8000-000000000000", NOW_S + 1_000_000);
    let changes = [
        ("another issuer", with("iss", json!("https://evil.example"))),
        ("the issuer with a slash", with("iss", json!(format!("{ISSUER}/")))),
        ("the issuer in upper case", with("iss", json!(ISSUER.to_uppercase()))),
        ("an empty issuer", with("iss", json!(""))),
        ("expired", with("exp", time(NOW_S - 1))),
        ("expired in this second", with("exp", time(NOW_S))),
        ("issued in an hour", with("iat", time(NOW_S + 3600))),
        ("not valid before an hour", with("nbf", time(NOW_S + 3600))),
        ("exp before 1970", with("exp", time(-1))),
        ("exp as a text of digits", with("exp", json!(far.to_string()))),
        ("exp as a fraction", with("exp", json!(far as f64 + 0.5))),
        ("exp beyond all years", with("exp", json!(u64::MAX))),
        ("exp as a boolean", with("exp", json!(true))),
        ("an unknown session", with("sid", json!(other))),
        ("a session that is no id", with("sid", json!("../admin"))),
        ("no session's family", with("fam", json!(9))),
        ("family 65536", with("fam", json!(65_536))),
        ("family -1", with("fam", json!(-1))),
        ("an unknown client", with("client_id", json!("unknown"))),
        ("a client that is no name", with("client_id", json!("a b"))),
        ("an empty subject", with("sub", json!(""))),
        ("a subject with a line feed", with("sub", json!("a\nb"))),
        ("a token id that is none", with("jti", json!("x"))),
        ("a scope with a quotation mark", with("scope", json!("read \"all\""))),
        ("a scope as a list", with("scope", json!(["read"]))),
        ("a member that we do not write", with("role", json!("root"))),
        ("claims as a list", with("claims", json!([]))),
        ("claims as a text", with("claims", json!("{}"))),
        ("a history position in a session's token", with("rh", json!("1"))),
        ("amr as a text", with("amr", json!("pwd"))),
        ("auth_time as a text", with("auth_time", json!("2027-01-15T08:00:00Z"))),
        ("a member twice", whole.replacen('{', r#"{"sub":"root","#, 1)),
        (
            "a member of the claims twice",
            with("claims", json!({"a": 1})).replace(r#"{"a":1}"#, r#"{"a":1,"a":2}"#),
        ),
        ("a list", format!("[{whole}]")),
        ("a text", json!(whole).to_string()),
        ("two objects", format!("{whole}{whole}")),
        ("a byte more", format!("{whole}x")),
        ("a byte order mark", format!("\u{feff}{whole}")),
        ("cut off", whole[..whole.len() - 1].to_owned()),
        ("empty", String::new()),
        ("null", "null".to_owned()),
        ("an empty object", "{}".to_owned()),
        (
            "a logout token",
            json!({"iss": ISSUER, "aud": "app", "iat": NOW_S, "jti": "x", "events": {}}).to_string(),
        ),
    ];
    payloads.extend(changes.map(|(name, payload)| (name.to_owned(), payload)));
    payloads
}

/// The attacker can make the server's keys sign anything: another kind of token under the same key is still
/// no access token. That the untouched payload is accepted shows that the signatures are genuine. Revocation
/// is not tried: what has the `jti` of a token revokes that one.
#[tokio::test]
async fn what_a_key_of_the_server_signed_is_no_token_unless_it_is_one_to_the_letter() {
    let world = world().await;
    let mut attacks = Attacks::of("genuine signatures under other content");
    let token = |name: &str| world.genuine.iter().find(|(known, _)| *known == name).unwrap().1.clone();
    for name in ["EdDSA", "ES256"] {
        let genuine = token(name);
        let parts: Vec<_> = genuine.split('.').map(ToOwned::to_owned).collect();
        let header = String::from_utf8(unb64(&parts[0])).unwrap();
        let payload: Value = serde_json::from_slice(&unb64(&parts[1])).unwrap();
        let untouched = jwt(&header, payload.to_string());
        assert!(world.server.is_active(&world.server.admin, &untouched).await, "{name}");
        let mut forged: Vec<_> = payloads(&payload, |seconds| json!(seconds))
            .into_iter()
            .map(|(what, payload)| (format!("{name}: {what}"), jwt(&header, payload)))
            .collect();
        let head: Value = serde_json::from_str(&header).unwrap();
        let (alg, kid) = (text(&head["alg"]), text(&head["kid"]));
        for (what, header) in [
            ("typ JWT", format!(r#"{{"typ":"JWT","alg":"{alg}","kid":"{kid}"}}"#)),
            ("typ at+JWT", format!(r#"{{"typ":"at+JWT","alg":"{alg}","kid":"{kid}"}}"#)),
            (
                "typ application/at+jwt",
                format!(r#"{{"typ":"application/at+jwt","alg":"{alg}","kid":"{kid}"}}"#),
            ),
            ("typ logout+jwt", format!(r#"{{"typ":"logout+jwt","alg":"{alg}","kid":"{kid}"}}"#)),
            ("no typ", format!(r#"{{"alg":"{alg}","kid":"{kid}"}}"#)),
            ("no kid", format!(r#"{{"typ":"at+jwt","alg":"{alg}"}}"#)),
            ("no alg", format!(r#"{{"typ":"at+jwt","kid":"{kid}"}}"#)),
            ("crit", format!(r#"{{"typ":"at+jwt","alg":"{alg}","kid":"{kid}","crit":["exp"]}}"#)),
            ("b64 false", format!(r#"{{"typ":"at+jwt","alg":"{alg}","kid":"{kid}","b64":false}}"#)),
            ("a member more", format!(r#"{{"typ":"at+jwt","alg":"{alg}","kid":"{kid}","x":1}}"#)),
            ("a space more", format!(r#"{{"typ":"at+jwt", "alg":"{alg}","kid":"{kid}"}}"#)),
        ] {
            forged.push((format!("{name}: header, {what}"), jwt(&header, payload.to_string())));
        }
        world.attack(&mut attacks, forged, false).await;
    }

    let genuine = token("PASETO");
    let [.., body, footer] = genuine.split('.').collect::<Vec<_>>()[..] else { panic!("{genuine}") };
    let (bytes, footer) = (unb64(body), unb64(footer));
    let payload: Value = serde_json::from_slice(&bytes[..bytes.len() - 64]).unwrap();
    let (header, untouched) = (&b"v4.public."[..], payload.to_string());
    assert!(
        world
            .server
            .is_active(&world.server.admin, &paseto(untouched.as_bytes(), &footer, header, b""))
            .await
    );
    let time = |seconds: i64| json!(Timestamp::from_seconds(seconds).to_string());
    let mut forged: Vec<_> = payloads(&payload, time)
        .into_iter()
        .map(|(what, payload)| (format!("PASETO: {what}"), paseto(payload.as_bytes(), &footer, header, b"")))
        .collect();
    let eddsa = token("EdDSA");
    let jwt_payload = unb64(eddsa.split('.').nth(1).unwrap());
    let jwt_header = String::from_utf8(unb64(eddsa.split('.').next().unwrap())).unwrap();
    let message = untouched.as_bytes();
    let raw =
        |signature: Vec<u8>| format!("v4.public.{}.{}", b64([message, &signature].concat()), b64(&footer));
    for (what, token) in [
        ("a JWT's payload", paseto(&jwt_payload, &footer, header, b"")),
        ("its payload as a JWT", jwt(&jwt_header, message)),
        ("an implicit assertion", paseto(message, &footer, header, b"x")),
        ("signed as v4.local", paseto(message, &footer, b"v4.local.", b"")),
        ("signed as v3.public", paseto(message, &footer, b"v3.public.", b"")),
        ("signed without the encoding", raw(by_ed25519(message))),
        ("signed as text", raw(by_ed25519(format!("v4.public.{}", b64(message))))),
        ("signed without the footer", raw(by_ed25519(pae(&[header, message, b"", b""])))),
        ("signed in three pieces", raw(by_ed25519(pae(&[header, message, &footer])))),
        ("no footer", paseto(message, b"", header, b"")),
        ("a footer with a space", paseto(message, &[&footer[..], b" "].concat(), header, b"")),
        ("a footer of another form", paseto(message, b"kid", header, b"")),
    ] {
        forged.push((format!("PASETO: {what}"), token));
    }
    world.attack(&mut attacks, forged, false).await;
    let own = json!({"iss": ISSUER, "sub": "eddsa", "aud": ISSUER, "rh": "0"});
    let parts: Vec<_> = world.own.split('.').collect();
    let claims: Value = serde_json::from_slice(&unb64(parts[1])).unwrap();
    let header = String::from_utf8(unb64(parts[0])).unwrap();
    let changed = |member: &str, value: Value| {
        let mut claims = claims.clone();
        claims[member] = value;
        jwt(&header, claims.to_string())
    };
    let mut no_rh = claims.clone();
    no_rh.as_object_mut().unwrap().remove("rh");
    let forged = [
        ("for another issuer", changed("iss", json!("https://evil.example"))),
        ("without its position", jwt(&header, no_rh.to_string())),
        ("from before all events", changed("rh", json!("0"))),
        ("with a position that is no number", changed("rh", json!("-1"))),
        ("with a session too", changed("sid", json!("00000000-0000-7000-8000-000000000000"))),
        ("of nothing but its names", jwt(&header, own.to_string())),
    ];
    let forged = forged.map(|(what, token)| (format!("own token {what}"), token));
    world.attack(&mut attacks, forged.into(), false).await;
    attacks.finish(2 * (80 + 11) + 80 + 12 + 6);
}
