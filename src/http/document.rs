//! The OpenAPI document and the page that shows it, both made once, when they are first requested. Nothing is
//! fetched from anywhere else.

mod fixed;
mod viewer;

use std::sync::LazyLock;

use bytes::Bytes;
use poem::Response;
use poem::http::HeaderMap;
use poem_openapi::{OpenApi, OpenApiService, Tags, Webhook};
use serde_json::{Value, json};

use self::fixed::fixed;
use self::viewer::Viewer;

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

/// A document that is made when it is first used: it takes longer than all else of a start.
pub type LazyDocument = LazyLock<Document, Box<dyn FnOnce() -> Document + Send>>;

/// The document and its page.
pub struct Document {
    pub(crate) value: Value,
    json: Bytes,
    page: Viewer,
}

impl Document {
    /// The document of `service`, for this issuer and name of the session cookie.
    pub fn new<T: OpenApi, W: Webhook>(
        service: &OpenApiService<T, W>,
        issuer: &str,
        cookie_name: &str,
    ) -> Self {
        let mut value = fixed(&service.spec(), issuer, cookie_name);
        let json = serde_json::to_vec_pretty(&value).expect("a JSON value has only text for keys");
        // The page tries requests out where it was loaded from: the issuer may not be reachable from there,
        // or be another origin.
        let servers = std::mem::replace(&mut value["servers"], json!([{"url": "/"}]));
        let page = Viewer::of(&value);
        value["servers"] = servers;
        Self { value, json: json.into(), page }
    }

    /// The document as JSON, for `/openapi.json`.
    pub fn json(&self) -> Response {
        Response::builder().content_type("application/json").body(self.json.clone())
    }

    /// The page that shows it, for `/docs`.
    pub fn page(&self, headers: &HeaderMap) -> Response {
        self.page.respond(headers)
    }
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
}
