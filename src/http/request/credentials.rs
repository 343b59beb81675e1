//! The credentials of a request, from its `Authorization` header and its form. They are read here and checked
//! by the engine.

use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError};

use base64ct::{Base64, Encoding};
use poem::http::{HeaderMap, HeaderValue, StatusCode, header};
use poem::{Request, RequestBody};
use poem_openapi::registry::{MetaSecurityScheme, Registry};
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};
use zeroize::Zeroizing;

use crate::domain::caller::{Granted, Needs};
use crate::domain::console::CONSOLE_COOKIE_NAME;
use crate::domain::refusal::{Refusal, Refused};
use crate::engine::Engine;
use crate::engine::authenticate::{Authenticated, PresentedCredentials, Source};
use crate::http::net::channel::Channel;
use crate::http::net::peer::Peer;
use crate::http::request::console_cookie::ConsoleToken;
use crate::http::request::origin::is_same_origin;
use crate::http::request::urlencoded::decode;
use crate::http::response::error::Problem;
use crate::store::Store;
use crate::token::client_secret::PresentedSecret;
use crate::token::opaque::SecretText;
use crate::token::text_names::TextNames;

/// The `Authorization` header of a request.
#[derive(Clone, Debug)]
#[cfg_attr(test, derive(PartialEq, Eq))]
pub enum AuthorizationHeader {
    Absent,
    /// HTTP Basic, both parts form-decoded (RFC 6749 §2.3.1).
    Basic {
        /// The client identifier, not checked.
        id: Arc<str>,
        /// The client secret, not checked; `None` if it is empty.
        secret: Option<PresentedSecret>,
    },
    /// HTTP Basic that cannot be decoded.
    MalformedBasic,
    /// A bearer token, not checked.
    Bearer(SecretText),
    /// More than one header.
    Repeated,
    OtherScheme,
}

impl AuthorizationHeader {
    /// Reads the headers of a request.
    pub fn read(headers: &HeaderMap) -> Self {
        match only(headers) {
            Ok(value) => Self::parse(value),
            Err(without) => without,
        }
    }

    fn parse(value: &HeaderValue) -> Self {
        let Ok(value) = value.to_str() else { return Self::OtherScheme };
        let (scheme, rest) = value.trim().split_once(' ').unwrap_or((value.trim(), ""));
        if scheme.eq_ignore_ascii_case("basic") {
            let Some((id, secret)) = basic(rest.trim_start()) else { return Self::MalformedBasic };
            let secret = secret.expose();
            Self::Basic { id, secret: (!secret.is_empty()).then(|| PresentedSecret::new(secret)) }
        } else if scheme.eq_ignore_ascii_case("bearer") {
            Self::Bearer(SecretText::new(rest.trim_start().to_owned()))
        } else {
            Self::OtherScheme
        }
    }
}

/// The value of the one `Authorization` header.
fn only(headers: &HeaderMap) -> Result<&HeaderValue, AuthorizationHeader> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    match (values.next(), values.next()) {
        (None, _) => Err(AuthorizationHeader::Absent),
        (Some(value), None) => Ok(value),
        (Some(_), Some(_)) => Err(AuthorizationHeader::Repeated),
    }
}

/// The last Basic credentials of a connection. Most clients send the same ones with every request, and
/// decoding and hashing them costs a seventh of an introspection. Only that is saved: they are checked each
/// time. The header is known again by its name, so that no secret is kept.
pub struct LastCredentials {
    names: TextNames,
    last: Mutex<Option<(u128, AuthorizationHeader)>>,
}

impl LastCredentials {
    /// The longest header whose identifier is kept, in bytes.
    const BYTES_MAX: usize = 256;

    /// None yet.
    pub fn new(names: TextNames) -> Self {
        Self { names, last: Mutex::new(None) }
    }

    /// As [`AuthorizationHeader::read`].
    pub fn read(&self, headers: &HeaderMap) -> AuthorizationHeader {
        let value = match only(headers) {
            Ok(value) => value,
            Err(without) => return without,
        };
        let name = self.names.of(value.as_bytes());
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, header)) = &*last
            && *known == name
        {
            return header.clone();
        }
        let header = AuthorizationHeader::parse(value);
        if matches!(header, AuthorizationHeader::Basic { .. }) && value.len() <= Self::BYTES_MAX {
            *last = Some((name, header.clone()));
        }
        header
    }
}

