//! The JSON bodies of `/v1/*`: read strictly; an error names the field and never repeats a value.

mod misfit;
mod number;
mod strict;

use bytes::Bytes;
use poem::http::StatusCode;
use poem::{Request, RequestBody};
use poem_openapi::registry::{MetaMediaType, MetaRequest, Registry};
use poem_openapi::types::Type;
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};
use serde::de::{DeserializeOwned, DeserializeSeed};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use self::misfit::{Misfit, Node};
use self::strict::DEPTH_MAX;
pub(super) use self::strict::Strict;
use crate::http::response::error::Problem;

const JSON: &str = "application/json";

/// An extractor for a body. What is wrong with it is reported when it is read: after the caller was
/// authenticated.
pub struct Body<T, const REQUIRED: bool> {
    value: Result<T, Problem>,
    bytes: Bytes,
}

/// A body that must be present.
pub type JsonBody<T> = Body<T, true>;
/// A body that may be absent, which is as if it were `{}`.
pub type OptionalJsonBody<T> = Body<T, false>;

impl<T, const REQUIRED: bool> Body<T, REQUIRED> {
    /// The body, or what is wrong with it.
    pub fn read(self) -> Result<T, Problem> {
        self.value
    }

    /// Identifies the body by its bytes.
    pub fn digest(&self) -> [u8; 32] {
        Sha256::digest(&self.bytes).into()
    }
}

impl<'a, T: Type + DeserializeOwned, const REQUIRED: bool> ApiExtractor<'a> for Body<T, REQUIRED> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];
    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        T::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        let content = vec![MetaMediaType { content_type: JSON, schema: T::schema_ref() }];
        Some(MetaRequest { description: None, content, required: REQUIRED })
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        let body = body.take()?.into_bytes().await?;
        if body.is_empty() && !REQUIRED {
            return Ok(Self { value: read_value(&Map::new().into()), bytes: body });
        }
        Ok(Self { value: read_body(request.content_type(), &body), bytes: body })
    }
}

pub(crate) fn read_body<T: DeserializeOwned>(content_type: Option<&str>, body: &[u8]) -> Result<T, Problem> {
    if !content_type.is_some_and(is_json) {
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "the Content-Type must be application/json",
        ));
    }
    read_text(body)
}

/// Reads JSON as the body of a request is read.
pub(crate) fn read_text<T: DeserializeOwned>(text: &[u8]) -> Result<T, Problem> {
    // RFC 8259 §8.1: a byte order mark may be ignored.
    let text = text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text);
    if let Ok(raw) = serde_json::from_slice(text) {
        number::check(raw, DEPTH_MAX + 1).map_err(problem)?;
    }
    let value = value(text, DEPTH_MAX).map_err(|error| {
        Problem::new(StatusCode::BAD_REQUEST, format!("the body is not valid JSON: {error}"))
    })?;
    read_value(&value)
}

/// Any JSON value, with at most `depth` levels. Some keys have a meaning of their own for
/// `serde_json::Value`, and none here.
pub fn value(text: &[u8], depth: usize) -> serde_json::Result<Value> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let value = Strict { depth }.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(value)
}

pub(crate) fn is_json(content_type: &str) -> bool {
    is_media_type(content_type, JSON)
}

/// Whether a `Content-Type` names this media type; case and parameters do not matter (INT-02).
pub(super) fn is_media_type(content_type: &str, expected: &str) -> bool {
    content_type.split(';').next().is_some_and(|media_type| media_type.trim().eq_ignore_ascii_case(expected))
}

fn read_value<T: DeserializeOwned>(value: &Value) -> Result<T, Problem> {
    T::deserialize(Node(value)).map_err(problem)
}

