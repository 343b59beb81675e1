//! `GET /metrics`: who may read it, that it counts what happens, and that nothing in it is a secret
//! or unbounded.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use http::Method;
use keyfob::config::{Config, Sources};
use serde_json::json;
use tokio::task::JoinSet;

use crate::harness::server::{Answer, Auth, Client, Server, text};

/// The documentation of every metric.
const DOCS: &str = include_str!("../../../docs/metrics.md");

/// A page of metrics, parsed: help and type of each, and every sample by its name with labels.
struct Page {
    families: BTreeMap<String, (String, String)>,
    samples: BTreeMap<String, f64>,
}

impl Page {
    fn read(page: &str) -> Self {
        let (mut families, mut samples) = (BTreeMap::new(), BTreeMap::new());
        let mut help = None;
        for line in page.lines() {
            if let Some((name, text)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
                help = Some((name, text));
            } else if let Some((name, kind)) =
                line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
            {
                let (of, text) = help.take().expect("HELP stands before TYPE");
                assert_eq!(of, name);
                assert!(
                    families.insert(name.to_owned(), (kind.to_owned(), text.to_owned())).is_none(),
                    "{name} is there twice"
                );
            } else if !line.starts_with('#') {
                let (name, value) = line.rsplit_once(' ').unwrap();
                assert!(
                    samples.insert(name.to_owned(), value.parse().unwrap()).is_none(),
                    "{name} is there twice"
                );
            }
        }
        Self { families, samples }
    }

    async fn of(server: &Server) -> Self {
        let answer = server.get("/metrics", Auth::Socket).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        Self::read(&answer.text())
    }

    /// A sample; nothing that was never counted has one.
    fn get(&self, sample: &str) -> f64 {
        self.samples.get(sample).copied().unwrap_or_default()
    }

    fn requests(&self, route: &str, method: &str, status: &str) -> f64 {
        self.get(&format!(
            "keyfob_http_requests_total{{route=\"{route}\",method=\"{method}\",status=\"{status}\"}}"
        ))
    }
}

fn status_and_challenges(answer: &Answer) -> (u16, usize) {
    (answer.status, answer.challenges().len())
}

#[tokio::test]
async fn metrics_are_for_who_has_the_permission_and_for_the_admin_socket() {
    let server = Server::start().await;
    let scraper = server
        .client(json!({"client_id": "scraper", "permissions": ["metrics"], "grants": ["client_credentials"]}))
        .await;
    let other = server
        .client(json!({"client_id": "other", "permissions": ["sessions", "introspect:any", "events"]}))
        .await;
    let wrong = Client { secret: other.secret.clone(), ..scraper.clone() };
    let own = server.own_token(&scraper).await;
    let person = text(&server.open(&server.application("app").await).await["access_token"]);
    let get = async |auth| status_and_challenges(&server.get("/metrics", auth).await);
    assert_eq!(get(Auth::Basic(&scraper)).await, (200, 0));
    assert_eq!(get(Auth::Basic(&server.admin)).await, (200, 0), "admin implies it");
    assert_eq!(get(Auth::Bearer(&own)).await, (200, 0));
    assert_eq!(get(Auth::Socket).await, (200, 0));
    assert_eq!(get(Auth::None).await, (401, 2), "Basic and Bearer are asked for");
    assert_eq!(get(Auth::Basic(&wrong)).await.0, 401);
    assert_eq!(get(Auth::Basic(&other)).await, (403, 0));
    assert_eq!(get(Auth::Bearer(&person)).await.0, 401, "a person's token opens nothing here");
    let head = server.send(Method::HEAD, "/metrics", Auth::Basic(&scraper), &[], "").await;
    assert_eq!((head.status, head.body.len()), (200, 0));
}

#[tokio::test]
async fn metrics_are_public_only_where_the_configuration_says_so() {
    let server = Server::with(&[("server.metrics_public", "true")]).await;
    assert_eq!(server.get("/metrics", Auth::None).await.status, 200);
    assert_eq!(server.get("/v1/sessions", Auth::None).await.status, 401, "nothing else is");
    let nothing = Sources { directory: "/nonexistent".into(), ..Sources::default() };
    assert!(!Config::load(&nothing).unwrap().server.metrics_public);
}

