//! The small types of the wire: instants, durations, free-form objects, closed sets of words.

use std::borrow::Cow;

use poem_openapi::registry::{MetaSchema, MetaSchemaRef};
use poem_openapi::types::{ParseError, ParseFromJSON, ParseFromParameter, ParseResult, ToJSON, Type};
use serde_json::{Map, Value};

use crate::domain::access::TokenFormat;
use crate::domain::client::{ClientKind, Grant, Permission};
use crate::domain::end::EndReason;
use crate::domain::event::EventKind;
use crate::domain::key::KeyStatus;
use crate::domain::session::State;
use crate::domain::time::Timestamp;

/// Implements the parts of [`Type`] that are the same for every type written inline in the document.
macro_rules! inline_type {
    ($type:ty, $name:literal, $schema:expr) => {
        impl Type for $type {
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
    };
}

/// An instant: RFC 3339.
#[derive(Clone, Copy, Debug)]
pub struct Time(pub Timestamp);

inline_type!(Time, "date-time", MetaSchema::new_with_format("string", "date-time"));

impl ParseFromJSON for Time {
    fn parse_from_json(value: Option<Value>) -> ParseResult<Self> {
        let text = value.as_ref().and_then(Value::as_str).and_then(|text| text.parse().ok());
        text.map(Self).ok_or_else(|| {
            ParseError::custom("must be an instant of RFC 3339, such as \"2026-01-31T12:00:00Z\"")
        })
    }
}

impl ToJSON for Time {
    fn to_json(&self) -> Option<Value> {
        Some(Value::String(self.0.to_string()))
    }
}

/// A JSON object of the caller's own making.
#[derive(Clone, Debug, Default)]
pub struct FreeObject(pub Map<String, Value>);

inline_type!(FreeObject, "object", MetaSchema::new("object"));

impl FreeObject {
    /// Reads the canonical text that is kept; no text is the empty object.
    pub fn from_text(text: Option<&str>) -> Self {
        Self(text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default())
    }
}

impl ParseFromJSON for FreeObject {
    fn parse_from_json(value: Option<Value>) -> ParseResult<Self> {
        match value {
            Some(Value::Object(object)) => Ok(Self(object)),
            _ => Err(ParseError::custom("must be a JSON object")),
        }
    }
}

impl ToJSON for FreeObject {
    fn to_json(&self) -> Option<Value> {
        Some(Value::Object(self.0.clone()))
    }
}

/// A word of a closed set, as the domain names it. The document lists the set.
#[derive(Clone, Copy, Debug)]
pub struct Word<T>(pub T);

/// Makes `Word<T>` of a domain enum with fixed names.
macro_rules! word {
    ($type:ty, $name:literal) => {
        inline_type!(
            Word<$type>,
            $name,
            MetaSchema {
                enum_items: <$type>::ALL.iter().map(|value| Value::from(value.as_str())).collect(),
                ..MetaSchema::new("string")
            }
        );

        impl ParseFromJSON for Word<$type> {
            fn parse_from_json(value: Option<Value>) -> ParseResult<Self> {
                word_from(value.as_ref().and_then(Value::as_str))
            }
        }

        impl ParseFromParameter for Word<$type> {
            fn parse_from_parameter(text: &str) -> ParseResult<Self> {
                word_from(Some(text))
            }
        }

        impl ToJSON for Word<$type> {
            fn to_json(&self) -> Option<Value> {
                Some(Value::from(self.0.as_str()))
            }
        }

        impl serde::Serialize for Word<$type> {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.0.as_str())
            }
        }

        impl Words for $type {
            fn words() -> String {
                <$type>::ALL.iter().map(|value| value.as_str()).collect::<Vec<_>>().join(", ")
            }
        }
    };
}

trait Words: std::str::FromStr {
    fn words() -> String;
}

fn word_from<T: Words>(text: Option<&str>) -> ParseResult<Word<T>>
where
    Word<T>: Type,
{
    let value = text.and_then(|text| text.parse().ok());
    value.map(Word).ok_or_else(|| ParseError::custom(format!("must be one of: {}", T::words())))
}

word!(State, "state");
word!(EndReason, "reason");
word!(ClientKind, "kind");
word!(Permission, "permission");
word!(Grant, "grant");
word!(TokenFormat, "format");
word!(KeyStatus, "status");
word!(EventKind, "type");

/// A JSON object that is passed on as the text it is kept as.
#[derive(Debug)]
pub struct RawObject(Box<serde_json::value::RawValue>);

inline_type!(RawObject, "object", MetaSchema::new("object"));

impl RawObject {
    /// Takes JSON text over; `None` if it is not JSON.
    pub fn from_text(text: String) -> Option<Self> {
        serde_json::value::RawValue::from_string(text).ok().map(Self)
    }
}

impl serde::Serialize for RawObject {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl ToJSON for RawObject {
    fn to_json(&self) -> Option<Value> {
        serde_json::from_str(self.0.get()).ok()
    }
}

impl ParseFromJSON for RawObject {
    fn parse_from_json(value: Option<Value>) -> ParseResult<Self> {
        let FreeObject(object) = FreeObject::parse_from_json(value).map_err(ParseError::propagate)?;
        Self::from_text(Value::Object(object).to_string()).ok_or_else(ParseError::expected_input)
    }
}
