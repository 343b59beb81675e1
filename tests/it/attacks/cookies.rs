//! Cookies that were planted, copied or altered; and where no cookie counts.

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use keyfob::http::ROUTES;
use keyfob::http::access::Access;
use serde_json::json;

use super::Attacks;
use crate::harness::people::{signed_in, signed_in_with};
use crate::harness::server::{Answer, Auth, Client, Server, text};

/// Asks with these `Cookie` headers, which can have any bytes.
async fn ask(server: &Server, path: &str, cookies: &[Vec<u8>]) -> Answer {
    let mut request = poem::Request::builder().method(Method::GET).uri(path.parse().unwrap()).finish();
    for cookie in cookies {
        let value = HeaderValue::from_bytes(cookie).unwrap();
        request.headers_mut().append(HeaderName::from_static("cookie"), value);
    }
    let mut response = server.app().wire().respond(request).await;
    let (status, headers): (_, HeaderMap) = (response.status().as_u16(), response.headers().clone());
    Answer { status, headers, body: response.take_body().into_bytes().await.unwrap() }
}

/// CKE-15, CKE-16, CKE-17, SES-04: what is not exactly our cookie, once, is not authenticated; a
/// session does not start because a request names one.
#[tokio::test]
async fn only_the_exact_cookie_that_was_issued_counts_and_only_once() {
    let people = signed_in().await;
    let (token, server) = (people.session_token(), &people.server);
    let mut forged = token.clone();
    forged.replace_range(20..21, if &token[20..21] == "A" { "B" } else { "A" });
    let other = text(&server.open(&people.app).await["session_token"]);
    let [access, refresh] = ["access_token", "refresh_token"].map(|name| text(&people.opened[name]));
    let name = "__Host-keyfob";
    let mut attacks = Attacks::of("cookies");
    let one = |what: &'static str, cookie: String| (what, vec![cookie.into_bytes()]);
    let mut table = vec![
        one("its name in lower case", format!("__host-keyfob={token}")),
        one("its name in upper case", format!("__HOST-KEYFOB={token}")),
        one("its name in another case", format!("__Host-Keyfob={token}")),
        one("without a prefix", format!("keyfob={token}")),
        one("with the weaker prefix", format!("__Secure-keyfob={token}")),
        one("with a double prefix", format!("__Host-__Host-keyfob={token}")),
        one("a longer name", format!("{name}2={token}")),
        one("letters before its name", format!("x{name}={token}")),
        one("its name encoded", format!("__Host%2Dkeyfob={token}")),
        one("no name, as browsers send what scripts set without one", format!("={name}={token}")),
        one("its name in another cookie's value", format!("a={name}={token}")),
        one("a space behind its name", format!("{name} ={token}")),
        one("a space before its value", format!("{name}= {token}")),
        one("in quotation marks", format!("{name}=\"{token}\"")),
        one("in single quotation marks", format!("{name}='{token}'")),
        one("percent-encoded", format!("{name}=kfs%5F{}", &token[4..])),
        one("joined by a comma", format!("{name}=x, {name}={token}")),
        one("with a comma behind it", format!("{name}={token}, a=b")),
        one("twice", format!("{name}={token}; {name}={token}")),
        one("behind an empty one", format!("{name}=; {name}={token}")),
        one("before an empty one", format!("{name}={token}; {name}=")),
        one("behind a planted one", format!("{name}={other}; {name}={token}")),
        one("before a planted one", format!("{name}={token}; {name}={other}")),
        one("before one of another alphabet", format!("{name}={token}; other=1; {name}=ö")),
        one("altered", format!("{name}={forged}")),
        one("a character more", format!("{name}={token}A")),
        one("a character less", format!("{name}={}", &token[..token.len() - 1])),
        one("in lower case", format!("{name}={}", token.to_lowercase())),
        one("empty", format!("{name}=")),
        one("without a value", name.to_owned()),
        one("a name that the visitor chose", format!("{name}=mine")),
        one("the id of the session", format!("{name}={}", text(&people.opened["session"]["id"]))),
        one("the refresh token", format!("{name}={refresh}")),
        one("the refresh token under the other prefix", format!("{name}=kfs_{}", &refresh[4..])),
        one("the client's secret", format!("{name}={}", people.app.secret)),
        one("behind a line of version 1", format!("$Version=1, {name}={token}")),
        one("a zero-width space in its name", format!("__Host-\u{200b}keyfob={token}")),
        one("full-width letters", format!("＿＿Host-keyfob={token}")),
    ];
    let whole = format!("{name}={token}").into_bytes();
    table.push(("in two headers", vec![whole.clone(), whole.clone()]));
    table.push(("in two headers, one of them empty", vec![format!("{name}=").into_bytes(), whole.clone()]));
    table.push(("with a byte that is no text", vec![[&whole[..], b"\xff"].concat()]));
    for (what, cookies) in table {
        for path in ["/v1/session", "/v1/forward-auth"] {
            let answer = ask(server, path, &cookies).await;
            let set = answer.headers.contains_key("set-cookie");
            attacks.check(format!("{what}: {path}"), answer.status == 401 && !set, answer.status);
        }
    }
    for cookies in [
        vec![format!("a=b;{};c=\"d\"; e=f=g", people.cookie()).into_bytes()],
        vec![b"n\xe4me=wert".to_vec(), whole],
    ] {
        assert_eq!(ask(server, "/v1/session", &cookies).await.status, 200, "among others");
    }
    // An access token is read as the bearer that it is, and ends nothing.
    let cookie = format!("{name}={access}");
    assert_eq!(ask(server, "/v1/session", &[cookie.clone().into_bytes()]).await.status, 200);
    let page = [crate::harness::people::SAME_ORIGIN];
    server.browse(Method::DELETE, "/v1/session", &cookie, &page).await;
    assert!(people.is_there().await);
    let listed = server.get("/v1/sessions", Auth::Basic(&server.admin)).await.json();
    assert_eq!(listed["items"].as_array().unwrap().len(), 2, "none was started");
    attacks.finish(2 * 41);
}

/// The cookie authenticates at the routes for people, and nowhere else: not even beside a client's name.
#[tokio::test]
async fn the_cookie_of_a_subject_opens_no_other_route() {
    let settings = [("limits.failed_auth_per_minute", "1000")];
    let people = signed_in_with(&settings, json!({"subject": "alice"})).await;
    let (server, cookie) = (&people.server, people.cookie());
    let no_secret = Client { secret: String::new(), ..people.app.clone() };
    let mut attacks = Attacks::of("routes with a cookie");
    let needs = |access: &Access| !matches!(access, Access::Public | Access::Person | Access::OwnPage);
    let mut routes = 0;
    for (method, path, _) in ROUTES.iter().filter(|(.., access)| needs(access)) {
        routes += 1;
        let path = path.replace("{id}", &text(&people.opened["session"]["id"])).replace(['{', '}'], "");
        let kind = if path.starts_with("/oauth2") {
            ("application/x-www-form-urlencoded", "token=x&grant_type=refresh_token")
        } else {
            ("application/json", "{}")
        };
        let body = if *method == "GET" { "" } else { kind.1 };
        for (name, auth) in [("alone", Auth::None), ("with a client's name", Auth::Basic(&no_secret))] {
            let headers =
                [("cookie", &*cookie), ("content-type", kind.0), crate::harness::people::SAME_ORIGIN];
            let answer = server.send(method.parse().unwrap(), &path, auth, &headers, body).await;
            attacks.expect(format!("{method} {path}, {name}"), answer.status, 401);
        }
    }
    assert!(people.is_there().await);
    attacks.finish(2 * routes);
}
