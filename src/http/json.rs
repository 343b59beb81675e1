//! The JSON bodies of `/v1/*`: read strictly, and refused in plain words that name the field.

use std::fmt;

use poem::http::{StatusCode, header};
use poem::{Request, RequestBody};
use poem_openapi::registry::{MetaMediaType, MetaRequest, MetaSchema, MetaSchemaRef, Registry};
use poem_openapi::types::{ParseFromJSON, Type};
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::error::Problem;

const JSON: &str = "application/json";
/// How deep a body may nest.
const DEPTH_MAX: usize = 32;

/// An extractor for a body that must be there.
pub struct JsonBody<T>(pub T);

/// An extractor for a body that may be absent: then it is as if it were `{}`.
pub struct OptionalJsonBody<T>(pub T);

impl<T: ParseFromJSON> JsonBody<T> {
    fn read(content_type: Option<&str>, body: &[u8]) -> Result<Self, Problem> {
        if !content_type.is_some_and(is_json) {
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the Content-Type has to be application/json"));
        }
        parse(body).and_then(read_value).map(Self)
    }
}

impl<'a, T: ParseFromJSON> ApiExtractor<'a> for JsonBody<T> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];
    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        T::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        Some(request_meta::<T>(true))
    }

    async fn from_request(request: &'a Request, body: &mut RequestBody, _: ExtractParamOptions<()>) -> poem::Result<Self> {
        let body = body.take()?.into_bytes().await?;
        Ok(Self::read(content_type(request), &body)?)
    }
}

impl<'a, T: ParseFromJSON> ApiExtractor<'a> for OptionalJsonBody<T> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];
    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        T::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        Some(request_meta::<T>(false))
    }

    async fn from_request(request: &'a Request, body: &mut RequestBody, _: ExtractParamOptions<()>) -> poem::Result<Self> {
        let body = body.take()?.into_bytes().await?;
        let read = if body.is_empty() { read_value(Map::new().into()) } else { JsonBody::read(content_type(request), &body).map(|body| body.0) };
        Ok(Self(read?))
    }
}

fn request_meta<T: Type>(required: bool) -> MetaRequest {
    MetaRequest { description: None, content: vec![MetaMediaType { content_type: JSON, schema: T::schema_ref() }], required }
}

fn content_type(request: &Request) -> Option<&str> {
    request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok())
}

fn is_json(content_type: &str) -> bool {
    content_type.split(';').next().is_some_and(|media_type| media_type.trim().eq_ignore_ascii_case(JSON))
}

/// Reads JSON without repeated members (whose meaning depends on the reader, RFC 8259 §4) and of bounded depth.
fn parse(body: &[u8]) -> Result<Value, Problem> {
    let malformed = |error: serde_json::Error| Problem::new(StatusCode::BAD_REQUEST, format!("the body is not JSON that we take: {error}"));
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let value = Strict { depth: DEPTH_MAX }.deserialize(&mut deserializer).map_err(malformed)?;
    deserializer.end().map_err(malformed)?;
    Ok(value)
}

fn read_value<T: ParseFromJSON>(value: Value) -> Result<T, Problem> {
    // The parser does not say which field it stopped at. The schema does, and is asked only then, so that what is well pays nothing.
    let kept = value.clone();
    T::parse_from_json(Some(value)).map_err(|error| explain::<T>(&kept, error.message()))
}

/// Where and why `value` is not of `T`'s schema, or else what the parser said.
fn explain<T: Type>(value: &Value, message: &str) -> Problem {
    let mut registry = Registry::new();
    T::register(&mut registry);
    if let Some((field, detail)) = misfit(&registry, &T::schema_ref(), value, "") {
        return if field.is_empty() { Problem::new(StatusCode::BAD_REQUEST, detail) } else { Problem::invalid(field, detail) };
    }
    let words = plain_words(message);
    match quoted_field(message) {
        Some(field) => Problem::invalid(field.to_owned(), words),
        None => Problem::new(StatusCode::BAD_REQUEST, words),
    }
}

