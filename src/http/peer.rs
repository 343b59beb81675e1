//! Whose address a request came from. `X-Forwarded-For` is believed only from trusted proxies, and only as far as they vouch for it.

use std::net::IpAddr;

use poem::Request;
use poem::http::HeaderMap;

use crate::domain::network::Network;

/// The proxies in front of us.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies(Vec<Network>);

/// The address that a request came from, as far as it is known; an extension of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub Option<IpAddr>);

impl TrustedProxies {
    /// These networks are believed.
    pub fn new(networks: Vec<Network>) -> Self {
        Self(networks)
    }

    /// Finds out where `request` came from.
    pub fn peer_of(&self, request: &Request) -> Peer {
        let connected = request.remote_addr().as_socket_addr().map(std::net::SocketAddr::ip);
        Peer(connected.map(|connected| self.behind(connected, request.headers())))
    }

    /// Each proxy appends whom it heard from, so the list is read from its end, for as long as the one who speaks is trusted.
    fn behind(&self, connected: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut speaker = connected.to_canonical();
        if !self.trusts(speaker) {
            return speaker;
        }
        let lists: Vec<&str> = headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok()).collect();
        for said in lists.iter().rev().flat_map(|list| list.rsplit(',')) {
            let Ok(address) = said.trim().parse::<IpAddr>() else { break };
            speaker = address.to_canonical();
            if !self.trusts(speaker) {
                break;
            }
        }
        speaker
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn behind(connected: &str, forwarded: &[&str]) -> String {
        let proxies = TrustedProxies::new(vec!["127.0.0.1/32".parse().unwrap(), "10.0.0.0/8".parse().unwrap()]);
        let headers = forwarded.iter().map(|list| ("x-forwarded-for".parse().unwrap(), list.parse().unwrap())).collect();
        proxies.behind(connected.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn a_forwarded_address_is_believed_from_trusted_proxies_alone() {
        assert_eq!(behind("192.0.2.1", &["198.51.100.7"]), "192.0.2.1", "anybody can send the header");
        assert_eq!(behind("127.0.0.1", &["198.51.100.7"]), "198.51.100.7");
        assert_eq!(behind("127.0.0.1", &["1.1.1.1, 198.51.100.7"]), "198.51.100.7", "what the client itself sent is not believed");
        assert_eq!(behind("127.0.0.1", &["198.51.100.7, 10.1.2.3"]), "198.51.100.7", "a chain of our own proxies");
        assert_eq!(behind("127.0.0.1", &["1.1.1.1", "198.51.100.7"]), "198.51.100.7", "two headers are one list");
        assert_eq!(behind("::ffff:127.0.0.1", &["2001:db8::1"]), "2001:db8::1");
        assert_eq!(behind("127.0.0.1", &["rubbish"]), "127.0.0.1");
        assert_eq!(behind("127.0.0.1", &[]), "127.0.0.1");
    }
}
