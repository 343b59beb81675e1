//! What is read of a request. Endpoints name this room and not its files.

pub(crate) mod accept;
pub mod admission;
pub(crate) mod console_cookie;
pub mod cookie;
pub(crate) mod credentials;
pub(crate) mod form;
pub(crate) mod formats;
pub(crate) mod head_check;
pub(crate) mod if_match;
pub(crate) mod json;
pub mod limits;
pub mod origin;
pub(crate) mod parameters;
pub(crate) mod query;
pub(crate) mod request_id;
pub(crate) mod session_credential;
pub(crate) mod types;
pub(crate) mod urlencoded;

pub(crate) use self::accept::accepts_gzip;
pub(crate) use self::console_cookie::{CONSOLE_COOKIE, ConsoleToken};
pub(crate) use self::cookie::Cookie;
pub(crate) use self::credentials::{
    Authorization, AuthorizationHeader, BasicFormOrBearer, BasicOrBearer, BasicOrForm, ClientFormFields,
    CookieOrBearer, LastCredentials, Management, Schemes, merge, not_at_the_console, source_of,
};
pub(crate) use self::form::{Form, FromForm, OAuthForm};
pub(crate) use self::formats::{
    AcrValues, Audience, AudienceParameter, GateName, NoteText, PolicyName, RequiredScope, ScopeName,
    SealedCursor, ShortText, UserAgent,
};
pub(crate) use self::if_match::Versions;
pub(crate) use self::json::{JsonBody, OptionalJsonBody, read_body};
pub(crate) use self::origin::{Origins, is_same_origin};
pub(crate) use self::parameters::{Header, PageSize, Path, Query, page_default};
pub(crate) use self::query::names_nothing;
pub(crate) use self::session_credential::SessionCredential;
pub(crate) use self::types::{DateTime, FreeObject, Parsed, RawObject, Text, True, WHOLE_MAX, Whole};
