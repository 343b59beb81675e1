//! The merged settings as one map from key to value and origin. Keys that are never read are unknown
//! settings.

use std::collections::{BTreeMap, BTreeSet};

use figment::providers::{Format as _, Toml};
use figment::value::{Dict, Value};
use figment::{Figment, Provider};

use super::fault::{ConfigError, Fault, HIDDEN, is_secret, shown, without_password};
use super::format::Format;

/// The origin of a setting with its default value.
pub const DEFAULT_ORIGIN: &str = "default";
/// The origin of an inherited setting of a policy.
pub(super) const INHERITED_ORIGIN: &str = "policy.default";

/// One effective setting.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Setting {
    /// The whole key, such as `policy.default.idle_timeout`.
    pub key: String,
    /// Its value as written; secrets are redacted.
    pub value: String,
    /// Its source: `default`, the file, the environment variable, the command line,
    /// `preset NAME`, or the policy that it is inherited from.
    pub origin: String,
}

/// What a setting accepts, for the reference.
pub(super) struct Expected {
    pub default: Option<String>,
    /// The type of its value.
    pub kind: String,
    /// The valid values, where the type does not say it.
    pub valid: Option<String>,
}

struct Leaf {
    value: Value,
    origin: String,
}

/// All settings of the sources, and what has been read so far.
#[derive(Default)]
pub(super) struct Sheet {
    leaves: BTreeMap<String, Leaf>,
    /// Each key that was read, and what it accepts.
    pub expected: BTreeMap<String, Expected>,
    settings: Vec<Setting>,
    faults: Vec<Fault>,
    /// To be logged at the start.
    pub warnings: Vec<String>,
    /// The names of the `[[client]]` tables, in order: `client_id`, or `#1` without one.
    pub clients: Vec<String>,
    /// The names of the `[[gate]]` tables, in order: `name`, or `#1` without one.
    pub gates: Vec<String>,
}

/// The tables that may be repeated, and the setting that names each of them.
const REPEATED: [(&str, &str); 2] = [("client", "client_id"), ("gate", "name")];

impl Sheet {
    /// Flattens the merged sources.
    pub fn new(figment: &Figment, faults: Vec<Fault>) -> Self {
        let mut sheet = Self { faults, ..Self::default() };
        let data = figment.data().expect("every layer is parsed before it is merged");
        for (key, value) in data.into_values().flatten() {
            match (value, REPEATED.iter().find(|(table, _)| *table == key)) {
                (Value::Array(_, items), Some((_, naming)))
                    if items.iter().all(|item| matches!(item, Value::Dict(..))) =>
                {
                    items.into_iter().for_each(|item| sheet.lay_repeated(figment, &key, naming, item));
                }
                (value, _) => sheet.lay(figment, key, value),
            }
        }
        sheet
    }

    fn lay(&mut self, figment: &Figment, key: String, value: Value) {
        match value {
            Value::Dict(_, entries) if !entries.is_empty() => {
                entries
                    .into_iter()
                    .for_each(|(name, value)| self.lay(figment, format!("{key}.{name}"), value));
            }
            value => {
                let origin =
                    figment.get_metadata(value.tag()).map_or("unknown", |metadata| &metadata.name).to_owned();
                self.leaves.insert(key, Leaf { value, origin });
            }
        }
    }

    fn lay_repeated(&mut self, figment: &Figment, table: &str, naming: &str, item: Value) {
        let names = if table == "client" { &mut self.clients } else { &mut self.gates };
        // The characters of client ids are those of gates too, and need no escape in a key.
        let id = item
            .find_ref(naming)
            .and_then(text_of)
            .filter(|id| id.parse::<crate::domain::id::ClientId>().is_ok());
        let name = id.unwrap_or_else(|| format!("#{}", names.len() + 1));
        let key = format!("{table}[{name}]");
        if names.contains(&name) {
            let origin = self.origin_below(&key).unwrap_or_default();
            return self.fault(
                &key,
                None,
                origin,
                format!("is declared twice; each {naming} may occur once"),
            );
        }
        names.push(name);
        self.lay(figment, key, item);
    }

