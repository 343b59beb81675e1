//! `GET /healthz` and `GET /readyz`. While the server stops: `process/stop.rs`.

use http::Method;
use serde_json::json;

use crate::harness::server::{Auth, Server, send};
use crate::harness::wired::Wired;

#[tokio::test]
async fn a_running_server_is_alive_and_ready() {
    let server = Server::start().await;
    let (alive, ready) = (server.get("/healthz", Auth::None).await, server.get("/readyz", Auth::None).await);
    assert_eq!((alive.status, ready.status), (200, 200));
    assert_eq!(alive.json(), json!({"status": "ok", "version": env!("CARGO_PKG_VERSION")}));
    assert_eq!(ready.json(), json!({"status": "ok"}));
}

/// A restart does not repair a disk, so only readiness fails.
#[tokio::test]
async fn after_a_failed_commit_the_server_is_alive_and_not_ready() {
    let wired = Wired::start().await;
    let app = wired.application("app").await;
    wired.unplug();
    let opening = wired.json("/v1/sessions", Auth::Basic(&app), json!({"subject": "alice"})).await;
    opening.assert_problem(503, None);
    let get = async |path| send(&wired.wire, Method::GET, path, Auth::None, &[], "").await;
    let (alive, ready) = (get("/healthz").await, get("/readyz").await);
    assert_eq!((alive.status, ready.status, ready.header("retry-after")), (200, 503, "2"));
}
