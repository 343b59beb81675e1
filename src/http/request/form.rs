//! The forms of `/oauth2/*`. Parsed here because the standards reject forms that usual parsers accept.

use poem::{Request, RequestBody, Result};
use poem_openapi::registry::{MetaMediaType, MetaRequest, Registry};
use poem_openapi::types::Type;
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};

use crate::domain::refusal::{Refusal, Refused};
use crate::http::request::credentials::ClientFormFields;
use crate::http::request::json::is_media_type;
use crate::http::request::urlencoded::decode;
use crate::http::response::error::OAuthError;
use crate::token::client_secret::PresentedSecret;
use crate::token::opaque::SecretText;

/// The media type of the forms.
const FORM: &str = "application/x-www-form-urlencoded";
/// The fields of every form that identify the client.
const CLIENT_NAMES: [&str; 3] = ["client_id", "client_secret", "client_assertion"];

/// A type that is read from a form and described in the document by its schema.
pub trait FromForm: Type + Sized {
    /// The parameters that are recognised, besides those of client authentication. All others are ignored
    /// (RFC 6749 §3.2).
    const NAMES: &'static [&'static str];

    fn from_form(form: &mut Form) -> Result<Self, Refused>;
}

/// The value of one recognised parameter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Value {
    #[default]
    Nothing,
    /// Empty counts as omitted (RFC 6749 §3.2), except that a second one is a repetition.
    Empty,
    Once(String),
    Repeated,
}

/// The recognised parameters of a form. Values may be secret: it has no `Debug`.
pub struct Form {
    names: &'static [&'static str],
    values: Vec<Value>,
}

impl Form {
    /// Reads a body. Rejects invalid percent-encoding and invalid UTF-8 in any parameter (INT-18).
    pub fn parse(names: &'static [&'static str], body: &[u8]) -> Result<Self, Refused> {
        let mut form = Self { names, values: vec![Value::Nothing; names.len() + CLIENT_NAMES.len()] };
        let text = std::str::from_utf8(body).map_err(|_| malformed())?;
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decode(name.as_bytes()).ok_or_else(malformed)?;
            let value = decode(value.as_bytes()).ok_or_else(malformed)?;
            if let Some(place) = form.place(&name) {
                let values = &mut form.values[place];
                *values = match values {
                    Value::Nothing if value.is_empty() => Value::Empty,
                    Value::Nothing => Value::Once(value.into_owned()),
                    _ => Value::Repeated,
                };
            }
        }
        Ok(form)
    }

    /// Rejects recognised parameters in the query that are not in the body, since URLs are logged (INT-08,
    /// TOK-03); a secret is rejected even if the body has it (CLI-09).
    fn refuse_query(&self, query: &str) -> Result<(), Refused> {
        for pair in query.split('&') {
            let name = pair.split_once('=').map_or(pair, |(name, _)| name);
            let Some(name) = decode(name.as_bytes()) else { continue };
            let Some(place) = self.place(&name) else { continue };
            if matches!(self.values[place], Value::Nothing | Value::Empty) || &*name == "client_secret" {
                return Err(Refusal::Invalid { field: self.name(place) }
                    .because("must be in the body, not in the URL"));
            }
        }
        Ok(())
    }

    /// The value of a parameter. An empty one counts as omitted.
    ///
    /// # Errors
    ///
    /// If it is repeated.
    pub fn take(&mut self, name: &'static str) -> Result<Option<String>, Refused> {
        let place = self.place(name).expect("only names that the form recognises are asked for");
        match std::mem::take(&mut self.values[place]) {
            Value::Nothing | Value::Empty => Ok(None),
            Value::Once(value) => Ok(Some(value)),
            Value::Repeated => Err(Refusal::Invalid { field: self.name(place) }.because("is repeated")),
        }
    }

    /// The value of a required parameter.
    ///
    /// # Errors
    ///
    /// If it is missing, empty or repeated.
    pub fn require(&mut self, name: &'static str) -> Result<String, Refused> {
        self.take(name)?.ok_or_else(|| Refusal::Invalid { field: name }.because("is missing"))
    }

    /// Whether a parameter is repeated: for `resource`, whose repetition has its own error (TOK-09).
    pub fn is_repeated(&self, name: &'static str) -> bool {
        self.place(name).is_some_and(|place| self.values[place] == Value::Repeated)
    }

    /// The fields that identify the client.
    fn take_client(&mut self) -> Result<ClientFormFields, Refused> {
        Ok(ClientFormFields {
            id: self.take("client_id")?,
            secret: self
                .take("client_secret")?
                .map(SecretText::new)
                .map(|s| PresentedSecret::new(s.expose())),
            assertion: self.take("client_assertion")?.is_some(),
        })
    }

    /// Rejects a repeated parameter that no endpoint reads.
    fn refuse_repeated(&self) -> Result<(), Refused> {
        let repeated = self.values.iter().position(|values| *values == Value::Repeated);
        repeated
            .map_or(Ok(()), |place| Err(Refusal::Invalid { field: self.name(place) }.because("is repeated")))
    }

    fn place(&self, name: &str) -> Option<usize> {
        self.names.iter().chain(&CLIENT_NAMES).position(|n| *n == name)
    }

    fn name(&self, place: usize) -> &'static str {
        self.names.iter().chain(&CLIENT_NAMES).nth(place).expect("a place of this form")
    }
}

