//! A deserializer over a JSON value whose errors know the path of the field and contain no value.

use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{self, DeserializeSeed, Deserializer, Expected, MapAccess, SeqAccess, Unexpected, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::{Value, map};

/// What does not fit, and where.
#[derive(Debug)]
pub struct Misfit {
    /// The path of the field, from the innermost segment outwards.
    path: Vec<Segment>,
    mismatch: Mismatch,
}

/// A step of a path.
#[derive(Debug)]
pub(super) enum Segment {
    Member(String),
    Item(usize),
}

#[derive(Debug)]
enum Mismatch {
    /// The innermost member of the path is not one of these.
    Unknown(&'static [&'static str]),
    Other(String),
}

impl Misfit {
    /// The path of the field, such as `device.label` or `amr[1]`, unless it is the whole body; and what is
    /// wrong with it.
    pub fn into_parts(mut self) -> (Option<String>, String) {
        match self.mismatch {
            Mismatch::Other(words) => ((!self.path.is_empty()).then(|| joined(&self.path)), words),
            Mismatch::Unknown(known) => {
                let field = joined(&self.path);
                let mut names = vec![];
                for name in known {
                    self.path[0] = Segment::Member((*name).to_owned());
                    names.push(joined(&self.path));
                }
                names.sort_unstable();
                let words = format!("unknown field {field}; known fields: {}", names.join(", "));
                (Some(field), words)
            }
        }
    }

    pub(super) fn other(words: String) -> Self {
        Self { path: vec![], mismatch: Mismatch::Other(words) }
    }

    /// The same, seen from the object or array around it.
    pub(super) fn within(mut self, segment: Segment) -> Self {
        self.path.push(segment);
        self
    }
}

fn joined(path: &[Segment]) -> String {
    let mut text = String::new();
    for (depth, segment) in path.iter().rev().enumerate() {
        match segment {
            Segment::Member(name) if depth == 0 => text.push_str(name),
            Segment::Member(name) => text.extend([".", name]),
            Segment::Item(index) => text.push_str(&format!("[{index}]")),
        }
    }
    text
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl std::error::Error for Misfit {}

impl de::Error for Misfit {
    fn custom<T: fmt::Display>(words: T) -> Self {
        Self::other(words.to_string())
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let found = match found {
            // To the reader null is as if the member were left out.
            Unexpected::Unit => return Self::other("is missing".to_owned()),
            Unexpected::Bool(_) => "a boolean",
            Unexpected::Unsigned(_) | Unexpected::Signed(_) | Unexpected::Float(_) => "a number",
            Unexpected::Seq => "an array",
            Unexpected::Map => "an object",
            _ => "a string",
        };
        Self::other(format!("must be {expected}, not {found}"))
    }

    fn invalid_value(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::other(format!("must be {expected}"))
    }

    fn unknown_field(field: &str, known: &'static [&'static str]) -> Self {
        Self { path: vec![Segment::Member(field.to_owned())], mismatch: Mismatch::Unknown(known) }
    }

    fn missing_field(field: &'static str) -> Self {
        Self::other("is missing".to_owned()).within(Segment::Member(field.to_owned()))
    }
}

/// A value to deserialize from.
#[derive(Clone, Copy)]
pub struct Node<'v>(pub &'v Value);

impl Node<'_> {
    fn is_not(self, expected: &str) -> Misfit {
        let found = match self.0 {
            Value::Null => Unexpected::Unit,
            Value::Bool(value) => Unexpected::Bool(*value),
            Value::Number(_) => Unexpected::Float(0.0),
            Value::String(_) => Unexpected::Str(""),
            Value::Array(_) => Unexpected::Seq,
            Value::Object(_) => Unexpected::Map,
        };
        de::Error::invalid_type(found, &expected)
    }
}

impl<'de> Deserializer<'de> for Node<'_> {
    type Error = Misfit;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Number(number) => match (number.as_u64(), number.as_i64()) {
                (Some(value), _) => visitor.visit_u64(value),
                (None, Some(value)) => visitor.visit_i64(value),
                (None, None) => visitor.visit_f64(number.as_f64().unwrap_or_default()),
            },
            Value::String(text) => visitor.visit_str(text),
            Value::Array(items) => visitor.visit_seq(Items { items: items.iter(), index: 0 }),
            Value::Object(members) => visitor.visit_map(Members { members: members.iter(), value: None }),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        if self.0.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        if self.0.is_array() { self.deserialize_any(visitor) } else { Err(self.is_not("an array")) }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Misfit> {
        if self.0.is_object() { self.deserialize_any(visitor) } else { Err(self.is_not("an object")) }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Misfit> {
        self.deserialize_map(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        tuple tuple_struct enum identifier ignored_any
    }
}

struct Items<'v> {
    items: std::slice::Iter<'v, Value>,
    index: usize,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Misfit;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Misfit> {
        let Some(item) = self.items.next() else { return Ok(None) };
        let index = self.index;
        self.index += 1;
        seed.deserialize(Node(item)).map(Some).map_err(|misfit| misfit.within(Segment::Item(index)))
    }
}

struct Members<'v> {
    members: map::Iter<'v>,
    value: Option<(&'v str, &'v Value)>,
}

impl<'de> MapAccess<'de> for Members<'_> {
    type Error = Misfit;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Misfit> {
        let Some((name, value)) = self.members.next() else { return Ok(None) };
        self.value = Some((name, value));
        seed.deserialize(StrDeserializer::new(name)).map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Misfit> {
        let (name, value) = self.value.take().expect("serde asks for a value after its key");
        seed.deserialize(Node(value)).map_err(|misfit| misfit.within(Segment::Member(name.to_owned())))
    }
}
