//! The files of the console, as they are in the binary: compressed.

use bytes::Bytes;
use poem::Response;
use poem::http::{HeaderMap, HeaderName, StatusCode, header};

use super::files::FILES;
use crate::http::request::accepts_gzip;
use crate::http::response::Problem;

/// Only scripts and styles of this origin, from files; scripts cannot make elements out of text. A request to
/// another origin is impossible.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                      font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";
const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
const PERMISSIONS_POLICY: HeaderName = HeaderName::from_static("permissions-policy");

/// The file of this name, for a browser that accepts gzip; 304 if it has it already.
pub fn respond(name: &str, request: &HeaderMap) -> Result<Response, Problem> {
    let no_such_file = || Problem::new(StatusCode::NOT_FOUND, "the console has no such file");
    let asset = FILES.iter().find(|asset| asset.name == name).ok_or_else(no_such_file)?;
    if !accepts_gzip(request) {
        let detail = "the console is sent only with the content coding gzip";
        return Err(Problem::new(StatusCode::NOT_ACCEPTABLE, detail));
    }
    let tag = asset.tag();
    let response = Response::builder()
        .header(header::ETAG, &tag)
        .header(header::CACHE_CONTROL, "no-cache")
        .header(header::VARY, "Accept-Encoding")
        .header(header::CONTENT_SECURITY_POLICY, POLICY)
        .header(header::X_FRAME_OPTIONS, "DENY")
        .header(OPENER_POLICY, "same-origin")
        .header(PERMISSIONS_POLICY, "camera=(), geolocation=(), microphone=()");
    if has_tag(request, &tag) {
        return Ok(response.status(StatusCode::NOT_MODIFIED).finish());
    }
    Ok(response
        .content_type(asset.media_type)
        .header(header::CONTENT_ENCODING, "gzip")
        .body(Bytes::from_static(asset.gzip)))
}

/// Whether `If-None-Match` names the tag (RFC 9110 §13.1.2).
fn has_tag(request: &HeaderMap, tag: &str) -> bool {
    let fields = request.get_all(header::IF_NONE_MATCH).iter().filter_map(|field| field.to_str().ok());
    fields.flat_map(|field| field.split(',')).any(|known| known.trim().trim_start_matches("W/") == tag)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::path::Path;
    use std::process::{Command, Stdio};

    use super::*;

    fn decompressed(gzip: &'static [u8]) -> Vec<u8> {
        let mut child =
            Command::new("gzip").arg("-dc").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let writing = std::thread::spawn(move || stdin.write_all(gzip).unwrap());
        let output = child.wait_with_output().unwrap();
        writing.join().unwrap();
        assert!(output.status.success());
        output.stdout
    }

    #[test]
    fn the_compressed_files_are_those_of_the_repository() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http/console/assets");
        let mut names: Vec<String> = std::fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| !name.ends_with(".gz"))
            .collect();
        names.sort();
        let listed: Vec<&str> = FILES.iter().map(|asset| asset.name).collect();
        assert_eq!(listed, names, "run .ci/console");
        for asset in FILES {
            let file = std::fs::read(folder.join(asset.name)).unwrap();
            assert!(decompressed(asset.gzip) == file, "{}: run .ci/console", asset.name);
        }
    }

    /// What the console may weigh in all, in bytes as they are sent.
    const WEIGHT_MAX: usize = 150_000;

    #[test]
    fn the_files_weigh_little() {
        let weight: usize = FILES.iter().map(|asset| asset.gzip.len()).sum();
        assert!(weight < WEIGHT_MAX, "{weight} bytes");
    }

    #[test]
    fn a_file_is_sent_once_and_then_only_confirmed() {
        let empty = HeaderMap::new();
        let first = respond("index.html", &empty).unwrap();
        assert_eq!((first.status().as_u16(), first.header("content-encoding")), (200, Some("gzip")));
        let tag = first.header("etag").unwrap();
        for (known, status) in [
            (tag.to_owned(), 304),
            (format!("\"other\", {tag}"), 304),
            (format!("W/{tag}"), 304),
            ("\"other\"".to_owned(), 200),
        ] {
            let headers = HeaderMap::from_iter([(header::IF_NONE_MATCH, known.parse().unwrap())]);
            let answer = respond("index.html", &headers).unwrap();
            assert_eq!(answer.status().as_u16(), status, "{known}");
            assert!(answer.header("content-security-policy").is_some_and(|policy| policy == POLICY));
        }
        let identity = HeaderMap::from_iter([(header::ACCEPT_ENCODING, "identity".parse().unwrap())]);
        assert_eq!(respond("index.html", &identity).unwrap_err().status.as_u16(), 406);
    }
}