/// An extractor for the form of an endpoint at `/oauth2/*`: its own fields, and those of client
/// authentication.
pub struct OAuthForm<T> {
    /// The fields of the endpoint.
    pub fields: T,
    /// The fields that identify the client; see [`crate::http::request::credentials::merge`].
    pub client: ClientFormFields,
}

impl<T: FromForm> OAuthForm<T> {
    /// The form in the body of a request.
    pub fn of(request: &Request, body: &[u8]) -> std::result::Result<Self, OAuthError> {
        Ok(Self::read(request.content_type(), request.uri().query(), body)?)
    }

    fn read(content_type: Option<&str>, query: Option<&str>, body: &[u8]) -> Result<Self, Refused> {
        if !content_type.is_some_and(|content_type| is_media_type(content_type, FORM)) {
            return Err(
                Refusal::InvalidRequest.because("the Content-Type must be application/x-www-form-urlencoded")
            );
        }
        let mut form = Form::parse(T::NAMES, body)?;
        if let Some(query) = query {
            form.refuse_query(query)?;
        }
        let client = form.take_client()?;
        let fields = T::from_form(&mut form)?;
        form.refuse_repeated()?;
        Ok(Self { fields, client })
    }
}

impl<'a, T: FromForm> ApiExtractor<'a> for OAuthForm<T> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];
    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        T::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        let content = vec![MetaMediaType { content_type: FORM, schema: T::schema_ref() }];
        Some(MetaRequest { description: None, content, required: true })
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _: ExtractParamOptions<()>,
    ) -> Result<Self> {
        let body = body.take()?.into_bytes().await?;
        Ok(Self::of(request, &body)?)
    }
}

fn malformed() -> Refused {
    Refusal::InvalidRequest.because("the form is not percent-encoded UTF-8")
}

#[cfg(test)]
mod tests {
    use poem_openapi::Object;

    use super::*;

    #[derive(Object)]
    struct Introspect {
        token: String,
        token_type_hint: Option<String>,
        resource: Option<String>,
    }

