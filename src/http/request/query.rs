//! The query of a request: checked before an endpoint reads it, which would not notice these mistakes.

use std::borrow::Cow;

use poem_openapi::registry::{MetaOperation, MetaParamIn};

use crate::domain::text::TextPattern;
use crate::http::request::urlencoded::decode;

/// These routes change nothing but decide about admission.
const ADMITTING: [&str; 2] = ["/v1/forward-auth", "/v1/session"];

/// A token in the URL is never read (BER-02): it is ignored everywhere, as if it were absent.
const NEVER_READ: &str = "access_token";

/// The query parameters of one operation.
#[derive(Debug, Default)]
pub struct QueryRules {
    parameters: Vec<Parameter>,
    /// Whether unknown parameters are rejected, as at every route of `/v1`: a misspelt `except` must not end
    /// every session, a misspelt `acr` not admit a request, a misspelt filter not list every session. The
    /// query of a gate is the visitor's. Elsewhere they are ignored, as in forms.
    rejects_unknown: bool,
    /// Whether a parameter without a value is rejected: in the template of a proxy's configuration a variable
    /// may be empty, and `acr=` must not admit a request.
    rejects_empty: bool,
}

#[derive(Debug)]
struct Parameter {
    name: Box<str>,
    is_list: bool,
}

impl QueryRules {
    /// The rules for an operation of the route `template`.
    pub fn of(template: &str, operation: &MetaOperation) -> Self {
        let of_query = operation.params.iter().filter(|parameter| parameter.in_type == MetaParamIn::Query);
        let parameters = of_query.map(|parameter| Parameter {
            name: parameter.name.as_str().into(),
            is_list: parameter.schema.is_array(),
        });
        let admits = ADMITTING.contains(&template);
        Self {
            parameters: parameters.collect(),
            rejects_unknown: template.starts_with("/v1/") && !template.starts_with("/v1/gates/"),
            rejects_empty: admits,
        }
    }

    /// The name of the first invalid parameter, and the reason: it is repeated, not percent-encoded UTF-8, or
    /// unknown or empty where that is rejected.
    pub fn fault(&self, query: &str) -> Option<(String, Cow<'static, str>)> {
        let mut seen = vec![false; self.parameters.len()];
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decode(name.as_bytes()).unwrap_or_default();
            let Some(at) = self.parameters.iter().position(|known| *known.name == *name) else {
                if self.rejects_unknown && name != NEVER_READ {
                    return Some((name.into_owned(), self.unknown()));
                }
                continue;
            };
            let Some(value) = decode(value.as_bytes()) else {
                return Some((name.into_owned(), "is not percent-encoded UTF-8".into()));
            };
            if self.rejects_empty && names_nothing(&value) {
                return Some((name.into_owned(), "has no value; to require nothing, omit it".into()));
            }
            if std::mem::replace(&mut seen[at], true) && !self.parameters[at].is_list {
                return Some((name.into_owned(), "is repeated".into()));
            }
        }
        None
    }

    fn unknown(&self) -> Cow<'static, str> {
        let known: Vec<&str> = self.parameters.iter().map(|parameter| &*parameter.name).collect();
        if known.is_empty() {
            "is not a parameter of this route, which has none".into()
        } else {
            format!("is not a parameter of this route, which has: {}", known.join(", ")).into()
        }
    }
}

/// A requirement that names something.
pub const REQUIREMENT: TextPattern = TextPattern {
    min: 1,
    max: 0,
    regex: r"[^\u0000-\u0020\u007f-\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]",
};

/// Whether a requirement has only spaces and control characters.
pub fn names_nothing(requirement: &str) -> bool {
    requirement.chars().all(|c| c.is_whitespace() || c.is_control())
}

#[cfg(test)]
mod tests {
    use poem::http::Method;
    use poem_openapi::OpenApi;
    use poem_openapi::param::Query;

    use super::*;

    struct Demo;

    #[OpenApi]
    impl Demo {
        #[oai(path = "/v1/subjects/alice/sessions", method = "delete")]
        async fn end(&self, except: Query<Option<String>>, client_id: Query<Vec<String>>) {
            drop((except, client_id));
        }

