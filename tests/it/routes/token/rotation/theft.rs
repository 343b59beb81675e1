//! Spent tokens that come back: what is detected, what ends, and what the caller learns of it.

use super::*;

/// ROT-04: under a window of 0 the second use is reuse.
#[tokio::test]
async fn a_strict_policy_ends_the_session_at_the_second_use() {
    let case = opened_with(&[("policy.default.refresh_retry_window", "0s")]).await;
    let pair = case.refresh(&case.first()).await;
    case.is_refused(&case.first()).await;
    assert_eq!(case.ended().await, "refresh_reuse");
    case.is_refused(&text(&pair["refresh_token"])).await;
    for token in [&pair["access_token"], &case.session["access_token"], &case.session["session_token"]] {
        assert!(!case.server.is_active(&case.app, &text(token)).await);
    }
}

/// ROT-05, ROT-06: only the immediate predecessor is ever answered again, however long the window.
#[tokio::test]
async fn an_older_token_ends_the_session_even_inside_the_window() {
    for generations in [2, 3] {
        let case = opened_with(&[("policy.default.refresh_retry_window", "150s")]).await;
        let mut current = case.first();
        for _ in 0..generations {
            current = case.next(&current).await;
        }
        case.is_refused(&case.first()).await;
        assert_eq!(case.ended().await, "refresh_reuse");
        case.is_refused(&current).await;
    }
}

/// ROT-10: the refusal does not take the detection back. It is on the disk: a restart finds it.
#[tokio::test]
async fn detected_reuse_is_kept_although_the_caller_is_refused() {
    let mut case = opened().await;
    let second = case.next(&case.first()).await;
    let third = case.next(&second).await;
    case.is_refused(&case.first()).await;
    case.server.restart().await;
    assert_eq!(case.ended().await, "refresh_reuse");
    case.is_refused(&third).await;
}

/// ROT-11: a restart forgets no spent token.
#[tokio::test]
async fn reuse_is_detected_after_a_restart() {
    let mut case = opened().await;
    let second = case.next(&case.first()).await;
    case.next(&second).await;
    case.server.restart().await;
    case.is_refused(&case.first()).await;
    assert_eq!(case.ended().await, "refresh_reuse");
}

/// ROT-12: generations decide, not seconds.
#[tokio::test]
async fn two_rotations_at_the_same_instant_do_not_hide_reuse() {
    let case = opened().await;
    let second = case.next(&case.first()).await;
    let third = case.next(&second).await;
    let shown = case.shown().await;
    assert_eq!(shown["families"][0]["refreshed_at"], shown["created_at"], "the clock stood still");
    case.is_refused(&case.first()).await;
    case.is_refused(&third).await;
}

/// C-17: the previous token after its window is reuse, or only refused where the policy says so.
#[tokio::test]
async fn a_late_retry_ends_the_session_unless_the_policy_only_refuses() {
    for (late_retry, ended) in [("end_session", "refresh_reuse"), ("refuse", "")] {
        let case = opened_with(&[("policy.default.late_retry", late_retry)]).await;
        let second = case.next(&case.first()).await;
        case.server.hand.advance(seconds(10));
        case.is_refused(&case.first()).await;
        assert_eq!(case.ended().await, ended);
        assert_eq!(case.server.refresh(&case.app, &second).await.status == 200, ended.is_empty());
    }
}

/// ROT-24: reuse is handled first; a bad scope hides nothing.
#[tokio::test]
async fn a_spent_token_with_a_bad_scope_is_reuse() {
    for (name, value) in [("scope", "admin"), ("scope", "a\"b"), ("resource", "https://elsewhere.example")] {
        let case = opened().await;
        let second = case.next(&case.first()).await;
        case.next(&second).await;
        let answer = case.refresh_with(&case.first(), name, value).await;
        assert_eq!((answer.status, answer.error()), (400, "invalid_grant".into()));
        assert_eq!(case.ended().await, "refresh_reuse");
    }
}

/// ROT-33: all that the family issued is dead at introspection, and the log tells those who verify by
/// themselves.
#[tokio::test]
async fn every_access_token_of_a_stolen_family_is_inactive() {
    let case = opened().await;
    let second = case.refresh(&case.first()).await;
    let third = case.refresh(&text(&second["refresh_token"])).await;
    let issued = [&case.session["access_token"], &second["access_token"], &third["access_token"]];
    for token in issued {
        assert!(case.server.is_active(&case.app, &text(token)).await);
    }
    case.is_refused(&case.first()).await;
    for token in issued {
        assert_eq!(case.server.introspect(&case.app, &text(token)).await, json!({"active": false}));
    }
    let events = case.events().await;
    let ended = events.last().unwrap();
    assert_eq!(
        (ended.kind.as_str(), ended.reason.unwrap().as_str(), ended.session),
        ("session.ended", "refresh_reuse", Some(case.id()))
    );
}

