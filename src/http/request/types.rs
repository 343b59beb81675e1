//! How values are described in the document, read and printed. The formats themselves are in
//! [`formats`](super::formats).

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use poem_openapi::registry::{MetaSchema, MetaSchemaRef};
use poem_openapi::types::{ParseError, ParseFromJSON, ParseResult, ToJSON, Type};
use serde::de::{DeserializeOwned, Deserializer, Error};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::domain::id::SessionId;
use crate::domain::time::Timestamp;
use crate::http::request::json::Strict;
use crate::store::StoreError;

/// How a value is described.
pub trait Described: Sized + Send + Sync {
    /// What it is, as an answer names it: `session`.
    const NAME: &'static str;

    /// Its schema in the document.
    fn schema() -> MetaSchema;
}

/// How a value is written as text.
pub trait TextFormat: Described {
    /// What a valid text is; continues a sentence that begins with the name of the field.
    fn rule() -> Cow<'static, str>;
    /// Reads a text; `None` if it is not valid.
    fn read(text: &str) -> Option<Self>;
    fn text(&self) -> Cow<'_, str>;
}

/// A value of the domain that is text in requests and answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parsed<T>(pub T);

/// An instant (RFC 3339).
pub type DateTime = Parsed<Timestamp>;

/// A text that the document describes as a `T`, and that the engine judges.
#[derive(Serialize, Deserialize)]
#[serde(transparent, bound = "")]
pub struct Text<T>(pub String, PhantomData<T>);

/// The largest whole number of a parameter: beyond any use, and exact for every reader of the document.
pub const WHOLE_MAX: u64 = 100_000_000_000_000;

/// A whole number within bounds.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(transparent)]
pub struct Whole<const MIN: u64, const MAX: u64>(pub u64);

/// `true`, the only value of a parameter that confirms.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct True(pub bool);

/// A JSON object that the caller chooses freely.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(transparent)]
pub struct FreeObject(pub serde_json::Map<String, Value>);

/// A JSON object that is answered as the text that is stored.
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RawObject(Box<RawValue>);

impl RawObject {
    /// The text that is stored with `session`; no text is the empty object.
    ///
    /// # Errors
    /// `Corrupt` if it is not JSON.
    pub fn stored(text: Option<&str>, session: SessionId, cause: &'static str) -> Result<Self, StoreError> {
        let corrupt = |_| StoreError::Corrupt { table: "sessions", key: session.to_string().into(), cause };
        RawValue::from_string(text.unwrap_or("{}").to_owned()).map(Self).map_err(corrupt)
    }
}

impl<const MIN: u64, const MAX: u64> Whole<MIN, MAX> {
    /// What a valid number is; continues a sentence that begins with the name of the field.
    pub fn rule() -> String {
        format!("must be a whole number from {MIN} to {MAX}")
    }

    /// The number as a size in memory.
    pub fn size(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl<T> From<String> for Text<T> {
    fn from(text: String) -> Self {
        Self(text, PhantomData)
    }
}

impl<T> Deref for Text<T> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<T> fmt::Debug for Text<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<T: TextFormat> Serialize for Parsed<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.text())
    }
}

impl<'de, T: TextFormat> Deserialize<'de> for Parsed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        T::read(&text).map(Self).ok_or_else(|| D::Error::custom(T::rule()))
    }
}

impl<'de, const MIN: u64, const MAX: u64> Deserialize<'de> for Whole<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u64::deserialize(deserializer)?;
        let valid = (MIN..=MAX).contains(&number).then_some(Self(number));
        valid.ok_or_else(|| D::Error::custom(Self::rule()))
    }
}

impl<'de> Deserialize<'de> for FreeObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match deserializer.deserialize_map(Strict::default())? {
            Value::Object(object) => Ok(Self(object)),
            _ => Err(D::Error::custom("must be a JSON object")),
        }
    }
}

/// Implements what poem-openapi asks of a type that is described where it is used. Its own reading and
/// printing are not used: serde does both.
macro_rules! described {
    ($([$($generics:tt)*] $type:ty, $name:expr, $schema:expr;)*) => {$(
        impl<$($generics)*> Type for $type {
            const IS_REQUIRED: bool = true;
            type RawValueType = Self;
            type RawElementValueType = Self;

            fn name() -> Cow<'static, str> {
                $name.into()
            }

            fn schema_ref() -> MetaSchemaRef {
                MetaSchemaRef::Inline(Box::new($schema))
            }

            fn as_raw_value(&self) -> Option<&Self> {
                Some(self)
            }

            fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
                Box::new(std::iter::once(self))
            }
        }

        impl<$($generics)*> ParseFromJSON for $type {
            fn parse_from_json(value: Option<Value>) -> ParseResult<Self> {
                from_json(value)
            }
        }

        impl<$($generics)*> ToJSON for $type {
            fn to_json(&self) -> Option<Value> {
                serde_json::to_value(self).ok()
            }
        }
    )*};
}

fn from_json<T: Type + DeserializeOwned>(value: Option<Value>) -> ParseResult<T> {
    serde_json::from_value(value.unwrap_or_default()).map_err(ParseError::custom)
}

described! {
    [T: TextFormat] Parsed<T>, T::NAME, T::schema();
    [T: Described] Text<T>, T::NAME, T::schema();
    [const MIN: u64, const MAX: u64] Whole<MIN, MAX>, "integer", MetaSchema {
        minimum: Some(MIN as f64),
        maximum: Some(MAX as f64),
        ..MetaSchema::new_with_format("integer", "uint64")
    };
    [] True, "boolean", MetaSchema { enum_items: vec![true.into()], ..MetaSchema::new("boolean") };
    [] FreeObject, "object", MetaSchema::new("object");
    [] RawObject, "object", MetaSchema::new("object");
}
