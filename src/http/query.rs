//! The query: what is refused of it before an endpoint reads it, which would not notice.

use poem::http::Method;
use serde_json::Value;

use super::fallback::fits;
use super::form::decode;

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
}

impl Queries {
    /// Those of an OpenAPI document.
    pub fn of(document: &Value) -> Self {
        let paths = document["paths"].as_object().into_iter().flatten();
        let operations = paths.flat_map(|(path, methods)| {
            let methods = methods.as_object().into_iter().flatten();
            methods.filter_map(move |(method, operation)| Operation::of(path, method, operation))
        });
        Self { operations: operations.filter(|operation| !operation.parameters.is_empty()).collect() }
    }

    /// The parameter that is wrong, and why: it is there more than once, where which one counts would depend on the reader; or it is not text.
    /// What no operation knows is ignored, as it is in forms.
    pub fn fault(&self, method: &Method, path: &str, query: &str) -> Option<(&str, &'static str)> {
        let operation = self.operations.iter().find(|operation| operation.method == method && fits(&operation.path, path))?;
        let mut seen = vec![false; operation.parameters.len()];
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let Some(name) = decode(name.as_bytes()) else { continue };
            let Some(place) = operation.parameters.iter().position(|(known, _)| **known == *name) else { continue };
            let (known, repeats) = &operation.parameters[place];
            if decode(value.as_bytes()).is_none() {
                return Some((known, "is not percent-encoded UTF-8"));
            }
            if std::mem::replace(&mut seen[place], true) && !repeats {
                return Some((known, "is there more than once"));
            }
        }
        None
    }
}

impl Operation {
    fn of(path: &str, method: &str, operation: &Value) -> Option<Self> {
        let parameters = operation["parameters"].as_array().into_iter().flatten().filter(|parameter| parameter["in"] == "query");
        let named = parameters.filter_map(|parameter| Some((parameter["name"].as_str()?.into(), parameter["schema"]["type"] == "array")));
        let method = Method::from_bytes(method.to_ascii_uppercase().as_bytes()).ok()?;
        Some(Self { path: path.into(), method, parameters: named.collect() })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_known_parameter_is_there_once_unless_it_is_a_list_and_is_text() {
        let parameter = |name: &str, ty: &str| json!({"name": name, "in": "query", "schema": {"type": ty}});
        let document = json!({"paths": {
            "/v1/subjects/{subject}/sessions": {"delete": {"parameters": [parameter("except", "string"), parameter("client_id", "array")]}},
            "/v1/keys": {"get": {}},
        }});
        let queries = Queries::of(&document);
        let fault = |query| queries.fault(&Method::DELETE, "/v1/subjects/alice/sessions", query);
        for good in ["", "except=a", "client_id=a&client_id=b", "other=a&other=b&other=%ff", "%ff=a", "except=%C5%BC"] {
            assert_eq!(fault(good), None, "{good}");
        }
        for twice in ["except=a&except=b", "except=a&except=a", "except&except", "except=a&client_id=b&exc%65pt=c"] {
            assert_eq!(fault(twice), Some(("except", "is there more than once")), "{twice}");
        }
        for broken in ["except=%ff", "except=%zz", "except=%"] {
            assert_eq!(fault(broken), Some(("except", "is not percent-encoded UTF-8")), "{broken}");
        }
        assert_eq!(queries.fault(&Method::GET, "/v1/subjects/alice/sessions", "except=a&except=b"), None, "another method");
        assert_eq!(queries.fault(&Method::GET, "/v1/keys", "a&a"), None);
    }
}
