//! The clients that the configuration declares.

use std::collections::BTreeMap;
use std::fs;

use base64ct::{Base64UrlUnpadded, Encoding};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::parse::{boolean, one_of, path};
use super::policy::DEFAULT_POLICY;
use super::sheet::Sheet;
use crate::domain::access::TokenFormat;
use crate::domain::client::{Client, ClientKind, ClientSecret, Grant, Permission};
use crate::domain::id::{ClientId, Hash};
use crate::domain::policy::Policy;
use crate::domain::refusal::Refusal;
use crate::domain::scope::{SCOPE_BYTES_MAX, ScopeSet};
use crate::domain::time::Timestamp;

/// What every client secret begins with; 43 characters of base64url follow.
const SECRET_PREFIX: &str = "kfc_";
/// The longest file that can hold a secret; more is not read.
const SECRET_FILE_BYTES_MAX: u64 = 4096;

/// A client that the configuration declares, with the same fields as one made through the API (contract,
/// section 4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeclaredClient {
    /// Its name.
    pub id: ClientId,
    /// Whether it can keep a secret.
    pub kind: ClientKind,
    /// What it may do.
    pub permissions: Vec<Permission>,
    /// The grants it may use.
    pub grants: Vec<Grant>,
    /// The scopes it may ask for.
    pub scopes: ScopeSet,
    /// The audiences it may ask for.
    pub audiences: Vec<Box<str>>,
    /// The resources that it is.
    pub serves: Vec<Box<str>>,
    /// The clients it may open sessions for.
    pub opens_for: Vec<ClientId>,
    /// The name of its policy, which is among the configured ones.
    pub policy: Box<str>,
    /// The form of its access tokens.
    pub access_token_format: TokenFormat,
    /// Whether it is shut out.
    pub disabled: bool,
    /// SHA-256 of its secret; `None` for a public client.
    pub secret: Option<Hash>,
}

impl DeclaredClient {
    /// The client that it declares, as of `now`.
    pub fn to_client(&self, now: Timestamp) -> Client {
        Client {
            id: self.id.clone(),
            kind: self.kind,
            permissions: self.permissions.clone(),
            grants: self.grants.clone(),
            scopes: self.scopes.clone(),
            audiences: self.audiences.clone(),
            serves: self.serves.clone(),
            opens_for: self.opens_for.clone(),
            policy: self.policy.clone(),
            access_token_format: self.access_token_format,
            disabled: self.disabled,
            declared: true,
            secrets: self.secret.map(|hash| ClientSecret { hash, until: None }).into_iter().collect(),
            created_at: now,
            updated_at: now,
        }
    }
}

/// Reads every `[[client]]`.
pub(super) fn read(sheet: &mut Sheet, policies: &BTreeMap<String, Policy>) -> Vec<DeclaredClient> {
    let names = sheet.clients.clone();
    names.iter().filter_map(|name| read_one(sheet, &format!("client[{name}]"), policies)).collect()
}

fn read_one(sheet: &mut Sheet, table: &str, policies: &BTreeMap<String, Policy>) -> Option<DeclaredClient> {
    let key = |name: &str| format!("{table}.{name}");
    if !sheet.has(&key("client_id")) {
        sheet.refuse(table, "client_id is missing; a declared client needs a name");
    }
    let id = sheet.optional(&key("client_id"), client_id);
    let policy_of = |text: &str| -> Result<Box<str>, String> {
        let known = || {
            format!(
                "one of the configured policies: {}",
                policies.keys().cloned().collect::<Vec<_>>().join(", ")
            )
        };
        policies.contains_key(text).then(|| text.into()).ok_or_else(known)
    };
    let boxed = |text: &str| Ok(text.into());
    let client = DeclaredClient {
        id: id.unwrap_or_else(|| "unnamed".parse().expect("a client's name")),
        kind: sheet.read(
            &key("kind"),
            ClientKind::Confidential.as_str(),
            one_of(ClientKind::ALL, ClientKind::as_str),
        ),
        permissions: distinct(sheet.list(
            &key("permissions"),
            &[],
            one_of(Permission::ALL, Permission::as_str),
        )),
        grants: distinct(sheet.list(&key("grants"), &[], one_of(Grant::ALL, Grant::as_str))),
        scopes: scopes(sheet, &key("scopes")),
        audiences: sheet.list(&key("audiences"), &[], boxed),
        serves: sheet.list(&key("serves"), &[], boxed),
        opens_for: sheet.list(&key("opens_for"), &[], client_name),
        policy: sheet.read(&key("policy"), DEFAULT_POLICY, policy_of),
        access_token_format: sheet.read(
            &key("access_token_format"),
            TokenFormat::Paseto.as_str(),
            one_of(TokenFormat::ALL, TokenFormat::as_str),
        ),
        disabled: sheet.read(&key("disabled"), "false", boolean),
        secret: secret(sheet, table),
    };
    if !sheet.is_sound(table) {
        return None;
    }
    match (client.kind, client.secret) {
        (ClientKind::Confidential, None) => {
            sheet.refuse(
                table,
                "a confidential client needs secret_sha256 or secret_file; one that cannot keep a secret is kind = \"public\"",
            );
        }
        (ClientKind::Public, Some(_)) => {
            sheet.refuse(table, "a public client has no secret; remove secret_sha256 or secret_file")
        }
        _ => {}
    }
    if let Err(refused) = client.to_client(Timestamp::from_seconds(0)).validate() {
        let field =
            if let Refusal::Invalid { field } = refused.refusal { key(field) } else { table.to_owned() };
        sheet.refuse(&field, &refused.detail);
    }
    Some(client)
}

