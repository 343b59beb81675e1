//! The OpenAPI document and the page that shows it, both made once. Nothing is fetched from anywhere else.

mod fixed;

use base64ct::{Base64, Encoding};
use bytes::Bytes;
use poem::Response;
use poem::http::{HeaderValue, header};
use poem_openapi::{OpenApi, OpenApiService, Tags, Webhook};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use self::fixed::fixed;

/// The title that the generator gives the page.
const TITLE: &str = "<title>Swagger UI</title>";
/// Our title; the empty icon keeps browsers from asking for one.
const OUR_TITLE: &str = r#"<title>keyfob</title><link rel="icon" href="data:,">"#;

/// Where the page starts its viewer.
const CALL: &str = "dom_id: '#ui',";
/// How we start it: operations that read or create come before those that delete, those that delete most come
/// last, and the schemas are collapsed.
const OUR_CALL: &str = r"dom_id: '#ui',
        defaultModelsExpandDepth: 0,
        operationsSorter: (a, b) => {
            const [x, y] = [a, b].map((operation) => operation.toJS());
            const ends = (operation) => operation.method === 'delete';
            const rank = (operation) => ['post', 'get', 'patch', 'delete'].indexOf(operation.method);
            if (ends(x) && ends(y)) return y.path.length - x.path.length;
            return ends(x) - ends(y) || x.path.localeCompare(y.path) || rank(x) - rank(y);
        },";

/// The groups of routes.
#[derive(Tags)]
pub enum Tag {
    /// Tokens: refresh, introspect, revoke (OAuth 2.0).
    OAuth,
    /// Sessions: open, read, change, renew, end.
    Sessions,
    /// For signed-in people, and for the proxy in front of an application.
    People,
    /// The registered clients.
    Clients,
    /// The signing keys.
    Keys,
    /// The server metadata and the public keys.
    Discovery,
    /// Health, metrics, events and the store.
    Operation,
}

/// The document and its page.
pub struct Document {
    pub(crate) value: Value,
    json: Bytes,
    page: Bytes,
    page_policy: HeaderValue,
}

impl Document {
    /// The document of `service`, for this issuer and name of the session cookie.
    pub fn new<T: OpenApi, W: Webhook>(
        service: &OpenApiService<T, W>,
        issuer: &str,
        cookie_name: &str,
    ) -> Self {
        let generated = service.spec();
        let mut value = fixed(&generated, issuer, cookie_name);
        let json = serde_json::to_vec_pretty(&value).expect("a JSON value has only text for keys");
        // The page tries requests out where it was loaded from: the issuer may not be reachable from there,
        // or be another origin.
        let servers = std::mem::replace(&mut value["servers"], json!([{"url": "/"}]));
        let shown = value.to_string().replace("</", "<\\/");
        value["servers"] = servers;
        let page = service
            .swagger_ui_html()
            .replacen(&generated, &shown, 1)
            .replacen(TITLE, OUR_TITLE, 1)
            .replacen(CALL, OUR_CALL, 1);
        let page_policy = policy(&page);
        Self { value, json: json.into(), page: page.into(), page_policy }
    }

    /// The document as JSON, for `/openapi.json`.
    pub fn json(&self) -> Response {
        self.answer(&self.json, "application/json")
    }

    /// The page that shows it, for `/docs`.
    pub fn page(&self) -> Response {
        let mut response = self.answer(&self.page, "text/html; charset=utf-8");
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_SECURITY_POLICY, self.page_policy.clone());
        headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
        response
    }

    fn answer(&self, body: &Bytes, media_type: &'static str) -> Response {
        Response::builder().content_type(media_type).body(body.clone())
    }
}

/// Only the scripts in the page run, and the page connects only to its own origin. Its viewer sets styles
/// inline, hence `unsafe-inline`.
fn policy(page: &str) -> HeaderValue {
    let mut sources = String::new();
    let mut rest = page;
    while let Some((_, after)) = rest.split_once("<script") {
        let Some((_, after)) = after.split_once('>') else { break };
        let Some((script, after)) = after.split_once("</script>") else { break };
        sources.push_str(" 'sha256-");
        sources.push_str(&Base64::encode_string(&Sha256::digest(script)));
        sources.push('\'');
        rest = after;
    }
    let policy = format!(
        "default-src 'none'; script-src{sources}; style-src 'unsafe-inline'; img-src 'self' data:; font-src \
         data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    HeaderValue::try_from(policy).expect("hashes in base64 are visible ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::response::answer::Json;

    struct Things;

    #[OpenApi]
    impl Things {
        #[oai(path = "/v1/things", method = "get")]
        async fn read(&self) -> Json<String> {
            Json(String::new())
        }

        /// Ends a script: </script>
        #[oai(path = "/v1/things", method = "post")]
        async fn write(&self) -> Json<String> {
            Json(String::new())
        }
    }

    fn document() -> Document {
        Document::new(&OpenApiService::new(Things, "keyfob", "1"), "https://id.example", "__Host-mine")
    }

    async fn body(response: Response) -> String {
        response.into_body().into_string().await.unwrap()
    }

    #[tokio::test]
    async fn the_document_names_the_issuer_and_has_plain_media_types() {
        let served = body(document().json()).await;
        assert!(!served.contains("charset"));
        let served: Value = serde_json::from_str(&served).unwrap();
        assert_eq!(served["servers"], json!([{"url": "https://id.example"}]));
        assert!(
            served
                .pointer("/paths/~1v1~1things/get/responses/200/content/application~1json/schema")
                .is_some()
        );
    }

    #[tokio::test]
    async fn the_page_runs_only_its_own_scripts_and_talks_only_to_its_origin() {
        let response = document().page();
        let policy = response.header("content-security-policy").unwrap().to_owned();
        let script_src = policy.split("; ").find(|directive| directive.starts_with("script-src")).unwrap();
        assert_eq!(script_src.matches("'sha256-").count(), 2, "the bundle and its call: {script_src}");
        assert!(
            !script_src.contains("unsafe")
                && policy.contains("connect-src 'self'")
                && policy.contains("frame-ancestors 'none'")
        );

        let page = body(response).await;
        let call = page.rsplit_once("<script>").unwrap().1.split_once("</script>").unwrap().0;
        assert!(call.contains(r#""servers":[{"url":"/"}]"#), "the page shows our document");
        assert!(call.contains("SwaggerUIBundle("), "a description cannot end the script");
        assert!(page.contains(OUR_TITLE), "the generator's title has changed");
        assert!(call.contains(OUR_CALL), "the generator's call has changed");
        assert!(policy.contains(&Base64::encode_string(&Sha256::digest(call))));
    }
}
