//! The gates that the configuration declares (`[[gate]]`).

use super::client::{existing_client_id, scopes};
use super::format::{Format, any_text, duration, one_of};
use super::sheet::Sheet;
use crate::domain::gate::{Gate, IdentityHeader, NamedGate, is_gate_name};
use crate::domain::text::TEXT_BYTES_MAX;

/// Reads every `[[gate]]`.
pub(super) fn read(sheet: &mut Sheet) -> Vec<NamedGate> {
    let names = sheet.gates.clone();
    names.iter().filter_map(|name| read_one(sheet, &format!("gate[{name}]"))).collect()
}

fn read_one(sheet: &mut Sheet, table: &str) -> Option<NamedGate> {
    let key = |name: &str| format!("{table}.{name}");
    if !sheet.has(&key("name")) {
        sheet.refuse(table, "name is missing; it is NAME in the route /v1/gates/NAME");
    }
    let name = sheet.optional(&key("name"), &gate_name());
    let blank = ["scope", "audience", "client_ids", "acr"].map(key).into_iter();
    let blank: Vec<String> = blank.filter(|key| sheet.is_blank(key)).collect();
    let all: Vec<&str> = IdentityHeader::ALL.iter().map(|header| header.as_str()).collect();
    let gate = Gate {
        scope: scopes(sheet, &key("scope")),
        clients: sheet.list(&key("client_ids"), &[], &existing_client_id()),
        acr: sheet.list(&key("acr"), &[], &acr()),
        max_age: sheet.optional(&key("max_age"), &duration()),
    };
    let audience = sheet.optional(&key("audience"), &any_text());
    let headers = sheet.list(&key("headers"), &all, &one_of(IdentityHeader::ALL, IdentityHeader::as_str));
    for key in blank {
        sheet.refuse(&key, "is empty; to require nothing, remove the setting");
    }
    if !sheet.is_valid(table) {
        return None;
    }
    Some(NamedGate { name: name?, gate, audience, headers })
}

fn gate_name() -> Format<Box<str>> {
    Format::text("1 to 64 letters, digits, - and _", |text| is_gate_name(text).then(|| text.into()))
}

fn acr() -> Format<Box<str>> {
    Format::text("an authentication context class of at most 256 bytes", |text| {
        (text.len() <= TEXT_BYTES_MAX && !text.chars().any(char::is_control)).then(|| text.into())
    })
}
