//! Clocks that jump: nothing that ended becomes valid again.

use http::Method;
use keyfob::domain::time::Timestamp;
use serde_json::json;

use super::Attacks;
use crate::harness::people::{path, seconds};
use crate::harness::server::{Auth, NOW_S, Server, text};

const DAY: i64 = 86_400;

/// Where the clock is set, one after the other. At each stop the server does what it does every second.
const JUMPS: [(&str, &[i64]); 10] = [
    ("an hour back", &[-3_600]),
    ("a day back", &[-DAY]),
    ("to 1996", &[820_454_400 - NOW_S]),
    ("to 1970", &[-NOW_S]),
    ("an hour ahead and back", &[3_600, 0]),
    ("a day ahead and back", &[DAY, 0]),
    ("40 days ahead and back", &[40 * DAY, 0]),
    ("a year ahead and a year back", &[365 * DAY, -365 * DAY]),
    ("to 9999 and back", &[253_402_214_400 - NOW_S, 0]),
    ("ahead and back five times", &[DAY, 0, 2 * DAY, 0, 40 * DAY, -1, 3 * DAY, 1, DAY, 0]),
];

#[tokio::test]
async fn no_clock_makes_valid_again_what_ended() {
    let mut attacks = Attacks::of("clocks");
    for restarts in [false, true] {
        for (name, jumps) in JUMPS {
            let mut server = Server::with(&[("limits.failed_auth_per_minute", "100000")]).await;
            let fields = |id: &str| {
                json!({
                    "client_id": id, "permissions": ["sessions", "introspect"],
                    "grants": ["refresh_token", "client_credentials"],
                })
            };
            let app = server.client(fields("app")).await;
            let gone = server.client(fields("gone")).await;
            let mut ended = vec![];
            let mut end = |what: &'static str, token: String| ended.push((what, token));

            let own = server.own_token(&app).await;
            server.revoke(&app, &own).await;
            end("a client's own token that was revoked", own);
            let opened = server.open(&app).await;
            server.revoke(&app, &text(&opened["access_token"])).await;
            end("an access token that was revoked", text(&opened["access_token"]));
            for how in ["logged out", "revoked by its refresh token", "revoked by its session token"] {
                let opened = server.open(&app).await;
                match how {
                    "logged out" => server.delete(&path(&opened), Auth::Basic(&app)).await,
                    "revoked by its refresh token" => {
                        server.revoke(&app, &text(&opened["refresh_token"])).await
                    }
                    _ => server.revoke(&app, &text(&opened["session_token"])).await,
                };
                for member in ["access_token", "refresh_token", "session_token"] {
                    end(how, text(&opened[member]));
                }
            }
            let opened = server.open(&app).await;
            let first = text(&opened["refresh_token"]);
            let second = text(&server.refresh(&app, &first).await.json()["refresh_token"]);
            server.refresh(&app, &second).await;
            server.refresh(&app, &first).await.assert_error(400, "invalid_grant");
            end("a family whose token was used again", second);
            let opened = server.open(&gone).await;
            let of_gone = server.own_token(&gone).await;
            server.delete("/v1/clients/gone", Auth::Basic(&server.admin)).await;
            server.client(fields("gone")).await;
            end("a session of a deleted client", text(&opened["session_token"]));
            end("an own token of a deleted client", of_gone);
            let before = server.own_token(&app).await;
            let old = app.clone();
            let rotated = server
                .json(Method::POST, "/v1/clients/app/secret", Auth::Basic(&server.admin), json!({}))
                .await;
            assert_eq!(rotated.status, 200);
            end("an own token of before a rotation", before);
            let opened = server.open_with(&server.admin, json!({"subject": "bob", "client_id": "app"})).await;
            server.delete("/v1/subjects/bob/sessions", Auth::Basic(&server.admin)).await;
            end("a session of a subject who was logged out", text(&opened["session_token"]));
            let opened =
                server.open_with(&server.admin, json!({"subject": "carol", "client_id": "app"})).await;
            server.delete("/v1/sessions?all=true", Auth::Basic(&server.admin)).await;
            end("a session of before all ended", text(&opened["session_token"]));

            let mut valid = vec![];
            for jump in jumps {
                server.hand.set_wall(Timestamp::from_seconds(NOW_S + jump));
                server.hand.advance(seconds(1));
                server.tend().await;
                if restarts {
                    server.restart().await;
                    server.hand.set_wall(Timestamp::from_seconds(NOW_S + jump));
                }
                for (what, token) in &ended {
                    if server.is_active(&server.admin, token).await {
                        valid.push(format!("{what}, at {jump} s"));
                    }
                }
                if server.get("/v1/sessions", Auth::Basic(&old)).await.status != 401 {
                    valid.push(format!("a secret of before a rotation, at {jump} s"));
                }
            }
            let how = if restarts { "with restarts" } else { "in one run" };
            attacks.check(format!("{name}, {how}"), valid.is_empty(), valid);
        }
    }
    attacks.finish(20);
}
