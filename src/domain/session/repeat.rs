//! Repeating an opening whose answer was lost: the same answer, while the session is as it was opened.

use std::str::FromStr;
use std::time::Duration;

use super::Session;
use crate::domain::cutoff::CutOffs;
use crate::domain::family::RetryWindow;
use crate::domain::hidden::hidden;
use crate::domain::id::{Hash, SessionId};
use crate::domain::malformed::Malformed;
use crate::domain::text::TextPattern;
use crate::domain::time::Moment;

/// How long after an opening a repetition gets the same answer.
pub const REPEAT_WINDOW: Duration = Duration::from_secs(600);

/// A key by which a caller can repeat an opening: visible ASCII. Its tokens depend on it, so `Debug` shows
/// nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct OpeningKey(Box<str>);

hidden!(OpeningKey);

impl OpeningKey {
    pub const EXPECTED: &'static str = "must be 1 to 64 visible ASCII characters";
    pub const PATTERN: TextPattern = TextPattern { min: 1, max: 64, regex: "^[!-~]*$" };

    /// The text, for derivations.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl FromStr for OpeningKey {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let length = 1..=Self::PATTERN.max;
        let valid = length.contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        if valid { Ok(Self(text.into())) } else { Err(Malformed) }
    }
}

/// By what a repetition of an opening is recognised, and from what it is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repeatable {
    /// A keyed hash of the caller's incarnation and its key.
    pub name: Hash,
    /// The hash of the request.
    pub request: Hash,
    /// The salt of the tokens, which is erased when the window closes, and what the access token was made
    /// from. `None` if a repetition is recognised and refused.
    pub window: Option<RetryWindow>,
}

/// An opening that was requested before under the same name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repeated {
    /// The session as it is now.
    pub session: Session,
    /// The hash of the request that opened it.
    pub request: Hash,
    /// Absent after it was erased.
    pub window: Option<RetryWindow>,
}

/// What a key was used for, as it is stored.
pub type KeyUse = (SessionId, Hash);

impl Repeated {
    /// The window to answer `request` from; `None` if it is another request, the window is closed, or the
    /// session is not as it was opened.
    pub fn window_for(&self, request: &Hash, now: Moment, cuts: &CutOffs) -> Option<&RetryWindow> {
        let same =
            self.request == *request && self.session.is_as_opened() && self.session.is_active(now.wall, cuts);
        self.window.as_ref().filter(|window| same && window.is_open(now))
    }
}

impl Session {
    /// Whether it has been neither used, changed, renewed nor ended. A cut-off or a timeout may have ended
    /// it.
    pub fn is_as_opened(&self) -> bool {
        self.may_be_active()
            && (self.version, self.renewals) == (1, 0)
            && self.last_used_at == self.created_at
            && self.revoked_tokens.is_empty()
            && self.next_family == self.own_family.map_or(1, |own| own + 1)
            && self.families.iter().all(|family| family.generation == 0 && family.end.is_none())
    }
}
