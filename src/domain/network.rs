//! Networks: blocks of IP addresses (RFC 4632, RFC 4291 §2.3), for the list of trusted proxies.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use super::malformed::Malformed;

/// A block of addresses such as `10.0.0.0/8`; a single address is a block of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix_bits: u8,
}

impl Network {
    /// Whether `address` is in the block. An IPv4-mapped IPv6 address counts as the IPv4
    /// address.
    pub fn contains(&self, address: IpAddr) -> bool {
        let ((block, width), (address, other)) = (bits(self.address), bits(address.to_canonical()));
        let behind = u32::from(width - self.prefix_bits);
        width == other && (block ^ address).checked_shr(behind).unwrap_or(0) == 0
    }
}

/// The bits of an address, and their number.
fn bits(address: IpAddr) -> (u128, u8) {
    match address {
        IpAddr::V4(address) => (address.to_bits().into(), 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    }
}

impl FromStr for Network {
    type Err = Malformed;
    /// Reads `address/bits` or a single address. Bits set after the prefix are refused: they suggest a
    /// mistake.
    fn from_str(text: &str) -> Result<Self, Malformed> {
        let (address, prefix) =
            text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let address: IpAddr = address.parse().map_err(|_| Malformed)?;
        let (value, width) = bits(address);
        let prefix_bits = match prefix {
            None => width,
            Some(bits) if bits.len() <= 3 && bits.bytes().all(|b| b.is_ascii_digit()) => {
                bits.parse().map_err(|_| Malformed)?
            }
            Some(_) => return Err(Malformed),
        };
        if prefix_bits > width {
            return Err(Malformed);
        }
        let behind = 1_u128.checked_shl(u32::from(width - prefix_bits)).map_or(u128::MAX, |bit| bit - 1);
        if value & behind == 0 { Ok(Self { address, prefix_bits }) } else { Err(Malformed) }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_in_a_block_when_the_prefix_is_the_same() {
        let inside =
            |block: &str, address: &str| block.parse::<Network>().unwrap().contains(address.parse().unwrap());
        assert!(inside("10.0.0.0/8", "10.255.0.1"));
        assert!(!inside("10.0.0.0/8", "11.0.0.1"));
        assert!(inside("0.0.0.0/0", "203.0.113.9"));
        assert!(!inside("0.0.0.0/0", "2001:db8::1"));
        assert!(inside("::/0", "2001:db8::1"));
        assert!(inside("127.0.0.1", "127.0.0.1") && !inside("127.0.0.1", "127.0.0.2"));
        assert!(inside("127.0.0.1/32", "::ffff:127.0.0.1"), "a dual-stack socket reports mapped addresses");
        assert!(inside("2001:db8::/32", "2001:db8:1::1") && !inside("2001:db8::/32", "2001:db9::1"));
    }

    #[test]
    fn a_block_has_no_bits_behind_its_prefix() {
        assert_eq!("10.0.0.0/8".parse::<Network>().unwrap().to_string(), "10.0.0.0/8");
        assert_eq!("::1".parse::<Network>().unwrap().to_string(), "::1/128");
        for bad in [
            "",
            "10.0.0.1/8",
            "10.0.2.0/8",
            "10.0.0.0/33",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "10.0.0.0/0008",
            "10.0.0/8",
            "::1/129",
            "::1/0",
            "localhost",
            "10.0.0.0/8/8",
        ] {
            assert!(bad.parse::<Network>().is_err(), "{bad}");
        }
    }
}
