//! Listen addresses and web origins (RFC 6454 §6.1).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use super::format::{Format, Invalid};

/// What an origin looks like, for errors and the reference.
const ORIGIN: &str = "an absolute URL without a path, such as \"https://id.example.com\"";

/// An address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// `host:port`; the host may be a name to resolve.
    Tcp(String),
    /// `unix:/path`.
    Unix(PathBuf),
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => f.write_str(address),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Listen {
    /// Host and port; `None` for a socket file.
    pub(super) fn tcp(&self) -> Option<(Host, u16)> {
        match self {
            Self::Tcp(address) => host_and_port(address),
            Self::Unix(_) => None,
        }
    }

    /// The port; 0 lets the operating system choose. `None` for a socket file.
    pub fn port(&self) -> Option<u16> {
        self.tcp().map(|(_, port)| port)
    }
}

/// Where the admin socket is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AdminSocketPath {
    /// `admin.sock` beside the store.
    #[default]
    Auto,
    Path(PathBuf),
    /// Without one, the commands use `listen` with the credentials in `admin.json`.
    None,
}

/// `auto`, `none` or a path.
pub(super) fn admin_socket() -> Format<AdminSocketPath> {
    Format::text("auto, none, or the path of a socket file", |text| match text {
        "auto" => Some(AdminSocketPath::Auto),
        "none" => Some(AdminSocketPath::None),
        path => (!path.is_empty() && !path.contains('\0')).then(|| AdminSocketPath::Path(path.into())),
    })
}

/// `host:port` or `unix:/path`.
pub(super) fn listen() -> Format<Listen> {
    let valid = "host:port such as \"127.0.0.1:8080\" or \"[::]:8080\", or unix:/path";
    Format::text(valid, |text| match text.strip_prefix("unix:") {
        Some(path) => (!path.is_empty() && !path.contains('\0')).then(|| Listen::Unix(path.into())),
        None => host_and_port(text).map(|_| Listen::Tcp(text.to_owned())),
    })
}

/// The parts of `host:port`; a valid `listen` has both.
fn host_and_port(address: &str) -> Option<(Host, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    Some((Host::parse(&host.to_ascii_lowercase())?, port_number(port)?))
}

/// A host as in an origin: lower case, addresses in canonical form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Host {
    Name(String),
    Ip(IpAddr),
}

