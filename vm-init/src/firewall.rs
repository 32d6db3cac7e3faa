//! The machine's own packet filter, as text for `nft`: a second line behind the provider's firewall.
//!
//! User-data brings it with the web's usual ports and a unit that loads it at every boot; the idle-agent, which knows the
//! port that pages are served on and whether SSH is let in, writes it anew and sees that it stands.

use ebbtide_api::ssh::PORT as SSH_PORT;
use std::collections::BTreeSet;

/// The table that it is.
pub const TABLE: [&str; 2] = ["inet", "ebbtide"];
/// Where the rules stand, below `/etc`.
pub const FILE: &str = "ebbtide/firewall.nft";
/// Ports that pages are served on, whatever the installation says besides: those of the provider's firewall.
const WEB: [u16; 2] = [80, 443];

/// Whether SSH is let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ssh {
    /// It is.
    Open,
    /// It is not: what is connected is heard no more either.
    Closed,
}

/// The rules that let in pages on these ports too, SSH where it is wanted, and nothing else but ICMP and answers.
pub fn rules(ports: impl IntoIterator<Item = u16>, ssh: Ssh) -> String {
    let ports: BTreeSet<u16> = WEB.into_iter().chain(ports).collect();
    let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
    let verdict = match ssh {
        Ssh::Open => "accept",
        Ssh::Closed => "drop",
    };
    format!(
        "define web = {{ {} }}\ndefine ssh = {SSH_PORT}\n{}",
        ports.join(", "),
        include_str!("firewall.nft").replace("$ssh_verdict", verdict)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_name_each_port_once() {
        let closed = |ports: &[u16]| rules(ports.iter().copied(), Ssh::Closed);
        assert!(closed(&[]).starts_with("define web = { 80, 443 }\n"));
        assert!(closed(&[8080, 80]).starts_with("define web = { 80, 443, 8080 }\n"));
        assert!(closed(&[]).contains(&format!("\ntable {} {{\n", TABLE.join(" "))));
    }

    #[test]
    fn ssh_is_let_in_or_dropped() {
        assert!(rules([], Ssh::Open).contains("\ndefine ssh = 22\n"));
        assert!(rules([], Ssh::Open).contains("tcp dport $ssh accept\n"));
        assert!(rules([], Ssh::Closed).contains("tcp dport $ssh drop\n"));
    }
}
