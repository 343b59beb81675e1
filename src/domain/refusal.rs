//! Every reason for which the engine refuses a request. `http/response/error.rs` maps each to a response.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

/// A reason to refuse, as a caller may learn it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The request is malformed (RFC 6749 `invalid_request`).
    InvalidRequest,
    /// A field of the request is invalid.
    Invalid { field: &'static str },
    /// Client authentication is missing or failed, or the client is disabled (RFC 6749 `invalid_client`).
    InvalidClient,
    /// The client may not use this grant or endpoint (RFC 6749 `unauthorized_client`).
    UnauthorizedClient,
    /// An invalid bearer token (RFC 6750 `invalid_token`).
    InvalidToken,
    /// A bearer token whose client lacks the permission (RFC 6750 `insufficient_scope`).
    InsufficientScope,
    /// A grant type that is not supported (RFC 6749 `unsupported_grant_type`).
    UnsupportedGrantType,
    /// An invalid refresh token, for whatever reason (RFC 6749 `invalid_grant`).
    InvalidGrant,
    /// The scope is malformed or wider than what was granted (RFC 6749 `invalid_scope`).
    InvalidScope,
    /// The resource may not be requested (RFC 8707 `invalid_target`).
    InvalidTarget,
    /// The caller is authenticated and not authorized.
    Forbidden,
    /// The operator must open a new link of the console first (RFC 9470 `insufficient_user_authentication`).
    LinkTooOld,
    /// It does not exist, or the caller may not see it.
    NotFound,
    /// It exists already, is declared in the configuration file, or is not in a state that allows this.
    Conflict,
    /// `If-Match` names another version.
    PreconditionFailed,
    /// The subject has as many sessions as the policy allows.
    SessionsFull,
    /// It existed and was deleted.
    Gone,
    /// A rate limit or a quota is exceeded.
    TooMany { retry_after: Duration },
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
    pub refusal: Refusal,
    /// What is wrong and what would be valid.
    pub detail: Cow<'static, str>,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for Refused {}

impl Refused {
    /// The caller is no longer as it was authenticated.
    pub fn caller_changed() -> Self {
        Refusal::InvalidClient.because(
            "the client was deleted or disabled, or its secret, tokens or grant were revoked, while the \
             request was in progress",
        )
    }

    /// The one answer for every invalid refresh token (TOK-18): it does not reveal the cause.
    pub fn invalid_grant() -> Self {
        Refusal::InvalidGrant.because("the refresh token is not valid for this client")
    }

    /// An invalid field. `problem` continues the sentence that starts with the field's name.
    pub fn invalid(field: &'static str, problem: impl fmt::Display) -> Self {
        Refusal::Invalid { field }.because(format!("{field} {problem}"))
    }

    /// The one answer for sessions that do not exist and for those that the caller may not see.
    pub fn no_such_session() -> Self {
        Refusal::NotFound.because("there is no such session")
    }

    /// A change of a session that is not active.
    pub fn session_not_active() -> Self {
        Refusal::Conflict.because("the session has ended or expired")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_field_is_named_in_the_sentence_that_explains_it() {
        let refused = Refused::invalid("scope", "must be text");
        assert_eq!(refused.refusal, Refusal::Invalid { field: "scope" });
        assert_eq!(refused.to_string(), "scope must be text");
    }
}