/// ROT-35: the log says which family, by whom and how far behind; never the token.
#[tokio::test]
async fn the_event_of_reuse_names_everything_but_the_token() {
    let case = opened().await;
    let second = case.next(&case.first()).await;
    let third = case.next(&second).await;
    case.next(&third).await;
    case.is_refused(&case.first()).await;
    let events = case.events().await;
    let reused: Vec<&Event> = events.iter().filter(|event| event.kind.as_str() == "refresh.reused").collect();
    assert_eq!(reused.len(), 1);
    assert_eq!(
        (reused[0].family, reused[0].generations_behind, reused[0].session),
        (Some(1), Some(3), Some(case.id()))
    );
    assert_eq!(reused[0].client.as_ref().map(ToString::to_string), Some("app".into()));
    let written = serde_json::to_string(reused[0]).unwrap();
    assert!(!written.contains(&case.first()[4..]) && reused[0].token.is_none());
}

/// ROT-34, TOK-18, RFR-06, RFR-07, RFR-09, RFR-13: whatever is wrong with a token, the answer is the same to
/// the byte.
#[tokio::test]
async fn a_refusal_does_not_tell_its_cause() {
    let mut case = opened().await;
    let (server, app) = (&case.server, &case.app);
    let other = server.application("other").await;
    let token = async |subject: &str| {
        let opened = server.open_with(app, json!({"subject": subject})).await;
        (text(&opened["refresh_token"]), text(&opened["session"]["id"]))
    };
    let spent = async |token: &str| {
        let second = text(&server.refresh(app, token).await.json()["refresh_token"]);
        server.refresh(app, &second).await
    };
    let (reused, _) = token("reused").await;
    spent(&reused).await;
    let (ended, id) = token("ended").await;
    assert_eq!(server.delete(&format!("/v1/sessions/{id}"), Auth::Basic(app)).await.status, 204);
    let (revoked, _) = token("revoked").await;
    server.revoke(app, &revoked).await;
    let foreign = text(&server.open(&other).await["refresh_token"]);
    let mut forged = case.first();
    forged.replace_range(96..97, if &forged[96..97] == "A" { "B" } else { "A" });
    let session_token = text(&case.session["session_token"]);
    let as_refresh = format!("kfr_{}", &session_token[4..]);
    let (dead, id) = token("dead").await;
    let mut refusals = vec![];
    let wrong = [
        &*reused,
        &reused,
        &ended,
        &revoked,
        &foreign,
        &forged,
        &session_token,
        &as_refresh,
        "kfr_",
        "x",
        "a b\u{e9}",
    ];
    for token in wrong {
        refusals.push((token.to_owned(), server.refresh(app, token).await));
    }
    case.server.hand.advance(seconds(1_800));
    refusals.push((dead.clone(), case.server.refresh(&case.app, &dead).await));
    case.server.hand.advance(seconds(40 * 86_400));
    while case.server.app().engine().sweep().await.unwrap().more {}
    assert!(case.server.app().store().session(id.parse().unwrap()).await.unwrap().is_none(), "purged");
    refusals.push((dead.clone(), case.server.refresh(&case.app, &dead).await));
    case.server.restart().await;
    refusals.push((dead.clone(), case.server.refresh(&case.app, &dead).await));
    let (_, first) = &refusals[0];
    assert_eq!((first.status, first.error()), (400, "invalid_grant".into()));
    for (token, refusal) in &refusals {
        assert_eq!(
            (refusal.status, &refusal.headers, &refusal.body),
            (400, &first.headers, &first.body),
            "{token}"
        );
    }
}

/// RFR-07: another client's attempt costs the owner nothing.
#[tokio::test]
async fn another_clients_attempt_leaves_the_token_current() {
    let case = opened().await;
    let thief = case.server.application("thief").await;
    let second = case.next(&case.first()).await;
    let before = case.stored().await;
    for token in [&case.first(), &second] {
        let answer = case.server.refresh(&thief, token).await;
        assert_eq!((answer.status, answer.error()), (400, "invalid_grant".into()));
    }
    assert_eq!(case.stored().await, before);
    case.refresh(&second).await;
}

/// ROT-18 at the level of files: a database brought back from before a rotation recognises the newer token,
/// and ends the session.
#[tokio::test]
async fn a_token_newer_than_the_store_ends_its_session() {
    let mut case = opened().await;
    case.server.stop().await;
    let (database, copy) = (case.server.file("keyfob.redb"), case.server.file("copy"));
    std::fs::copy(&database, &copy).unwrap();
    case.server.resume().await;
    let second = case.next(&case.first()).await;
    let third = case.next(&second).await;
    case.server.stop().await;
    std::fs::copy(&copy, &database).unwrap();
    case.server.resume().await;
    case.is_refused(&third).await;
    assert_eq!(case.ended().await, "store_rollback");
    case.is_refused(&case.first()).await;
}
