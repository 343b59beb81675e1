//! What somebody who is signed in presents: the session cookie, or a bearer token.

use poem::Request;
use poem::http::{HeaderMap, StatusCode};

use crate::http::request::cookie::Cookie;
use crate::http::request::credentials::{Presented, Secret};
use crate::http::response::error::Problem;

/// A session token or an access token, and how it came.
pub enum Ticket {
    /// Nothing, or nothing that counts.
    None,
    /// By cookie: a browser sent it by itself.
    Cookie(Secret),
    /// By header: a program sent it on purpose.
    Bearer(Secret),
}

impl Ticket {
    /// Reads the request. A bearer token goes before a cookie; Basic is some proxy's and says nothing here.
    pub fn read(request: &Request, cookie: &Cookie) -> Result<Self, Problem> {
        match Presented::read(request.headers()) {
            Presented::Several => {
                Err(Problem::new(StatusCode::BAD_REQUEST, "more than one Authorization header"))
            }
            Presented::Bearer(token) => Ok(Self::Bearer(token)),
            _ => Ok(Self::of_cookie(request.headers(), cookie)),
        }
    }

    fn of_cookie(headers: &HeaderMap, cookie: &Cookie) -> Self {
        cookie.read(headers).map_or(Self::None, |value| Self::Cookie(Secret::new(value.to_owned())))
    }

    /// The token, of any form.
    pub fn token(&self) -> Option<&str> {
        match self {
            Self::None => None,
            Self::Cookie(token) | Self::Bearer(token) => Some(token.expose()),
        }
    }

    /// Why this ticket was not good enough. Without one there is no error to tell (BER-04); with one it is
    /// not valid (BER-06).
    pub fn refused(&self) -> Problem {
        match self {
            Self::None => Problem::challenged(StatusCode::UNAUTHORIZED, "nobody is signed in", &[]),
            Self::Cookie(_) | Self::Bearer(_) => Problem::challenged(
                StatusCode::UNAUTHORIZED,
                "the session or the token is not valid any more",
                &[("error", "invalid_token")],
            ),
        }
    }
}
