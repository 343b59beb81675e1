//! Explains in plain sentences why a session is active, expired or has ended.

use super::times::{length, when};
use crate::domain::end::EndReason;
use crate::domain::names::{ADMIN_SOCKET, CONSOLE, ENGINE};
use crate::domain::session::State;
use crate::domain::time::Timestamp;
use crate::http::api::session_object::{Ended, SessionObject};

/// Since when the session has its state, by whom and why.
pub fn explain(session: &SessionObject, now: Timestamp) -> String {
    match (&session.ended, session.state.0) {
        (Some(end), _) => ended(end, now),
        (None, State::Expired) => expired(session, now),
        (None, _) => active(session, now),
    }
}

/// The earlier of the two timeouts of the session.
pub fn deadline(session: &SessionObject) -> Timestamp {
    session.idle_expires_at.0.min(session.expires_at.0)
}

fn active(session: &SessionObject, now: Timestamp) -> String {
    let (idle, absolute) = (session.idle_expires_at.0, session.expires_at.0);
    if idle < absolute {
        return format!(
            "It is active. It expires {} unless it is used before, and {} in any case, unless the subject \
             authenticates again.",
            when(idle, now),
            when(absolute, now)
        );
    }
    format!("It is active. It expires {} unless the subject authenticates again.", when(absolute, now))
}

fn expired(session: &SessionObject, now: Timestamp) -> String {
    let (idle, absolute) = (session.idle_expires_at.0, session.expires_at.0);
    let at = when(idle.min(absolute), now);
    if idle < absolute {
        let unused = length(idle.since(session.last_used_at.0));
        format!("It expired {at}: it was not used for {unused} (idle_timeout).")
    } else {
        let age = length(absolute.since(session.authenticated_at.0));
        format!("It expired {at}: the subject had authenticated {age} before (absolute_lifetime).")
    }
}

fn ended(end: &Ended, now: Timestamp) -> String {
    let by = match end.by.as_str() {
        ENGINE => "keyfob itself",
        ADMIN_SOCKET => "an operator at the admin socket",
        CONSOLE => "an operator at the console",
        client => client,
    };
    let reason = end.reason.0;
    format!("It ended {} by {by}: {} - {}.", when(end.at.0, now), reason.as_str(), sentence(reason))
}

fn sentence(reason: EndReason) -> &'static str {
    match reason {
        EndReason::Logout => "the subject logged out, or the application did it for them",
        EndReason::Admin => "an administrator ended this session",
        EndReason::SubjectRevoked => {
            "the subject's sessions were all ended at once, as by \"log out everywhere\""
        }
        EndReason::AllRevoked => "all sessions of that time were ended at once",
        EndReason::RefreshReuse => {
            "a spent refresh token was presented again: it was stolen, or an application kept an old token; \
             keyfob cannot tell which"
        }
        EndReason::Evicted => {
            "max_sessions_per_subject was reached, and of the subject's sessions this one was used longest \
             ago"
        }
        EndReason::ClientDeleted => "the client that the session belonged to was deleted",
        EndReason::StoreRollback => {
            "the database was restored to an earlier state, which does not show what happened to the session \
             since"
        }
        EndReason::TokenRevoked => "its last refresh token was revoked",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn now() -> Timestamp {
        "2026-11-24T12:00:00Z".parse().unwrap()
    }

    fn session(state: &str, idle_expires_at: &str, ended: Value) -> SessionObject {
        let at = "2026-11-24T02:00:00Z";
        let session = json!({
            "id": "s", "subject": "alice", "client_id": "app", "opened_by": "app", "state": state,
            "created_at": at,
            "authenticated_at": at, "last_used_at": "2026-11-24T09:00:00Z",
            "idle_expires_at": idle_expires_at,
            "expires_at": "2026-11-24T14:00:00Z", "amr": [], "scope": "", "device": {}, "claims": {},
            "remember": false,
            "families": [], "ended": ended, "version": 1,
        });
        serde_json::from_str(&session.to_string()).unwrap()
    }

    #[test]
    fn each_reason_has_its_own_sentence() {
        let ended = |reason: &str, by: &str| {
            let end = json!({ "at": "2026-11-24T09:00:00Z", "reason": reason, "by": by });
            explain(&session("ended", "2026-11-24T12:30:00Z", end), now())
        };
        let mut sentences: Vec<String> = vec![];
        for reason in EndReason::ALL {
            let explained = ended(reason.as_str(), "app");
            let begin = format!("It ended 2026-11-24 09:00:00Z (3 h ago) by app: {} - ", reason.as_str());
            let why = explained.strip_prefix(&begin).unwrap_or_else(|| panic!("{explained}")).to_owned();
            assert!(why.len() > 20 && why.ends_with('.') && !sentences.contains(&why), "{why}");
            sentences.push(why);
        }
        assert!(ended("evicted", "keyfob").contains("by keyfob itself: evicted"));
        assert!(ended("admin", "admin.sock").contains("by an operator at the admin socket: admin"));
    }

    #[test]
    fn an_expired_session_names_the_timeout() {
        let expired = |idle_expires_at: &str, now: &str| {
            explain(&session("expired", idle_expires_at, Value::Null), now.parse().unwrap())
        };
        assert_eq!(
            expired("2026-11-24T09:30:00Z", "2026-11-24T12:00:00Z"),
            "It expired 2026-11-24 09:30:00Z (3 h ago): it was not used for 30 min (idle_timeout)."
        );
        assert_eq!(
            expired("2026-11-24T14:00:00Z", "2026-11-24T15:00:00Z"),
            "It expired 2026-11-24 14:00:00Z (60 min ago): the subject had authenticated 12 h before \
             (absolute_lifetime)."
        );
    }

    #[test]
    fn an_active_session_names_its_timeouts() {
        let active = |idle_expires_at: &str| explain(&session("active", idle_expires_at, Value::Null), now());
        assert_eq!(
            active("2026-11-24T12:30:00Z"),
            "It is active. It expires 2026-11-24 12:30:00Z (in 30 min) unless it is used before, and \
             2026-11-24 14:00:00Z (in 2 h) in any case, unless the subject authenticates again."
        );
        assert_eq!(
            active("2026-11-24T16:00:00Z"),
            "It is active. It expires 2026-11-24 14:00:00Z (in 2 h) unless the subject authenticates again."
        );
    }
}