    impl FromForm for Introspect {
        const NAMES: &'static [&'static str] = &["token", "token_type_hint", "resource", "unread"];
        fn from_form(form: &mut Form) -> Result<Self, Refused> {
            if form.is_repeated("resource") {
                return Err(Refusal::InvalidTarget.because("one resource"));
            }
            Ok(Self {
                token: form.require("token")?,
                token_type_hint: form.take("token_type_hint")?,
                resource: form.take("resource")?,
            })
        }
    }

    fn read(body: &str) -> Result<Introspect, Refusal> {
        read_all(Some(FORM), None, body.as_bytes()).map(|form| form.fields)
    }

    fn read_all(
        content_type: Option<&str>,
        query: Option<&str>,
        body: &[u8],
    ) -> Result<OAuthForm<Introspect>, Refusal> {
        OAuthForm::read(content_type, query, body).map_err(|refused| refused.refusal)
    }

    fn refused(result: Result<Introspect, Refusal>) -> Refusal {
        result.err().expect("it should be refused")
    }

    #[test]
    fn a_form_is_read_whatever_else_is_in_it_int_15_int_16() {
        let form = read("foo=1&token=a%20b+c%2B%C5%BC&foo=2&=&resource=r").unwrap();
        assert_eq!((form.token.as_str(), form.resource.as_deref()), ("a b c+ż", Some("r")));
        assert_eq!(form.token_type_hint, None);
    }

    #[test]
    fn nothing_is_trimmed_and_any_octet_of_utf_8_is_a_value_int_20() {
        assert_eq!(read("token=%20%00%27--%F0%9F%90%A2+").unwrap().token, " \0'--🐢 ");
        assert_eq!(read("token=a=b").unwrap().token, "a=b");
        assert_eq!(read("t%6Fken=a").unwrap().token, "a", "a name is encoded like a value");
    }

    #[test]
    fn the_content_type_is_compared_without_case_and_parameters_int_02_to_int_07() {
        let with = |content_type| read_all(content_type, None, b"token=a").map(|form| form.fields.token);
        assert_eq!(with(Some("Application/X-WWW-Form-URLencoded; charset=UTF-8")), Ok("a".to_owned()));
        for wrong in [
            None,
            Some("application/json"),
            Some("multipart/form-data; boundary=x"),
            Some("application/x-www-form-urlencodedx"),
            Some(""),
        ] {
            assert_eq!(with(wrong), Err(Refusal::InvalidRequest), "{wrong:?}");
        }
    }

    #[test]
    fn a_missing_an_empty_and_a_misspelt_token_are_refused_int_10_int_11_int_17() {
        for body in ["", "foo=1", "token=", "token", "Token=a", "token_type_hint=access_token"] {
            assert_eq!(refused(read(body)), Refusal::Invalid { field: "token" }, "{body:?}");
        }
    }

    #[test]
    fn a_recognised_parameter_given_twice_is_refused_even_if_equal_or_empty_int_12_to_int_14() {
        for body in ["token=a&token=a", "token=&token=a", "token=a&token=", "token&t%6fken=a"] {
            assert_eq!(refused(read(body)), Refusal::Invalid { field: "token" }, "{body:?}");
        }
        assert_eq!(
            refused(read("token=a&token_type_hint=x&token_type_hint=y")),
            Refusal::Invalid { field: "token_type_hint" }
        );
        assert_eq!(refused(read("token=a&unread=x&unread=y")), Refusal::Invalid { field: "unread" });
        assert_eq!(refused(read("token=a&client_id=x&client_id=x")), Refusal::Invalid { field: "client_id" });
        assert_eq!(
            refused(read("token=a&client_assertion=&client_assertion=")),
            Refusal::Invalid { field: "client_assertion" }
        );
    }

    #[test]
    fn a_repeated_resource_has_an_answer_of_its_own_tok_09() {
        assert_eq!(refused(read("token=a&resource=x&resource=y")), Refusal::InvalidTarget);
    }

    #[test]
    fn bad_encoding_anywhere_is_refused_int_18() {
        for body in
            ["token=%GG", "token=%", "token=%4", "token=%ff", "token=a&foo=%zz", "%ff=1&token=a", "token=%+1"]
        {
            assert_eq!(refused(read(body)), Refusal::InvalidRequest, "{body:?}");
        }
        assert_eq!(read_all(Some(FORM), None, b"token=\xff").err(), Some(Refusal::InvalidRequest));
    }

    #[test]
    fn what_belongs_into_the_body_is_refused_in_the_query_int_08_cli_09() {
        let with = |query, body: &str| {
            read_all(Some(FORM), Some(query), body.as_bytes()).map(|form| form.fields.token)
        };
        assert_eq!(with("token=a", ""), Err(Refusal::Invalid { field: "token" }));
        assert_eq!(with("token_type_hint=x", "token=a"), Err(Refusal::Invalid { field: "token_type_hint" }));
        assert_eq!(
            with("client_secret=s", "token=a&client_secret=s"),
            Err(Refusal::Invalid { field: "client_secret" })
        );
        assert_eq!(with("client_id=s", "token=a"), Err(Refusal::Invalid { field: "client_id" }));
        assert_eq!(with("token=b&foo=%GG", "token=a"), Ok("a".to_owned()), "the query is not read");
    }

    #[test]
    fn the_clients_fields_are_read_beside_those_of_the_endpoint() {
        let secret = "kfc_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        let body = format!("token=a&client_id=app&client_secret={}", secret.replace('_', "%5F"));
        let client = read_all(Some(FORM), None, body.as_bytes()).ok().unwrap().client;
        assert_eq!(client.id.as_deref(), Some("app"));
        assert!(client.secret == Some(PresentedSecret::new(secret)) && client.secret.unwrap().0.is_some());
        assert!(!client.assertion);
    }
}
