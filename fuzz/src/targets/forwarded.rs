//! `X-Forwarded-For` counts from trusted proxies alone, from its end; `Forwarded` never does.

use std::net::{IpAddr, SocketAddr};

use keyfob::fuzzing::{Peer, TrustedProxies};
use poem::http::uri::Scheme;
use poem::http::{HeaderMap, HeaderName, HeaderValue};
use poem::web::{LocalAddr, RemoteAddr};
use poem::{Addr, Request};

use crate::text::{first_line, headers};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// What a client may add to the list before its proxy does.
const FORGED: &str = "203.0.113.66";

/// The first line has the trusted networks and, at its end, the address of the connection; then headers.
pub fn run(input: &[u8]) {
    let (line, rest) = first_line(input);
    let Ok(line) = std::str::from_utf8(line) else { return };
    let mut words: Vec<&str> = line.split(' ').collect();
    let Some(Ok(connected)) = words.pop().map(str::parse::<IpAddr>) else { return };
    let proxies = TrustedProxies::new(words.iter().filter_map(|word| word.parse().ok()).collect());
    let headers = headers(rest);
    let address = |headers: &HeaderMap| address(&proxies, connected, headers);
    let (found, is_trusted) = address(&headers);
    assert_eq!(found, found.to_canonical());
    if !is_trusted {
        assert_eq!(found, connected.to_canonical());
    }

    let mut others = headers.clone();
    others.remove(X_FORWARDED_FOR);
    assert_eq!(address(&others), (connected.to_canonical(), is_trusted));

    // What the client sends comes before what the proxies add.
    let mut forged = others;
    forged.append(X_FORWARDED_FOR, HeaderValue::from_static(FORGED));
    headers.get_all(X_FORWARDED_FOR).iter().for_each(|list| _ = forged.append(X_FORWARDED_FOR, list.clone()));
    let (believed, _) = address(&forged);
    let is_proxy = address_is_trusted(&proxies, found);
    assert!(believed == found || (is_proxy && believed.to_string() == FORGED), "{believed} for {found}");
}

fn address_is_trusted(proxies: &TrustedProxies, address: IpAddr) -> bool {
    self::address(proxies, address, &HeaderMap::new()).1
}

/// The address that a request came from, and whether the connection is a trusted proxy's.
fn address(proxies: &TrustedProxies, connected: IpAddr, headers: &HeaderMap) -> (IpAddr, bool) {
    let mut parts = poem::http::Request::new(()).into_parts().0;
    parts.headers = headers.clone();
    let peer = RemoteAddr(Addr::SocketAddr(SocketAddr::new(connected, 1)));
    let mut request = Request::from_parts(
        (parts, LocalAddr(Addr::default()), peer, Scheme::HTTP).into(),
        poem::Body::empty(),
    );
    let sender = proxies.sender_of(&request);
    sender.mark(&mut request);
    assert_eq!(Peer::of(&request), sender.peer);
    (sender.peer.0.expect("the connection has an address"), sender.is_trusted)
}