/// Splits at the first colon, then form-decodes both parts, so that both may contain a colon (CLI-01 to
/// CLI-04).
fn basic(encoded: &str) -> Option<(Arc<str>, SecretText)> {
    let joined = Zeroizing::new(Base64::decode_vec(encoded).ok()?);
    let colon = joined.iter().position(|b| *b == b':')?;
    let id = decode(&joined[..colon])?.into();
    Some((id, SecretText::new(decode(&joined[colon + 1..])?.into_owned())))
}

/// The fields of a form that identify the client.
#[derive(Debug, Default)]
pub struct ClientFormFields {
    /// `client_id`.
    pub id: Option<String>,
    /// `client_secret`.
    pub secret: Option<PresentedSecret>,
    /// Whether there is a `client_assertion` (RFC 7523), which is not supported.
    pub assertion: bool,
}

/// The credentials of header and form, not yet checked. A client must use one method only (RFC 6749 §2.3;
/// CLI-10, CLI-11, INT-38 to INT-40, C-07).
pub fn merge<'c>(
    header: &'c AuthorizationHeader,
    form: &'c ClientFormFields,
) -> Result<PresentedCredentials<'c>, Refused> {
    use AuthorizationHeader as Header;
    let invalid = |why: &'static str| Err(Refusal::InvalidRequest.because(why));
    let invalid_client = |why: &'static str| Err(Refusal::InvalidClient.because(why));
    if matches!(header, Header::Repeated) {
        return invalid("more than one Authorization header");
    }
    let methods = [!matches!(header, Header::Absent), form.secret.is_some(), form.assertion];
    if methods.into_iter().filter(|is_used| *is_used).count() > 1 {
        return invalid("use one authentication method: HTTP Basic, client_secret or a bearer token");
    }
    if form.assertion {
        return invalid_client("client_assertion is not supported");
    }
    match (header, form.id.as_deref(), form.secret) {
        (Header::Basic { id, .. }, Some(other), _) if **id != *other => {
            invalid("client_id differs from the client of the Authorization header")
        }
        // The secret of a public client is empty or absent (RFC 6749 §2.3.1).
        (Header::Basic { id, secret: None }, ..) => Ok(PresentedCredentials::Name(id)),
        (Header::Basic { id, secret: Some(secret) }, ..) => {
            Ok(PresentedCredentials::Secret { id, secret: *secret })
        }
        (Header::MalformedBasic, ..) => Ok(PresentedCredentials::Malformed),
        (Header::OtherScheme, ..) => invalid_client("the Authorization scheme must be Basic or Bearer"),
        (Header::Bearer(_), Some(_), _) => invalid("a bearer token identifies the client: omit client_id"),
        (Header::Bearer(token), None, _) => Ok(PresentedCredentials::Bearer(token.expose())),
        (_, Some(id), Some(secret)) => Ok(PresentedCredentials::Secret { id, secret }),
        (_, Some(id), None) => Ok(PresentedCredentials::Name(id)),
        (_, None, Some(_)) => invalid("client_secret without client_id"),
        (_, None, None) => Ok(PresentedCredentials::None),
    }
}

/// The source of a request: address and channel.
pub fn source_of(request: &Request) -> Source {
    let admin_socket = request.extensions().get() == Some(&Channel::AdminSocket);
    Source { address: Peer::of(request).0, admin_socket }
}

/// The security schemes that an endpoint documents. Which credentials it accepts is decided in the engine.
pub trait Schemes: Send + Sync + 'static {
    const NAMES: &'static [&'static str] = &["basic", "bearer"];
    /// Whether the credentials may also be in the form, or absent.
    const OPTIONAL: bool = false;
    /// Whether the cookie of the operator's console is one of them.
    const CONSOLE: bool = false;
}

/// The schemes of the routes at `/v1` that a caller manages by.
pub trait CallerSchemes: Schemes {}

/// HTTP Basic, or the form's fields.
pub struct BasicOrForm;
impl Schemes for BasicOrForm {
    const NAMES: &'static [&'static str] = &["basic"];
    const OPTIONAL: bool = true;
}

/// HTTP Basic, the form's fields, or a bearer token.
pub struct BasicFormOrBearer;
impl Schemes for BasicFormOrBearer {
    const OPTIONAL: bool = true;
}

/// HTTP Basic or a bearer token.
pub struct BasicOrBearer;
impl Schemes for BasicOrBearer {}
impl CallerSchemes for BasicOrBearer {}

