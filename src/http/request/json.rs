//! The JSON bodies of `/v1/*`: read strictly, and refused in plain words that name the field.

use std::any::TypeId;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use poem::http::{StatusCode, header};
use poem::{Request, RequestBody};
use poem_openapi::registry::{MetaMediaType, MetaRequest, MetaSchema, MetaSchemaRef, Registry};
use poem_openapi::types::{ParseFromJSON, Type};
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::domain::time::Timestamp;
use crate::http::response::error::Problem;

const JSON: &str = "application/json";
/// How deep a body may nest.
pub(super) const DEPTH_MAX: usize = 32;

/// An extractor for a body that must be there. What is wrong with it is told to whoever may send one: after
/// the caller was authenticated.
pub struct JsonBody<T>(Result<T, Problem>);

/// An extractor for a body that may be absent: then it is as if it were `{}`.
pub struct OptionalJsonBody<T>(Result<T, Problem>);

impl<T> JsonBody<T> {
    /// The body, or what is wrong with it.
    pub fn read(self) -> Result<T, Problem> {
        self.0
    }
}

impl<T> OptionalJsonBody<T> {
    /// The body, or what is wrong with it.
    pub fn read(self) -> Result<T, Problem> {
        self.0
    }
}

fn read_body<T: ParseFromJSON + 'static>(content_type: Option<&str>, body: &[u8]) -> Result<T, Problem> {
    if !content_type.is_some_and(is_json) {
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "the Content-Type has to be application/json",
        ));
    }
    parse(body).and_then(read_value)
}

impl<'a, T: ParseFromJSON + 'static> ApiExtractor<'a> for JsonBody<T> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];
    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        T::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        Some(request_meta::<T>(true))
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        let body = body.take()?.into_bytes().await?;
        Ok(Self(read_body(content_type(request), &body)))
    }
}

impl<'a, T: ParseFromJSON + 'static> ApiExtractor<'a> for OptionalJsonBody<T> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];
    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        T::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        Some(request_meta::<T>(false))
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        let body = body.take()?.into_bytes().await?;
        Ok(Self(if body.is_empty() {
            read_value(Map::new().into())
        } else {
            read_body(content_type(request), &body)
        }))
    }
}

fn request_meta<T: Type>(required: bool) -> MetaRequest {
    MetaRequest {
        description: None,
        content: vec![MetaMediaType { content_type: JSON, schema: T::schema_ref() }],
        required,
    }
}

fn content_type(request: &Request) -> Option<&str> {
    request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok())
}

pub(crate) fn is_json(content_type: &str) -> bool {
    content_type.split(';').next().is_some_and(|media_type| media_type.trim().eq_ignore_ascii_case(JSON))
}

/// Reads JSON without repeated members (whose meaning depends on the reader, RFC 8259 §4) and of bounded
/// depth.
fn parse(body: &[u8]) -> Result<Value, Problem> {
    let malformed = |error: serde_json::Error| {
        Problem::new(StatusCode::BAD_REQUEST, format!("the body is not JSON that we take: {error}"))
    };
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let value = Strict { depth: DEPTH_MAX }.deserialize(&mut deserializer).map_err(malformed)?;
    deserializer.end().map_err(malformed)?;
    Ok(value)
}

/// Reads a value, which has to be what the document says: the parser alone would take a number for a string,
/// and does not say which field it stopped at.
fn read_value<T: ParseFromJSON + 'static>(value: Value) -> Result<T, Problem> {
    if let Some((field, detail)) = misfit(&schemas::<T>(), &T::schema_ref(), &value, "") {
        return Err(if field.is_empty() {
            Problem::new(StatusCode::BAD_REQUEST, detail)
        } else {
            Problem::invalid(field, detail)
        });
    }
    T::parse_from_json(Some(value)).map_err(|error| {
        let words = plain_words(error.message());
        match quoted_field(error.message()) {
            Some(field) => Problem::invalid(field.to_owned(), words),
            None => Problem::new(StatusCode::BAD_REQUEST, words),
        }
    })
}

