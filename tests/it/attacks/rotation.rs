//! Callers who are not the client of a refresh token, and tokens that are not the current one.

use std::time::Duration;

use base64ct::{Base64UrlUnpadded, Encoding};
use serde_json::json;

use super::Attacks;
use crate::harness::server::{Auth, Client, Server, encoded, text};

/// A third party has the victim's tokens of any age and its client identifier, and no secret of it. Nothing
/// that it sends ends the session, spends a token or gets one.
#[tokio::test]
async fn a_third_party_neither_refreshes_nor_logs_a_subject_out() {
    let mut attacks = Attacks::of("refresh tokens in the hands of a third party");
    for kind in ["confidential", "public"] {
        let server = Server::with(&[("limits.failed_auth_per_minute", "100000")]).await;
        let audiences = ["https://api.example"];
        let fields = json!({
            "client_id": "victim", "kind": kind, "grants": ["refresh_token"], "audiences": audiences,
        });
        let victim = server.client(fields).await;
        let rival = json!({
            "client_id": "rival", "permissions": ["sessions", "introspect:any"],
            "grants": ["refresh_token", "client_credentials"], "serves": audiences,
        });
        let rival = server.client(rival).await;
        let mob = json!({"client_id": "mob", "kind": "public", "grants": ["refresh_token"]});
        let mob = server.client(mob).await;
        let own = server.own_token(&rival).await;
        let open = json!({"subject": "alice", "client_id": "victim"});
        let opened = server.open_with(&server.admin, open).await;
        let older = text(&opened["refresh_token"]);
        let spent = text(&server.refresh(&victim, &older).await.json()["refresh_token"]);
        server.hand.advance(Duration::from_secs(60));
        let previous = text(&server.refresh(&victim, &spent).await.json()["refresh_token"]);
        server.hand.advance(Duration::from_secs(60));
        let current = text(&server.refresh(&victim, &previous).await.json()["refresh_token"]);
        let genuine = Base64UrlUnpadded::decode_vec(&current[4..]).unwrap();
        let altered = |byte: usize| {
            let mut bytes = genuine.clone();
            bytes[byte] ^= 1;
            format!("kfr_{}", Base64UrlUnpadded::encode_string(&bytes))
        };
        let tokens = [
            ("the current token", current.clone()),
            ("the previous token", previous),
            ("a spent token", spent),
            ("the first token", older),
            ("the next generation, forged", altered(23)),
            ("another family, forged", altered(19)),
            ("another secret, forged", altered(40)),
            ("another code, forged", altered(71)),
            ("the session token", text(&opened["session_token"])),
            ("the access token", text(&opened["access_token"])),
        ];
        let no_secret = Client { secret: String::new(), ..victim.clone() };
        let wrong = Client { secret: rival.secret.clone(), ..victim.clone() };
        let callers = [
            ("no client", Auth::None, ""),
            ("another client", Auth::Basic(&rival), ""),
            ("another client by its own token", Auth::Bearer(&own), ""),
            ("a public client by Basic", Auth::Basic(&mob), ""),
            ("a public client by its name", Auth::None, "mob"),
            ("the client with another's secret", Auth::Basic(&wrong), ""),
            ("the client by Basic without a secret", Auth::Basic(&no_secret), ""),
            ("the client by its name", Auth::None, "victim"),
        ];
        for (caller, auth, name) in callers {
            for (what, token) in &tokens {
                // Who names a public client is that client: then only what is forged is an attack.
                let is_client = name == "victim" || caller == "the client by Basic without a secret";
                if kind == "public" && is_client && !what.ends_with("forged") {
                    continue;
                }
                let mut fields = vec![("grant_type", "refresh_token"), ("refresh_token", &**token)];
                if !name.is_empty() {
                    fields.push(("client_id", name));
                }
                let answer = server.raw_form("/oauth2/token", auth, &encoded(&fields)).await;
                let refused = matches!(answer.status, 400 | 401) && !answer.text().contains("kf");
                let active = server.is_active(&server.admin, &current).await;
                attacks.check(
                    format!("{kind}: {caller} with {what}"),
                    refused && active,
                    (answer.status, answer.text(), active),
                );
            }
        }
        let goes_on = server.refresh(&victim, &current).await.status == 200;
        attacks.control(format!("the chain of the {kind} client goes on"), goes_on);
    }
    attacks.finish(8 * 10 + 6 * 10 + 2 * 4);
}
