//! Why a session lives, expired or ended, in plain sentences.

use std::time::Duration;

use serde_json::Value;

use super::times::{length, when, when_at};
use crate::domain::end::EndReason;
use crate::domain::names::{ADMIN_SOCKET, ENGINE};
use crate::domain::time::Timestamp;

/// Since when the session has the state that it has, by whom and why.
pub fn explain(session: &Value, now: Timestamp) -> String {
    match session["state"].as_str() {
        Some("ended") => ended(&session["ended"], now),
        Some("expired") => expired(session, now),
        _ => active(session, now),
    }
}

/// When the session expires, or expired, if nothing happens or happened before.
pub fn deadline(session: &Value) -> Option<Timestamp> {
    Some(time(&session["idle_expires_at"])?.min(time(&session["expires_at"])?))
}

fn active(session: &Value, now: Timestamp) -> String {
    let at = |name: &str| when(session[name].as_str().unwrap_or_default(), now);
    let (idle, absolute) = (time(&session["idle_expires_at"]), time(&session["expires_at"]));
    if idle < absolute {
        return format!(
            "It is active. It expires {} unless it is used before, and {} in any case, unless the subject authenticates again.",
            at("idle_expires_at"),
            at("expires_at")
        );
    }
    format!("It is active. It expires {} unless the subject authenticates again.", at("expires_at"))
}

fn expired(session: &Value, now: Timestamp) -> String {
    let between = |from: &str, to: &str| Some(length(time(&session[to])?.since(time(&session[from])?)));
    let at = deadline(session).map_or_else(String::new, |deadline| when_at(deadline, now));
    let idle = time(&session["idle_expires_at"]) < time(&session["expires_at"]);
    let (from, to) =
        if idle { ("last_used_at", "idle_expires_at") } else { ("authenticated_at", "expires_at") };
    let long = between(from, to).unwrap_or_else(|| length(Duration::ZERO));
    if idle {
        format!("It expired {at}. Nobody ended it: it was not used for {long}, its idle_timeout.")
    } else {
        format!(
            "It expired {at}. Nobody ended it: the subject had authenticated {long} before, its absolute_lifetime."
        )
    }
}

fn ended(end: &Value, now: Timestamp) -> String {
    let text = |name: &str| end[name].as_str().unwrap_or_default();
    let by = match text("by") {
        ENGINE => "keyfob itself",
        ADMIN_SOCKET => "somebody at the admin socket",
        client => client,
    };
    let reason = text("reason");
    let why = reason.parse().map(|known| format!(" - {}", sentence(known))).unwrap_or_default();
    format!("It ended {} by {by}: {reason}{why}.", when(text("at"), now))
}

/// What a reason means, for somebody who has not read the contract.
fn sentence(reason: EndReason) -> &'static str {
    match reason {
        EndReason::Logout => "the subject logged out, or the application did it for them",
        EndReason::Admin => "an administrator ended this session",
        EndReason::SubjectRevoked => {
            "the subject's sessions were all ended at once, as by \"log out everywhere\""
        }
        EndReason::AllRevoked => "every session there was then was ended at once",
        EndReason::RefreshReuse => {
            "a spent refresh token came back; so somebody had a copy of it, or an application kept an old one, and nobody can tell which"
        }
        EndReason::Evicted => {
            "it made room for a newer session of the subject: it was the one used longest ago when max_sessions_per_subject was reached"
        }
        EndReason::ClientDeleted => "the client whose session it was has been deleted",
        EndReason::StoreRollback => {
            "the database had been put back to an earlier state, and nobody can know what became of the session in between"
        }
        EndReason::TokenRevoked => "its last refresh token was revoked, and nothing was left to keep it for",
    }
}

fn time(value: &Value) -> Option<Timestamp> {
    value.as_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn now() -> Timestamp {
        "2026-11-24T12:00:00Z".parse().unwrap()
    }

    fn session(state: &str, idle_expires_at: &str) -> Value {
        json!({
            "state": state, "authenticated_at": "2026-11-24T02:00:00Z", "last_used_at": "2026-11-24T09:00:00Z",
            "idle_expires_at": idle_expires_at, "expires_at": "2026-11-24T14:00:00Z", "ended": null,
        })
    }

    #[test]
    fn each_reason_has_a_sentence_of_its_own() {
        let mut told: Vec<String> = vec![];
        for reason in EndReason::ALL {
            let end = json!({ "at": "2026-11-24T09:00:00Z", "reason": reason.as_str(), "by": "app" });
            let told_now = explain(&json!({ "state": "ended", "ended": end }), now());
            let begin = format!("It ended 2026-11-24 09:00:00Z (3 h ago) by app: {} - ", reason.as_str());
            let why = told_now.strip_prefix(&begin).unwrap_or_else(|| panic!("{told_now}")).to_owned();
            assert!(why.len() > 20 && why.ends_with('.') && !told.contains(&why), "{why}");
            told.push(why);
        }
        let by = |by: &str| {
            explain(
                &json!({ "state": "ended", "ended": { "at": "", "reason": "newer_than_this_program", "by": by } }),
                now(),
            )
        };
        assert!(by("keyfob").ends_with("by keyfob itself: newer_than_this_program."), "{}", by("keyfob"));
        assert!(by("admin.sock").contains("by somebody at the admin socket"), "{}", by("admin.sock"));
    }

    #[test]
    fn a_timeout_names_itself_and_nobody() {
        assert_eq!(
            explain(&session("expired", "2026-11-24T09:30:00Z"), now()),
            "It expired 2026-11-24 09:30:00Z (3 h ago). Nobody ended it: it was not used for 30 min, its idle_timeout."
        );
        let later = "2026-11-24T15:00:00Z".parse().unwrap();
        assert_eq!(
            explain(&session("expired", "2026-11-24T14:00:00Z"), later),
            "It expired 2026-11-24 14:00:00Z (60 min ago). Nobody ended it: the subject had authenticated 12 h before, its absolute_lifetime."
        );
    }

    #[test]
    fn a_living_session_says_how_long() {
        assert_eq!(
            explain(&session("active", "2026-11-24T12:30:00Z"), now()),
            "It is active. It expires 2026-11-24 12:30:00Z (in 30 min) unless it is used before, and 2026-11-24 14:00:00Z (in 2 h) in any case, \
             unless the subject authenticates again."
        );
        let idle_is_later = explain(&session("active", "2026-11-24T16:00:00Z"), now());
        assert_eq!(
            idle_is_later,
            "It is active. It expires 2026-11-24 14:00:00Z (in 2 h) unless the subject authenticates again."
        );
    }
}
