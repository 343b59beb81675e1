//! The operator's console: what its links open, and what an operator may do.

use std::time::Duration;

use super::cutoff::CutOffs;
use super::id::{ClientId, Hash, Position, SessionId};
use super::names::{CONSOLE, names};
use super::policy::Lifetimes;
use super::refusal::{Refusal, Refused};
use super::session::Session;
use super::time::Timestamp;
use super::validity::Validity;

/// How long a link can be used after it was made.
pub const LINK_VALID_FOR: Duration = Duration::from_secs(60);
/// How much later than here a link may have been made: at a replica whose clock is ahead.
const LINK_AHEAD_MAX: Duration = Duration::from_secs(5);
/// The most console sessions; a further one evicts the one that was used longest ago.
pub const CONSOLE_SESSIONS_MAX: u32 = 16;
/// The timeouts of console sessions.
pub const CONSOLE_LIFETIMES: Lifetimes = Lifetimes {
    idle_timeout: Duration::from_secs(30 * 60),
    absolute_lifetime: Duration::from_secs(8 * 3600),
};
/// The name of the console's cookie. No session cookie of an application can have it.
pub const CONSOLE_COOKIE_NAME: &str = "__Host-keyfob-console";
/// The subject of console sessions.
pub const OPERATOR: &str = "operator";
/// How old the link of a session may be when the operator changes something.
pub const CHANGE_MAX_AGE: Duration = Duration::from_secs(5 * 60);

/// Whether a link that was made at this time and position can be used now.
pub fn is_link_valid(made: Timestamp, issued: Position, now: Timestamp, cuts: &CutOffs) -> bool {
    let is_in_time = made <= now.plus(LINK_AHEAD_MAX) && now < made.plus(LINK_VALID_FOR);
    is_in_time && cuts.end_of(&console_id(), issued).is_none()
}

/// The reserved client of console sessions.
pub fn console_id() -> ClientId {
    CONSOLE.parse().expect("it is a valid client id")
}

names! {
    /// What a console session may do: the scope of the session.
    pub enum ConsoleRole {
        /// Everything that the pages do.
        Admin = "admin",
        /// Read, and change nothing.
        Read = "console:read",
    }
}

/// The caller of a request with the console's cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operator {
    pub session: SessionId,
    pub role: ConsoleRole,
    /// Until when the operator may change something; `None` for a role that may not.
    pub changes_until: Option<Timestamp>,
    /// The time of the request.
    pub now: Timestamp,
}

impl Operator {
    /// The operator of a genuine session token of `session`. `None` unless the session is of the reserved
    /// client and was opened by a link, and the token can be used now. Everywhere else the token is invalid,
    /// because its client is not registered.
    pub fn of(session: &Session, renewals: u32, hash: &Hash, validity: &Validity) -> Option<Self> {
        // A client of this name can exist in a database from before the name was reserved. Its sessions must
        // not open the console.
        if !session.is_of_console() || validity.client.is_some() {
            return None;
        }
        validity.console_token(session, renewals, hash).ok()?;
        let role: ConsoleRole = session.scope.as_str().parse().ok()?;
        let until = session.authentication.at.plus(CHANGE_MAX_AGE);
        let changes_until = (role == ConsoleRole::Admin).then_some(until);
        Some(Self { session: session.id, role, changes_until, now: validity.now })
    }

