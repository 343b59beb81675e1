//! The query: what is refused of it before an endpoint reads it, which would not notice.

use std::borrow::Cow;

use poem::http::Method;
use serde_json::Value;

use crate::http::fallback::fits;
use crate::http::request::urlencoded::decode;

/// A question that is no change, and yet lets somebody in.
const FORWARD_AUTH: &str = "/v1/forward-auth";

/// A token in the address is not one (BER-02): it is never read, so whoever sends it is answered as if it
/// were not there.
const NEVER_READ: &str = "access_token";

/// The query parameters of every operation that has some.
#[derive(Debug, Default)]
pub struct Queries {
    operations: Vec<Operation>,
}

#[derive(Debug)]
struct Operation {
    path: Box<str>,
    method: Method,
    /// Each with whether it may be repeated.
    parameters: Vec<(Box<str>, bool)>,
    /// Whether one that it does not know is refused: a misspelt `except` must not end every session, nor a
    /// misspelt `acr` let anybody in.
    is_strict: bool,
}

impl Queries {
    /// Those of an OpenAPI document.
    pub fn of(document: &Value) -> Self {
        let paths = document["paths"].as_object().into_iter().flatten();
        let operations = paths.flat_map(|(path, methods)| {
            let methods = methods.as_object().into_iter().flatten();
            methods.filter_map(move |(method, operation)| Operation::of(path, method, operation))
        });
        Self {
            operations: operations
                .filter(|operation| operation.is_strict || !operation.parameters.is_empty())
                .collect(),
        }
    }

    /// The parameter that is wrong, and why: it is there more than once, where which one counts would depend
    /// on the reader; or it is not text; or nobody knows it, where that matters. Elsewhere what no operation
    /// knows is ignored, as it is in forms.
    pub fn fault(&self, method: &Method, path: &str, query: &str) -> Option<(String, Cow<'static, str>)> {
        let operation = self
            .operations
            .iter()
            .find(|operation| operation.method == method && fits(&operation.path, path))?;
        let mut seen = vec![false; operation.parameters.len()];
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decode(name.as_bytes());
            let place = operation
                .parameters
                .iter()
                .position(|(known, _)| name.as_ref().is_some_and(|name| **known == **name));
            let Some(place) = place else {
                match name.unwrap_or_default() {
                    name if operation.is_strict && name != NEVER_READ => {
                        return Some((name.to_string(), operation.unknown()));
                    }
                    _ => continue,
                }
            };
            let (known, repeats) = &operation.parameters[place];
            if decode(value.as_bytes()).is_none() {
                return Some((known.to_string(), "is not percent-encoded UTF-8".into()));
            }
            if std::mem::replace(&mut seen[place], true) && !repeats {
                return Some((known.to_string(), "is there more than once".into()));
            }
        }
        None
    }
}

impl Operation {
    fn of(path: &str, method: &str, operation: &Value) -> Option<Self> {
        let parameters = operation["parameters"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|parameter| parameter["in"] == "query");
        let named = parameters.filter_map(|parameter| {
            Some((parameter["name"].as_str()?.into(), parameter["schema"]["type"] == "array"))
        });
        let method = Method::from_bytes(method.to_ascii_uppercase().as_bytes()).ok()?;
        let is_strict = path.starts_with("/v1/") && (!method.is_safe() || path == FORWARD_AUTH);
        Some(Self { path: path.into(), method, parameters: named.collect(), is_strict })
    }

    fn unknown(&self) -> Cow<'static, str> {
        let known: Vec<&str> = self.parameters.iter().map(|(name, _)| &**name).collect();
        if known.is_empty() {
            "unknown parameter; none is known".into()
        } else {
            format!("unknown parameter; known are: {}", known.join(", ")).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn queries() -> Queries {
        let parameter = |name: &str, ty: &str| json!({"name": name, "in": "query", "schema": {"type": ty}});
        let both = [parameter("except", "string"), parameter("client_id", "array")];
        Queries::of(&json!({"paths": {
            "/v1/subjects/{subject}/sessions": {"delete": {"parameters": both}, "get": {"parameters": both}},
            "/v1/forward-auth": {"get": {"parameters": both}},
            "/v1/keys": {"get": {}},
            "/v1/keys/rotate": {"post": {}},
        }}))
    }

    fn fault(method: Method, path: &str, query: &str) -> Option<String> {
        queries().fault(&method, path, query).map(|(name, why)| format!("{name} {why}"))
    }

    const SUBJECT: &str = "/v1/subjects/alice/sessions";

    #[test]
    fn a_known_parameter_is_there_once_unless_it_is_a_list_and_is_text() {
        for good in [
            "",
            "&",
            "except=a",
            "client_id=a&client_id=b",
            "other=a&other=b&other=%ff",
            "%ff=a",
            "except=%C5%BC",
        ] {
            assert_eq!(fault(Method::GET, SUBJECT, good), None, "{good}");
        }
        for twice in
            ["except=a&except=b", "except=a&except=a", "except&except", "except=a&client_id=b&exc%65pt=c"]
        {
            assert_eq!(
                fault(Method::GET, SUBJECT, twice).as_deref(),
                Some("except is there more than once"),
                "{twice}"
            );
        }
        for broken in ["except=%ff", "except=%zz", "except=%"] {
            assert_eq!(
                fault(Method::GET, SUBJECT, broken).as_deref(),
                Some("except is not percent-encoded UTF-8"),
                "{broken}"
            );
        }
        assert_eq!(fault(Method::GET, "/v1/keys", "a&a"), None);
    }

    /// `?exept=` ended every session of a person, the one to be kept included.
    #[test]
    fn a_change_or_an_admission_with_a_parameter_that_nobody_knows_is_refused() {
        for (method, path) in [(Method::DELETE, SUBJECT), (Method::GET, "/v1/forward-auth")] {
            let why = fault(method, path, "except=a&exept=b");
            assert_eq!(
                why.as_deref(),
                Some("exept unknown parameter; known are: except, client_id"),
                "{path}"
            );
        }
        assert_eq!(
            fault(Method::POST, "/v1/keys/rotate", "now").as_deref(),
            Some("now unknown parameter; none is known")
        );
        assert_eq!(
            fault(Method::DELETE, SUBJECT, "%ff=a").as_deref(),
            Some(" unknown parameter; known are: except, client_id")
        );
        assert_eq!(fault(Method::DELETE, SUBJECT, "&except=a&&"), None);
        assert_eq!(
            fault(Method::GET, "/v1/forward-auth", "access_token=x"),
            None,
            "which is 401 or what else is presented says (BER-02)"
        );
    }
}