/// The schemas of `T`, made at its first use. There are as many as the API has bodies.
fn schemas<T: Type + 'static>() -> Arc<Registry> {
    static MADE: RwLock<BTreeMap<TypeId, Arc<Registry>>> = RwLock::new(BTreeMap::new());
    let made = MADE.read().unwrap_or_else(PoisonError::into_inner).get(&TypeId::of::<T>()).cloned();
    made.unwrap_or_else(|| {
        let mut registry = Registry::new();
        T::register(&mut registry);
        let registry = Arc::new(registry);
        MADE.write().unwrap_or_else(PoisonError::into_inner).insert(TypeId::of::<T>(), Arc::clone(&registry));
        registry
    })
}

/// The field that a message of poem-openapi names: it stands between backquotes.
fn quoted_field(message: &str) -> Option<&str> {
    message.split('`').nth(1)
}

/// A message of poem-openapi as a person would say it: without the names of our types, and without the value,
/// which may be secret.
pub(crate) fn plain_words(message: &str) -> String {
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
    match message.trim_end_matches('.') {
        "invalid digit found in string" | "cannot parse integer from empty string" => {
            "expected a whole number, 0 or more".to_owned()
        }
        "number too large to fit in target type" => "expected a smaller number".to_owned(),
        message => message.replace('`', ""),
    }
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
    if let (Some("date-time"), Value::String(text)) = (schema.format, value)
        && text.parse::<Timestamp>().is_err()
    {
        return Some((
            at.to_owned(),
            "expected an instant of RFC 3339, such as \"2026-01-31T12:00:00Z\"".to_owned(),
        ));
    }
    match value {
        Value::Object(members) => misfit_member(registry, schema, members, at),
        Value::Array(items) => {
            let item = schema.items.as_ref()?;
            items
                .iter()
                .enumerate()
                .find_map(|(index, value)| misfit(registry, item, value, &format!("{at}[{index}]")))
        }
        _ => None,
    }
}