    /// Reads a setting that has a default. An invalid value is recorded as a fault and read as the default.
    pub fn read<T: 'static>(&mut self, key: &str, default: &str, format: &Format<T>) -> T {
        self.read_or(key, default, DEFAULT_ORIGIN, format)
    }

    /// Reads a setting of a policy; one that is not set is inherited from the policy `default`.
    pub fn inherit<T: 'static>(&mut self, policy: &str, name: &str, default: &str, format: &Format<T>) -> T {
        let (base, origin) = self.inherited(name, default, format);
        self.read_or(&format!("policy.{policy}.{name}"), &base, origin, format)
    }

    /// The value that a policy inherits if it sets none, and its origin.
    pub fn inherited<T: 'static>(
        &self,
        name: &str,
        default: &str,
        format: &Format<T>,
    ) -> (String, &'static str) {
        let base = self.setting(&format!("policy.default.{name}")).map(|setting| setting.value.clone());
        match base.filter(|base| format.parse(base).is_ok()) {
            Some(base) => (base, INHERITED_ORIGIN),
            None => (default.to_owned(), DEFAULT_ORIGIN),
        }
    }

    /// Reads a setting that a policy may inherit from the policy `default`, and that has no default value.
    pub fn inherit_optional<T: 'static>(
        &mut self,
        policy: &str,
        name: &str,
        format: &Format<T>,
    ) -> Option<T> {
        let key = format!("policy.{policy}.{name}");
        let base = self.setting(&format!("policy.default.{name}"))?.value.clone();
        let value = format.parse(&base).ok().filter(|_| self.setting(&key).is_none())?;
        self.note(&key, base, INHERITED_ORIGIN.to_owned());
        Some(value)
    }

    /// Reads a setting whose default has this origin.
    pub fn read_or<T: 'static>(
        &mut self,
        key: &str,
        default: &str,
        default_origin: &str,
        format: &Format<T>,
    ) -> T {
        let set = self.optional(key, format);
        self.expect(key, Some(default), false, format);
        match set {
            Some(value) => value,
            None => {
                if self.setting(key).is_none() {
                    self.note(key, default.to_owned(), default_origin.to_owned());
                }
                format.parse(default).expect("defaults are valid")
            }
        }
    }

    /// Reads a setting that may be absent.
    pub fn optional<T: 'static>(&mut self, key: &str, format: &Format<T>) -> Option<T> {
        self.expect(key, None, false, format);
        let leaf = self.leaves.remove(key)?;
        let Some(text) = text_of(&leaf.value) else {
            let kind = if matches!(leaf.value, Value::Array(..)) { "a list" } else { "a table" };
            self.fault(key, None, leaf.origin, format!("expected one value, got {kind}"));
            return None;
        };
        self.note(key, text.clone(), leaf.origin);
        format.parse(&text).map_err(|expected| self.refuse(key, &format!("expected {expected}"))).ok()
    }

    /// Reads a list: an array, or a text whose entries are separated by commas or spaces.
    pub fn list<T: 'static>(&mut self, key: &str, default: &[&str], format: &Format<T>) -> Vec<T> {
        self.expect(key, Some(&default.join(", ")), true, format);
        let (texts, origin) = match self.leaves.remove(key) {
            None => (Some(default.iter().map(|&text| text.to_owned()).collect()), DEFAULT_ORIGIN.to_owned()),
            Some(leaf) => (texts_of(&leaf.value), leaf.origin),
        };
        let Some(texts) = texts else {
            self.fault(key, None, origin, "expected a list of texts".to_owned());
            return vec![];
        };
        self.note(key, texts.join(", "), origin.clone());
        let mut list = vec![];
        for text in texts {
            match format.parse(&text) {
                Ok(item) => list.push(item),
                Err(expected) => {
                    self.fault(key, Some(shown(key, &text)), origin.clone(), format!("expected {expected}"));
                }
            }
        }
        list
    }

    /// Records a fault of a setting that was read.
    pub fn refuse(&mut self, key: &str, problem: &str) {
        let (value, origin) = match self.setting(key) {
            Some(setting) => (Some(shown(key, &setting.value)), setting.origin.clone()),
            None => (None, self.origin_below(key).unwrap_or_else(|| DEFAULT_ORIGIN.to_owned())),
        };
        self.fault(key, value, origin, problem.to_owned());
    }

    fn fault(&mut self, key: &str, value: Option<String>, origin: String, problem: String) {
        self.faults.push(Fault { key: key.to_owned(), value, origin, problem });
    }

    /// Whether a source sets `key` or a key below it, not read yet: a default that was read counts too.
    pub fn has(&self, key: &str) -> bool {
        self.origin_below(key).is_some()
    }

    /// Whether a source sets `key`, not read yet, to an empty text or list.
    pub fn is_blank(&self, key: &str) -> bool {
        let texts = self.leaves.get(key).and_then(|leaf| texts_of(&leaf.value));
        texts.is_some_and(|texts| texts.iter().all(|text| text.trim().is_empty()))
    }

    /// Whether there is no fault at `key` or below.
    pub fn is_valid(&self, key: &str) -> bool {
        !self.faults.iter().any(|fault| is_at_or_below(&fault.key, key))
    }

    pub fn setting(&self, key: &str) -> Option<&Setting> {
        self.settings.iter().find(|setting| setting.key == key)
    }

    /// The names one step below `table`, such as those of the policies.
    pub fn names_below(&self, table: &str) -> BTreeSet<String> {
        let below =
            |key: &String| Some(key.strip_prefix(table)?.strip_prefix('.')?.split('.').next()?.to_owned());
        self.leaves.keys().filter_map(below).collect()
    }

    /// The effective settings, sorted by key, if there is no fault and no unknown key.
    pub fn finish(mut self) -> Result<Vec<Setting>, ConfigError> {
        for (key, leaf) in std::mem::take(&mut self.leaves) {
            let is_table = self.expected.keys().any(|read| is_at_or_below(read, &key) && *read != key)
                || REPEATED.iter().any(|(table, _)| *table == key)
                || key == "policy";
            let empty = matches!(&leaf.value, Value::Dict(..));
            let problem = match (is_table, empty) {
                (true, true) => continue,
                (true, false) => "expected a table".to_owned(),
                _ if key.starts_with("client.") => {
                    "clients are declared in the configuration file, each under [[client]]".to_owned()
                }
                _ if key.starts_with("gate.") => {
                    "gates are declared in the configuration file, each under [[gate]]".to_owned()
                }
                _ => self.unknown(&key),
            };
            self.faults.push(Fault { key, value: None, origin: leaf.origin, problem });
        }
        if !self.faults.is_empty() {
            return Err(ConfigError::Settings(self.faults));
        }
        self.settings.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(self.settings)
    }

    fn unknown(&self, key: &str) -> String {
        let name = |key: &str| key.rsplit_once('.').map_or(key.to_owned(), |(_, name)| name.to_owned());
        let distance =
            |known: &str| if name(known) == name(key) { 1 } else { strsim::levenshtein(known, key) };
        let table = key.rsplit_once('.').map_or("", |(table, _)| table);
        let beside = |known: &&String| known.rsplit_once('.').is_some_and(|(parent, _)| parent == table);
        // What stands in a `[[client]]` or `[[gate]]` was meant for it.
        let candidates = self.expected.keys().filter(|known| !table.contains('[') || beside(known));
        let nearest = candidates.map(|known| (distance(known), known)).min();
        let near = |distance: usize| distance <= 2.max(name(key).len() / 3) && distance < name(key).len();
        if let Some((_, known)) = nearest.filter(|(distance, _)| near(*distance)) {
            return format!("there is no such setting; did you mean {known}?");
        }
        let names: Vec<String> = self.expected.keys().filter(beside).map(|known| name(known)).collect();
        if names.is_empty() {
            return "there is no such setting; the tables are server, store, keys, policy.NAME, cookie, \
                    [[gate]], events, limits, log and [[client]]"
                .to_owned();
        }
        format!("there is no such setting; those of {table} are: {}", names.join(", "))
    }

    fn expect<T: 'static>(&mut self, key: &str, default: Option<&str>, is_list: bool, format: &Format<T>) {
        let kind = format.kind.name();
        let (kind, each) = if is_list { (format!("list of {kind}s"), "each: ") } else { (kind.into(), "") };
        let valid = format.valid().map(|valid| format!("{each}{valid}"));
        let expected = Expected { default: default.map(Into::into), kind, valid };
        self.expected.insert(key.to_owned(), expected);
    }

    fn note(&mut self, key: &str, value: String, origin: String) {
        let value = match key {
            _ if is_secret(key) => HIDDEN.to_owned(),
            "store.url" => without_password(&value),
            _ => value,
        };
        self.settings.push(Setting { key: key.to_owned(), value, origin });
    }

    fn origin_below(&self, key: &str) -> Option<String> {
        let leaves = self.leaves.iter().map(|(leaf, Leaf { origin, .. })| (leaf, origin));
        let read = self.settings.iter().map(|setting| (&setting.key, &setting.origin));
        leaves.chain(read).find(|(set, _)| is_at_or_below(set, key)).map(|(_, origin)| origin.clone())
    }
}

fn is_at_or_below(key: &str, table: &str) -> bool {
    key.strip_prefix(table).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// One value as text, whatever its TOML type. `None` for lists and tables.
fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(_, text) => Some(text.clone()),
        Value::Char(_, char) => Some(char.to_string()),
        Value::Bool(_, bool) => Some(bool.to_string()),
        Value::Num(_, num) => num
            .to_i128()
            .map(|n| n.to_string())
            .or_else(|| num.to_u128().map(|n| n.to_string()))
            .or_else(|| num.to_f64().map(|n| n.to_string())),
        Value::Empty(..) | Value::Dict(..) | Value::Array(..) => None,
    }
}

fn texts_of(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::Array(_, items) => items.iter().map(text_of).collect(),
        Value::String(_, text) if text.trim_start().starts_with('[') => {
            let parsed: Dict = Toml::from_str(&format!("list = {text}")).ok()?;
            parsed.get("list").filter(|list| matches!(list, Value::Array(..))).and_then(texts_of)
        }
        value => Some(
            text_of(value)?.split([',', ' ']).filter(|text| !text.is_empty()).map(str::to_owned).collect(),
        ),
    }
}