/// The same, or the cookie of the operator's console: the routes that its pages use.
pub struct Management;
impl Schemes for Management {
    const NAMES: &'static [&'static str] = &["basic", "bearer", "console"];
    const CONSOLE: bool = true;
}
impl CallerSchemes for Management {}

/// The session cookie or a bearer token: the routes for people.
pub struct CookieOrBearer;
impl Schemes for CookieOrBearer {
    const NAMES: &'static [&'static str] = &["cookie", "bearer"];
}

/// An extractor for the `Authorization` header and the source of a request. It never fails, and documents the
/// schemes `S`.
pub struct Authorization<S> {
    pub header: AuthorizationHeader,
    /// Where the request came from.
    pub source: Source,
    /// The console's cookie, where the schemes have it and the request has no `Authorization`.
    console: Option<Box<ConsoleToken>>,
    /// Whether a page of our own sent the request without credentials.
    by_own_page: bool,
    schemes: PhantomData<S>,
}

impl<S: Schemes> Authorization<S> {
    /// As the extractor reads it, with the `last` credentials of the connection.
    pub fn of(request: &Request, last: &LastCredentials) -> Self {
        let header = last.read(request.headers());
        Self::new(request, header)
    }

    fn new(request: &Request, header: AuthorizationHeader) -> Self {
        let may_be_page = S::CONSOLE && matches!(header, AuthorizationHeader::Absent);
        let console = if may_be_page { ConsoleToken::of(request).map(Box::new) } else { None };
        let by_own_page = may_be_page && console.is_none() && is_same_origin(request.headers());
        Self { header, source: source_of(request), console, by_own_page, schemes: PhantomData }
    }
}

impl<S: CallerSchemes> Authorization<S> {
    /// The caller of a route at `/v1`, with the permission that the use case needs: a client by Basic or by
    /// its own bearer token, the admin socket, or an operator where the schemes have the console. Both are
    /// checked before the rest of the request.
    pub async fn caller<St: Store, P: Needs>(&self, engine: &Engine<St>) -> Result<Granted<P>, Problem> {
        Ok(self.authenticate(engine).await?.require()?)
    }

    /// The same for a route whose permission depends on the request.
    pub async fn authenticate<St: Store>(&self, engine: &Engine<St>) -> Result<Authenticated, Problem> {
        let form = ClientFormFields::default();
        let credentials = match (&self.console, self.source.admin_socket) {
            (Some(console), false) => console.credentials(),
            // Browsers would ask the operator for a password if the challenge were Basic.
            (None, false) if self.by_own_page => return Err(not_at_the_console()),
            _ => merge(&self.header, &form)?,
        };
        Ok(engine.authenticate(credentials, self.source).await?)
    }
}

impl<'a, S: Schemes> ApiExtractor<'a> for Authorization<S> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::SecurityScheme];
    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        for name in S::NAMES {
            registry.create_security_scheme(name, scheme(name));
        }
    }

    fn security_schemes() -> Vec<&'static str> {
        S::NAMES.to_vec()
    }

    fn has_security_fallback() -> bool {
        S::OPTIONAL
    }

    async fn from_request(
        request: &'a Request,
        _: &mut RequestBody,
        _: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        Ok(Self::new(request, AuthorizationHeader::read(request.headers())))
    }
}

/// The 401 for a page without a session of the console.
pub fn not_at_the_console() -> Problem {
    Problem::challenged(StatusCode::UNAUTHORIZED, "no session of the console: run `keyfob console`", &[])
}

/// The name of the session cookie in the generated document, which is replaced by the configured one.
pub const COOKIE_NAME: &str = "__Host-keyfob";

