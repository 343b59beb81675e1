//! The address that a request came from. Forwarding headers count only from trusted proxies.
//!
//! Of `X-Forwarded-*` only `-For` is read: the public URL of the server is the configured issuer, whatever
//! host or scheme a request names.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use poem::http::{HeaderMap, HeaderName};
use poem::{Addr, Request};

use crate::domain::network::Network;
use crate::http::net::channel::Channel;
use crate::http::net::listener::UNIX;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The networks of the trusted proxies.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies(Vec<Network>);

/// The address that a request came from, if it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub Option<IpAddr>);

/// The sender of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sender {
    /// The address that the request came from.
    pub peer: Peer,
    /// Whether the other end of the connection is a trusted proxy, or uses the admin socket.
    pub is_trusted: bool,
}

impl Sender {
    /// Keeps the address with the request, for [`Peer::of`]. Without a proxy it is that of the connection,
    /// which the request has already; a map of extensions would cost 1 % of an introspection.
    pub fn mark(self, request: &mut Request) {
        if self.peer.0 != connected(request) {
            request.extensions_mut().insert(self.peer);
        }
    }
}

impl Peer {
    /// The address that a marked request came from.
    pub fn of(request: &Request) -> Self {
        request.extensions().get().copied().unwrap_or_else(|| Self(connected(request)))
    }
}

impl TrustedProxies {
    /// Trusts the peers in these networks.
    pub fn new(networks: Vec<Network>) -> Self {
        Self(networks)
    }

    /// The sender of `request`. A peer on the admin socket is trusted and has no address.
    pub fn sender_of(&self, request: &Request) -> Sender {
        let Some(connected) = connected(request) else {
            let is_trusted = request.extensions().get() == Some(&Channel::AdminSocket);
            return Sender { peer: Peer(None), is_trusted };
        };
        let is_trusted = self.trusts(connected);
        let address = if is_trusted { self.behind(connected, request.headers()) } else { connected };
        Sender { peer: Peer(Some(address)), is_trusted }
    }

    /// The client behind trusted proxies. Each proxy appends the address that it was asked from, so the list
    /// is read from its end, as long as the addresses are trusted.
    fn behind(&self, mut sender: IpAddr, headers: &HeaderMap) -> IpAddr {
        let lists = headers.get_all(X_FORWARDED_FOR).into_iter().rev();
        for entry in lists.flat_map(|list| list.to_str().unwrap_or_default().rsplit(',')) {
            let Some(address) = address(entry.trim()) else { break };
            sender = address;
            if !self.trusts(sender) {
                break;
            }
        }
        sender
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address))
    }
}

/// The other end of the connection. A peer on a Unix socket is a process of this machine, as on 127.0.0.1.
fn connected(request: &Request) -> Option<IpAddr> {
    match &request.remote_addr().0 {
        Addr::SocketAddr(address) => Some(address.ip().to_canonical()),
        Addr::Custom(UNIX, _) if request.extensions().get() != Some(&Channel::AdminSocket) => {
            Some(Ipv4Addr::LOCALHOST.into())
        }
        _ => None,
    }
}

