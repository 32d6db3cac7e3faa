//! Which addresses are on the internet, and not a machine's own, its provider's, or of somebody's private network.
//!
//! After IANA's special-purpose registries. An IPv6 address that stands for an IPv4 one is judged as that one, by
//! whichever of the ways of writing one into the other.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether an address is one that everybody on the internet reaches the same host by.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    match address.octets() {
        // This network, loopback, multicast, reserved, broadcast.
        [0 | 10 | 127 | 224..=255, ..] | [192, 168, ..] | [169, 254, ..] => false,
        // Carriers' own networks.
        [100, 64..=127, ..] => false,
        [172, 16..=31, ..] => false,
        // Protocol assignments, documentation, the relay of 6to4, benchmarks.
        [192, 0, 0 | 2, _] | [198, 51, 100, _] | [203, 0, 113, _] | [192, 88, 99, _] | [198, 18 | 19, ..] => {
            false
        }
        _ => true,
    }
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    if let Some(inner) = inner_v4(address) {
        return is_public_v4(inner);
    }
    match address.segments() {
        // Protocol assignments with Teredo, documentation.
        [0x2001, 0..=0x01ff | 0x0db8, ..] | [0x3fff, 0..=0x0fff, ..] => false,
        // All that is given out. The rest is local, multicast, or nobody's yet.
        [first, ..] => (0x2000..0x4000).contains(&first),
    }
}

/// The IPv4 address that an IPv6 address stands for.
fn inner_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let of = |high: u16, low: u16| Some(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)));
    match address.segments() {
        // Compatible, mapped, translated, and by the well-known prefix of NAT64.
        [0, 0, 0, 0, 0, 0, high, low]
        | [0, 0, 0, 0, 0, 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => of(high, low),
        // 6to4.
        [0x2002, high, low, ..] => of(high, low),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRIVATE_V4: [&str; 24] = [
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.1",
        "10.255.255.255",
        "100.64.0.1",
        "100.127.255.255",
        "127.0.0.1",
        "127.255.255.254",
        "169.254.0.1",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.8",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.0.1",
        "198.18.0.1",
        "198.19.255.255",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "239.1.1.1",
        "240.0.0.1",
        "255.255.255.255",
    ];
    const PUBLIC_V4: [&str; 10] = [
        "1.1.1.1",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "140.82.121.4",
        "172.15.255.255",
        "172.32.0.0",
        "192.167.1.1",
        "223.255.255.255",
    ];

    fn check(address: &str, expected: bool) {
        assert_eq!(is_public(address.parse().unwrap()), expected, "{address}");
    }

    /// Every way in which an IPv6 address stands for this one.
    fn as_v6(address: &str) -> Vec<String> {
        let [a, b, c, d] = address.parse::<Ipv4Addr>().unwrap().octets();
        let prefixes = ["::", "::ffff:", "::ffff:0:", "64:ff9b::"];
        let mut found: Vec<String> = prefixes.iter().map(|prefix| format!("{prefix}{address}")).collect();
        found.push(format!("2002:{a:02x}{b:02x}:{c:02x}{d:02x}::1"));
        found
    }

    #[test]
    fn an_ipv4_address_is_judged_the_same_in_every_form() {
        for (table, public) in [(&PRIVATE_V4[..], false), (&PUBLIC_V4[..], true)] {
            for address in table {
                check(address, public);
                for form in as_v6(address) {
                    check(&form, public);
                }
            }
        }
    }

    #[test]
    fn of_ipv6_only_what_is_given_out_is_public() {
        let private = [
            "::",
            "::1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:2::1",
            "2001:10::1",
            "2001:db8::1",
            "3fff::1",
            "4000::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fe80::a9fe:a9fe",
            "fec0::1",
            "ff02::1",
        ];
        for address in private {
            check(address, false);
        }
        for address in
            ["2001:4860:4860::8888", "2606:50c0:8000::153", "2a01:4f8::1", "2001:200::1", "3ffe::1"]
        {
            check(address, true);
        }
    }
}
