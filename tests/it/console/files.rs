//! The files of the console, and the links at `/`.

use std::io::Write;
use std::process::{Command, Stdio};

use http::Method;

use crate::harness::server::{Answer, Auth, Server};

fn decompressed(answer: &Answer) -> String {
    let mut child =
        Command::new("gzip").arg("-dc").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut stdin, body) = (child.stdin.take().unwrap(), answer.body.clone());
    let writing = std::thread::spawn(move || stdin.write_all(&body).unwrap());
    let output = child.wait_with_output().unwrap();
    writing.join().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn three_links_are_at_the_root() {
    let server = Server::start().await;
    let root = server.get("/", Auth::None).await;
    assert_eq!((root.status, root.header("content-type")), (200, "text/html; charset=utf-8"));
    assert_eq!(
        root.text(),
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>keyfob</title><h1>keyfob</h1><ul>\
         <li><a href=\"/console\">Console</a><li><a href=\"/docs\">API documentation</a>\
         <li><a href=\"/.well-known/oauth-authorization-server\">Metadata</a></ul></html>\n"
    );
    for (name, value) in [
        ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
        ("x-content-type-options", "nosniff"),
        ("cache-control", "no-store"),
        ("referrer-policy", "no-referrer"),
    ] {
        assert_eq!(root.header(name), value);
    }
    for link in ["/console", "/docs", "/.well-known/oauth-authorization-server"] {
        assert_eq!(server.get(link, Auth::None).await.status, 200, "{link}");
    }
}

#[tokio::test]
async fn the_pages_are_served_from_the_binary_under_a_strict_policy() {
    let server = Server::start().await;
    let page = server.get("/console", Auth::None).await;
    assert_eq!((page.status, page.header("content-encoding")), (200, "gzip"));
    for (name, value) in [
        ("content-type", "text/html; charset=utf-8"),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("cache-control", "no-cache"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
        ("referrer-policy", "no-referrer"),
    ] {
        assert_eq!(page.header(name), value, "{name}");
    }
    let policy = page.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self';"), "{policy}");
    assert!(!policy.contains("unsafe") && !policy.contains("http"), "{policy}");
    assert_eq!(server.get("/console/", Auth::None).await.body, page.body);
    let html = decompressed(&page);
    let names: Vec<&str> = html
        .split(['"', '\''])
        .filter_map(|text| text.strip_prefix("/console/"))
        .filter(|name| name.contains('.'))
        .collect();
    assert!(!names.is_empty(), "{html}");
    for name in names {
        let file = server.get(&format!("/console/{name}"), Auth::None).await;
        assert_eq!(file.status, 200, "{name}");
        assert_eq!(file.header("content-security-policy"), policy, "{name}");
        let again = [("if-none-match", file.header("etag"))];
        let again = server.send(Method::GET, &format!("/console/{name}"), Auth::None, &again, "").await;
        assert_eq!((again.status, again.body.len()), (304, 0), "{name}");
    }
    assert!(!html.contains("style=") && !html.contains("<style") && !html.contains("onclick"), "{html}");
}

#[tokio::test]
async fn a_name_that_is_no_file_of_the_console_is_404() {
    let server = Server::start().await;
    for name in
        ["none.js", "index.html.gz", "..", "%2e%2e", "..%2fmod.rs", "a/b", "index.html/", "INDEX.HTML"]
    {
        let answer = server.get(&format!("/console/{name}"), Auth::None).await;
        assert_eq!(answer.status, 404, "{name}");
    }
}
