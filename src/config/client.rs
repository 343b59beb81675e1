//! The clients that the configuration declares (`[[client]]`).

use std::collections::BTreeMap;
use std::path::Path;

use super::format::{Format, Invalid, any_text, boolean, file_path, one_of};
use super::policy::DEFAULT_POLICY;
use super::sheet::Sheet;
use crate::domain::access::TokenFormat;
use crate::domain::client::{Client, ClientKind, Grant, Permission, distinct};
use crate::domain::id::{ClientId, Hash, is_dot_segment};
use crate::domain::policy::Policy;
use crate::domain::refusal::Refusal;
use crate::domain::scope::{SCOPE_BYTES_MAX, ScopeSet};
use crate::domain::time::Timestamp;
use crate::files::{self, FileRule};
use crate::token::client_secret::hash_client_secret;

/// A longer file is rejected unread.
const SECRET_FILE_BYTES_MAX: u64 = 4096;

/// Reads every `[[client]]`.
pub(super) fn read(sheet: &mut Sheet, policies: &BTreeMap<String, Policy>) -> Vec<Client> {
    let names = sheet.clients.clone();
    names.iter().filter_map(|name| read_one(sheet, &format!("client[{name}]"), policies)).collect()
}

fn read_one(sheet: &mut Sheet, table: &str, policies: &BTreeMap<String, Policy>) -> Option<Client> {
    let key = |name: &str| format!("{table}.{name}");
    if !sheet.has(&key("client_id")) {
        sheet.refuse(table, "client_id is missing; a declared client needs one");
    }
    let id = sheet.optional(&key("client_id"), &client_id());
    // The time is known when the client is applied to the store.
    let undated = Timestamp::from_seconds(0);
    let id = id.unwrap_or_else(|| "unnamed".parse().expect("it is a valid client id"));
    let client = Client {
        kind: sheet.read(
            &key("kind"),
            ClientKind::Confidential.as_str(),
            &one_of(ClientKind::ALL, ClientKind::as_str),
        ),
        permissions: distinct(sheet.list(
            &key("permissions"),
            &[],
            &one_of(Permission::ALL, Permission::as_str),
        )),
        grants: distinct(sheet.list(&key("grants"), &[], &one_of(Grant::ALL, Grant::as_str))),
        scopes: scopes(sheet, &key("scopes")),
        audiences: sheet.list(&key("audiences"), &[], &any_text()),
        serves: sheet.list(&key("serves"), &[], &any_text()),
        opens_for: sheet.list(&key("opens_for"), &[], &existing_client_id()),
        policy: sheet.read(&key("policy"), DEFAULT_POLICY, &policy_name(policies)),
        access_token_format: sheet.read(
            &key("access_token_format"),
            TokenFormat::Paseto.as_str(),
            &one_of(TokenFormat::ALL, TokenFormat::as_str),
        ),
        disabled: sheet.read(&key("disabled"), "false", &boolean()),
        declared: true,
        ..Client::new(id, secret(sheet, table), undated)
    };
    if !sheet.is_valid(table) {
        return None;
    }
    match (client.kind, client.secrets.is_empty()) {
        (ClientKind::Confidential, true) => sheet.refuse(
            table,
            "a confidential client needs secret_sha256 or secret_file; for a client that cannot keep a \
             secret set kind = \"public\"",
        ),
        (ClientKind::Public, false) => {
            sheet.refuse(table, "a public client has no secret; remove secret_sha256 or secret_file")
        }
        _ => {}
    }
    if let Err(refused) = client.validate() {
        let (setting, problem) = match refused.refusal {
            Refusal::Invalid { field } => (key(field), refused.detail.trim_start_matches(field).trim_start()),
            _ => (table.to_owned(), &*refused.detail),
        };
        sheet.refuse(&setting, problem);
    }
    Some(client)
}

const CLIENT_ID: &str = "a client id: 1 to 64 letters, digits and . _ ~ -";
const NOT_DOTS: &str = "another client id: URL libraries remove . and .. from paths";

pub(super) fn existing_client_id() -> Format<ClientId> {
    Format::text(CLIENT_ID, |text| text.parse().ok())
}

fn client_id() -> Format<ClientId> {
    Format::text_with_rules(CLIENT_ID, |text| match text {
        "admin" => Err(Invalid::Rule(
            "another client id: admin is the administrator client that the first start creates".to_owned(),
        )),
        _ if is_dot_segment(text) => Err(Invalid::Rule(NOT_DOTS.to_owned())),
        _ => text.parse().map_err(|_| Invalid::Value),
    })
}

fn policy_name(policies: &BTreeMap<String, Policy>) -> Format<Box<str>> {
    let names: Vec<String> = policies.keys().cloned().collect();
    let valid = format!("one of the configured policies: {}", names.join(", "));
    Format::text(valid, move |text| names.iter().any(|name| name == text).then(|| text.into()))
}

pub(super) fn scopes(sheet: &mut Sheet, key: &str) -> ScopeSet {
    let scope = "a scope: letters, digits and punctuation without space, quote or backslash";
    let format = Format::text(scope, |text| {
        let set = text.parse::<ScopeSet>().ok()?;
        (set.as_str() == text && !set.is_empty()).then(|| text.to_owned())
    });
    let names = sheet.list(key, &[], &format);
    names.join(" ").parse().unwrap_or_else(|_| {
        sheet.refuse(key, &format!("expected at most {SCOPE_BYTES_MAX} bytes in all"));
        ScopeSet::default()
    })
}

fn secret(sheet: &mut Sheet, table: &str) -> Option<Hash> {
    let file_key = format!("{table}.secret_file");
    let hash = sheet.optional(&format!("{table}.secret_sha256"), &sha256_hex());
    let file = sheet.optional(&file_key, &file_path());
    match (hash, file) {
        (Some(_), Some(_)) => {
            sheet.refuse(
                &file_key,
                "secret_sha256 is set too: a declared client has one secret; remove one of them",
            );
            None
        }
        (None, Some(file)) => match hash_of_file(&file) {
            Ok((hash, warning)) => {
                sheet.warnings.extend(warning.map(|warning| format!("{file_key}: {warning}")));
                Some(hash)
            }
            Err(problem) => {
                sheet.refuse(&file_key, &problem);
                None
            }
        },
        (hash, None) => hash,
    }
}

fn sha256_hex() -> Format<Hash> {
    let valid = "64 hexadecimal digits, the SHA-256 of the secret: printf %s \"$SECRET\" | sha256sum";
    Format::text(valid, |text| {
        let mut hash = [0; 32];
        let digits = text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
        for (index, byte) in hash.iter_mut().enumerate().filter(|_| digits) {
            *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).ok()?;
        }
        digits.then_some(Hash(hash))
    })
}

/// The hash of the secret, and a warning about the file.
fn hash_of_file(file: &Path) -> Result<(Hash, Option<String>), String> {
    let (bytes, warning) = files::read(file, FileRule::Secret, SECRET_FILE_BYTES_MAX)
        .map_err(|error| format!("cannot be read: {error}"))?;
    let text = bytes.as_ref().and_then(|bytes| std::str::from_utf8(bytes).ok());
    let hash = text.and_then(|text| hash_client_secret(text.strip_suffix('\n').unwrap_or(text)));
    let expected = "expected a file with one client secret: kfc_ and 43 characters of base64url";
    Ok((hash.ok_or(expected)?, warning))
}
