//! The content codings that a client accepts.

use poem::http::{HeaderMap, header};

/// Whether a client accepts gzip. RFC 9110, 12.5.3: without the field every coding is acceptable.
pub fn accepts_gzip(headers: &HeaderMap) -> bool {
    let mut fields = headers.get_all(header::ACCEPT_ENCODING).iter().peekable();
    let accepts = |element: &str| {
        let (coding, weight) = element.split_once(';').unwrap_or((element, ""));
        let is_zero =
            weight.trim().strip_prefix("q=").is_some_and(|q| q.trim_end_matches(['0', '.']).is_empty());
        ["gzip", "x-gzip", "*"].iter().any(|known| coding.trim().eq_ignore_ascii_case(known)) && !is_zero
    };
    fields.peek().is_none()
        || fields.filter_map(|field| field.to_str().ok()).flat_map(|field| field.split(',')).any(accepts)
}
