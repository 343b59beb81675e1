//! The operator's console: stolen links, foreign pages, the cookie where it does not count, and roles.

use http::Method;
use keyfob::http::ROUTES;
use keyfob::http::access::Access;
use serde_json::{Value, json};

use super::Attacks;
use crate::harness::people::{SAME_ORIGIN, seconds};
use crate::harness::server::{Answer, Auth, Client, Server, text};

const NAME: &str = "__Host-keyfob-console";

/// The operations of the document that accept the console's cookie.
fn accepting(server: &Server) -> Vec<(Method, String)> {
    let document = server.app().wire().document();
    let has_console = |operation: &Value| {
        operation["security"].as_array().into_iter().flatten().any(|scheme| scheme.get("console").is_some())
    };
    let of_path = |(path, operations): (&String, &Value)| {
        let accepted = operations.as_object().unwrap().iter().filter(|(_, operation)| has_console(operation));
        let named = |(method, _): (&String, &Value)| {
            (Method::from_bytes(method.to_uppercase().as_bytes()).unwrap(), path.clone())
        };
        accepted.map(named).collect::<Vec<_>>()
    };
    document["paths"].as_object().unwrap().iter().flat_map(of_path).collect()
}

/// The path of a route, with a client and a session that exist, so that only the rejection protects them.
fn concrete(method: &Method, path: &str, session: &str) -> String {
    let id = if path.contains("clients") { "app" } else { session };
    let path = path.replace("{id}", id).replace("{family}", "1").replace("{subject}", "alice");
    let path = path.replace("{kid}", &format!("k4.pid.{}", "A".repeat(44))).replace(['{', '}'], "");
    match &*path {
        "/v1/sessions" if method != Method::POST => format!("{path}?subject=alice"),
        "/v1/policies/simulate" => format!("{path}?idle_timeout=10m"),
        _ => path,
    }
}

/// A body that does what the route is for.
fn body(method: &Method, path: &str) -> &'static str {
    match (method, path) {
        (&Method::POST, "/v1/clients") => r#"{"client_id":"planted","permissions":["admin"]}"#,
        (&Method::PATCH, _) => r#"{"permissions":["admin"]}"#,
        (_, "/console/introspect") => r#"{"token":"x"}"#,
        _ => "",
    }
}

async fn browse(server: &Server, method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let mut headers = headers.to_vec();
    if !body.is_empty() {
        headers.push(("content-type", "application/json"));
    }
    server.send(method, path, Auth::None, &headers, body.to_owned()).await
}

/// The routes that only the pages of the console use.
const OWN: [(&str, &str); 5] = [
    ("GET", "/console/session"),
    ("DELETE", "/console/session"),
    ("GET", "/console/figures"),
    ("GET", "/console/configuration"),
    ("POST", "/console/introspect"),
];

