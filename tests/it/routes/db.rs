//! `GET /v1/db/…`: backup, check and statistics. What they contain is tested in `cli/db/`.

use http::Method;
use serde_json::Value;

use crate::harness::server::{Auth, Server};

/// For administrators, at a rate of at least 1 MiB a second, and two at a time.
#[tokio::test]
async fn the_routes_are_for_administrators_and_not_for_many_at_once() {
    let server = Server::start().await;
    let app = server.application("app").await;
    let admin = Auth::Basic(&server.admin);
    for path in ["/v1/db/backup", "/v1/db/check", "/v1/db/stats"] {
        assert_eq!(server.get(path, Auth::Basic(&app)).await.status, 403, "{path}");
        assert_eq!(server.get(path, Auth::None).await.status, 401, "{path}");
        assert_eq!(server.get(path, admin).await.status, 200, "{path}");
    }
    server.get("/v1/db/backup?rate=1048575", admin).await.assert_problem(400, Some("rate"));
    let backup = server.get("/v1/db/backup", admin).await;
    assert_eq!(
        (backup.header("content-type"), backup.header("cache-control")),
        ("application/octet-stream", "no-store")
    );
    assert_eq!(
        backup.header("content-disposition"),
        "attachment; filename=\"keyfob-2027-01-15T080000Z.backup\""
    );
    let lines = server.get("/v1/db/check", admin).await.text();
    let last: Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    assert_eq!(last["done"]["finds"], 0, "{last}");

    // Two whose answers have not been read yet.
    let start = || {
        let request = poem::Request::builder()
            .method(Method::GET)
            .uri_str("/v1/db/backup")
            .extension(keyfob::http::net::channel::Channel::AdminSocket);
        server.app().wire().respond(request.finish())
    };
    let (first, second) = (start().await, start().await);
    let third = start().await;
    assert_eq!(
        (first.status(), second.status(), third.status()),
        (200.try_into().unwrap(), 200.try_into().unwrap(), 429.try_into().unwrap())
    );
    assert!(third.headers().contains_key("retry-after"));
    drop((first, second));
    assert_eq!(start().await.status(), 200);
}
