//! What is answered when the store cannot answer, and when the power was cut.

use http::Method;
use serde_json::json;

use crate::harness::dice::Dice;
use crate::harness::disk::Fault;
use crate::harness::server::{Answer, Auth, Client, send, text};
use crate::harness::wired::{Wired, form};

const INTROSPECT: &str = "/oauth2/introspect";
const REVOKE: &str = "/oauth2/revoke";
const TOKEN: &str = "/oauth2/token";

#[track_caller]
fn assert_unavailable(answer: &Answer) {
    answer.assert_error(503, "temporarily_unavailable");
    assert_eq!(answer.header("retry-after"), "2");
    for cause in ["unplugged", "redb", "panicked", "src/"] {
        assert!(!answer.text().contains(cause), "an internal cause travelled: {}", answer.text());
    }
}

/// INT-115, REV-28, TOK-20: 503 with `Retry-After`: neither a verdict on a token, nor anything of the cause.
/// What was asked was not done.
#[tokio::test]
async fn without_its_disk_the_server_knows_nothing() {
    let wired = Wired::start().await;
    let app = wired.application("app").await;
    let opened = wired.open(&app).await;
    let tokens = ["access_token", "refresh_token", "session_token"].map(|name| text(&opened[name]));
    let own =
        text(&wired.form(TOKEN, &app, &[("grant_type", "client_credentials")]).await.json()["access_token"]);
    wired.unplug();
    for token in tokens.iter().chain([&own]) {
        assert_unavailable(&wired.form(INTROSPECT, &app, &[("token", token)]).await);
    }
    for token in &tokens {
        assert_unavailable(&wired.form(REVOKE, &app, &[("token", token)]).await);
    }
    assert_unavailable(
        &wired.form(TOKEN, &app, &[("grant_type", "refresh_token"), ("refresh_token", &tokens[1])]).await,
    );
    let opening = wired.json("/v1/sessions", Auth::Basic(&app), json!({"subject": "bob"})).await;
    opening.assert_problem(503, None);
    let ready = send(&wired.wire, Method::GET, "/readyz", Auth::None, &[], "").await;
    assert_eq!((ready.status, ready.header("retry-after")), (503, "2"));

    let again = Wired::on(wired.disk.after_power_cut(&mut Dice::new(1))).await;
    for token in &tokens {
        assert!(again.is_active(&app, token).await);
    }
}

/// INT-115: a commit that failed leaves the truth unknown, so nothing is called active from then on, although
/// the disk can still be read.
#[tokio::test]
async fn after_a_failed_commit_nothing_is_called_active() {
    let wired = Wired::start().await;
    let app = wired.application("app").await;
    let opened = wired.open(&app).await;
    wired.disk.arm(0, Fault::ReadOnly);
    assert_unavailable(&wired.form(REVOKE, &app, &[("token", &text(&opened["refresh_token"]))]).await);
    for token in ["access_token", "refresh_token", "session_token"] {
        assert_unavailable(&wired.form(INTROSPECT, &app, &[("token", &text(&opened[token]))]).await);
    }
}

/// INT-113, REV-23: the answer comes when the end is on the disk, so that no power cut brings a token back.
#[tokio::test]
async fn a_revocation_survives_the_power_cut_that_follows_its_answer() {
    let wired = Wired::start().await;
    let app = wired.application("app").await;
    let (ended, by_jti, lives) = (wired.open(&app).await, wired.open(&app).await, wired.open(&app).await);
    let ended = ["access_token", "refresh_token", "session_token"].map(|name| text(&ended[name]));
    let (jti, lives) = (text(&by_jti["access_token"]), text(&lives["access_token"]));
    assert_eq!(wired.form(REVOKE, &app, &[("token", &ended[1])]).await.status, 200);
    assert_eq!(wired.form(REVOKE, &app, &[("token", &jti)]).await.status, 200);
    for seed in 0..20 {
        let found = Wired::on(wired.disk.after_power_cut(&mut Dice::new(seed))).await;
        for token in ended.iter().chain([&jti]) {
            assert!(!found.is_active(&app, token).await, "seed {seed}");
        }
        assert!(found.is_active(&app, &lives).await, "seed {seed}");
    }
}

/// INT-112: who has seen a token inactive never sees it active again, however many ask while it is revoked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_token_comes_back_to_life() {
    let wired = Wired::start().await;
    let app = wired.application("app").await;
    for _ in 0..20 {
        let opened = wired.open(&app).await;
        let token = text(&opened["access_token"]);
        let asking: Vec<_> =
            (0..3).map(|_| tokio::spawn(watch(wired.wire.clone(), app.clone(), token.clone()))).collect();
        let revoked = wired.form(REVOKE, &app, &[("token", &text(&opened["refresh_token"]))]).await;
        assert_eq!(revoked.status, 200);
        assert!(!wired.is_active(&app, &token).await, "inactive in the next answer after the 200");
        for history in asking {
            let history = history.await.unwrap();
            assert!(history.is_sorted_by(|earlier, later| earlier | !later), "{history:?}");
        }
    }
}

/// Asks until it has seen the token inactive a few times; whether it was active, each time.
async fn watch(wire: std::sync::Arc<keyfob::http::wire::Service>, app: Client, token: String) -> Vec<bool> {
    let mut history: Vec<bool> = vec![];
    while history.iter().filter(|active| !**active).count() < 5 {
        history
            .push(form(&wire, INTROSPECT, &app, &[("token", &token)]).await.json()["active"] == json!(true));
        tokio::task::yield_now().await;
    }
    history
}

/// REV-29 (a shipped server minted tokens that outlived the revocation): whichever of the two is first,
/// nothing is usable afterwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refresh_that_races_a_revocation_wins_nothing() {
    let wired = Wired::start().await;
    let app = wired.application("app").await;
    let (mut granted, mut refused) = (0, 0);
    for _ in 0..1000 {
        let refresh_token = text(&wired.open(&app).await["refresh_token"]);
        let refreshing = tokio::spawn({
            let (wire, app, token) = (wired.wire.clone(), app.clone(), refresh_token.clone());
            async move {
                form(&wire, TOKEN, &app, &[("grant_type", "refresh_token"), ("refresh_token", &token)]).await
            }
        });
        assert_eq!(wired.form(REVOKE, &app, &[("token", &refresh_token)]).await.status, 200);
        let refreshed = refreshing.await.unwrap();
        if refreshed.status != 200 {
            refreshed.assert_error(400, "invalid_grant");
            refused += 1;
            continue;
        }
        granted += 1;
        for name in ["access_token", "refresh_token"] {
            assert!(!wired.is_active(&app, &text(&refreshed.json()[name])).await);
        }
        let again =
            [("grant_type", "refresh_token"), ("refresh_token", &*text(&refreshed.json()["refresh_token"]))];
        wired.form(TOKEN, &app, &again).await.assert_error(400, "invalid_grant");
    }
    assert!(granted > 0 && refused > 0, "both orders happen: {granted} {refused}");
}