/// The field that a message of poem-openapi names: it stands between backquotes.
fn quoted_field(message: &str) -> Option<&str> {
    message.split('`').nth(1)
}

/// A message of poem-openapi as a person would say it: without the names of our types, and without the value, which may be secret.
pub(super) fn plain_words(message: &str) -> String {
    let message = message.split(" (occurred while parsing").next().unwrap_or(message);
    if let Some((_, rest)) = message.split_once("Expected input type \"") {
        let expected = rest.split('"').next().unwrap_or("value");
        return format!("expected {}", a(expected.split('_').next().unwrap_or(expected)));
    }
    if message.contains("expects an input value") {
        return "is missing".to_owned();
    }
    let message = match message.strip_prefix("failed to parse \"").and_then(|rest| rest.split_once("\": ")) {
        Some((_, reason)) => reason,
        None => message,
    };
    message.trim_end_matches('.').replace('`', "")
}

/// The first place where `value` does not fit, with what should be there.
fn misfit(registry: &Registry, schema: &MetaSchemaRef, value: &Value, at: &str) -> Option<(String, String)> {
    let schema = match schema {
        MetaSchemaRef::Inline(schema) => schema,
        MetaSchemaRef::Reference(name) => registry.schemas.get(name)?,
    };
    // A described reference is an `allOf` of the reference and the description.
    if let Some(first) = schema.all_of.first() {
        return misfit(registry, first, value, at);
    }
    if !schema.ty.is_empty() && !is_of(schema.ty, value) {
        return Some((at.to_owned(), format!("expected {}, found {}", a(schema.ty), kind(value))));
    }
    if !schema.enum_items.is_empty() && !schema.enum_items.contains(value) {
        let names: Vec<_> = schema.enum_items.iter().filter_map(Value::as_str).collect();
        return Some((at.to_owned(), format!("expected one of: {}", names.join(", "))));
    }
    match value {
        Value::Object(members) => misfit_member(registry, schema, members, at),
        Value::Array(items) => {
            let item = schema.items.as_ref()?;
            items.iter().enumerate().find_map(|(index, value)| misfit(registry, item, value, &format!("{at}[{index}]")))
        }
        _ => None,
    }
}

fn misfit_member(registry: &Registry, schema: &MetaSchema, members: &Map<String, Value>, at: &str) -> Option<(String, String)> {
    let place = |name: &str| if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") };
    let null_or_absent = |name: &&&str| members.get(**name).is_none_or(Value::is_null);
    if let Some(missing) = schema.required.iter().find(null_or_absent) {
        return Some((place(missing), "is missing".to_owned()));
    }
    let given = schema.properties.iter().filter_map(|(name, schema)| Some((name, schema, members.get(*name)?)));
    // To the parser null is absent.
    given.filter(|(.., value)| !value.is_null()).find_map(|(name, schema, value)| misfit(registry, schema, value, &place(name)))
}

fn is_of(ty: &str, value: &Value) -> bool {
    match ty {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        _ => true,
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

fn a(noun: &str) -> String {
    let article = if noun.starts_with(['a', 'i', 'o']) { "an" } else { "a" };
    format!("{article} {noun}")
}

/// Builds a value, refusing what [`parse`] refuses.
#[derive(Clone, Copy)]
struct Strict {
    depth: usize,
}

impl Strict {
    fn deeper<E: Error>(self) -> Result<Self, E> {
        let depth = self.depth.checked_sub(1).ok_or_else(|| E::custom(format_args!("nested deeper than {DEPTH_MAX}")))?;
        Ok(Self { depth })
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Value, A::Error> {
        let deeper = self.deeper()?;
        let mut items = Vec::new();
        while let Some(item) = sequence.next_element_seed(deeper)? {
            items.push(item);
        }
        Ok(items.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let deeper = self.deeper()?;
        let mut members = Map::new();
        while let Some(name) = map.next_key::<String>()? {
            let value = map.next_value_seed(deeper)?;
            if members.insert(name, value).is_some() {
                return Err(A::Error::custom("a member is there more than once"));
            }
        }
        Ok(members.into())
    }
}