/// An address, with or without a port.
fn address(text: &str) -> Option<IpAddr> {
    let address = text.parse().or_else(|_| text.parse().map(|with_port: SocketAddr| with_port.ip())).ok()?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies() -> TrustedProxies {
        TrustedProxies::new(vec!["127.0.0.1/32".parse().unwrap(), "10.0.0.0/8".parse().unwrap()])
    }

    fn request(connected: Addr, forwarded: &[&str]) -> Request {
        let mut request = Request::builder().finish();
        for list in forwarded {
            request
                .headers_mut()
                .append("x-forwarded-for", poem::http::HeaderValue::from_bytes(list.as_bytes()).unwrap());
        }
        // What poem builds has no peer; the accept loop's requests have.
        let (mut parts, body) = request.into_parts();
        parts = (
            http_parts(parts),
            poem::web::LocalAddr(Addr::default()),
            poem::web::RemoteAddr(connected),
            poem::http::uri::Scheme::HTTP,
        )
            .into();
        Request::from_parts(parts, body)
    }

    fn http_parts(parts: poem::RequestParts) -> poem::http::request::Parts {
        let mut request = poem::http::Request::new(());
        *request.headers_mut() = parts.headers;
        request.into_parts().0
    }

    fn behind(connected: &str, forwarded: &[&str]) -> String {
        let connected = Addr::SocketAddr(SocketAddr::new(connected.parse().unwrap(), 1));
        proxies().sender_of(&request(connected, forwarded)).peer.0.unwrap().to_string()
    }

    #[test]
    fn a_forwarded_address_counts_from_trusted_proxies_only() {
        assert_eq!(behind("192.0.2.1", &["198.51.100.7"]), "192.0.2.1", "any client can send the header");
        assert_eq!(behind("127.0.0.1", &["198.51.100.7"]), "198.51.100.7");
        assert_eq!(
            behind("127.0.0.1", &["1.1.1.1, 198.51.100.7"]),
            "198.51.100.7",
            "what the client itself sent does not count"
        );
        assert_eq!(
            behind("127.0.0.1", &["198.51.100.7, 10.1.2.3"]),
            "198.51.100.7",
            "a chain of our own proxies"
        );
        assert_eq!(
            behind("127.0.0.1", &["1.1.1.1, 198.51.100.7, 10.1.2.3"]),
            "198.51.100.7",
            "and no further"
        );
        assert_eq!(
            behind("127.0.0.1", &["1.1.1.1", "198.51.100.7"]),
            "198.51.100.7",
            "two headers are one list"
        );
        assert_eq!(behind("::ffff:127.0.0.1", &["2001:db8::1"]), "2001:db8::1");
        assert_eq!(behind("127.0.0.1", &["198.51.100.7:41312"]), "198.51.100.7", "some add the port");
        assert_eq!(behind("127.0.0.1", &["[2001:db8::1]:41312"]), "2001:db8::1");
        assert_eq!(
            behind("127.0.0.1", &["1.1.1.1, malformed"]),
            "127.0.0.1",
            "nothing counts from a malformed entry on"
        );
        assert_eq!(behind("127.0.0.1", &["1.1.1.1, caf\u{e9}"]), "127.0.0.1");
        assert_eq!(behind("127.0.0.1", &["1.1.1.1,"]), "127.0.0.1");
        assert_eq!(behind("127.0.0.1", &[]), "127.0.0.1");
    }

    #[test]
    fn a_marked_request_keeps_the_address_of_its_sender() {
        let connected = || Addr::SocketAddr(SocketAddr::new([127, 0, 0, 1].into(), 1));
        for (mut request, address) in [
            (request(connected(), &["198.51.100.7"]), Some([198, 51, 100, 7])),
            (request(connected(), &[]), Some([127, 0, 0, 1])),
            (Request::builder().extension(Channel::AdminSocket).finish(), None),
        ] {
            proxies().sender_of(&request).mark(&mut request);
            assert_eq!(Peer::of(&request), Peer(address.map(Into::into)));
        }
    }

    #[test]
    fn a_peer_on_a_unix_socket_counts_as_one_on_127_0_0_1() {
        let unix = || request(Addr::custom(UNIX, ""), &["198.51.100.7"]);
        let trusted = Sender { peer: Peer(Some([198, 51, 100, 7].into())), is_trusted: true };
        assert_eq!(proxies().sender_of(&unix()), trusted);
        let untrusted = Sender { peer: Peer(Some([127, 0, 0, 1].into())), is_trusted: false };
        assert_eq!(TrustedProxies::default().sender_of(&unix()), untrusted);
        let mut admin = unix();
        admin.extensions_mut().insert(Channel::AdminSocket);
        assert_eq!(
            proxies().sender_of(&admin),
            Sender { peer: Peer(None), is_trusted: true },
            "the admin socket has no address"
        );
    }
}
