//! The credential of a person: the session cookie, or a bearer token.

use poem::Request;
use poem::http::{HeaderMap, StatusCode};

use crate::http::request::cookie::Cookie;
use crate::http::request::credentials::AuthorizationHeader;
use crate::http::response::error::Problem;
use crate::token::form::has_form_of_ours;
use crate::token::opaque::SecretText;

/// A session token or an access token, and where the request has it.
pub enum SessionCredential {
    /// Neither a bearer token nor one session cookie.
    None,
    /// In the cookie: a browser adds it to every request.
    Cookie(SecretText),
    Bearer(SecretText),
}

impl SessionCredential {
    /// Reads the request. A bearer token precedes a cookie; Basic, which may be for a proxy, is ignored.
    pub fn read(request: &Request, cookie: &Cookie) -> Result<Self, Problem> {
        match AuthorizationHeader::read(request.headers()) {
            AuthorizationHeader::Repeated => {
                Err(Problem::new(StatusCode::BAD_REQUEST, "more than one Authorization header"))
            }
            AuthorizationHeader::Bearer(token) => Ok(Self::Bearer(token)),
            _ => Ok(Self::of_cookie(request.headers(), cookie)),
        }
    }

    /// The same for a proxy that passes the visitor's headers on: a bearer token without the form of one of
    /// keyfob's is meant for the application, and the cookie counts.
    pub fn read_passed_on(request: &Request, cookie: &Cookie, issuer: &str) -> Result<Self, Problem> {
        Ok(match Self::read(request, cookie)? {
            Self::Bearer(token) if !has_form_of_ours(token.expose(), issuer) => {
                Self::of_cookie(request.headers(), cookie)
            }
            credential => credential,
        })
    }

    fn of_cookie(headers: &HeaderMap, cookie: &Cookie) -> Self {
        cookie.read(headers).map_or(Self::None, |value| Self::Cookie(SecretText::new(value.to_owned())))
    }

    /// The token, not checked.
    pub fn token(&self) -> Option<&str> {
        match self {
            Self::None => None,
            Self::Cookie(token) | Self::Bearer(token) => Some(token.expose()),
        }
    }

    /// The 401 for a valid access token whose audience is not the one that counts here (BER-06).
    pub fn for_another_audience(&self) -> Problem {
        Problem::challenged(
            StatusCode::UNAUTHORIZED,
            "the access token is not valid here: it is for another audience",
            &[("error", "invalid_token")],
        )
    }

    /// The 401 for this credential: without an error code if there is none (BER-04), else `invalid_token`
    /// (BER-06).
    pub fn refused(&self) -> Problem {
        let invalid_token = [("error", "invalid_token")];
        let (detail, challenge) = match self {
            Self::None => ("no session cookie and no bearer token of this server", &[][..]),
            Self::Cookie(_) | Self::Bearer(_) => {
                ("the session or the token is invalid or has ended", &invalid_token[..])
            }
        };
        Problem::challenged(StatusCode::UNAUTHORIZED, detail, challenge)
    }
}
