//! What a request presents to say who calls. Reading it never fails: what it is worth is the engine's to
//! judge.

use std::fmt;
use std::marker::PhantomData;

use base64ct::{Base64, Encoding};
use poem::http::{HeaderMap, header};
use poem::{Request, RequestBody, Result};
use poem_openapi::registry::{MetaSecurityScheme, Registry};
use poem_openapi::{ApiExtractor, ApiExtractorType, ExtractParamOptions};
use zeroize::Zeroizing;

use crate::domain::refusal::{Refusal, Refused};
use crate::engine::authenticate;
use crate::http::request::urlencoded::decode;

/// A secret as it was presented: a client's secret or a token. Erased when dropped; `Debug` shows nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Keeps `secret` from being shown.
    pub fn new(secret: String) -> Self {
        Self(Zeroizing::new(secret))
    }

    /// The secret itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// What the `Authorization` header presents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Presented {
    /// There is none.
    Nothing,
    /// HTTP Basic, both parts form-decoded (RFC 6749 §2.3.1).
    Basic {
        /// The client's name, of any form.
        id: String,
        /// Its secret, of any form.
        secret: Secret,
    },
    /// HTTP Basic that does not decode.
    MalformedBasic,
    /// A bearer token, of any form.
    Bearer(Secret),
    /// Several headers.
    Several,
    /// A scheme that we do not know.
    OtherScheme,
}

impl Presented {
    /// Reads the headers of a request.
    pub fn read(headers: &HeaderMap) -> Self {
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let Some(value) = values.next() else { return Self::Nothing };
        if values.next().is_some() {
            return Self::Several;
        }
        let Ok(value) = value.to_str() else { return Self::OtherScheme };
        let (scheme, rest) = value.trim().split_once(' ').unwrap_or((value.trim(), ""));
        if scheme.eq_ignore_ascii_case("basic") {
            basic(rest.trim_start()).unwrap_or(Self::MalformedBasic)
        } else if scheme.eq_ignore_ascii_case("bearer") {
            Self::Bearer(Secret::new(rest.trim_start().to_owned()))
        } else {
            Self::OtherScheme
        }
    }
}

/// The first colon separates; each part is form-decoded after that, so that either may hold a colon (CLI-01
/// to CLI-04).
fn basic(encoded: &str) -> Option<Presented> {
    let joined = Zeroizing::new(Base64::decode_vec(encoded).ok()?);
    let colon = joined.iter().position(|b| *b == b':')?;
    let id = decode(&joined[..colon])?.into_owned();
    let secret = Secret::new(decode(&joined[colon + 1..])?.into_owned());
    Some(Presented::Basic { id, secret })
}

/// What a form says about the client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientFields {
    /// `client_id`.
    pub id: Option<String>,
    /// `client_secret`.
    pub secret: Option<Secret>,
    /// Whether there is a `client_assertion` (RFC 7523), which we do not serve.
    pub assertion: bool,
}

/// Who calls, as header and form together say it, still unproven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// Nobody in particular.
    Nothing,
    /// A client by its name alone, as public clients do.
    Name(String),
    /// A client by its secret.
    Secret {
        /// Its name, of any form.
        id: String,
        /// Its secret, of any form.
        secret: Secret,
    },
    /// Whoever a token was issued to.
    Bearer(Secret),
}

impl Credentials {
    /// The same, as the engine asks for them.
    pub fn as_engine(&self) -> authenticate::PresentedCredentials<'_> {
        match self {
            Self::Nothing => authenticate::PresentedCredentials::None,
            Self::Name(id) => authenticate::PresentedCredentials::Name(id),
            Self::Secret { id, secret } => {
                authenticate::PresentedCredentials::Secret { id, secret: secret.expose() }
            }
            Self::Bearer(token) => authenticate::PresentedCredentials::Bearer(token.expose()),
        }
    }

    /// Whether it is a bearer token.
    pub fn is_bearer(&self) -> bool {
        matches!(self, Self::Bearer(_))
    }
}

