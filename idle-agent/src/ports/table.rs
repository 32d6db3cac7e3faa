//! The kernel's table of TCP sockets, `/proc/net/tcp` and `tcp6`: text in, listeners out. Opens no file.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The state of a socket that listens.
const LISTEN: &str = "0A";

/// A listening socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listener {
    /// Port.
    pub port: u16,
    /// Address it is bound to.
    pub address: IpAddr,
    /// The socket's number, which processes' descriptors name.
    pub inode: u64,
}

impl Listener {
    /// Where to connect to reach it from this machine.
    pub fn reachable(&self) -> SocketAddr {
        let address = match self.address {
            IpAddr::V4(address) if address.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(address) if address.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            address => address,
        };
        SocketAddr::new(address, self.port)
    }

    /// Which of several listeners on one port is asked: loopback first, IPv4 before IPv6.
    fn rank(&self) -> (bool, bool) {
        let address = self.reachable().ip();
        (!address.is_loopback(), address.is_ipv6())
    }
}

/// Reads the listeners of one table, sorted. Lines that are torn or of another shape are left out: the table is read
/// while it changes, and read again a moment later.
pub fn parse(table: &str) -> Vec<Listener> {
    let mut listeners: Vec<Listener> = table.lines().skip(1).filter_map(parse_line).collect();
    listeners.sort_unstable();
    listeners
}

/// The one listener of each port that is worth asking.
pub fn one_per_port(mut listeners: Vec<Listener>) -> Vec<Listener> {
    listeners.sort_by_key(|listener| (listener.port, listener.rank(), listener.inode));
    listeners.dedup_by_key(|listener| listener.port);
    listeners
}

fn parse_line(line: &str) -> Option<Listener> {
    let mut fields = line.split_ascii_whitespace();
    let _slot = fields.next()?;
    let (address, port) = fields.next()?.split_once(':')?;
    let _remote = fields.next()?;
    if fields.next()? != LISTEN {
        return None;
    }
    // tx:rx queue, timer, retransmits, uid, timeout, inode, and at least one more field behind it, so that a number
    // cut short by a torn line is not taken for another socket's.
    let inode = fields.nth(5)?;
    fields.next()?;
    Some(Listener {
        port: u16::from_str_radix(port, 16).ok()?,
        address: parse_address(address)?,
        inode: inode.parse().ok()?,
    })
}

/// Addresses are 32-bit words in the machine's own byte order, each as eight hex digits.
pub(super) fn parse_address(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| u32::from_str_radix(hex.get(at..at + 8)?, 16).ok().map(u32::to_ne_bytes);
    match hex.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let mut octets = [0; 16];
            for (place, chunk) in octets.chunks_exact_mut(4).enumerate() {
                chunk.copy_from_slice(&word(place * 8)?);
            }
            Some(Ipv6Addr::from(octets).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TCP: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode                                                     
   0: 0100007F:0BB8 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 41234 1 0000000000000000 100 0 0 10 0                     
   1: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 31999 1 0000000000000000 100 0 0 10 0                     
   2: 3500007F:0035 00000000:0000 0A 00000000:00000000 00:00000000 00000000   101        0 20001 1 0000000000000000 100 0 0 10 5                     
   3: 0100007F:0BB8 0100007F:D4A2 01 00000000:00000000 00:00000000 00000000  1000        0 41300 1 0000000000000000 20 4 30 10 -1                    
   4: 0100007F:D4A2 0100007F:0BB8 06 00000000:00000000 03:00000A5C 00000000     0        0 0 3 0000000000000000                                      
   5: 0100007F:2328 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 51";

    const TCP6: &str = "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000000000000000000001000000:1435 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 61001 1 0000000000000000 100 0 0 10 0
   1: 00000000000000000000000000000000:0BB8 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 61002 1 0000000000000000 100 0 0 10 0
   2: garbage
   3: 000000000000000000000000010000:1435 0:0 0A 0 0 0 0 0 1 1
";

    #[cfg(target_endian = "little")]
    #[test]
    fn listeners_are_found_and_connections_and_torn_lines_are_not() {
        let listener = |address: &str, inode| {
            let address: SocketAddr = address.parse().unwrap();
            Listener { port: address.port(), address: address.ip(), inode }
        };
        assert_eq!(
            parse(TCP),
            [
                listener("127.0.0.53:53", 20001),
                listener("0.0.0.0:80", 31999),
                listener("127.0.0.1:3000", 41234)
            ]
        );
        assert_eq!(parse(TCP6), [listener("[::]:3000", 61002), listener("[::1]:5173", 61001)]);
        assert_eq!(parse(""), []);
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn one_listener_per_port_is_asked_and_where_it_can_be_reached() {
        let all = [parse(TCP), parse(TCP6)].concat();
        let reachable: Vec<String> =
            one_per_port(all).iter().map(|one| one.reachable().to_string()).collect();
        assert_eq!(reachable, ["127.0.0.53:53", "127.0.0.1:80", "127.0.0.1:3000", "[::1]:5173"]);
    }
}

#[cfg(test)]
mod fuzz {
    use super::*;
    use ebbtide_fuzz_inputs::text_like;
    use proptest::prelude::*;

    const TABLES: &[&str] = &[
        "sl local\n 0: 0100007F:0BB8 00000000:0000 0A 00000000:00000000 00:00000000 00000000 1000 0 41234 1 0\n",
        "sl\n 0: 00000000000000000000000001000000:1435 0:0 0A 0:0 0:0 0 1000 0 61001 1 0\n 1: 3500007F:0035 0:0 01 0:0 0:0 0 1 0 5 1\n",
    ];

    proptest! {
        #[test]
        fn a_table_of_any_kind_gives_each_port_once(table in text_like(TABLES)) {
            let listeners = parse(&table);
            prop_assert!(listeners.is_sorted());
            let one_each = one_per_port(listeners.clone());
            prop_assert!(one_each.windows(2).all(|pair| pair[0].port < pair[1].port));
            prop_assert!(one_each.iter().all(|one| listeners.contains(one)));
        }
    }
}
