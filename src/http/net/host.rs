//! The `Host` header: a request with an invalid one is 400 (RFC 9112 §3.2).

use poem::http::{HeaderMap, Version, header};

/// Whether the request has the one valid `Host` that its version requires. Its value is not used.
pub(crate) fn is_acceptable(version: Version, headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(header::HOST).iter();
    match (values.next(), values.next()) {
        (None, _) => version < Version::HTTP_11,
        (Some(host), None) => is_valid(host.as_bytes()),
        (Some(_), Some(_)) => false,
    }
}

/// `uri-host [ ":" port ]` (RFC 9110 §7.2), with the characters of RFC 3986 §3.2.2. The name may be empty.
fn is_valid(host: &[u8]) -> bool {
    let name_end = match host {
        [b'[', rest @ ..] => match rest.iter().position(|byte| *byte == b']') {
            Some(end) if rest[..end].iter().all(|byte| is_name_byte(*byte) || *byte == b':') => end + 2,
            _ => return false,
        },
        _ => host.iter().position(|byte| *byte == b':').unwrap_or(host.len()),
    };
    let (name, port) = host.split_at(name_end);
    let is_name = name.first() == Some(&b'[') || is_name_text(name);
    is_name && (port.is_empty() || (port[0] == b':' && port[1..].iter().all(u8::is_ascii_digit)))
}

fn is_name_text(name: &[u8]) -> bool {
    let escapes = name.split(|byte| *byte == b'%').skip(1);
    let are_escapes_valid =
        escapes.into_iter().all(|rest| rest.len() >= 2 && rest[..2].iter().all(u8::is_ascii_hexdigit));
    are_escapes_valid && name.iter().all(|byte| is_name_byte(*byte) || *byte == b'%')
}

/// Unreserved characters and sub-delimiters.
fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(&byte)
}

#[cfg(test)]
mod tests {
    use poem::http::HeaderValue;

    use super::*;

    fn accepts(version: Version, hosts: &[&'static str]) -> bool {
        let mut headers = HeaderMap::new();
        hosts.iter().for_each(|host| {
            headers.append(header::HOST, HeaderValue::from_static(host));
        });
        is_acceptable(version, &headers)
    }

    #[test]
    fn http_1_1_needs_exactly_one_valid_host() {
        for host in
            ["", "x", "id.example.com:8443", "127.0.0.1:", "[::1]:80", "[v1.a]", "a_b", "caf%C3%A9", "x:0"]
        {
            assert!(accepts(Version::HTTP_11, &[host]), "{host}");
            assert!(!accepts(Version::HTTP_11, &[host, host]), "{host} twice");
        }
        for host in
            ["a b/c", "a/b", "x:80x", "user@x", "[::1", "[::1]x", "a%2", "a%zz", "a,b:x", "a\\b", "::1"]
        {
            assert!(!accepts(Version::HTTP_11, &[host]), "{host}");
            assert!(!accepts(Version::HTTP_10, &[host]), "{host}");
        }
        assert!(!accepts(Version::HTTP_11, &[]));
        assert!(accepts(Version::HTTP_10, &[]), "HTTP/1.0 has no such header");
    }
}