fn misfit_member(
    registry: &Registry,
    schema: &MetaSchema,
    members: &Map<String, Value>,
    at: &str,
) -> Option<(String, String)> {
    let place = |name: &str| if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") };
    let known = |name: &str| schema.properties.iter().any(|(known, _)| *known == name);
    if let Some(unknown) = members.keys().find(|name| !schema.properties.is_empty() && !known(name)) {
        let mut names: Vec<_> = schema.properties.iter().map(|(name, _)| place(name)).collect();
        names.sort_unstable();
        let unknown = place(unknown);
        let detail = format!("unknown field {unknown}; known are: {}", names.join(", "));
        return Some((unknown, detail));
    }
    let null_or_absent = |name: &&&str| members.get(**name).is_none_or(Value::is_null);
    if let Some(missing) = schema.required.iter().find(null_or_absent) {
        return Some((place(missing), "is missing".to_owned()));
    }
    let given =
        schema.properties.iter().filter_map(|(name, schema)| Some((name, schema, members.get(*name)?)));
    // To the parser null is absent.
    given
        .filter(|(.., value)| !value.is_null())
        .find_map(|(name, schema, value)| misfit(registry, schema, value, &place(name)))
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
pub(super) struct Strict {
    pub(super) depth: usize,
}

impl Strict {
    fn deeper<E: Error>(self) -> Result<Self, E> {
        let depth = self
            .depth
            .checked_sub(1)
            .ok_or_else(|| E::custom(format_args!("nested deeper than {DEPTH_MAX}")))?;
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

#[cfg(test)]
mod tests {
    use poem_openapi::{Enum, Object};

    use super::*;

    #[derive(Debug, Enum)]
    #[oai(rename_all = "lowercase")]
    enum Kind {
        Public,
        Confidential,
    }

    #[derive(Debug, Object)]
    #[oai(deny_unknown_fields)]
    struct Device {
        label: Option<String>,
    }

    #[derive(Debug, Object)]
    #[oai(deny_unknown_fields)]
    struct Open {
        #[oai(validator(min_length = 1))]
        subject: String,
        /// A described reference.
        device: Option<Device>,
        amr: Option<Vec<String>>,
        remember: Option<bool>,
        kind: Option<Kind>,
        max: Option<u32>,
        claims: Option<Value>,
    }

    fn problem(body: &str) -> String {
        let problem = read_body::<Open>(Some(JSON), body.as_bytes()).expect_err("it should be refused");
        format!("{problem:?}")
    }

    /// Asserts that `body` is refused naming `field`, for this reason.
    #[track_caller]
    fn refused(body: &str, field: Option<&str>, detail: &str) {
        let problem = problem(body);
        let field = field.map_or("field: None".to_owned(), |field| format!("field: Some({field:?})"));
        assert!(problem.contains(&field) && problem.contains(&format!("detail: {detail:?}")), "{problem}");
        assert!(!problem.contains("hunter2"), "a value travelled: {problem}");
    }

    #[test]
    fn a_sound_body_is_read() {
        let body = br#"{"subject":"alice","device":{"label":"phone"},"amr":["pwd"],"kind":"public","max":1,"claims":{"a":[null,true,1.5]},"remember":null}"#;
        let open = read_body::<Open>(Some("Application/JSON; charset=utf-8"), body).unwrap();
        assert_eq!((open.subject.as_str(), open.remember), ("alice", None));
        assert_eq!(open.claims.unwrap()["a"][2], 1.5);
    }

    #[test]
    fn a_wrong_value_is_named_by_its_field_and_never_repeated() {
        refused(r#"{"subject":5}"#, Some("subject"), "subject: expected a string, found a number");
        refused(r#"{}"#, Some("subject"), "subject: is missing");
        refused(r#"{"subject":null}"#, Some("subject"), "subject: is missing");
        refused(
            r#"{"subject":"a","device":"hunter2"}"#,
            Some("device"),
            "device: expected an object, found a string",
        );
        refused(
            r#"{"subject":"a","device":{"label":["hunter2"]}}"#,
            Some("device.label"),
            "device.label: expected a string, found an array",
        );
        refused(
            r#"{"subject":"a","amr":["pwd",{}]}"#,
            Some("amr[1]"),
            "amr[1]: expected a string, found an object",
        );
        refused(
            r#"{"subject":"a","remember":"hunter2"}"#,
            Some("remember"),
            "remember: expected a boolean, found a string",
        );
        refused(
            r#"{"subject":"a","kind":"hunter2"}"#,
            Some("kind"),
            "kind: expected one of: public, confidential",
        );
        refused(r#"{"subject":"a","max":1.5}"#, Some("max"), "max: expected an integer, found a number");
        refused("[]", None, "expected an object, found an array");
    }

    #[test]
    fn an_unknown_field_and_a_validators_no_are_named_too() {
        let known = "known are: amr, claims, device, kind, max, remember, subject";
        refused(
            r#"{"subject":"a","subjcet":"hunter2"}"#,
            Some("subjcet"),
            &format!("unknown field subjcet; {known}"),
        );
        refused(
            r#"{"subject":"a","device":{"lable":"hunter2"}}"#,
            Some("device.lable"),
            "unknown field device.lable; known are: device.label",
        );
        refused(
            r#"{"subject":"a","device":{"":null}}"#,
            Some("device."),
            "unknown field device.; known are: device.label",
        );
        refused(r#"{"subject":""}"#, Some("subject"), "field subject verification failed. minLength(1)");
    }

    #[test]
    fn a_repeated_member_is_refused_at_any_depth() {
        for body in [r#"{"subject":"a","subject":"b"}"#, r#"{"subject":"a","claims":{"x":[{"y":1,"y":1}]}}"#]
        {
            assert!(problem(body).contains("a member is there more than once"));
        }
    }

    #[test]
    fn what_nests_too_deep_is_refused() {
        let nested = |depth: usize| {
            format!(r#"{{"subject":"a","claims":{}{}}}"#, "[".repeat(depth), "]".repeat(depth))
        };
        assert!(read_body::<Open>(Some(JSON), nested(DEPTH_MAX - 1).as_bytes()).is_ok());
        assert!(problem(&nested(DEPTH_MAX)).contains("nested deeper than 32"));
        assert!(problem(&nested(30_000)).contains("400"));
    }

    #[test]
    fn what_is_not_json_is_refused() {
        for body in ["", "{", "{}x", r#"{"subject":"a\u0000"#, "\u{feff}{}", "{\"subject\":1e999}"] {
            assert!(problem(body).contains("not JSON that we take"), "{body:?}");
        }
    }

    #[test]
    fn another_content_type_is_415_and_so_is_none() {
        for wrong in
            [None, Some("text/plain"), Some("application/x-www-form-urlencoded"), Some("application/jsonx")]
        {
            assert_eq!(read_body::<Open>(wrong, b"{}").err().unwrap().status(), 415, "{wrong:?}");
        }
    }
}