#[tokio::test]
async fn a_link_opens_one_session_for_a_minute_and_nothing_else_opens_one() {
    let mut server = Server::with(&[("limits.failed_auth_per_minute", "1000")]).await;
    let app = server.application("app").await;
    let opened = server.open(&app).await;
    let mut attacks = Attacks::of("links of the console");
    let used = server.link("admin").await;
    attacks.control("a link", server.use_link(&used, &[SAME_ORIGIN]).await.status == 201);
    let (stolen, late, last) =
        (server.link("admin").await, server.link("admin").await, server.link("admin").await);
    server.use_link(&stolen, &[SAME_ORIGIN]).await;
    server.hand.advance(seconds(59));
    attacks.control("a link after 59 s", server.use_link(&last, &[SAME_ORIGIN]).await.status == 201);
    server.hand.advance(seconds(1));
    let fresh = server.link("admin").await;
    let mut altered = fresh.clone();
    altered.replace_range(10..11, if &fresh[10..11] == "A" { "B" } else { "A" });
    for (name, link) in [
        ("a used link", used),
        ("a stolen link that its owner has used", stolen),
        ("a link after a minute", late),
        ("an altered one", altered),
        ("one more character", format!("{fresh}A")),
        ("one character less", fresh[..fresh.len() - 1].to_owned()),
        ("with a space", format!(" {fresh}")),
        ("with the sign of the fragment", format!("#{fresh}")),
        ("in upper case", fresh.to_uppercase()),
        ("under the prefix of clients", format!("kfc_{}", &fresh[4..])),
        ("without a prefix", fresh[4..].to_owned()),
        ("the whole URL", format!("http://127.0.0.1:8080/console#{fresh}")),
        ("an empty one", String::new()),
        ("the secret of the administrator", server.admin.secret.clone()),
        ("a session token", text(&opened["session_token"])),
        ("a refresh token", text(&opened["refresh_token"])),
        ("an access token", text(&opened["access_token"])),
        ("markup", "<img src=x onerror=alert(1)>".to_owned()),
        ("64 KiB", "A".repeat(60_000)),
    ] {
        let answer = server.use_link(&link, &[SAME_ORIGIN]).await;
        let held = answer.status == 401 && answer.header("set-cookie").is_empty();
        attacks.check(name, held, (answer.status, answer.text()));
    }
    for (name, body) in [
        ("no member", "{}"),
        ("a list", r#"{"link":["a"]}"#),
        ("null", r#"{"link":null}"#),
        ("a role of its own", r#"{"link":"a","role":"admin"}"#),
        ("no JSON", "link=a"),
        ("nothing", ""),
    ] {
        let headers = [SAME_ORIGIN, ("content-type", "application/json")];
        let answer = server.send(Method::POST, "/console/session", Auth::None, &headers, body).await;
        attacks.expect(format!("a body with {name}"), answer.status, 400);
    }
    for media_type in ["application/x-www-form-urlencoded", "text/plain", "multipart/form-data; boundary=a"] {
        let body = json!({ "link": fresh }).to_string();
        let headers = [SAME_ORIGIN, ("content-type", media_type)];
        let answer = server.send(Method::POST, "/console/session", Auth::None, &headers, body).await;
        attacks.expect(format!("a form: {media_type}"), answer.status, 415);
    }
    for method in [Method::GET, Method::PUT] {
        let path = format!("/console/session?link={fresh}");
        let answer = browse(&server, method.clone(), &path, &[SAME_ORIGIN], "").await;
        attacks.check(format!("{method} with the link in the query"), answer.status != 201, answer.status);
    }
    attacks.control("the link is still valid", server.use_link(&fresh, &[SAME_ORIGIN]).await.status == 201);
    let before = server.link("admin").await;
    let all = server.json(Method::DELETE, "/v1/sessions?all=true", Auth::Socket, json!({})).await;
    assert_eq!(all.status, 200, "{}", all.text());
    let of_before = server.use_link(&before, &[SAME_ORIGIN]).await.status;
    attacks.expect("a link from before everything was ended", of_before, 401);
    let short = [("events.retention", "1s"), ("limits.failed_auth_per_minute", "1000")];
    let soon = Server::with(&short).await;
    let link = soon.link("admin").await;
    let opened = soon.use_link(&link, &[SAME_ORIGIN]).await;
    let cookie = opened.header("set-cookie").split(';').next().unwrap().to_owned();
    soon.operate(Method::DELETE, "/console/session", &cookie, None).await;
    soon.hand.advance(seconds(30));
    soon.tend().await;
    let again = soon.use_link(&link, &[SAME_ORIGIN]).await.status;
    attacks.expect("a used link after the retention of its session", again, 401);
    let lost = server.link("admin").await;
    server.restart().await;
    attacks.expect("a link after a restart", server.use_link(&lost, &[SAME_ORIGIN]).await.status, 401);
    attacks.finish(19 + 6 + 3 + 2 + 3);
}

/// A foreign page that has got hold of a link, or makes the operator's browser send the cookie.
#[tokio::test]
async fn only_a_page_of_this_origin_uses_links_and_cookies() {
    let server = Server::start().await;
    let app = server.application("app").await;
    let session = text(&server.open(&app).await["session"]["id"]);
    let cookie = server.console("admin").await;
    let mut attacks = Attacks::of("foreign pages at the console");
    let sites: [(&str, &[&str]); 9] = [
        ("none", &["none"]),
        ("missing", &[]),
        ("cross-site", &["cross-site"]),
        ("same-site", &["same-site"]),
        ("empty", &[""]),
        ("another case", &["Same-Origin"]),
        ("a list", &["same-origin, same-origin"]),
        ("twice", &["same-origin", "same-origin"]),
        ("two", &["same-origin", "cross-site"]),
    ];
    let mut routes: Vec<(Method, String)> =
        OWN.iter().map(|(method, path)| (method.parse().unwrap(), (*path).to_owned())).collect();
    routes.extend(accepting(&server).into_iter().map(|(method, path)| {
        let path = concrete(&method, &path, &session);
        (method, path)
    }));
    for (name, site) in sites {
        let headers: Vec<_> = site.iter().map(|site| ("sec-fetch-site", *site)).collect();
        let link = server.link("admin").await;
        for origin in [None, Some("http://127.0.0.1:8080")] {
            let headers: Vec<_> =
                headers.iter().copied().chain(origin.map(|origin| ("origin", origin))).collect();
            let answer = server.use_link(&link, &headers).await;
            attacks.expect(format!("a link, site {name}, origin {origin:?}"), answer.status, 403);
        }
        attacks.control(
            format!("{name}: not used up"),
            server.use_link(&link, &[SAME_ORIGIN]).await.status == 201,
        );
        let sent: Vec<_> = headers.iter().copied().chain([("cookie", &*cookie)]).collect();
        for (method, path) in &routes {
            let answer = browse(&server, method.clone(), path, &sent, body(method, path)).await;
            let held = [401, 403].contains(&answer.status);
            attacks.check(format!("{method} {path}, site {name}"), held, answer.status);
        }
    }
    let still = server.operate(Method::GET, &format!("/v1/sessions/{session}"), &cookie, None).await.json();
    attacks.control("nothing was ended", still["state"] == "active");
    attacks.control("the operator is signed in", server.console_status(&cookie).await == 200);
    attacks.finish(9 * (2 + routes.len()));
}

/// The cookie counts at the routes that its pages use; the token in it counts nowhere else, in whatever form.
#[tokio::test]
async fn the_cookie_of_the_console_opens_no_other_route() {
    let server = Server::with(&[("limits.failed_auth_per_minute", "1000")]).await;
    let app = server.application("app").await;
    let session = text(&server.open(&app).await["session"]["id"]);
    let cookie = server.console("admin").await;
    let token = cookie.split_once('=').unwrap().1.to_owned();
    let mut attacks = Attacks::of("the console's cookie elsewhere");
    let accepted = accepting(&server);
    let others = ROUTES.iter().filter(|(method, path, access)| {
        let is_public = matches!(access, Access::Public | Access::OwnPage);
        let is_own = OWN.contains(&(*method, *path));
        !is_public && !is_own && !accepted.iter().any(|(m, p)| m.as_str() == *method && p == path)
    });
    let mut routes = 0;
    for (method, path, _) in others {
        routes += 1;
        let path = concrete(&method.parse().unwrap(), path, &session);
        let kind = if path.starts_with("/oauth2") {
            ("application/x-www-form-urlencoded", "token=x&grant_type=refresh_token")
        } else {
            ("application/json", "{\"subject\":\"mallory\",\"client_id\":\"app\",\"role\":\"admin\"}")
        };
        let body = if *method == "GET" { "" } else { kind.1 };
        let as_session = format!("__Host-keyfob={token}");
        let no_secret = Client { secret: String::new(), ..app.clone() };
        for (name, auth, cookie) in [
            ("as it is", Auth::None, &cookie),
            ("beside a client's name", Auth::Basic(&no_secret), &cookie),
            ("as the session cookie", Auth::None, &as_session),
            ("as a bearer token", Auth::Bearer(&token), &as_session),
        ] {
            let headers = [("cookie", &**cookie), ("content-type", kind.0), SAME_ORIGIN];
            let answer = server.send(method.parse().unwrap(), &path, auth, &headers, body).await;
            // A gate that is not configured is no route. Logging out deletes the session cookie in any case.
            let harmless = match (*method, &*path) {
                (_, "/v1/gates/name") => 404,
                ("DELETE", "/v1/session") => 204,
                _ => 401,
            };
            let held = [401, harmless].contains(&answer.status);
            attacks.check(format!("{method} {path}, {name}"), held, answer.status);
        }
    }
    for (method, path) in &accepted {
        let path = concrete(method, path, &session);
        let answer = server.send(method.clone(), &path, Auth::Bearer(&token), &[SAME_ORIGIN], "").await;
        attacks.expect(format!("{method} {path}, as a bearer token"), answer.status, 401);
    }
    // What asks about a token learns nothing from this one.
    let admin = server.admin.clone();
    attacks.expect("introspection", server.introspect(&admin, &token).await, json!({"active": false}));
    let check = json!({ "token": token });
    let check = server.json(Method::POST, "/v1/sessions/check", Auth::Basic(&admin), check).await.json();
    attacks.expect("check", check, json!({"active": false}));
    let fields = [("grant_type", "refresh_token"), ("refresh_token", &*token)];
    let refresh = server.form("/oauth2/token", Auth::Basic(&admin), &fields).await;
    attacks.expect("as a refresh token", refresh.status, 400);
    let as_session = format!("__Host-keyfob={token}");
    server.browse(Method::DELETE, "/v1/session", &as_session, &[SAME_ORIGIN]).await;
    attacks.expect("logging out by it ends nothing", server.console_status(&cookie).await, 200);
    // A subject's own token is no operator's, under whatever name.
    let people = server.open_with(&app, json!({"subject": "operator", "scope": "read"})).await;
    let planted = format!("{NAME}={}", text(&people["session_token"]));
    attacks.expect("a subject's session token in the cookie", server.console_status(&planted).await, 401);
    for (name, cookie) in [
        ("twice", format!("{cookie}; {cookie}")),
        ("behind a planted one", format!("{planted}; {cookie}")),
        ("before an empty one", format!("{cookie}; {NAME}=")),
        ("another case", cookie.replace("Host", "host")),
        ("without its prefix", cookie.replace("__Host-", "")),
        ("a longer name", cookie.replace("console=", "console2=")),
        ("altered", format!("{}A", &cookie[..cookie.len() - 1])),
        ("longer", format!("{cookie}A")),
        ("quoted", cookie.replace('=', "=\"") + "\""),
    ] {
        attacks.expect(format!("the cookie {name}"), server.console_status(&cookie).await, 401);
    }
    attacks.control("the cookie", server.console_status(&cookie).await == 200);
    attacks.finish(4 * routes + accepted.len() + 5 + 9);
}

/// With `console:read`, or with a link that is too old, every read of the pages succeeds and every change
/// fails.
#[tokio::test]
async fn who_may_only_read_changes_nothing() {
    let server = Server::start().await;
    let app = server.application("app").await;
    let opened = server.open(&app).await;
    let session = text(&opened["session"]["id"]);
    let path = format!("/v1/sessions/{session}");
    let old = server.console("admin").await;
    server.hand.advance(seconds(300));
    let read = server.console("console:read").await;
    let before = super::state_of(&server, &path).await;
    let head = server.get("/v1/events?limit=1", Auth::Socket).await.json()["head"].clone();
    let mut attacks = Attacks::of("changes at the console without the right");
    let mut changes = 0;
    for (method, template) in accepting(&server) {
        let path = concrete(&method, &template, &session);
        let is_change = method != Method::GET;
        changes += usize::from(is_change);
        for (name, cookie) in [("console:read", &read), ("an old link", &old)] {
            let sent = body(&method, &path);
            let answer =
                browse(&server, method.clone(), &path, &[SAME_ORIGIN, ("cookie", cookie)], sent).await;
            if !is_change {
                attacks
                    .control(format!("{method} {path} by {name}: {}", answer.status), answer.status == 200);
                continue;
            }
            let asks = answer.challenges().iter().any(|c| c.contains("insufficient_user_authentication"));
            let held = answer.status == 403 && asks == (name == "an old link");
            attacks.check(format!("{method} {path} by {name}"), held, (answer.status, answer.text()));
        }
    }
    for (name, cookie) in [("console:read", &read), ("an old link", &old)] {
        let headers = [SAME_ORIGIN, ("cookie", &**cookie)];
        let all = browse(&server, Method::DELETE, "/v1/sessions?all=true", &headers, "").await;
        attacks.expect(format!("ending everything by {name}"), all.status, 403);
    }
    attacks.control("nothing changed", super::state_of(&server, &path).await == before);
    attacks.control("no event", server.get("/v1/events?limit=1", Auth::Socket).await.json()["head"] == head);
    let young = server.console("admin").await;
    let ended = browse(&server, Method::DELETE, &path, &[SAME_ORIGIN, ("cookie", &young)], "").await;
    attacks.control("a young link of an administrator", ended.status == 204);
    attacks.finish(2 * changes + 2);
}

/// Whatever a subject, a device or a label is called, the console gets it as it is, as JSON that no browser
/// takes for a page.
#[tokio::test]
async fn hostile_names_reach_the_pages_as_text() {
    let server = Server::start().await;
    let app = server.application("app").await;
    let cookie = server.console("console:read").await;
    let mut attacks = Attacks::of("hostile names at the console");
    let long = "x".repeat(256);
    for (name, hostile) in [
        ("markup", "<img src=x onerror=alert(1)>"),
        ("a script", "</script><script>alert(1)</script>"),
        ("an attribute", "\" onmouseover=\"alert(1)"),
        ("a template", "{{constructor.constructor('alert(1)')()}} ${alert(1)}"),
        ("right-to-left", "\u{202e}gnp.exe\u{202c} ‏مرحبا"),
        ("emoji", "👩‍👩‍👧‍👦🏳️‍🌈"),
        ("256 bytes", &long),
        ("a URL", "javascript:alert(1)"),
        ("a path", "../../../etc/passwd"),
        ("two dots and a slash", "../"),
        ("a query", "a?b=c&d#e"),
        ("percent", "%2e%2e%2f%00"),
        ("JSON", "{\"__proto__\":{\"admin\":true}}"),
        ("the prototype", "__proto__"),
        ("SQL", "'; DROP TABLE sessions; --"),
        ("spaces", "   "),
        ("a line separator", "a\u{2028}b"),
    ] {
        let fields = json!({
            "subject": hostile, "device": {"user_agent": hostile, "label": hostile, "ip": hostile},
        });
        let opened = server.open_with(&app, fields).await;
        let id = text(&opened["session"]["id"]);
        let query = crate::harness::server::encoded(&[("subject", hostile)]);
        let listed = server.operate(Method::GET, &format!("/v1/sessions?{query}"), &cookie, None).await;
        let found = listed.json();
        let session = &found["items"][0];
        let same = session["id"] == json!(id)
            && session["subject"] == hostile
            && ["user_agent", "label", "ip"].iter().all(|member| session["device"][*member] == hostile);
        let is_data = listed.header("content-type") == "application/json"
            && listed.header("x-content-type-options") == "nosniff";
        attacks.check(name, same && is_data && found["items"].as_array().unwrap().len() == 1, &found);
        let events = server.operate(Method::GET, "/v1/events?limit=200", &cookie, None).await.json();
        let recorded = events["items"].as_array().unwrap().iter().any(|event| event["subject"] == hostile);
        attacks.check(format!("{name}, in the log"), recorded, "absent");
    }
    let link = server.link("admin").await;
    let agent = format!("<img src=x onerror=alert(1)>{}", "y".repeat(3000));
    let opened = server.use_link(&link, &[SAME_ORIGIN, ("user-agent", &agent)]).await.json();
    let path = format!("/v1/sessions/{}", text(&opened["session_id"]));
    let shown = server.operate(Method::GET, &path, &cookie, None).await.json();
    let kept = shown["device"]["user_agent"].as_str().map(|kept| (kept.len(), agent.starts_with(kept)));
    attacks.expect("the operator's own browser", kept, Some((1024, true)));
    attacks.finish(2 * 17 + 1);
}
