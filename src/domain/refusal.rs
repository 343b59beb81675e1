//! Every way the engine says no. What each becomes on the wire is decided in `http/error.rs`, in one table.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

/// A reason to refuse, as a caller may learn it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The request cannot be understood (RFC 6749 `invalid_request`).
    InvalidRequest,
    /// A field of the request is not what it should be.
    Invalid {
        /// The field's name.
        field: &'static str,
    },
    /// No client authentication, or it failed; also a disabled client.
    InvalidClient,
    /// The client may not use this grant or endpoint (RFC 6749 `unauthorized_client`).
    UnauthorizedClient,
    /// A bearer token that is not good (RFC 6750 `invalid_token`).
    InvalidToken,
    /// A bearer token whose client lacks the privilege (RFC 6750 `insufficient_scope`).
    InsufficientScope,
    /// The grant is not one that we serve (RFC 6749 `unsupported_grant_type`).
    UnsupportedGrantType,
    /// The refresh token is not good; which of the many reasons is not told (RFC 6749 `invalid_grant`).
    InvalidGrant,
    /// The scope is malformed or more than was granted (RFC 6749 `invalid_scope`).
    InvalidScope,
    /// The resource is not one that may be asked for (RFC 8707 `invalid_target`).
    InvalidTarget,
    /// The caller is known and may not do this.
    Forbidden,
    /// There is no such thing, or it is not the caller's to see.
    NotFound,
    /// It exists already, or is kept by the configuration file.
    Conflict,
    /// `If-Match` named another version.
    PreconditionFailed,
    /// The subject has all the sessions that it may have.
    SessionsFull,
    /// It was there and has been forgotten.
    Gone,
    /// Too much of something; try again after this time.
    TooMany {
        /// How long to wait.
        retry_after: Duration,
    },
}

impl Refusal {
    /// This refusal, with a sentence for the person who reads it.
    pub fn because(self, detail: impl Into<Cow<'static, str>>) -> Refused {
        Refused { refusal: self, detail: detail.into() }
    }
}

/// A refusal and the sentence that explains it. The sentence never holds a token, a secret or personal data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The reason.
    pub refusal: Refusal,
    /// What is wrong and what would be right.
    pub detail: Cow<'static, str>,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for Refused {}

impl Refused {
    /// The one answer to every refresh token that is not good (TOK-18): no cause can be told from it.
    pub fn invalid_grant() -> Self {
        Refusal::InvalidGrant.because("the refresh token is not valid for this client")
    }
}
