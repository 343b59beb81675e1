//! The values of requests and answers: how each is described, read and printed. A rule for a value is here,
//! beside the type of the domain that it describes.

use std::borrow::Cow;
use std::fmt;

use poem_openapi::registry::{MetaSchema, MetaSchemaRef};
use poem_openapi::types::{ParseError, ParseFromJSON, ParseFromParameter, ParseResult, ToJSON, Type};
use serde::de::{DeserializeOwned, Deserializer, Error, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::domain::access::TokenFormat;
use crate::domain::client::{ClientKind, Grant, Permission};
use crate::domain::end::EndReason;
use crate::domain::event::EventKind;
use crate::domain::key::KeyStatus;
use crate::domain::session::State;
use crate::domain::time::Timestamp;
use crate::http::request::json::{DEPTH_MAX, Strict};

/// How a type of the domain is written as text.
pub trait Format: Sized + Send + Sync {
    /// Its name in messages of the framework.
    const NAME: &'static str;

    /// Its schema in the document.
    fn schema() -> MetaSchema;
    /// What a valid text is; continues a sentence that begins with the name of the field.
    fn rule() -> Cow<'static, str>;
    /// Reads a text; `None` if it is not valid.
    fn read(text: &str) -> Option<Self>;
    /// The text.
    fn text(&self) -> Cow<'_, str>;
}

/// A value of the domain that is text in requests and answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wire<T>(pub T);

/// An instant (RFC 3339).
pub type Time = Wire<Timestamp>;

impl<T: Format> Serialize for Wire<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.text())
    }
}

impl<'de, T: Format> Deserialize<'de> for Wire<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = String;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_str<E>(self, text: &str) -> Result<String, E> {
                Ok(text.to_owned())
            }
        }
        let text = deserializer.deserialize_str(Text)?;
        T::read(&text).map(Self).ok_or_else(|| D::Error::custom(T::rule()))
    }
}

/// Implements what poem-openapi asks of a type that is described where it is used.
macro_rules! described {
    ([$($generics:tt)*] $type:ty, $name:expr, $schema:expr) => {
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
    };
}

fn from_json<T: Type + DeserializeOwned>(value: Option<Value>) -> ParseResult<T> {
    serde_json::from_value(value.unwrap_or_default()).map_err(ParseError::custom)
}

described!([T: Format] Wire<T>, T::NAME, T::schema());

impl<T: Format> ParseFromParameter for Wire<T> {
    fn parse_from_parameter(text: &str) -> ParseResult<Self> {
        T::read(text).map(Self).ok_or_else(|| ParseError::custom(T::rule()))
    }
}

impl Format for Timestamp {
    const NAME: &'static str = "date-time";

    fn schema() -> MetaSchema {
        MetaSchema::new_with_format("string", "date-time")
    }

    fn rule() -> Cow<'static, str> {
        "must be an instant of RFC 3339, such as \"2026-01-31T12:00:00Z\"".into()
    }

    fn read(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn text(&self) -> Cow<'_, str> {
        self.to_string().into()
    }
}

/// Makes a [`Format`] of a domain enum: the document and the rule list its words.
macro_rules! words {
    ($($type:ty: $name:literal),*) => {$(
        impl Format for $type {
            const NAME: &'static str = $name;

            fn schema() -> MetaSchema {
                let words = Self::ALL.iter().map(|value| value.as_str().into()).collect();
                MetaSchema { enum_items: words, ..MetaSchema::new("string") }
            }

            fn rule() -> Cow<'static, str> {
                let words: Vec<_> = Self::ALL.iter().map(|value| value.as_str()).collect();
                format!("must be one of: {}", words.join(", ")).into()
            }

            fn read(text: &str) -> Option<Self> {
                text.parse().ok()
            }

            fn text(&self) -> Cow<'_, str> {
                self.as_str().into()
            }
        }
    )*};
}

words!(
    State: "state",
    EndReason: "reason",
    ClientKind: "kind",
    Permission: "permission",
    Grant: "grant",
    TokenFormat: "format",
    KeyStatus: "status",
    EventKind: "type"
);

/// A JSON object that is answered as the text that is stored.
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RawObject(Box<RawValue>);

described!([] RawObject, "object", MetaSchema::new("object"));

impl RawObject {
    /// Takes stored text; no text is the empty object. `None` if it is not JSON: the record is damaged.
    pub fn from_text(text: Option<&str>) -> Option<Self> {
        RawValue::from_string(text.unwrap_or("{}").to_owned()).ok().map(Self)
    }
}

/// A JSON object that the caller chooses freely.
#[derive(Clone, Debug, Default)]
pub struct FreeObject(pub serde_json::Map<String, Value>);

described!([] FreeObject, "object", MetaSchema::new("object"));

impl Serialize for FreeObject {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for FreeObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match deserializer.deserialize_map(Strict { depth: DEPTH_MAX })? {
            Value::Object(object) => Ok(Self(object)),
            _ => Err(D::Error::custom("must be a JSON object")),
        }
    }
}