/// Header and form together, or why they do not go together: a client uses one method (RFC 6749 §2.3; CLI-10,
/// CLI-11, INT-38 to INT-40, C-07).
pub fn merge(presented: Presented, form: ClientFields) -> Result<Credentials, Refused> {
    let invalid = |why: &'static str| Err(Refusal::InvalidRequest.because(why));
    if presented == Presented::Several {
        return invalid("more than one Authorization header");
    }
    let methods = usize::from(presented != Presented::Nothing)
        + usize::from(form.secret.is_some())
        + usize::from(form.assertion);
    if methods > 1 {
        return invalid("authenticate in one way: by HTTP Basic, by client_secret or by a bearer token");
    }
    if form.assertion {
        return Err(Refusal::InvalidClient.because("client_assertion is not served"));
    }
    match (presented, form.id, form.secret) {
        (Presented::Basic { id, .. }, Some(other), _) if id != other => {
            invalid("client_id is not the client of the Authorization header")
        }
        (Presented::Basic { id, secret }, ..) => Ok(Credentials::Secret { id, secret }),
        (Presented::MalformedBasic, ..) => {
            Err(Refusal::InvalidClient.because("the Basic credentials do not decode"))
        }
        (Presented::OtherScheme, ..) => {
            Err(Refusal::InvalidClient.because("the Authorization scheme is not one of ours"))
        }
        (Presented::Bearer(_), Some(_), _) => invalid("a bearer token says who calls: leave client_id out"),
        (Presented::Bearer(token), None, _) => Ok(Credentials::Bearer(token)),
        (Presented::Nothing | Presented::Several, Some(id), Some(secret)) => {
            Ok(Credentials::Secret { id, secret })
        }
        (Presented::Nothing | Presented::Several, Some(id), None) => Ok(Credentials::Name(id)),
        (Presented::Nothing | Presented::Several, None, Some(_)) => {
            invalid("client_secret without client_id")
        }
        (Presented::Nothing | Presented::Several, None, None) => Ok(Credentials::Nothing),
    }
}

/// The security schemes that an endpoint documents. What it accepts is decided where the credentials are
/// judged.
pub trait Schemes: Send + Sync + 'static {
    /// Their names, each enough by itself.
    const NAMES: &'static [&'static str];
    /// Whether a request without them may do (credentials in the form, or none).
    const OPTIONAL: bool;
}

/// HTTP Basic, or the form's fields.
pub struct BasicOrForm;
impl Schemes for BasicOrForm {
    const NAMES: &'static [&'static str] = &["basic"];
    const OPTIONAL: bool = true;
}

/// HTTP Basic, the form's fields, or a bearer token.
pub struct BasicFormOrBearer;
impl Schemes for BasicFormOrBearer {
    const NAMES: &'static [&'static str] = &["basic", "bearer"];
    const OPTIONAL: bool = true;
}

/// HTTP Basic or a bearer token: the management routes.
pub struct BasicOrBearer;
impl Schemes for BasicOrBearer {
    const NAMES: &'static [&'static str] = &["basic", "bearer"];
    const OPTIONAL: bool = false;
}

/// The session cookie, or a bearer token: the routes for the signed-in themselves.
pub struct CookieOrBearer;
impl Schemes for CookieOrBearer {
    const NAMES: &'static [&'static str] = &["cookie", "bearer"];
    const OPTIONAL: bool = false;
}

/// An extractor for what the `Authorization` header presents. Never fails; documents the schemes `S`.
pub struct Authorization<S> {
    /// What it presents.
    pub presented: Presented,
    schemes: PhantomData<S>,
}

impl<S> Authorization<S> {
    /// What a request presents.
    pub fn of(request: &Request) -> Self {
        Self { presented: Presented::read(request.headers()), schemes: PhantomData }
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
    ) -> Result<Self> {
        Ok(Self::of(request))
    }
}

/// The name by which the document calls the session cookie; [`crate::http::document`] puts the configured one in
/// its place.
pub const COOKIE_NAME: &str = "__Host-keyfob";

