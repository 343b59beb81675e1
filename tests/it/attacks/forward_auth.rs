//! Forward-auth and gates: what a visitor writes beside the proxy's question, and what a name does to the
//! headers of the answer.

use http::Method;
use serde_json::json;

use super::Attacks;
use crate::harness::people::{cookie, signed_in, signed_in_with};
use crate::harness::server::{Answer, Auth, text};

const IDENTITY: [&str; 5] =
    ["x-keyfob-subject", "x-keyfob-session", "x-keyfob-client", "x-keyfob-scope", "x-keyfob-acr"];

fn is_silent(answer: &Answer) -> bool {
    IDENTITY.iter().all(|name| answer.headers.get_all(*name).iter().eq([""]))
}

/// No header of a visitor admits them or comes back as who they are.
#[tokio::test]
async fn what_a_visitor_writes_is_not_believed_and_not_answered() {
    let mut people = signed_in().await;
    people.server.stop().await;
    people.server.configure("[[gate]]\nname = \"pages\"\n");
    people.server.resume().await;
    let server = &people.server;
    let id = text(&people.opened["session"]["id"]);
    let mut attacks = Attacks::of("headers of a visitor");
    for (name, value) in [
        ("x-keyfob-subject", "root"),
        ("x-keyfob-session", &*id),
        ("x-keyfob-client", "root"),
        ("x-keyfob-scope", "root"),
        ("x-keyfob-acr", "root"),
        ("x_keyfob_subject", "root"),
        ("x-keyfob-subject-2", "root"),
        ("x-forwarded-user", "root"),
        ("x-forwarded-email", "root"),
        ("x-remote-user", "root"),
        ("remote-user", "root"),
        ("x-auth-request-user", "root"),
        ("x-forwarded-method", "OPTIONS"),
        ("x-forwarded-uri", "/healthz"),
        ("x-forwarded-host", "root"),
        ("x-forwarded-proto", "root"),
        ("x-original-url", "/healthz"),
        ("x-original-method", "OPTIONS"),
        ("x-rewrite-url", "/healthz"),
        ("x-http-method-override", "OPTIONS"),
        ("forwarded", "for=127.0.0.1;by=root;host=root"),
        ("x-real-ip", "127.0.0.1"),
        ("x-client-cert", "root"),
        ("x-authenticated", "true"),
        ("proxy-authorization", "Basic YWRtaW46YWRtaW4="),
    ] {
        for path in ["/v1/forward-auth", "/v1/gates/pages"] {
            let anonymous = server.send(Method::GET, path, Auth::None, &[(name, value)], "").await;
            let held = anonymous.status == 401 && is_silent(&anonymous);
            attacks.check(format!("{path}: {name}"), held, (anonymous.status, anonymous.headers));
            let alice = server.browse(Method::GET, path, &people.cookie(), &[(name, value)]).await;
            let said = IDENTITY.map(|name| alice.header(name).to_owned());
            let held = alice.status == 200 && said == ["alice", &id, "app", "read%20write", ""];
            attacks.check(format!("{path}: {name} beside a cookie"), held, said);
        }
    }
    attacks.finish(25 * 4);
}

/// Whatever the name of a subject and its level are, each header is one value of visible ASCII that decodes
/// to exactly that.
#[tokio::test]
async fn no_name_breaks_out_of_its_header_or_resembles_another() {
    let mut attacks = Attacks::of("names in headers");
    let people = signed_in().await;
    let server = &people.server;
    for name in [
        "a%0d%0aX-Keyfob-Scope: root",
        "a%0D%0A%0D%0AGET / HTTP/1.1",
        "a\u{2028}X: y",
        "a\u{2029}b",
        "a\u{85}b",
        "a\u{a0}b",
        "a\u{10d}\u{10a}b",
        "a\u{560d}\u{560a}b",
        "\u{ff41}lice",
        "\u{430}lice",
        "al\u{200d}ice",
        "al\u{ad}ice",
        "\u{202e}ecila",
        "\u{feff}alice",
        "alice%",
        "alice%61",
        "%61lice",
        "alice%00",
        "alice, root",
        "alice;root",
        "alice\"root",
        "alice\\root",
        "alice root",
        " alice",
        "alice ",
        "=?utf-8?q?root?=",
        "Zoë",
        "Zoe\u{308}",
        "🔑",
        "<script>alert(1)</script>",
        "' OR 1=1 --",
        "$(id)",
        "../../root",
    ] {
        let fields = json!({"subject": name, "acr": name});
        let opened = server.json(Method::POST, "/v1/sessions", Auth::Basic(&people.app), fields).await;
        if opened.status == 400 {
            // A name that is refused breaks out of nothing.
            attacks.check(name, true, "");
            continue;
        }
        let answer = server.browse(Method::GET, "/v1/forward-auth", &cookie(&opened.json()), &[]).await;
        let said = ["x-keyfob-subject", "x-keyfob-acr"].map(|header| {
            let values: Vec<_> = answer.headers.get_all(header).iter().collect();
            let visible = values.iter().all(|value| value.as_bytes().iter().all(u8::is_ascii_graphic));
            (values.len() == 1 && visible).then(|| answer.header(header).to_owned())
        });
        let decoded = said.map(|value| {
            let value = value.unwrap_or_default();
            percent_encoding::percent_decode_str(&value).decode_utf8().unwrap().into_owned()
        });
        attacks.check(name, answer.status == 200 && decoded == [name, name], (answer.status, decoded));
    }
    attacks.finish(33);
}

