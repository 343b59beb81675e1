//! The start of the tests of the console: its links, and the requests that its pages send.

use http::Method;
use serde_json::{Value, json};

use crate::harness::people::SAME_ORIGIN;
use crate::harness::server::{Answer, Auth, Server, text};

impl Server {
    /// The secret of a new link.
    pub async fn link(&self, role: &str) -> String {
        let made = self.json(Method::POST, "/console/links", Auth::Socket, json!({ "role": role })).await;
        assert_eq!(made.status, 201, "{}", made.text());
        let url = text(&made.json()["url"]);
        let (page, secret) = url.split_once('#').expect("the secret is in the fragment");
        assert_eq!(page, "http://127.0.0.1:8080/console");
        secret.to_owned()
    }

    /// Sends a link as its page does.
    pub async fn use_link(&self, link: &str, headers: &[(&str, &str)]) -> Answer {
        let headers: Vec<_> = [("content-type", "application/json")].iter().chain(headers).copied().collect();
        let body = json!({ "link": link }).to_string();
        self.send(Method::POST, "/console/session", Auth::None, &headers, body).await
    }

    /// The cookie of a new console session.
    pub async fn console(&self, role: &str) -> String {
        let opened = self.use_link(&self.link(role).await, &[SAME_ORIGIN]).await;
        assert_eq!(opened.status, 201, "{}", opened.text());
        opened.header("set-cookie").split(';').next().unwrap().to_owned()
    }

    /// A request of a page of the console.
    pub async fn operate(&self, method: Method, path: &str, cookie: &str, body: Option<Value>) -> Answer {
        let mut headers = vec![("cookie", cookie), SAME_ORIGIN];
        headers.extend(body.as_ref().map(|_| ("content-type", "application/json")));
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        self.send(method, path, Auth::None, &headers, body).await
    }

    /// The status of a read by a page of the console.
    pub async fn console_status(&self, cookie: &str) -> u16 {
        self.operate(Method::GET, "/console/session", cookie, None).await.status
    }
}