    /// Refuses a change: by a role that may only read, or when the link is too old.
    ///
    /// # Errors
    /// `Forbidden`; `LinkTooOld`, which a new link cures.
    pub fn check_change(&self) -> Result<(), Refused> {
        match self.changes_until {
            Some(until) if self.now < until => Ok(()),
            Some(_) => Err(Refusal::LinkTooOld.because(
                "a change needs a link that is at most five minutes old: run `keyfob console` and open the \
                 new link",
            )),
            None => Err(Refusal::Forbidden.because(
                "this console session may only read; `keyfob console` without --read opens one that may \
                 change things",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::client::tests::client;
    use crate::domain::cutoff::CutOff;
    use crate::domain::names::ADMIN_SOCKET;
    use crate::domain::session::tests::session;

    fn console_session() -> Session {
        let scope = "admin".parse().unwrap();
        Session { client_id: console_id(), opened_by: ADMIN_SOCKET.into(), scope, ..session() }
    }

    #[test]
    fn only_the_current_token_of_a_session_that_a_link_opened_is_an_operators() {
        let (cuts, opened) = (CutOffs::default(), session().created_at);
        let now = opened.plus(Duration::from_secs(60));
        let validity = Validity { now, cuts: &cuts, client: None };
        let of = |session: &Session| Operator::of(session, 0, &session.token, &validity);
        let console = console_session();
        let changes_until = Some(opened.plus(Duration::from_secs(300)));
        let operator = Operator { session: console.id, role: ConsoleRole::Admin, changes_until, now };
        assert_eq!(of(&console), Some(operator));
        let reader = Session { scope: "console:read".parse().unwrap(), ..console_session() };
        let read = Operator { role: ConsoleRole::Read, changes_until: None, ..operator };
        assert_eq!(of(&reader), Some(read));

        for (name, other) in [
            ("another client's", Session { client_id: "app".parse().unwrap(), ..console_session() }),
            ("opened by a client", Session { opened_by: "console".into(), ..console_session() }),
            ("with another scope", Session { scope: "write".parse().unwrap(), ..console_session() }),
            ("expired", Session { idle_timeout: Duration::from_secs(60), ..console_session() }),
        ] {
            assert_eq!(of(&other), None, "{name}");
        }
        let client = client("console");
        let registered = Validity { client: Some(&client), ..validity };
        assert_eq!(Operator::of(&console, 0, &console.token, &registered), None);
        assert_eq!(Operator::of(&console, 1, &console.token, &validity), None);
        assert_eq!(Operator::of(&console, 0, &Hash([1; 32]), &validity), None);
    }

    #[test]
    fn an_operator_changes_something_only_while_the_link_is_young() {
        let until = session().created_at;
        let at = |millis| Timestamp::from_millis(until.millis() + millis);
        let checked = |now, changes_until| {
            let operator = Operator { session: session().id, role: ConsoleRole::Admin, changes_until, now };
            operator.check_change().map_err(|refused| refused.refusal)
        };
        assert_eq!(checked(at(-1), Some(until)), Ok(()));
        assert_eq!(checked(until, Some(until)), Err(Refusal::LinkTooOld));
        assert_eq!(checked(at(1), Some(until)), Err(Refusal::LinkTooOld));
        assert_eq!(checked(at(-1), None), Err(Refusal::Forbidden));
    }

    /// docs/console.md.
    #[test]
    fn a_console_session_lasts_half_an_hour_without_use_and_eight_hours_at_most() {
        let Lifetimes { idle_timeout, absolute_lifetime } = CONSOLE_LIFETIMES;
        assert_eq!((idle_timeout.as_secs(), absolute_lifetime.as_secs()), (1_800, 28_800));
    }

    #[test]
    fn a_link_can_be_used_for_a_minute_and_at_clocks_a_little_behind() {
        let (made, cuts) = (Timestamp::from_millis(100_000), CutOffs::default());
        for (now, is_valid) in [
            (94_999, false),
            (95_000, true),
            (100_000, true),
            (159_999, true),
            (160_000, false),
            (i64::MAX, false),
        ] {
            assert_eq!(
                is_link_valid(made, Position(7), Timestamp::from_millis(now), &cuts),
                is_valid,
                "{now}"
            );
        }
    }

    #[test]
    fn what_ends_everything_ends_the_links_that_were_made_before() {
        let at = Timestamp::from_millis(0);
        let cut = |position| Some(CutOff { position: Position(position), at, by: "admin".into() });
        for (position, is_valid) in [(8, false), (7, true)] {
            let everything = CutOffs { everything: cut(position), ..CutOffs::default() };
            let restored = CutOffs { restored: cut(position), ..CutOffs::default() };
            for cuts in [everything, restored] {
                assert_eq!(is_link_valid(at, Position(7), at, &cuts), is_valid, "{position}");
            }
        }
    }
}