#[tokio::test]
async fn who_accepts_openmetrics_gets_it_and_all_others_text() {
    let server = Server::start().await;
    let get =
        async |accept| server.send(Method::GET, "/metrics", Auth::Socket, &[("accept", accept)], "").await;
    let text = get("*/*").await;
    assert_eq!(text.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    assert!(text.text().contains("# TYPE keyfob_refreshes_total counter\nkeyfob_refreshes_total{"));
    let open = get("application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.4").await;
    assert_eq!(open.header("content-type"), "application/openmetrics-text; version=1.0.0; charset=utf-8");
    assert!(
        open.text().contains("# TYPE keyfob_refreshes counter\nkeyfob_refreshes_total{")
            && open.text().ends_with("# EOF\n")
    );
    assert_eq!(open.header("cache-control"), "no-store");
}

/// ROT-03: the metrics count one rotation and 63 retries.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sixty_four_refreshes_at_once_are_one_rotation_and_63_retries() {
    let server = Arc::new(Server::start().await);
    let app = server.application("app").await;
    let token = text(&server.open(&app).await["refresh_token"]);
    let mut racing = JoinSet::new();
    for _ in 0..64 {
        let (server, app, token) = (server.clone(), app.clone(), token.clone());
        racing.spawn(async move { server.refresh(&app, &token).await.status });
    }
    assert!(racing.join_all().await.iter().all(|status| *status == 200));
    let page = Page::of(&server).await;
    let refreshes = |outcome| page.get(&format!("keyfob_refreshes_total{{outcome=\"{outcome}\"}}"));
    assert_eq!((refreshes("rotated"), refreshes("retried"), refreshes("refused")), (1.0, 63.0, 0.0));
    assert_eq!(page.requests("/oauth2/token", "POST", "200"), 64.0, "past the router too");
    assert_eq!(
        page.get("keyfob_http_request_duration_seconds_count{route=\"/oauth2/token\",method=\"POST\"}"),
        64.0
    );
    assert_eq!(page.get("keyfob_access_tokens_issued_total{format=\"paseto\"}"), 65.0);
}

/// A history in which everything happens once or twice, and the numbers that it must leave.
#[tokio::test]
async fn what_happens_is_counted_under_its_name() {
    let server = Server::start().await;
    let app = server.application("app").await;
    let opened = server.open(&app).await;
    let (first, session) = (text(&opened["refresh_token"]), text(&opened["session"]["id"]));
    let second = text(&server.refresh(&app, &first).await.json()["refresh_token"]);
    server.refresh(&app, &second).await;
    assert_eq!(server.refresh(&app, &first).await.error(), "invalid_grant");
    assert_eq!(server.refresh(&app, "rubbish").await.error(), "invalid_grant");
    let other = server.open(&app).await;
    for kind in ["access_token", "refresh_token", "session_token"] {
        assert!(server.is_active(&app, &text(&other[kind])).await);
        assert!(!server.is_active(&app, &text(&opened[kind])).await);
    }
    assert!(!server.is_active(&app, "rubbish").await);
    let stranger = server.client(json!({"client_id": "stranger"})).await;
    assert_eq!(
        server.form("/oauth2/introspect", Auth::Basic(&stranger), &[("token", "x")]).await.status,
        403
    );
    for guess in [("app", "kfc_no"), ("unknown", "x")] {
        let guess = Client { id: guess.0.into(), secret: guess.1.into() };
        assert_eq!(server.get("/v1/sessions", Auth::Basic(&guess)).await.status, 401);
    }
    assert_eq!(server.get("/v1/sessions", Auth::Bearer("v4.public.x")).await.status, 401);
    for path in [format!("/v1/sessions/{session}"), "/v1/sessions/elsewhere".into()] {
        server.get(&path, Auth::Basic(&app)).await;
    }
    server.send(Method::PUT, "/v1/keys", Auth::Basic(&app), &[], "").await;
    server.get("/wp-login.php", Auth::None).await;
    server.get("/v1/sessions/a/b/c/d", Auth::None).await;
    server.tend().await;
    let page = Page::of(&server).await;
    let expected = [
        ("keyfob_refreshes_total{outcome=\"rotated\"}", 2.0),
        ("keyfob_refreshes_total{outcome=\"reused\"}", 1.0),
        ("keyfob_refreshes_total{outcome=\"refused\"}", 1.0),
        ("keyfob_introspections_total{token=\"access\",outcome=\"active\"}", 1.0),
        ("keyfob_introspections_total{token=\"refresh\",outcome=\"active\"}", 1.0),
        ("keyfob_introspections_total{token=\"session\",outcome=\"active\"}", 1.0),
        ("keyfob_introspections_total{token=\"access\",outcome=\"inactive\"}", 1.0),
        ("keyfob_introspections_total{token=\"refresh\",outcome=\"inactive\"}", 1.0),
        ("keyfob_introspections_total{token=\"session\",outcome=\"inactive\"}", 1.0),
        ("keyfob_introspections_total{token=\"unknown\",outcome=\"inactive\"}", 1.0),
        ("keyfob_introspections_total{token=\"unread\",outcome=\"refused\"}", 1.0),
        ("keyfob_authentication_failures_total{cause=\"wrong_secret\"}", 1.0),
        ("keyfob_authentication_failures_total{cause=\"unknown_client\"}", 1.0),
        ("keyfob_authentication_failures_total{cause=\"bearer_token\"}", 1.0),
        ("keyfob_authentications_throttled_total", 0.0),
        ("keyfob_events_total{type=\"session.opened\"}", 2.0),
        ("keyfob_events_total{type=\"refresh.reused\"}", 1.0),
        ("keyfob_sessions_ended_total{reason=\"refresh_reuse\"}", 1.0),
        ("keyfob_sessions_live", 1.0),
        ("keyfob_client_sessions_live{client=\"app\"}", 1.0),
        ("keyfob_sessions_stored", 2.0),
        ("keyfob_store_ready", 1.0),
        ("keyfob_store_queue_depth", 0.0),
        ("keyfob_store_commit_failures_total", 0.0),
    ];
    for (sample, value) in expected {
        assert_eq!(page.samples.get(sample), Some(&value), "{sample}");
    }
    assert_eq!(page.requests("/v1/sessions/{id}", "GET", "200"), 1.0);
    assert_eq!(page.requests("/v1/sessions/{id}", "GET", "404"), 1.0);
    assert_eq!(page.requests("/v1/sessions", "GET", "401"), 3.0);
    assert_eq!(page.requests("/v1/keys", "other", "405"), 1.0, "a wrong method is no name either");
    assert_eq!(page.requests("other", "other", "404"), 2.0, "what is no route has one name");
    let head = server.app().engine().head().0;
    assert_eq!(page.get("keyfob_event_log_head") as u64, head);
}

