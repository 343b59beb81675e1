//! The families of paths: they decide the form of errors, and whether an answer may be cached.

/// The family that a path belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Surface {
    /// `/oauth2/*`: errors of RFC 6749, never cached.
    OAuth,
    /// `/v1/*`: errors of RFC 9457, never cached.
    V1,
    /// All other paths: errors of RFC 9457; an endpoint may allow caching.
    Other,
}

impl Surface {
    /// The family of `path`.
    pub fn of(path: &str) -> Self {
        if path.starts_with("/oauth2/") {
            Self::OAuth
        } else if path.starts_with("/v1/") {
            Self::V1
        } else {
            Self::Other
        }
    }
}
