//! The OpenAPI document: reviewed, true, and with examples that work (standards, section 9).

mod schema;

use std::collections::BTreeSet;

use http::Method;
use keyfob::http::request::admission::AdmissionRequest;
use serde_json::{Value, json};

use self::schema::{misfit, resolve};
use crate::harness::server::{Answer, Auth, Server, text};

const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json";

/// One operation of the document.
struct Operation {
    path: String,
    method: Method,
    body: Value,
}

impl Operation {
    fn id(&self) -> &str {
        self.body["operationId"].as_str().unwrap()
    }

    /// The media type and the description of its body.
    fn request(&self) -> Option<(&str, &Value)> {
        let content = self.body.pointer("/requestBody/content")?.as_object().unwrap();
        assert_eq!(content.len(), 1, "{}", self.id());
        content.iter().next().map(|(media_type, content)| (media_type.as_str(), content))
    }

    /// Whether it is for the signed-in themselves and not for clients.
    fn is_for_people(&self) -> bool {
        self.schemes().contains("cookie")
    }

    fn statuses(&self) -> BTreeSet<u16> {
        self.body["responses"].as_object().unwrap().keys().map(|status| status.parse().unwrap()).collect()
    }

    fn schemes(&self) -> BTreeSet<&str> {
        let schemes = self.body["security"].as_array().into_iter().flatten();
        schemes.flat_map(|scheme| scheme.as_object().unwrap().keys().map(String::as_str)).collect()
    }

    /// The path with the examples of its parameters, or with what `substitute` says.
    fn concrete_path(&self, substitute: impl Fn(&str) -> Option<String>) -> String {
        let mut path = self.path.clone();
        for parameter in self.body["parameters"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|parameter| parameter["in"] == "path")
        {
            let name = parameter["name"].as_str().unwrap();
            let value = substitute(name).unwrap_or_else(|| plain(&parameter["example"]));
            path = path.replace(&format!("{{{name}}}"), &value);
        }
        path
    }
}

/// A parameter as it stands in a URL.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn operations(document: &Value) -> Vec<Operation> {
    let of_path = |(path, methods): (&String, &Value)| {
        let operation = |(method, body): (&String, &Value)| Operation {
            path: path.clone(),
            method: Method::from_bytes(method.to_uppercase().as_bytes()).unwrap(),
            body: body.clone(),
        };
        methods.as_object().unwrap().iter().map(operation).collect::<Vec<_>>()
    };
    let operations: Vec<_> = document["paths"].as_object().unwrap().iter().flat_map(of_path).collect();
    assert!(operations.len() > 10);
    operations
}

/// The examples of a body, whether it has one or several with names.
fn examples(content: &Value) -> Vec<Value> {
    let named =
        content["examples"].as_object().into_iter().flatten().map(|(_, example)| example["value"].clone());
    named.chain(content.get("example").cloned()).collect()
}

async fn document(server: &Server) -> Value {
    let answer = server.get("/openapi.json", Auth::None).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, JSON));
    answer.json()
}

/// Sends `body` as the operation takes it.
async fn send(
    server: &Server,
    operation: &Operation,
    path: &str,
    auth: Auth<'_>,
    body: Option<&Value>,
) -> Answer {
    match (operation.request(), body) {
        (Some((FORM, _)), Some(Value::Object(fields))) => {
            let fields: Vec<(&str, &str)> =
                fields.iter().map(|(name, value)| (name.as_str(), value.as_str().unwrap())).collect();
            server.form(path, auth, &fields).await
        }
        (Some(_), Some(body)) => server.json(operation.method.clone(), path, auth, body.clone()).await,
        _ => server.send(operation.method.clone(), path, auth, &[], "").await,
    }
}

/// Asserts that an answer is one of those that the document promises.
#[track_caller]
fn assert_documented(document: &Value, operation: &Operation, answer: &Answer) {
    let (id, status) = (operation.id(), answer.status);
    let promised = operation.body["responses"]
        .get(status.to_string())
        .unwrap_or_else(|| panic!("{id} answers {status}: {}", answer.text()));
    match promised["content"].as_object() {
        None => assert!(answer.body.is_empty(), "{id} {status} has a body: {}", answer.text()),
        Some(contents) => {
            // JSON has no parameters; text may say its version and charset.
            let sent = answer.header("content-type");
            let media_type = if sent.contains("json") { sent } else { sent.split(';').next().unwrap() };
            let content =
                contents.get(media_type).unwrap_or_else(|| panic!("{id} {status} answers {media_type}"));
            let bodies: Vec<Value> = match media_type {
                "application/octet-stream" => vec![],
                "application/x-ndjson" => {
                    answer.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
                }
                _ if sent.contains("json") => vec![answer.json()],
                _ => vec![answer.text().into()],
            };
            for body in bodies {
                assert_eq!(misfit(document, &content["schema"], &body, ""), None, "{id} {status}: {body}");
            }
        }
    }
    for (name, header) in promised["headers"].as_object().into_iter().flatten() {
        assert!(
            header["required"] != true || answer.headers.contains_key(name),
            "{id} {status} has no {name}"
        );
    }
}