fn scheme(name: &'static str) -> MetaSecurityScheme {
    let description = match name {
        "basic" => {
            "A client identifier and its secret. Those of the administrator are in `admin.json` beside the \
             store."
        }
        "bearer" => {
            "A client's own access token for the issuer, as `client_credentials` gives it; at the routes for \
             people, and only there, a session token or an access token of a subject."
        }
        "console" => {
            "The cookie of the operator's console, which only its own pages can use. A change needs the role \
             `admin` and a link that is at most five minutes old."
        }
        _ => "The session cookie. Browsers send it by themselves; a page like this one cannot set it.",
    };
    let cookie_name = match name {
        "cookie" => Some(COOKIE_NAME),
        "console" => Some(CONSOLE_COOKIE_NAME),
        _ => None,
    };
    let is_cookie = cookie_name.is_some();
    MetaSecurityScheme {
        ty: if is_cookie { "apiKey" } else { "http" },
        description: Some(description),
        name: cookie_name,
        key_in: is_cookie.then_some("cookie"),
        scheme: (!is_cookie).then_some(name),
        bearer_format: None,
        flows: None,
        openid_connect_url: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn presented(values: &[&str]) -> AuthorizationHeader {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::AUTHORIZATION, value.parse().unwrap());
        }
        AuthorizationHeader::read(&headers)
    }

    fn basic_of(joined: &[u8]) -> AuthorizationHeader {
        presented(&[&format!("Basic {}", Base64::encode_string(joined))])
    }

    fn decoded(joined: &[u8]) -> Option<(String, String)> {
        let (id, secret) = super::basic(&Base64::encode_string(joined))?;
        Some((id.to_string(), secret.expose().to_owned()))
    }

    fn basic(id: &str, secret: &str) -> AuthorizationHeader {
        basic_of(format!("{id}:{secret}").as_bytes())
    }

    const VALID: &str = "kfc_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

    fn secret() -> PresentedCredentials<'static> {
        PresentedCredentials::Secret { id: "a", secret: PresentedSecret::new(VALID) }
    }

    const NAME: PresentedCredentials = PresentedCredentials::Name("a");

    fn fields(id: Option<&str>, secret: Option<&str>) -> ClientFormFields {
        ClientFormFields {
            id: id.map(str::to_owned),
            secret: secret.map(PresentedSecret::new),
            assertion: false,
        }
    }

    fn refusal(presented: AuthorizationHeader, form: ClientFormFields) -> Option<Refusal> {
        merge(&presented, &form).err().map(|refused| refused.refusal)
    }

    /// CLI-01, CLI-02, CLI-03, CLI-04.
    #[test]
    fn basic_is_split_at_the_first_colon_and_then_form_decoded() {
        let is = |id: &str, secret: &str| Some((id.to_owned(), secret.to_owned()));
        assert_eq!(decoded(b"app:secret"), is("app", "secret"));
        assert_eq!(decoded(b"a%3Ab:p%2Bq%25r"), is("a:b", "p+q%r"));
        assert_eq!(decoded(b"app:a+b%20c:d"), is("app", "a b c:d"));
        assert_eq!(decoded(b"a%5Fb:kfc%5Fx"), is("a_b", "kfc_x"));
        assert_eq!(decoded(b"app:"), is("app", ""));
        assert_eq!(basic("app", ""), AuthorizationHeader::Basic { id: "app".into(), secret: None });
    }

    #[test]
    fn the_scheme_is_compared_without_case_cli_05_ber_01() {
        assert_eq!(presented(&["bAsIc YTpi"]), basic("a", "b"));
        assert_eq!(
            presented(&["BEARER  v4.public.x"]),
            AuthorizationHeader::Bearer(SecretText::new("v4.public.x".into()))
        );
    }

    #[test]
    fn basic_that_does_not_decode_is_an_invalid_client_cli_06() {
        for malformed in [&b"no colon"[..], b"a%GG:b", b"a:%f", b"a:\xff", b"\xff:b"] {
            assert_eq!(basic_of(malformed), AuthorizationHeader::MalformedBasic);
        }
        for malformed in
            ["Basic", "Basic ", "Basic !!!", "Basic YTpi YTpi", "Basic YTpi, Bearer x", "Basic YTpiYQ"]
        {
            assert_eq!(presented(&[malformed]), AuthorizationHeader::MalformedBasic, "{malformed}");
        }
        let malformed = merge(&AuthorizationHeader::MalformedBasic, &fields(None, None))
            == Ok(PresentedCredentials::Malformed);
        assert!(malformed);
    }

    #[test]
    fn two_headers_are_refused_int_39() {
        assert_eq!(presented(&["Basic YTpi", "Basic YTpi"]), AuthorizationHeader::Repeated);
        assert_eq!(refusal(AuthorizationHeader::Repeated, fields(None, None)), Some(Refusal::InvalidRequest));
    }

    #[test]
    fn two_ways_of_authenticating_are_refused_cli_10_int_38_int_40() {
        let bearer = || AuthorizationHeader::Bearer(SecretText::new("t".into()));
        let assertion = || ClientFormFields { assertion: true, ..ClientFormFields::default() };
        assert_eq!(refusal(basic("a", "s"), fields(None, Some("s"))), Some(Refusal::InvalidRequest));
        assert_eq!(refusal(basic("a", "s"), fields(Some("a"), Some("s"))), Some(Refusal::InvalidRequest));
        assert_eq!(refusal(basic("a", "s"), assertion()), Some(Refusal::InvalidRequest));
        assert_eq!(refusal(bearer(), assertion()), Some(Refusal::InvalidRequest));
        assert_eq!(refusal(bearer(), fields(None, Some("s"))), Some(Refusal::InvalidRequest));
        assert_eq!(refusal(bearer(), fields(Some("a"), None)), Some(Refusal::InvalidRequest));
        assert_eq!(
            refusal(
                AuthorizationHeader::Absent,
                ClientFormFields { assertion: true, ..fields(Some("a"), Some("s")) }
            ),
            Some(Refusal::InvalidRequest)
        );
        assert_eq!(
            refusal(AuthorizationHeader::OtherScheme, fields(Some("a"), Some("s"))),
            Some(Refusal::InvalidRequest)
        );
    }

    #[test]
    fn a_client_id_beside_basic_must_be_the_same_cli_11() {
        assert_eq!(refusal(basic("a", "s"), fields(Some("b"), None)), Some(Refusal::InvalidRequest));
        let same = merge(&basic("a", VALID), &fields(Some("a"), None)) == Ok(secret());
        assert!(same);
    }

    #[test]
    fn one_way_is_what_it_is_cli_08_cli_12() {
        let is = |presented, form, credentials| merge(&presented, &form) == Ok(credentials);
        assert!(is(basic("a", VALID), fields(None, None), secret()));
        assert!(is(AuthorizationHeader::Absent, fields(Some("a"), Some(VALID)), secret()));
        assert!(is(AuthorizationHeader::Absent, fields(Some("a"), None), NAME));
        assert!(is(AuthorizationHeader::Absent, fields(None, None), PresentedCredentials::None));
        let bearer = AuthorizationHeader::Bearer(SecretText::new("t".into()));
        assert!(is(bearer, fields(None, None), PresentedCredentials::Bearer("t")));
        assert_eq!(
            refusal(AuthorizationHeader::Absent, fields(None, Some("s"))),
            Some(Refusal::InvalidRequest)
        );
        assert_eq!(
            refusal(AuthorizationHeader::OtherScheme, fields(None, None)),
            Some(Refusal::InvalidClient)
        );
        let assertion = ClientFormFields { assertion: true, ..fields(Some("a"), None) };
        assert_eq!(refusal(AuthorizationHeader::Absent, assertion), Some(Refusal::InvalidClient));
    }

    /// `golang.org/x/oauth2` tries Basic with an empty password first: it counted as a wrong secret.
    #[test]
    fn basic_with_an_empty_password_is_a_name_alone() {
        assert!(merge(&basic("a", ""), &fields(None, None)) == Ok(NAME));
        assert!(merge(&basic("a", ""), &fields(Some("a"), None)) == Ok(NAME));
        assert_eq!(refusal(basic("a", ""), fields(Some("b"), None)), Some(Refusal::InvalidRequest));
    }

    #[test]
    fn no_secret_is_ever_shown() {
        let shown = format!("{:?} {:?}", basic_of(b"app:hunter2"), presented(&["Bearer hunter2"]));
        assert!(!shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn the_last_credentials_are_only_those_of_the_same_header() {
        let last = LastCredentials::new(TextNames::new(&[7; 16]));
        let read = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::AUTHORIZATION, value.parse().unwrap());
            }
            assert!(last.read(&headers) == AuthorizationHeader::read(&headers), "{values:?}");
        };
        let encoded = |joined: &str| format!("Basic {}", Base64::encode_string(joined.as_bytes()));
        let (ours, other) = (encoded(&format!("a:{VALID}")), encoded("b:kfc_x"));
        let long = encoded(&format!("{}:{VALID}", "a".repeat(LastCredentials::BYTES_MAX)));
        for values in [
            &[&*ours][..],
            &[&*ours],
            &[&*other],
            &[&*ours],
            &[],
            &[&*ours, &*ours],
            &["Bearer x"],
            &[&*long],
        ] {
            read(values);
        }
        let known = last.last.lock().unwrap().as_ref().unwrap().1.clone();
        assert!(known == presented(&[&ours]), "it keeps the last Basic one");
    }
}
