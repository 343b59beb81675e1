//! Rejects JSON objects with duplicate keys, at any depth; serde_json keeps the last one silently.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// Whether `text` is JSON in which no object has a duplicate key. Nesting is limited by serde_json to 128.
pub fn has_unique_keys(text: &str) -> bool {
    serde_json::from_str::<UniqueKeys>(text).is_ok()
}

struct UniqueKeys;

impl<'de> Deserialize<'de> for UniqueKeys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for UniqueKeys {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value without duplicate keys")
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Self, A::Error> {
        while values.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self, A::Error> {
        let mut seen = HashSet::new();
        while let Some(key) = members.next_key::<Cow<'de, str>>()? {
            if !seen.insert(key) {
                return Err(A::Error::custom("duplicate key"));
            }
            members.next_value::<Self>()?;
        }
        Ok(self)
    }
}

/// Reads a member that may be absent and, if present, may not be null.
pub(super) fn not_null<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// PAS-20.
    #[test]
    fn duplicate_keys_are_rejected_at_any_depth() {
        for unique in
            ["null", "1", "-1.5e3", "\"a\"", "[]", "{}", r#"{"a":{"a":[{"a":true},{"a":1}]},"b":null}"#]
        {
            assert!(has_unique_keys(unique), "{unique}");
        }
        for not in [
            "",
            "{",
            "{} {}",
            r#"{"a":1,"a":1}"#,
            r#"{"b":[{"a":1,"a":2}]}"#,
            r#"{"a":1,"\u0061":2}"#,
            &"[".repeat(200),
        ] {
            assert!(!has_unique_keys(not), "{not}");
        }
    }
}