/// OAS-06. Look at what has changed, then accept it: `INSTA_UPDATE=always cargo test openapi`.
#[tokio::test]
async fn the_document_is_the_one_that_was_reviewed() {
    let mut document = document(&Server::start().await).await;
    document["info"]["version"] = "(of the package)".into();
    insta::assert_json_snapshot!("openapi", document);
}

/// OAS-03.
#[tokio::test]
async fn every_body_has_an_example_and_every_example_fits_its_schema() {
    let document = document(&Server::start().await).await;
    for operation in operations(&document) {
        let requests = operation.request().map(|(_, content)| content.clone());
        let responses = operation.body["responses"].as_object().unwrap().values();
        let answers = responses.flat_map(|response| {
            response["content"].as_object().into_iter().flatten().map(|(_, c)| c.clone())
        });
        for content in requests.into_iter().chain(answers) {
            let examples = examples(&content);
            assert!(!examples.is_empty(), "{} has no example", operation.id());
            for example in examples {
                assert_eq!(misfit(&document, &content["schema"], &example, ""), None, "{}", operation.id());
            }
        }
    }
}

/// OAS-03: as the administrator, whose credentials the page is tried out with.
#[tokio::test]
async fn every_example_succeeds_against_a_live_server() {
    let mut server = Server::start().await;
    server.configure("[[gate]]\nname = \"api\"\n");
    server.restart().await;
    let document = document(&server).await;
    let mut left = operations(&document);
    let (mut session, mut tokens, mut keys) = (Value::Null, Value::Null, Value::Null);
    let order = "health ready metrics metadata openidConfiguration jwks paserk createClient listClients \
                 readClient changeClient rotateSecret revokeClientTokens openSession listSessions \
                 readSession checkSession introspect token revoke openSession whoAmI forwardAuth gate \
                 changeSession renewSession openFamily endFamily logOut openSession endSession endSubject \
                 readEvents readFeed simulatePolicy listKeys rotateKey revokeKey backUp checkStore readStats \
                 endSessions deleteClient";
    let mut done = BTreeSet::new();
    for id in order.split_whitespace() {
        let operation = operations(&document).into_iter().find(|operation| operation.id() == id).unwrap();
        left.retain(|other| other.id() != id);
        let live = |name: &str| match name {
            "kid" => Some(text(&keys["items"][0]["kid"])),
            "id" if operation.path.contains("/sessions/") => Some(text(&session["session"]["id"])),
            _ => None,
        };
        let query = match id {
            "endSessions" => "?all=true",
            "rotateKey" => "?force=true",
            "simulatePolicy" => "?absolute_lifetime=8h",
            _ => "",
        };
        let path = operation.concrete_path(live) + query;
        let examples = operation.request().map_or(vec![Value::Null], |(_, content)| examples(content));
        let person = session["session_token"].as_str().unwrap_or_default().to_owned();
        let auth = if operation.is_for_people() { Auth::Bearer(&person) } else { Auth::Basic(&server.admin) };
        for mut example in examples {
            // As it stands where that says something, and with a token that lives.
            if matches!(id, "introspect" | "revoke" | "checkSession") {
                let answer =
                    send(&server, &operation, &path, Auth::Basic(&server.admin), Some(&example)).await;
                assert_eq!(answer.status, 200, "{id}: {}", answer.text());
            }
            for (name, token) in
                [("token", &tokens["access_token"]), ("refresh_token", &tokens["refresh_token"])]
            {
                if let Some(value) = example.get_mut(name) {
                    *value = token.clone();
                }
            }
            let answer = send(&server, &operation, &path, auth, Some(&example)).await;
            assert!((200..300).contains(&answer.status), "{id}: {}", answer.text());
            assert_documented(&document, &operation, &answer);
            match id {
                "openSession" | "renewSession" => (session, tokens) = (answer.json(), answer.json()),
                "introspect" | "checkSession" => {
                    assert_eq!(answer.json()["active"], true, "{}", answer.text())
                }
                "listKeys" => keys = answer.json(),
                "token" if answer.json().get("refresh_token").is_some() => tokens = answer.json(),
                _ => {}
            }
        }
        done.insert(id);
    }
    let forgotten: Vec<_> = left.iter().map(Operation::id).collect();
    assert!(forgotten.is_empty(), "add to the order: {forgotten:?}");
}