impl Host {
    fn parse(text: &str) -> Option<Self> {
        if let Some(inner) = text.strip_prefix('[') {
            let address: Ipv6Addr = inner.strip_suffix(']')?.parse().ok()?;
            return Some(Self::Ip(address.into()));
        }
        let label = |l: &str| {
            (1..=63).contains(&l.len())
                && !l.starts_with('-')
                && !l.ends_with('-')
                && l.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_".contains(&b))
        };
        if text.len() > 253 || !text.split('.').all(label) {
            return None;
        }
        // A host whose last label is a number must be an IPv4 address (WHATWG URL, "ends in a number").
        let numeric = text.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()));
        if !numeric {
            return Some(Self::Name(text.to_owned()));
        }
        text.parse::<Ipv4Addr>().ok().map(|address| Self::Ip(address.into()))
    }

    /// Whether it names this machine: `localhost`, a name below it, 127.0.0.0/8 or ::1.
    pub fn is_loopback(&self) -> bool {
        match self {
            Self::Name(name) => name == "localhost" || name.ends_with(".localhost"),
            Self::Ip(address) => address.is_loopback(),
        }
    }

    /// Whether it stands for every address of the machine.
    pub fn is_unspecified(&self) -> bool {
        matches!(self, Self::Ip(address) if address.is_unspecified())
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Ip(IpAddr::V4(address)) => address.fmt(f),
            Self::Ip(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

/// An `http` or `https` origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    pub https: bool,
    pub host: Host,
    pub port: u16,
}

/// Reads an origin: `https`, or `http` on a loopback host. It must be written as browsers write `Origin`,
/// since it is compared byte by byte.
pub(super) fn origin(text: &str) -> Result<Origin, String> {
    parse_origin(text, 1)
}

/// Reads an issuer: an origin whose port may be 0, for the one that the operating system chooses for
/// `listen`.
pub(super) fn issuer(text: &str) -> Result<Origin, String> {
    parse_origin(text, 0)
}

fn parse_origin(text: &str, port_min: u16) -> Result<Origin, String> {
    let (scheme, authority) = text.split_once("://").ok_or(ORIGIN)?;
    let https = match scheme {
        "https" => true,
        "http" => false,
        _ => return Err(format!("{ORIGIN}; https, or http on a loopback host")),
    };
    if authority.contains('@') {
        return Err(format!("{ORIGIN}; no user name or password"));
    }
    if authority.contains(['/', '?', '#', '\\']) {
        return Err(format!("{ORIGIN}; no path, query, fragment or slash at the end"));
    }
    let bracket = authority.rfind(']').map_or(0, |at| at + 1);
    let (host, port) = match authority[bracket..].find(':') {
        Some(colon) => (&authority[..bracket + colon], Some(&authority[bracket + colon + 1..])),
        None => (authority, None),
    };
    let host = Host::parse(host).filter(|parsed| parsed.to_string() == host);
    let host = host.ok_or_else(|| {
        format!(
            "{ORIGIN}; the host in lower case, a non-ASCII name in its xn-- form, an IPv6 address in brackets"
        )
    })?;
    let usual = if https { 443 } else { 80 };
    let port = match port.map(|port| (port, port_number(port))) {
        None => usual,
        Some((text, Some(port))) if port != usual && port >= port_min && text == port.to_string() => port,
        Some(_) => return Err(format!("{ORIGIN}; a port only if it is not {usual}, from 1 to 65535")),
    };
    if !https && !host.is_loopback() {
        return Err(
            "https: http is refused unless the host is loopback (localhost, 127.0.0.0/8 or [::1])".to_owned()
        );
    }
    Ok(Origin { https, host, port })
}

/// An origin, kept as text.
pub(super) fn origin_text() -> Format<String> {
    Format::text_with_rules(ORIGIN, |text| origin(text).map(|_| text.to_owned()).map_err(Invalid::Rule))
}

/// An issuer, kept as text.
pub(super) fn issuer_text() -> Format<String> {
    Format::text_with_rules(ORIGIN, |text| issuer(text).map(|_| text.to_owned()).map_err(Invalid::Rule))
}

/// An https URL, or no text for none.
pub(super) fn url_or_none() -> Format<Option<String>> {
    let valid = "an https URL without a fragment, such as \"https://app.example.com/sign-in\", or \"\"";
    Format::text(valid, |text| {
        if text.is_empty() {
            return Some(None);
        }
        let after_scheme = text.find("://")? + 3;
        let end = text[after_scheme..].find(['/', '?']).map_or(text.len(), |at| after_scheme + at);
        let rest = text[end..].bytes().all(|b| b.is_ascii_graphic() && !b"#\"<>\\^`{|}".contains(&b));
        (rest && origin(&text[..end]).is_ok()).then(|| Some(text.to_owned()))
    })
}

fn port_number(text: &str) -> Option<u16> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    /// MET-03, CKE-05: https, or http on loopback; nothing after the host.
    #[test]
    fn an_issuer_is_an_origin_and_https_unless_the_host_is_loopback() {
        for valid in [
            "https://id.example.com",
            "https://id.example.com:8443",
            "https://xn--bcher-kva.example",
            "https://[2001:db8::1]:8443",
            "http://localhost",
            "http://id.localhost:8080",
            "http://127.9.9.9:8080",
            "http://[::1]:8080",
        ] {
            assert!(origin(valid).is_ok(), "{valid}: {:?}", origin(valid));
        }
        for (invalid, why) in [
            ("", "absolute URL"),
            ("id.example.com", "absolute URL"),
            ("ftp://id.example.com", "https, or http"),
            ("HTTPS://id.example.com", "https, or http"),
            ("https://id.example.com/", "slash at the end"),
            ("https://id.example.com/auth", "no path"),
            ("https://id.example.com?x", "query"),
            ("https://id.example.com#x", "fragment"),
            ("https://user:pass@id.example.com", "no user name"),
            ("https://", "the host"),
            ("https://ID.example.com", "lower case"),
            ("https://bücher.example", "xn--"),
            ("https://id..example", "the host"),
            ("https://1.2.3", "the host"),
            ("https://[::0001]", "the host"),
            ("https://2001:db8::1", "in brackets"),
            ("https://id.example.com:443", "not 443"),
            ("https://id.example.com:", "port"),
            ("https://id.example.com:08443", "port"),
            ("https://id.example.com:0", "port"),
            ("https://id.example.com:65536", "port"),
            ("http://id.example.com", "loopback"),
            ("http://localhost.example.com", "loopback"),
            ("http://128.0.0.1", "loopback"),
        ] {
            let problem = origin(invalid).expect_err(invalid);
            assert!(problem.contains(why), "{invalid}: {problem}");
        }
    }

    #[test]
    fn a_server_listens_on_host_and_port_or_on_a_socket_file() {
        let listen = |text| listen().parse(text);
        assert_eq!(listen("127.0.0.1:8080"), Ok(Listen::Tcp("127.0.0.1:8080".into())));
        assert_eq!(listen("unix:/run/keyfob.sock"), Ok(Listen::Unix("/run/keyfob.sock".into())));
        for valid in ["[::]:0", "Localhost:8080", "my_service:80"] {
            assert!(listen(valid).is_ok(), "{valid}");
        }
        for invalid in [
            "",
            "8080",
            ":8080",
            "localhost",
            "localhost:",
            "localhost:+80",
            "localhost:65536",
            "::1:8080",
            "[::1:80",
            "unix:",
            "http://localhost:80",
            "a b:80",
        ] {
            assert!(listen(invalid).is_err(), "{invalid:?}");
        }
    }
}