/// A question that contradicts itself, or that says less than it seems to, opens to no visitor. What has an
/// empty or unknown parameter is tried in `routes::forward_auth`.
#[tokio::test]
async fn a_conflicting_question_admits_no_visitor() {
    let people = signed_in_with(&[], json!({"subject": "alice", "acr": "aal1", "scope": "read"})).await;
    let mut attacks = Attacks::of("conflicting questions");
    for query in [
        "acr=aal1&acr=aal2",
        "acr=aal2&acr=aal1",
        "acr=aal1&%61cr=aal2",
        "acr=aal1&acr",
        "acr=aal2;acr=aal1",
        "acr=aal2%26acr=aal1",
        "acr=aal2%00aal1",
        "acr=AAL1",
        "acr=aal2%20aal3",
        "acr=%C0%80",
        "acr=aal1%2Caal2",
        "acr[]=aal1",
        "scope=read&scope=write",
        "scope=write&scope=read",
        "scope=read,write",
        "scope=read%20write",
        "scope=read+write",
        "scope=READ",
        "scope=rea",
        "scope=read%00",
        "scope=*",
        "scope=openid",
        "max_age=-1",
        "max_age=+5",
        "max_age=5s",
        "max_age=0x10",
        "max_age=1e3",
        "max_age=5.0",
        "max_age=%D9%A5",
        "max_age=99999999999999999999",
        "max_age=5&max_age=500000",
        "max_age=NaN",
        "client_id=other",
        "client_id=APP",
        "client_id=app%20",
        "client_id=*",
        "client_id=a%2Fpp",
        "client_id=app&acr=aal2",
        "client_id=other&scope=read",
        "audience=a&audience=b",
        "touch=maybe",
        "touch=false&touch=true",
        "level=aal1",
        "acr%00=aal1",
        "acr =aal1",
        "Acr=aal1",
    ] {
        let path = format!("/v1/forward-auth?{}", query.replace(' ', "%20"));
        let answer = people.browse(Method::GET, &path).await;
        let held = matches!(answer.status, 400 | 401 | 403) && is_silent(&answer);
        attacks.check(query, held, (answer.status, answer.text()));
    }
    assert_eq!(people.browse(Method::GET, "/v1/forward-auth?acr=aal1&scope=read").await.status, 200);
    attacks.finish(46);
}

/// Only a token of a subject, valid here, admits; beside one that is none the cookie counts only where the
/// bearer cannot be ours.
#[tokio::test]
async fn a_credential_that_is_not_a_subjects_admits_no_visitor() {
    let people = signed_in().await;
    let server = &people.server;
    let machine = server.client(json!({"client_id": "m", "grants": ["client_credentials"]})).await;
    let own = server.own_token(&machine).await;
    let other = server.client(json!({
        "client_id": "other", "permissions": ["sessions"], "grants": ["refresh_token"],
        "audiences": ["https://api.example"],
    }));
    let elsewhere = text(&server.open(&other.await).await["access_token"]);
    let ended = server.open(&people.app).await;
    server.revoke(&people.app, &text(&ended["session_token"])).await;
    let [ended_session, ended_access] = ["session_token", "access_token"].map(|name| text(&ended[name]));
    let mut attacks = Attacks::of("credentials at forward-auth");
    let refresh = text(&people.opened["refresh_token"]);
    for (name, token) in [
        ("a refresh token", &*refresh),
        ("a client's own token", &*own),
        ("an access token for another audience", &*elsewhere),
        ("the session token of an ended session", &*ended_session),
        ("the access token of an ended session", &*ended_access),
        ("an altered token", "v4.public.AAAA"),
    ] {
        let bearer = format!("Bearer {token}");
        let with_cookie = [("authorization", &*bearer), ("cookie", &*people.cookie())];
        for (how, headers) in [("alone", &with_cookie[..1]), ("beside a cookie", &with_cookie[..])] {
            let answer = server.send(Method::GET, "/v1/forward-auth", Auth::None, headers, "").await;
            attacks.check(
                format!("{name} {how}"),
                answer.status == 401 && is_silent(&answer),
                (answer.status, answer.headers),
            );
        }
    }
    for (name, auth) in [
        ("the administrator's secret", Auth::Basic(&server.admin)),
        ("the client's secret", Auth::Basic(&people.app)),
        ("a secret as bearer", Auth::Bearer(&people.app.secret)),
        ("another scheme", Auth::Header("Negotiate YII=")),
    ] {
        let answer = server.get("/v1/forward-auth", auth).await;
        attacks.check(name, answer.status == 401 && is_silent(&answer), (answer.status, answer.headers));
    }
    attacks.finish(6 * 2 + 4);
}