#[tokio::test]
async fn too_many_failures_are_counted_as_throttled() {
    let server = Server::with(&[("limits.failed_auth_per_minute", "2")]).await;
    let guess = Client { id: "unknown".into(), secret: "x".into() };
    for _ in 0..5 {
        server.get("/v1/sessions", Auth::Basic(&guess)).await;
    }
    let page = Page::of(&server).await;
    assert_eq!(page.get("keyfob_authentications_throttled_total"), 3.0);
    assert_eq!(page.get("keyfob_authentication_failures_total{cause=\"unknown_client\"}"), 5.0);
    assert_eq!(page.requests("/v1/sessions", "GET", "429"), 3.0);
}

/// CLI-06: they were refused without being counted.
#[tokio::test]
async fn basic_credentials_that_cannot_be_decoded_are_failures_too() {
    let server = Server::with(&[("limits.failed_auth_per_minute", "2")]).await;
    let undecodable = [("authorization", "Basic !!!")];
    for (path, status) in [("/v1/sessions", 401), ("/oauth2/introspect", 401), ("/v1/sessions", 429)] {
        let method = if path == "/v1/sessions" { Method::GET } else { Method::POST };
        let form = [undecodable[0], ("content-type", "application/x-www-form-urlencoded")];
        let headers = if method == Method::GET { &undecodable[..] } else { &form };
        let answer = server.send(method, path, Auth::None, headers, "token=x".to_owned()).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
    }
    let page = Page::of(&server).await;
    assert_eq!(page.get("keyfob_authentication_failures_total{cause=\"malformed\"}"), 3.0);
}