fn problem(misfit: Misfit) -> Problem {
    match misfit.into_parts() {
        (None, words) => Problem::new(StatusCode::BAD_REQUEST, format!("the body {words}")),
        (Some(field), words) => Problem::invalid(field, words),
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::domain::client::ClientKind;
    use crate::http::request::types::{DateTime, FreeObject, Parsed};

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Device {
        #[expect(dead_code, reason = "only read")]
        label: Option<String>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "some are only read")]
    struct Open {
        subject: String,
        device: Option<Device>,
        amr: Option<Vec<String>>,
        remember: Option<bool>,
        kind: Option<Parsed<ClientKind>>,
        max: Option<u32>,
        at: Option<DateTime>,
        claims: Option<FreeObject>,
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
        assert!(!problem.contains("hunter2"), "a value is repeated: {problem}");
    }

    #[test]
    fn a_valid_body_is_read() {
        let body = br#"{"subject":"alice","device":{"label":"phone"},"amr":["pwd"],"kind":"public","max":1,"claims":{"a":[null,true,1.5]},"remember":null}"#;
        let open = read_body::<Open>(Some("Application/JSON; charset=utf-8"), body).unwrap();
        assert_eq!((open.subject.as_str(), open.remember), ("alice", None));
        assert_eq!(open.claims.unwrap().0["a"][2], 1.5);
    }

    #[test]
    fn a_wrong_value_is_named_by_its_field_and_never_repeated() {
        for (body, field, detail) in [
            (r#"{"subject":5}"#, "subject", "must be a string, not a number"),
            ("{}", "subject", "is missing"),
            (r#"{"subject":null}"#, "subject", "is missing"),
            (r#"{"subject":"a","device":"hunter2"}"#, "device", "must be an object, not a string"),
            (
                r#"{"subject":"a","device":{"label":["hunter2"]}}"#,
                "device.label",
                "must be a string, not an array",
            ),
            (r#"{"subject":"a","amr":["pwd",{}]}"#, "amr[1]", "must be a string, not an object"),
            (r#"{"subject":"a","amr":"hunter2"}"#, "amr", "must be an array, not a string"),
            (r#"{"subject":"a","remember":"hunter2"}"#, "remember", "must be a boolean, not a string"),
            (r#"{"subject":"a","kind":"hunter2"}"#, "kind", "must be one of: confidential, public"),
            (r#"{"subject":"a","kind":5}"#, "kind", "must be a string, not a number"),
            (r#"{"subject":"a","claims":["hunter2"]}"#, "claims", "must be an object, not an array"),
        ] {
            refused(body, Some(field), &format!("{field} {detail}"));
        }
        assert!(problem(r#"{"subject":"a","at":"hunter2"}"#).contains("at must be an instant of RFC 3339"));
        assert!(problem(r#"{"subject":"a","max":1.5}"#).contains("not a number"));
        refused("[]", None, "the body must be an object, not an array");
    }

    #[test]
    fn an_unknown_field_is_named_with_the_known_ones() {
        let known = "known fields: amr, at, claims, device, kind, max, remember, subject";
        refused(
            r#"{"subject":"a","subjcet":"hunter2"}"#,
            Some("subjcet"),
            &format!("unknown field subjcet; {known}"),
        );
        for name in ["lable", "", "a.b"] {
            refused(
                &format!(r#"{{"subject":"a","device":{{"{name}":"hunter2"}}}}"#),
                Some(&format!("device.{name}")),
                &format!("unknown field device.{name}; known fields: device.label"),
            );
        }
    }

    #[test]
    fn a_repeated_member_is_refused_at_any_depth() {
        for body in [r#"{"subject":"a","subject":"b"}"#, r#"{"subject":"a","claims":{"x":[{"y":1,"y":1}]}}"#]
        {
            assert!(problem(body).contains("a member is repeated"));
        }
    }

    #[test]
    fn a_body_that_nests_too_deep_is_refused() {
        let nested = |depth: usize| {
            format!(r#"{{"subject":"a","claims":{{"a":{}{}}}}}"#, "[".repeat(depth), "]".repeat(depth))
        };
        assert!(read_body::<Open>(Some(JSON), nested(DEPTH_MAX - 2).as_bytes()).is_ok());
        assert!(problem(&nested(DEPTH_MAX - 1)).contains("nested deeper than 32"));
        assert!(problem(&nested(30_000)).contains("400"));
    }

    #[test]
    fn a_body_that_is_not_json_is_refused() {
        for body in ["", "{", "{}x", r#"{"subject":"a\u0000"#, "\u{feff}\u{feff}{}", "{\"subject\":1e}"] {
            assert!(problem(body).contains("the body is not valid JSON"), "{body:?}");
        }
    }

    #[test]
    fn another_content_type_is_415_and_so_is_none() {
        for wrong in
            [None, Some("text/plain"), Some("application/x-www-form-urlencoded"), Some("application/jsonx")]
        {
            assert_eq!(read_body::<Open>(wrong, b"{}").err().unwrap().status, 415, "{wrong:?}");
        }
    }
}
