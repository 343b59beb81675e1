//! The page at `/docs`: Swagger UI, compressed in the repository, and our script, which starts it with the
//! document.

use base64ct::{Base64, Encoding};
use bytes::Bytes;
use poem::http::{HeaderMap, HeaderValue, StatusCode, header};
use poem::{IntoResponse, Response};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::http::request::accept::accepts_gzip;
use crate::http::response::error::Problem;

/// Everything before our script, made by `.ci/swagger-ui`.
const FILE: &[u8; 486_700] = include_bytes!("swagger-ui.html.gz");
/// Its end: an empty last block, and the checksum and length of the stream (RFC 1952).
const TRAILER: usize = 2 + 4 + 4;
/// The hash of the viewer's script.
const SCRIPT_HASH: &str = "sha256-5qiYaS8tdo6AfDukYmBopposXdlg3Wx28+TTo94YCvI=";

/// Starts the viewer: operations that read or create come before those that delete, those that delete most
/// come last, and the schemas are collapsed.
const START: &str = r"
SwaggerUIBundle({
    dom_id: '#ui',
    deepLinking: true,
    defaultModelsExpandDepth: 0,
    operationsSorter: (a, b) => {
        const [x, y] = [a, b].map((operation) => operation.toJS());
        const ends = (operation) => operation.method === 'delete';
        const rank = (operation) => ['post', 'get', 'patch', 'delete'].indexOf(operation.method);
        if (ends(x) && ends(y)) return y.path.length - x.path.length;
        return ends(x) - ends(y) || x.path.localeCompare(y.path) || rank(x) - rank(y);
    },
    spec: ";

/// The page, as gzip, and its content security policy.
pub(crate) struct Viewer {
    gzip: Bytes,
    policy: HeaderValue,
}

impl Viewer {
    /// The page that shows `document`.
    pub fn of(document: &Value) -> Self {
        let script = format!("{START}{}}});\n", document.to_string().replace("</", "<\\/"));
        let end = format!("<script>{script}</script>\n</body>\n</html>\n");
        Self { gzip: continued(end.as_bytes()).into(), policy: policy(&script) }
    }

    /// The page, for a client that accepts gzip.
    pub fn respond(&self, headers: &HeaderMap) -> Response {
        if !accepts_gzip(headers) {
            let detail =
                "this page is sent only with the content coding gzip; /openapi.json has the document";
            return Problem::new(StatusCode::NOT_ACCEPTABLE, detail).into_response();
        }
        Response::builder()
            .content_type("text/html; charset=utf-8")
            .header(header::CONTENT_ENCODING, "gzip")
            .header(header::VARY, "Accept-Encoding")
            .header(header::CONTENT_SECURITY_POLICY, self.policy.clone())
            .header(header::X_FRAME_OPTIONS, "DENY")
            .body(self.gzip.clone())
    }
}

/// The viewer's stream, continued with `end` in uncompressed blocks (RFC 1951, 3.2.4).
fn continued(end: &[u8]) -> Vec<u8> {
    let (stream, trailer) = FILE.split_at(FILE.len() - TRAILER);
    let number =
        |at: usize| u32::from_le_bytes([trailer[at], trailer[at + 1], trailer[at + 2], trailer[at + 3]]);
    let (checksum, length) = (number(2), number(6));
    let mut page = stream.to_vec();
    let mut blocks = end.chunks(u16::MAX.into()).peekable();
    while let Some(block) = blocks.next() {
        let bytes = u16::try_from(block.len()).expect("a chunk has at most that many");
        page.push(u8::from(blocks.peek().is_none()));
        page.extend(bytes.to_le_bytes());
        page.extend((!bytes).to_le_bytes());
        page.extend(block);
    }
    let mut hasher = crc32fast::Hasher::new_with_initial_len(checksum, length.into());
    hasher.update(end);
    page.extend(hasher.finalize().to_le_bytes());
    // The length is modulo 2^32 by definition.
    page.extend(length.wrapping_add(end.len() as u32).to_le_bytes());
    page
}

/// Only the viewer's script and ours run, and the page connects only to its own origin. The viewer sets
/// styles inline, hence `unsafe-inline`.
fn policy(script: &str) -> HeaderValue {
    let hash = Base64::encode_string(&Sha256::digest(script));
    let policy = format!(
        "default-src 'none'; script-src '{SCRIPT_HASH}' 'sha256-{hash}'; style-src 'unsafe-inline'; img-src \
         'self' data:; font-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'"
    );
    HeaderValue::try_from(policy).expect("hashes in base64 are visible ASCII")
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::process::{Command, Stdio};

    use serde_json::json;

    use super::*;

    fn headers(accept_encoding: &[&'static str]) -> HeaderMap {
        let field = |value: &&'static str| (header::ACCEPT_ENCODING, HeaderValue::from_static(value));
        accept_encoding.iter().map(field).collect()
    }

    /// What gzip makes of the page; it checks the checksum and the length.
    fn decompressed(gzip: Bytes) -> String {
        let mut child =
            Command::new("gzip").arg("-dc").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let writing = std::thread::spawn(move || stdin.write_all(&gzip).unwrap());
        let mut page = String::new();
        child.stdout.take().unwrap().read_to_string(&mut page).unwrap();
        writing.join().unwrap();
        assert!(child.wait().unwrap().success());
        page
    }

    #[tokio::test]
    async fn the_page_runs_only_its_own_scripts_and_talks_only_to_its_origin() {
        let long = "x".repeat(150_000);
        let document = json!({"servers": [{"url": "/"}], "description": format!("</script>{long}")});
        let response = Viewer::of(&document).respond(&headers(&[]));
        assert_eq!(response.header("content-encoding"), Some("gzip"));
        let policy = response.header("content-security-policy").unwrap().to_owned();
        let script_src = policy.split("; ").find(|directive| directive.starts_with("script-src")).unwrap();
        assert!(
            !script_src.contains("unsafe")
                && policy.contains("connect-src 'self'")
                && policy.contains("frame-ancestors 'none'")
        );

        let page = decompressed(response.into_body().into_bytes().await.unwrap());
        let (mut scripts, mut rest) = (vec![], &page[..]);
        while let Some((_, script)) = rest.split_once("<script>") {
            let (script, after) = script.split_once("</script>").unwrap();
            scripts.push(script);
            rest = after;
        }
        let hashes: Vec<String> = scripts
            .iter()
            .map(|script| format!("'sha256-{}'", Base64::encode_string(&Sha256::digest(script))))
            .collect();
        assert_eq!(script_src, format!("script-src {}", hashes.join(" ")), "the viewer and its call");
        assert!(scripts[1].contains(r#""servers":[{"url":"/"}]"#), "the page shows our document");
        assert!(scripts[1].ends_with("});\n"), "a description cannot end the script");
    }

    #[test]
    fn a_client_that_does_not_accept_gzip_is_told_where_the_document_is() {
        let page = Viewer::of(&json!({}));
        for (accepted, status) in [
            (&[][..], 200),
            (&["gzip, deflate, br, zstd"], 200),
            (&["br", "GZIP;q=0.5"], 200),
            (&["*"], 200),
            (&["x-gzip"], 200),
            (&[""], 406),
            (&["identity"], 406),
            (&["br, gzip;q=0"], 406),
            (&["gzip; q=0.000"], 406),
            (&["gzipped"], 406),
        ] {
            assert_eq!(page.respond(&headers(accepted)).status(), status, "{accepted:?}");
        }
    }
}
