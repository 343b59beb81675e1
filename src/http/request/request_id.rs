//! The id of a request: the `X-Request-Id` of its answer, and `request_id` in its log lines.

use std::sync::atomic::{AtomicU64, Ordering};

use poem::http::{HeaderMap, HeaderName, HeaderValue};

/// The header of the id.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The longest id that is accepted from a proxy, in bytes.
const LENGTH_MAX: usize = 128;

tokio::task_local! {
    /// The id of the request that this task answers.
    static CURRENT: RequestId;
}

/// The id of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestId {
    /// Set by a trusted proxy.
    Given(HeaderValue),
    /// Generated here: a random prefix per process start, and a counter.
    Generated(u32, u64),
}

/// Generates ids. They are unique, not secret.
#[derive(Debug, Default)]
pub struct RequestIds {
    start: u32,
    generated: AtomicU64,
}

impl RequestIds {
    /// `start` is random for each process start.
    pub fn new(start: u32) -> Self {
        Self { start, generated: AtomicU64::new(0) }
    }

    /// The id that the request contains, if its sender is trusted and it can be logged as it is; else a new
    /// one.
    pub fn of(&self, headers: &HeaderMap, trusted: bool) -> RequestId {
        match headers.get(X_REQUEST_ID) {
            Some(given) if trusted && is_plain(given.as_bytes()) => RequestId::Given(given.clone()),
            _ => RequestId::Generated(self.start, self.generated.fetch_add(1, Ordering::Relaxed)),
        }
    }
}

/// Visible ASCII without characters that a log would escape.
fn is_plain(id: &[u8]) -> bool {
    (1..=LENGTH_MAX).contains(&id.len())
        && id.iter().all(|byte| byte.is_ascii_graphic() && !b"\"\\".contains(byte))
}

impl RequestId {
    /// Runs `answering` with this as the current id.
    pub async fn during<F: Future>(self, answering: F) -> F::Output {
        CURRENT.scope(self, answering).await
    }

    /// The value of the header.
    pub fn into_header(self) -> HeaderValue {
        match self {
            Self::Given(value) => value,
            Self::Generated(start, number) => HeaderValue::from_bytes(&written(start, number))
                .expect("hexadecimal digits are visible ASCII"),
        }
    }
}

/// The id of the request that this task answers, if it answers one.
pub fn current() -> Option<String> {
    let header = CURRENT.try_with(|id| id.clone().into_header()).ok()?;
    header.to_str().ok().map(str::to_owned)
}

/// Eight hexadecimal digits for the start, ten for the counter, which repeats after 2^40 requests.
fn written(start: u32, number: u64) -> [u8; 19] {
    let mut text = [b'-'; 19];
    write_hexadecimal(u64::from(start), &mut text[..8]);
    write_hexadecimal(number, &mut text[9..]);
    text
}

/// The last digits of `number`, as many as `text` has places.
fn write_hexadecimal(mut number: u64, text: &mut [u8]) {
    for place in text.iter_mut().rev() {
        *place = b"0123456789abcdef"[(number & 15) as usize];
        number >>= 4;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(id: &[u8], trusted: bool) -> RequestId {
        let mut headers = HeaderMap::new();
        headers.insert(X_REQUEST_ID, HeaderValue::from_bytes(id).unwrap());
        RequestIds::new(1).of(&headers, trusted)
    }

    #[test]
    fn an_id_is_accepted_from_trusted_senders_if_it_is_plain() {
        for valid in [
            "a",
            "7c0d1a52-9a4f-4e0f-9f61-5f8f6f0a2b11",
            "Root=1-67891233-abcdef012345678912345678",
            &"x".repeat(128),
        ] {
            assert_eq!(
                named(valid.as_bytes(), true),
                RequestId::Given(HeaderValue::from_str(valid).unwrap()),
                "{valid}"
            );
            assert!(
                matches!(named(valid.as_bytes(), false), RequestId::Generated(..)),
                "any client can send the header"
            );
        }
        let long = "x".repeat(129);
        for invalid in ["", "a b", "a\tb", "a\"b", "a\\b", "caf\u{e9}", &long] {
            assert!(matches!(named(invalid.as_bytes(), true), RequestId::Generated(..)), "{invalid:?}");
        }
    }

    #[test]
    fn generated_ids_are_unique_and_have_one_form() {
        let ids = RequestIds::new(0xa1b2_c3d4);
        let make = || ids.of(&HeaderMap::new(), true).into_header();
        assert_eq!(
            (make(), make()),
            (
                HeaderValue::from_static("a1b2c3d4-0000000000"),
                HeaderValue::from_static("a1b2c3d4-0000000001")
            )
        );
        assert_eq!(&written(0, 0x12_3456_789a), b"00000000-123456789a");
    }

    #[tokio::test]
    async fn a_request_has_its_id_while_it_is_answered() {
        assert_eq!(current(), None);
        assert_eq!(
            RequestId::Generated(1, 2).during(async { current() }).await.as_deref(),
            Some("00000001-0000000002")
        );
        assert_eq!(current(), None);
    }
}