fn client_name(text: &str) -> Result<ClientId, String> {
    text.parse().map_err(|_| "a client's name: 1 to 64 letters, digits and . _ ~ -".to_owned())
}

fn client_id(text: &str) -> Result<ClientId, String> {
    match text {
        "admin" => {
            Err("another name: admin is the administrator client that the first start makes".to_owned())
        }
        _ => client_name(text),
    }
}

fn scopes(sheet: &mut Sheet, key: &str) -> ScopeSet {
    let names = sheet.list(key, &[], |text| match text.parse::<ScopeSet>() {
        Ok(set) if set.as_str() == text && !set.is_empty() => Ok(text.to_owned()),
        _ => Err("a scope: letters, digits and punctuation without space, quote or backslash".to_owned()),
    });
    names.join(" ").parse().unwrap_or_else(|_| {
        sheet.refuse(key, &format!("expected at most {SCOPE_BYTES_MAX} bytes in all"));
        ScopeSet::default()
    })
}

fn secret(sheet: &mut Sheet, table: &str) -> Option<Hash> {
    let file_key = format!("{table}.secret_file");
    let hash = sheet.optional(&format!("{table}.secret_sha256"), sha256_hex);
    let file = sheet.optional(&file_key, path);
    match (hash, file) {
        (Some(_), Some(_)) => {
            sheet.refuse(
                &file_key,
                "stands beside secret_sha256: a client has one secret here; remove one of them",
            );
            None
        }
        (None, Some(file)) => hash_of_file(&file).map_err(|problem| sheet.refuse(&file_key, &problem)).ok(),
        (hash, None) => hash,
    }
}

fn sha256_hex(text: &str) -> Result<Hash, String> {
    let mut hash = [0; 32];
    let digits = text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
    for (byte, pair) in hash.iter_mut().zip(text.as_bytes().chunks(2)) {
        let pair = std::str::from_utf8(pair).ok().filter(|_| digits);
        *byte = pair.and_then(|pair| u8::from_str_radix(pair, 16).ok()).unwrap_or_default();
    }
    let how = "64 hexadecimal digits, the SHA-256 of the secret's text: printf %s \"$SECRET\" | sha256sum";
    digits.then_some(Hash(hash)).ok_or_else(|| how.to_owned())
}

fn hash_of_file(file: &std::path::Path) -> Result<Hash, String> {
    let unreadable = |error: std::io::Error| format!("cannot be read: {error}");
    let expected =
        || "expected a file with one client secret: kfc_ and 43 characters of base64url".to_owned();
    if fs::metadata(file).map_err(unreadable)?.len() > SECRET_FILE_BYTES_MAX {
        return Err(expected());
    }
    let bytes = Zeroizing::new(fs::read(file).map_err(unreadable)?);
    let text = std::str::from_utf8(&bytes).map_err(|_| expected())?;
    let text = text.strip_suffix('\n').unwrap_or(text);
    let encoded = text.strip_prefix(SECRET_PREFIX).ok_or_else(expected)?;
    let mut random = Zeroizing::new([0; 32]);
    match Base64UrlUnpadded::decode(encoded, &mut *random) {
        Ok(decoded) if decoded.len() == 32 => Ok(Hash(Sha256::digest(text.as_bytes()).into())),
        _ => Err(expected()),
    }
}

fn distinct<T: PartialEq>(list: Vec<T>) -> Vec<T> {
    let mut kept: Vec<T> = vec![];
    for item in list {
        if !kept.contains(&item) {
            kept.push(item);
        }
    }
    kept
}