/// OAS-03. The page sends every field of a form, filled with its example; without one it made up `string`,
/// which was taken for credentials.
#[tokio::test]
async fn a_form_as_the_page_sends_it_succeeds() {
    let server = Server::start().await;
    let document = document(&server).await;
    for operation in operations(&document).iter().filter(|operation| operation.path.starts_with("/oauth2/")) {
        let schema = resolve(&document, operation.request().unwrap().1["schema"]["$ref"].as_str().unwrap());
        let fields = schema["properties"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, field)| (name.clone(), field["example"].clone()));
        let form: Value = fields.collect::<serde_json::Map<_, _>>().into();
        let answer = send(&server, operation, &operation.path, Auth::Basic(&server.admin), Some(&form)).await;
        assert_eq!(answer.status, 200, "{}: {}", operation.id(), answer.text());
    }
}

/// OAS-01.
#[tokio::test]
async fn the_oauth_endpoints_take_forms_and_answer_errors_of_rfc_6749() {
    let document = document(&Server::start().await).await;
    let oauth: Vec<_> = operations(&document)
        .into_iter()
        .filter(|operation| operation.path.starts_with("/oauth2/"))
        .collect();
    assert_eq!(oauth.len(), 3);
    for operation in oauth {
        assert_eq!(operation.request().unwrap().0, FORM, "{}", operation.id());
        let expected = BTreeSet::from([200, 400, 401, 403, 408, 413, 429, 500, 503]);
        assert_eq!(operation.statuses(), expected, "{}", operation.id());
        for status in expected.into_iter().filter(|status| *status >= 400) {
            let content = &operation.body["responses"][status.to_string()]["content"];
            assert_eq!(content[JSON]["schema"], json!({"$ref": "#/components/schemas/OAuthError"}));
            assert_eq!(content.as_object().unwrap().len(), 1);
        }
    }
    let error = resolve(&document, "#/components/schemas/OAuthError");
    assert_eq!(error["required"], json!(["error", "error_description"]));
    assert!(error["properties"].as_object().unwrap().values().all(|property| property["type"] == "string"));
}

