//! The limits of one request: body size, number of parameters, time.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use http_body_util::combinators::BoxBody;
use poem::http::{HeaderMap, header};

use crate::http::surface::Surface;

/// The limits of one request. Every one is finite.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The largest body, in bytes.
    pub body_bytes_max: usize,
    /// The largest body at `/oauth2/*` without an `Authorization` header: the credentials may be in the body,
    /// so it is read before the caller is authenticated.
    pub form_bytes_max: usize,
    /// The most parameters in a form, and the most in a query.
    pub parameters_max: usize,
    /// The time for the body to arrive, and again for the answer.
    pub request_timeout: Duration,
}

/// Why a body is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unacceptable {
    TooLarge,
    /// The connection ended before the body did.
    Broken,
}

impl Limits {
    /// The largest body of a request with this head, in bytes.
    pub fn bytes_max(&self, surface: Surface, headers: &HeaderMap) -> usize {
        if surface == Surface::OAuth && !headers.contains_key(header::AUTHORIZATION) {
            self.form_bytes_max
        } else {
            self.body_bytes_max
        }
    }

    /// Reads a body of at most `bytes_max`, with or without `Content-Length`. Holds no more bytes than that.
    pub async fn read(
        &self,
        bytes_max: usize,
        headers: &HeaderMap,
        body: &mut BoxBody<Bytes, io::Error>,
    ) -> Result<Bytes, Unacceptable> {
        if announced(headers).is_some_and(|length| length > bytes_max as u64) {
            if !headers.contains_key(header::EXPECT) {
                self.discard(body).await;
            }
            return Err(Unacceptable::TooLarge);
        }
        let mut first = Bytes::new();
        let mut joined = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|_| Unacceptable::Broken)?.into_data() else { continue };
            if first.len() + joined.len() + data.len() > bytes_max {
                self.discard(body).await;
                return Err(Unacceptable::TooLarge);
            }
            // Most bodies are one piece, which is not copied: the head keeps its buffer alive anyway.
            if first.is_empty() && joined.is_empty() {
                first = data;
            } else {
                joined.extend_from_slice(&std::mem::take(&mut first));
                joined.extend_from_slice(&data);
            }
        }
        Ok(if joined.is_empty() { first } else { joined.freeze() })
    }

    /// Reads some more and drops it: a connection that is closed with unread input is reset, and the answer
    /// may be lost.
    pub async fn discard(&self, body: &mut BoxBody<Bytes, io::Error>) {
        let mut left = self.body_bytes_max.saturating_mul(4);
        while let Some(Ok(frame)) = body.frame().await {
            match left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) {
                Some(rest) => left = rest,
                None => break,
            }
        }
    }

    /// Whether `text`, a form or a query, has more parameters than the limit (INT-21). Counts separators
    /// only.
    pub fn too_many_parameters(&self, text: &[u8]) -> bool {
        // Pieces so short that their count fits a byte, which the compiler can vectorise.
        let separators = |piece: &[u8]| usize::from(piece.iter().map(|b| u8::from(*b == b'&')).sum::<u8>());
        text.chunks(255).map(separators).sum::<usize>() >= self.parameters_max
    }
}

fn announced(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use hyper::body::Frame;

    use super::*;

    const LIMITS: Limits = Limits {
        body_bytes_max: 8,
        form_bytes_max: 8,
        parameters_max: 3,
        request_timeout: Duration::from_secs(1),
    };

    /// A body without a known length.
    struct Pieces(std::slice::Iter<'static, &'static str>);

    impl hyper::body::Body for Pieces {
        type Data = Bytes;
        type Error = io::Error;
        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
            Poll::Ready(self.0.next().map(|piece| Ok(Frame::data(Bytes::from_static(piece.as_bytes())))))
        }
    }

    fn pieces(pieces: &'static [&'static str]) -> BoxBody<Bytes, io::Error> {
        BoxBody::new(Pieces(pieces.iter()))
    }

    async fn read(mut body: BoxBody<Bytes, io::Error>) -> Result<Bytes, Unacceptable> {
        LIMITS.read(8, &HeaderMap::new(), &mut body).await
    }

    #[tokio::test]
    async fn a_body_up_to_the_limit_is_read_whole_in_however_many_pieces() {
        assert_eq!(read(pieces(&["12345678"])).await.unwrap(), "12345678");
        assert_eq!(read(pieces(&["", "1234", "", "567", "8"])).await.unwrap(), "12345678");
        assert_eq!(read(pieces(&[])).await.unwrap(), "");
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_refused_announced_or_not_int_19() {
        assert_eq!(read(pieces(&["123456789"])).await, Err(Unacceptable::TooLarge));
        assert_eq!(read(pieces(&["12345", "6789"])).await, Err(Unacceptable::TooLarge));
        assert_eq!(read(pieces(&["1234", "5678", "9"])).await, Err(Unacceptable::TooLarge));
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_LENGTH, 9.into());
        assert_eq!(LIMITS.read(8, &headers, &mut pieces(&[])).await, Err(Unacceptable::TooLarge));
    }

    #[test]
    fn parameters_are_counted_up_to_the_limit_int_21() {
        assert!(!LIMITS.too_many_parameters(b"a=1&b=2&c=3"));
        assert!(LIMITS.too_many_parameters(b"a=1&b=2&c=3&d=4"));
        assert!(LIMITS.too_many_parameters(&[b'&'; 10_000]));
    }
}