/// INT-09: whatever is asked for, by whatever name, no label grows and none holds it.
#[tokio::test]
async fn no_label_holds_text_of_a_request_int_09() {
    let server = Server::with(&[("limits.failed_auth_per_minute", "100000")]).await;
    let app = server.application("app").await;
    let opened = server.open(&app).await;
    let series = async || Page::of(&server).await.samples.into_keys().collect::<BTreeSet<_>>();
    let tokens: Vec<String> =
        ["access_token", "refresh_token", "session_token"].map(|kind| text(&opened[kind])).into();
    let ask = async |round: usize| {
        for token in tokens.iter().map(String::as_str).chain(["alice"]) {
            let made_up = format!("{token}{round}");
            server.get(&format!("/v1/sessions/{made_up}"), Auth::Basic(&app)).await;
            server.get(&format!("/{made_up}/x?token={made_up}"), Auth::Bearer(&made_up)).await;
            server
                .get("/v1/sessions", Auth::Basic(&Client { id: made_up.clone(), secret: made_up.clone() }))
                .await;
            server.form("/oauth2/introspect", Auth::Basic(&app), &[("token", &made_up)]).await;
            let method = Method::from_bytes(format!("M{round}").as_bytes()).unwrap();
            server.send(method, "/oauth2/token", Auth::None, &[], made_up).await;
        }
    };
    ask(0).await;
    // The first scrape is counted only in the second.
    series().await;
    let first = series().await;
    for round in 1..20 {
        ask(round).await;
    }
    let later = series().await;
    assert_eq!(later.symmetric_difference(&first).collect::<Vec<_>>(), [""; 0]);
    let all = Vec::from_iter(first).join("\n");
    for token in &tokens {
        assert!(!all.contains(&token[..20]), "{token}");
    }
    assert!(!all.contains("alice"));
}

/// The lag grows while no sweep runs; a sweep counts what it removed.
#[tokio::test]
async fn the_lag_of_the_sweep_and_what_it_removed_are_reported() {
    let server = Server::start().await;
    let app = server.application("app").await;
    server.open(&app).await;
    server.hand.advance(std::time::Duration::from_secs(3 * 86_400));
    let behind = Page::of(&server).await;
    assert!(
        behind.get("keyfob_sweep_lag_seconds") > 2.0 * 86_400.0 && behind.get("keyfob_sessions_live") == 1.0
    );
    server.tend().await;
    let page = Page::of(&server).await;
    assert_eq!((page.get("keyfob_sweep_lag_seconds"), page.get("keyfob_sessions_live")), (0.0, 0.0));
    assert_eq!(page.get("keyfob_events_total{type=\"session.expired\"}"), 1.0);
    server.hand.advance(std::time::Duration::from_secs(40 * 86_400));
    server.tend().await;
    let page = Page::of(&server).await;
    assert_eq!(
        (page.get("keyfob_sweep_removed_total{what=\"sessions\"}"), page.get("keyfob_sessions_stored")),
        (1.0, 0.0)
    );
}

/// Names, kinds and sentences of the page are those of the documentation, one for one.
#[tokio::test]
async fn the_documentation_lists_every_metric_and_no_other() {
    let server = Server::start().await;
    server.app().store().embedded().unwrap().measure().unwrap();
    let page = Page::of(&server).await;
    let rows = DOCS.lines().filter(|line| line.starts_with("| `keyfob_") || line.starts_with("| `process_"));
    let mut documented = BTreeMap::new();
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let (name, labels) =
            cells[0].trim_matches('`').split_once('{').unwrap_or((cells[0].trim_matches('`'), "}"));
        documented.insert(
            name.to_owned(),
            (cells[1].to_owned(), cells[2].to_owned(), labels.trim_end_matches('}').to_owned()),
        );
    }
    for (name, (kind, help)) in &page.families {
        let (as_kind, as_help, labels) = documented
            .get(name)
            .unwrap_or_else(|| panic!("docs/metrics.md does not list {name}: {kind}, {help}"));
        assert_eq!((as_kind, as_help), (kind, help), "{name}");
        let sample = page
            .samples
            .keys()
            .find(|sample| sample.split(['{', ' ']).next().unwrap().starts_with(name.as_str()));
        let has = sample
            .and_then(|sample| sample.split_once('{'))
            .map_or(String::new(), |(_, labels)| names_of(labels));
        if sample.is_some() {
            assert_eq!(*labels, has, "{name}");
        }
    }
    // Those of PostgreSQL are compared in tests/postgres.
    documented.retain(|name, _| !name.starts_with("keyfob_database_"));
    assert_eq!(documented.keys().collect::<Vec<_>>(), page.families.keys().collect::<Vec<_>>());
}

/// The names of labels, but for the bound of a bucket.
fn names_of(labels: &str) -> String {
    let names = labels.trim_end_matches('}').split("\",").filter_map(|label| label.split('=').next());
    names.filter(|name| *name != "le").collect::<Vec<_>>().join(",")
}