fn scheme(name: &str) -> MetaSecurityScheme {
    let (ty, scheme, description) = match name {
        "basic" => (
            "http",
            Some("basic"),
            "A client's name and secret. The administrator's are in `admin.json` beside the store.",
        ),
        "bearer" => (
            "http",
            Some("bearer"),
            "A client's own access token for the issuer, as `client_credentials` gives it; at the routes for people, and only there, a session token \
             or a person's access token.",
        ),
        _ => (
            "apiKey",
            None,
            "The session cookie. Browsers send it by themselves; a page like this one cannot set it.",
        ),
    };
    MetaSecurityScheme {
        ty,
        description: Some(description),
        name: scheme.is_none().then_some(COOKIE_NAME),
        key_in: scheme.is_none().then_some("cookie"),
        scheme,
        bearer_format: None,
        flows: None,
        openid_connect_url: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn presented(values: &[&str]) -> Presented {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::AUTHORIZATION, value.parse().unwrap());
        }
        Presented::read(&headers)
    }

    fn basic_of(joined: &[u8]) -> Presented {
        presented(&[&format!("Basic {}", Base64::encode_string(joined))])
    }

    fn basic(id: &str, secret: &str) -> Presented {
        Presented::Basic { id: id.to_owned(), secret: Secret::new(secret.to_owned()) }
    }

    fn fields(id: Option<&str>, secret: Option<&str>) -> ClientFields {
        ClientFields {
            id: id.map(str::to_owned),
            secret: secret.map(|s| Secret::new(s.to_owned())),
            assertion: false,
        }
    }

    fn refusal(presented: Presented, form: ClientFields) -> Option<Refusal> {
        merge(presented, form).err().map(|refused| refused.refusal)
    }

    /// CLI-01, CLI-02, CLI-03, CLI-04.
    #[test]
    fn basic_is_split_at_the_first_colon_and_then_form_decoded() {
        assert_eq!(basic_of(b"app:secret"), basic("app", "secret"));
        assert_eq!(basic_of(b"a%3Ab:p%2Bq%25r"), basic("a:b", "p+q%r"));
        assert_eq!(basic_of(b"app:a+b%20c:d"), basic("app", "a b c:d"));
        assert_eq!(basic_of(b"a%5Fb:kfc%5Fx"), basic("a_b", "kfc_x"));
        assert_eq!(basic_of(b"app:"), basic("app", ""));
    }

    #[test]
    fn the_scheme_is_compared_without_case_cli_05_ber_01() {
        assert_eq!(presented(&["bAsIc YTpi"]), basic("a", "b"));
        assert_eq!(presented(&["BEARER  v4.public.x"]), Presented::Bearer(Secret::new("v4.public.x".into())));
    }

    #[test]
    fn basic_that_does_not_decode_is_told_apart_and_is_an_invalid_client_cli_06() {
        for malformed in [&b"no colon"[..], b"a%GG:b", b"a:%f", b"a:\xff", b"\xff:b"] {
            assert_eq!(basic_of(malformed), Presented::MalformedBasic);
        }
        for malformed in
            ["Basic", "Basic ", "Basic !!!", "Basic YTpi YTpi", "Basic YTpi, Bearer x", "Basic YTpiYQ"]
        {
            assert_eq!(presented(&[malformed]), Presented::MalformedBasic, "{malformed}");
        }
        assert_eq!(refusal(Presented::MalformedBasic, fields(None, None)), Some(Refusal::InvalidClient));
    }

    #[test]
    fn two_headers_are_refused_int_39() {
        assert_eq!(presented(&["Basic YTpi", "Basic YTpi"]), Presented::Several);
        assert_eq!(refusal(Presented::Several, fields(None, None)), Some(Refusal::InvalidRequest));
    }

    #[test]
    fn two_ways_of_authenticating_are_refused_cli_10_int_38_int_40() {
        let bearer = || Presented::Bearer(Secret::new("t".into()));
        let assertion = || ClientFields { assertion: true, ..ClientFields::default() };
        assert_eq!(refusal(basic("a", "s"), fields(None, Some("s"))), Some(Refusal::InvalidRequest));
        assert_eq!(refusal(basic("a", "s"), fields(Some("a"), Some("s"))), Some(Refusal::InvalidRequest));
        assert_eq!(refusal(basic("a", "s"), assertion()), Some(Refusal::InvalidRequest));
        assert_eq!(refusal(bearer(), assertion()), Some(Refusal::InvalidRequest));
        assert_eq!(refusal(bearer(), fields(None, Some("s"))), Some(Refusal::InvalidRequest));
        assert_eq!(refusal(bearer(), fields(Some("a"), None)), Some(Refusal::InvalidRequest));
        assert_eq!(
            refusal(Presented::Nothing, ClientFields { assertion: true, ..fields(Some("a"), Some("s")) }),
            Some(Refusal::InvalidRequest)
        );
        assert_eq!(
            refusal(Presented::OtherScheme, fields(Some("a"), Some("s"))),
            Some(Refusal::InvalidRequest)
        );
    }

    #[test]
    fn a_client_id_beside_basic_must_be_the_same_cli_11() {
        assert_eq!(refusal(basic("a", "s"), fields(Some("b"), None)), Some(Refusal::InvalidRequest));
        let same = merge(basic("a", "s"), fields(Some("a"), None));
        assert_eq!(same, Ok(Credentials::Secret { id: "a".into(), secret: Secret::new("s".into()) }));
    }

    #[test]
    fn one_way_is_what_it_is_cli_08_cli_12() {
        let merged = |presented, form| merge(presented, form).unwrap();
        let secret = Credentials::Secret { id: "a".into(), secret: Secret::new("s".into()) };
        assert_eq!(merged(basic("a", "s"), fields(None, None)), secret);
        assert_eq!(merged(Presented::Nothing, fields(Some("a"), Some("s"))), secret);
        assert_eq!(merged(Presented::Nothing, fields(Some("a"), None)), Credentials::Name("a".into()));
        assert_eq!(merged(Presented::Nothing, fields(None, None)), Credentials::Nothing);
        assert!(merged(Presented::Bearer(Secret::new("t".into())), fields(None, None)).is_bearer());
        assert_eq!(refusal(Presented::Nothing, fields(None, Some("s"))), Some(Refusal::InvalidRequest));
        assert_eq!(refusal(Presented::OtherScheme, fields(None, None)), Some(Refusal::InvalidClient));
        let assertion = ClientFields { assertion: true, ..fields(Some("a"), None) };
        assert_eq!(refusal(Presented::Nothing, assertion), Some(Refusal::InvalidClient));
    }

    #[test]
    fn no_secret_is_ever_shown() {
        let shown = format!("{:?} {:?}", basic_of(b"app:hunter2"), presented(&["Bearer hunter2"]));
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