/// OAS-02, MET-08: what the document says of credentials is what the routes do.
#[tokio::test]
async fn the_documented_security_schemes_are_those_that_work() {
    let server = Server::start().await;
    let document = document(&server).await;
    for operation in operations(&document) {
        let id = operation.id();
        let path = operation.concrete_path(|_| Some("unknown".into()));
        let example = operation.request().map(|(_, content)| examples(content).remove(0));
        // Without a body nothing but the credentials can be wrong.
        let with_cookie = operation.request().is_none().then_some("cookie");
        for scheme in ["basic", "bearer", "none"].into_iter().chain(with_cookie) {
            // A new one each time: some operations end those that there are.
            let person = text(&server.open(&server.admin).await["session_token"]);
            let bearer = if operation.is_for_people() {
                person.clone()
            } else {
                server.own_token(&server.admin).await
            };
            let cookie = [("cookie", &*format!("__Host-keyfob={person}")), ("sec-fetch-site", "same-origin")];
            let auth = match scheme {
                "basic" => Auth::Basic(&server.admin),
                "bearer" => Auth::Bearer(&bearer),
                _ => Auth::None,
            };
            let answer = match scheme {
                "cookie" => server.send(operation.method.clone(), &path, Auth::None, &cookie, "").await,
                _ => send(&server, &operation, &path, auth, example.as_ref()).await,
            };
            let accepted = answer.status != 401;
            let schemes = operation.schemes();
            assert_eq!(accepted, schemes.is_empty() || schemes.contains(scheme), "{id} by {scheme}");
        }
    }
    let used: BTreeSet<String> = operations(&document)
        .iter()
        .flat_map(|o| o.schemes().into_iter().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    let described: BTreeSet<String> =
        document["components"]["securitySchemes"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(used, described);
}

/// OAS-04: what a careless or a hostile client would send is answered as the document says, in every
/// operation.
#[tokio::test]
async fn no_answer_is_undocumented() {
    let server = Server::start().await;
    let document = document(&server).await;
    let powerless = server.client(json!({"client_id": "powerless", "scopes": ["read"]})).await;
    let wrong = crate::harness::server::Client { secret: "kfc_wrong".into(), ..powerless.clone() };
    let large = "x".repeat(70_000);
    for operation in operations(&document) {
        let method = || operation.method.clone();
        let path = operation.concrete_path(|_| Some("unknown".into()));
        let admin = Auth::Basic(&server.admin);
        let mut answers = vec![];
        if !operation.schemes().is_empty() {
            for auth in [
                Auth::Basic(&powerless),
                Auth::Basic(&wrong),
                Auth::Bearer("nonsense"),
                Auth::Header("Digest x"),
                Auth::Header("Basic !"),
            ] {
                let example = operation.request().map(|(_, content)| examples(content).remove(0));
                answers.push(send(&server, &operation, &path, auth, example.as_ref()).await);
            }
            answers.push(
                send(
                    &server,
                    &operation,
                    &format!("{path}?limit=0&state=odd&cursor=odd&except=odd&reason=%00"),
                    admin,
                    None,
                )
                .await,
            );
        }
        if operation.request().is_some() {
            for content_type in [FORM, JSON, "text/plain"] {
                for body in [
                    "",
                    "{",
                    "[]",
                    "null",
                    "{}",
                    r#"{"subject":1}"#,
                    "a=%GG",
                    "token=a&token=b",
                    "grant_type=x",
                    &large,
                ] {
                    answers.push(
                        server
                            .send(method(), &path, admin, &[("content-type", content_type)], body.to_owned())
                            .await,
                    );
                }
            }
        }
        answers.push(server.send(method(), &path, admin, &[], "").await);
        for answer in answers {
            assert_documented(&document, &operation, &answer);
            assert!(answer.status < 500, "{}: {}", operation.id(), answer.text());
        }
    }
}

/// OAS-05.
#[tokio::test]
async fn introspection_is_described_by_its_exact_types() {
    let document = document(&Server::start().await).await;
    let schema = &document["components"]["schemas"]["Introspection"];
    // Only `active` is in every answer, so that generated clients read `{"active":false}`.
    assert_eq!(schema["required"], json!(["active"]));
    let members = &schema["properties"];
    assert_eq!(members["active"]["type"], "boolean");
    assert_eq!(members["scope"]["type"], "string");
    for seconds in ["exp", "iat", "nbf", "auth_time"] {
        assert_eq!(members[seconds]["type"], "integer", "{seconds}");
    }
}

/// INT-03, INT-04, TOK-01, REV-03, MET-12.
#[tokio::test]
async fn every_documented_route_answers_other_methods_with_405_and_allow() {
    let server = Server::start().await;
    let document = document(&server).await;
    let all = operations(&document);
    for operation in all.iter().filter(|operation| !AdmissionRequest::is_at(&operation.path)) {
        let path = operation.concrete_path(|_| Some("unknown".into()));
        let mut allowed: BTreeSet<&str> =
            all.iter().filter(|o| o.path == operation.path).map(|o| o.method.as_str()).collect();
        if allowed.contains("GET") {
            allowed.insert("HEAD");
        }
        for method in [
            Method::GET,
            Method::HEAD,
            Method::POST,
            Method::PUT,
            Method::PATCH,
            Method::DELETE,
            Method::OPTIONS,
            Method::TRACE,
        ] {
            if allowed.contains(method.as_str()) {
                continue;
            }
            let answer = server.send(method.clone(), &path, Auth::Basic(&server.admin), &[], "").await;
            let stated: BTreeSet<&str> = answer.header("allow").split(", ").collect();
            assert_eq!((answer.status, &stated), (405, &allowed), "{method} {path}");
        }
    }
}

/// Every operation, parameter and member is explained, so that a reader who does not know
/// keyfob understands the page.
#[tokio::test]
async fn everything_in_the_document_is_explained() {
    let document = document(&Server::start().await).await;
    let explained = |value: &Value| value["description"].as_str().is_some_and(|text| !text.is_empty());
    let mut silent = vec![];
    for operation in operations(&document) {
        let parameters = operation.body["parameters"].as_array().into_iter().flatten();
        silent.extend(
            parameters.filter(|p| !explained(p)).map(|p| format!("{} {}", operation.id(), p["name"])),
        );
        if operation.body["summary"].as_str().is_none_or(str::is_empty)
            || !explained(&operation.body)
            || operation.body["tags"].as_array().unwrap().len() != 1
        {
            silent.push(operation.id().to_owned());
        }
    }
    // What RFC 8414 calls its members is explained there.
    let ours =
        document["components"]["schemas"].as_object().unwrap().iter().filter(|(name, _)| *name != "Metadata");
    for (name, schema) in ours {
        let members = schema["properties"].as_object().into_iter().flatten();
        silent.extend(
            members
                .filter(|(_, member)| !explained(member) && member.get("$ref").is_none())
                .map(|(member, _)| format!("{name}.{member}")),
        );
    }
    assert!(silent.is_empty(), "{silent:?}");
}
