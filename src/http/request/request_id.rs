//! The name of a request, `X-Request-Id`: on its answer, and on every line of the log that it causes.

use std::sync::atomic::{AtomicU64, Ordering};

use poem::http::{HeaderMap, HeaderName, HeaderValue};

/// The header.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The longest name that is taken over.
const LENGTH_MAX: usize = 128;

tokio::task_local! {
    /// The request that this task is answering.
    static CURRENT: RequestId;
}

/// The name of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestId {
    /// A proxy that is trusted has named it.
    Given(HeaderValue),
    /// Ours: which start of the server, and the how manyeth request since.
    Made(u32, u64),
}

/// Names requests. Made names are distinct, and need not be hard to guess: they open nothing.
#[derive(Debug, Default)]
pub struct RequestIds {
    start: u32,
    made: AtomicU64,
}

impl RequestIds {
    /// `start` tells this start of the server from others.
    pub fn new(start: u32) -> Self {
        Self { start, made: AtomicU64::new(0) }
    }

    /// The name that a request has already, if who sent it is trusted and it can be printed as it is;
    /// otherwise a new one.
    pub fn of(&self, headers: &HeaderMap, trusted: bool) -> RequestId {
        match headers.get(X_REQUEST_ID) {
            Some(given) if trusted && is_plain(given.as_bytes()) => RequestId::Given(given.clone()),
            _ => RequestId::Made(self.start, self.made.fetch_add(1, Ordering::Relaxed)),
        }
    }
}

/// Visible ASCII without what would have to be escaped in a log.
fn is_plain(id: &[u8]) -> bool {
    (1..=LENGTH_MAX).contains(&id.len())
        && id.iter().all(|byte| byte.is_ascii_graphic() && !b"\"\\".contains(byte))
}

impl RequestId {
    /// Runs what answers the request.
    pub async fn during<F: Future>(self, answering: F) -> F::Output {
        CURRENT.scope(self, answering).await
    }

    /// As the header has it.
    pub fn into_header(self) -> HeaderValue {
        match self {
            Self::Given(value) => value,
            Self::Made(start, number) => HeaderValue::from_bytes(&written(start, number))
                .expect("hexadecimal digits are visible ASCII"),
        }
    }
}

/// The name of the request that this task is answering, if it is answering one.
pub fn current() -> Option<String> {
    let header = CURRENT.try_with(|id| id.clone().into_header()).ok()?;
    header.to_str().ok().map(str::to_owned)
}

/// Eight digits for the start, ten for the request: they repeat after a million million.
fn written(start: u32, number: u64) -> [u8; 19] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [b'-'; 19];
    let both = u128::from(start) << 40 | u128::from(number & 0xff_ffff_ffff);
    for (n, place) in (0..8).chain(9..19).rev().enumerate() {
        text[place] = DIGITS[(both >> (4 * n)) as usize & 15];
    }
    text
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
    fn a_name_is_taken_from_who_is_trusted_and_only_if_it_is_plain() {
        for good in [
            "a",
            "7c0d1a52-9a4f-4e0f-9f61-5f8f6f0a2b11",
            "Root=1-67891233-abcdef012345678912345678",
            &"x".repeat(128),
        ] {
            assert_eq!(
                named(good.as_bytes(), true),
                RequestId::Given(HeaderValue::from_str(good).unwrap()),
                "{good}"
            );
            assert!(
                matches!(named(good.as_bytes(), false), RequestId::Made(..)),
                "anybody can send the header"
            );
        }
        let long = "x".repeat(129);
        for bad in ["", "a b", "a\tb", "a\"b", "a\\b", "caf\u{e9}", &long] {
            assert!(matches!(named(bad.as_bytes(), true), RequestId::Made(..)), "{bad:?}");
        }
    }

    #[test]
    fn made_names_are_distinct_and_all_alike_in_form() {
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
    async fn a_request_has_its_name_while_it_is_answered() {
        assert_eq!(current(), None);
        assert_eq!(
            RequestId::Made(1, 2).during(async { current() }).await.as_deref(),
            Some("00000001-0000000002")
        );
        assert_eq!(current(), None);
    }
}