        #[oai(path = "/v1/subjects/alice/sessions", method = "get")]
        async fn list(&self, except: Query<Option<String>>, client_id: Query<Vec<String>>) {
            drop((except, client_id));
        }

        #[oai(path = "/v1/forward-auth", method = "get")]
        async fn forward_auth(&self, except: Query<Option<String>>, client_id: Query<Vec<String>>) {
            drop((except, client_id));
        }

        #[oai(path = "/metrics", method = "get")]
        async fn metrics(&self) {}

        #[oai(path = "/v1/gates/api", method = "get")]
        async fn gate(&self) {}

        #[oai(path = "/v1/keys/rotate", method = "post")]
        async fn rotate(&self) {}
    }

    fn fault(method: &Method, path: &str, query: &str) -> Option<String> {
        let path = Demo::meta().remove(0).paths.into_iter().find(|meta| meta.path == path).unwrap();
        let operation = path.operations.into_iter().find(|operation| operation.method == method).unwrap();
        QueryRules::of(&path.path, &operation).fault(query).map(|(name, why)| format!("{name} {why}"))
    }

    const SUBJECT: &str = "/v1/subjects/alice/sessions";

    #[test]
    fn a_known_parameter_is_percent_encoded_utf_8_and_is_repeated_only_if_it_is_a_list() {
        for valid in ["", "&", "except=a", "client_id=a&client_id=b", "except=%C5%BC"] {
            assert_eq!(fault(&Method::GET, SUBJECT, valid), None, "{valid}");
        }
        for repeated in
            ["except=a&except=b", "except=a&except=a", "except&except", "except=a&client_id=b&exc%65pt=c"]
        {
            let why = fault(&Method::GET, SUBJECT, repeated);
            assert_eq!(why.as_deref(), Some("except is repeated"), "{repeated}");
        }
        for malformed in ["except=%ff", "except=%zz", "except=%"] {
            let why = fault(&Method::GET, SUBJECT, malformed);
            assert_eq!(why.as_deref(), Some("except is not percent-encoded UTF-8"), "{malformed}");
        }
        for path in ["/metrics", "/v1/gates/api"] {
            for ignored in ["a&a", "other=a&other=b&other=%ff", "%ff=a"] {
                assert_eq!(fault(&Method::GET, path, ignored), None, "{path} {ignored}");
            }
        }
    }

    /// Finding: `?acr=$level` with an empty variable admitted every session.
    #[test]
    fn an_admission_with_an_empty_requirement_is_rejected() {
        for empty in
            ["except=", "except", "except=%20", "except=+", "except=%0C%1C", "client_id=a&client_id="]
        {
            let why = fault(&Method::GET, "/v1/forward-auth", empty).unwrap();
            assert!(why.ends_with("has no value; to require nothing, omit it"), "{empty}: {why}");
        }
        assert_eq!(fault(&Method::DELETE, SUBJECT, "except="), None);
    }

    /// `?exept=` ended every session of a person, the one to be kept included; `?subjet=` listed those of
    /// every subject.
    #[test]
    fn a_request_of_v1_with_an_unknown_parameter_is_rejected() {
        for (method, path) in
            [(Method::DELETE, SUBJECT), (Method::GET, SUBJECT), (Method::GET, "/v1/forward-auth")]
        {
            let why = fault(&method, path, "except=a&exept=b");
            let expected = "exept is not a parameter of this route, which has: except, client_id";
            assert_eq!(why.as_deref(), Some(expected), "{path}");
        }
        assert_eq!(
            fault(&Method::POST, "/v1/keys/rotate", "now").as_deref(),
            Some("now is not a parameter of this route, which has none")
        );
        assert_eq!(
            fault(&Method::DELETE, SUBJECT, "%ff=a").as_deref(),
            Some(" is not a parameter of this route, which has: except, client_id")
        );
        assert_eq!(fault(&Method::DELETE, SUBJECT, "&except=a&&"), None);
        assert_eq!(
            fault(&Method::GET, "/v1/forward-auth", "access_token=x"),
            None,
            "the other credentials decide (BER-02)"
        );
    }
}
