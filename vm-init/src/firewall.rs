//! The machine's own packet filter, as text for `nft`: a second line behind the provider's firewall.
//!
//! User-data brings it with the web's usual ports and a unit that loads it at every boot; the idle-agent, which knows the
//! port that pages are served on, writes it anew and sees that it stands.

use std::collections::BTreeSet;

/// The table that it is.
pub const TABLE: [&str; 2] = ["inet", "ebbtide"];
/// Where the rules stand, below `/etc`.
pub const FILE: &str = "ebbtide/firewall.nft";
/// Ports that pages are served on, whatever the installation says besides: those of the provider's firewall.
const WEB: [u16; 2] = [80, 443];

/// The rules that let in pages on these ports too, and nothing else but ICMP and answers.
pub fn rules(ports: impl IntoIterator<Item = u16>) -> String {
    let ports: BTreeSet<u16> = WEB.into_iter().chain(ports).collect();
    let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
    format!("define web = {{ {} }}\n{}", ports.join(", "), include_str!("firewall.nft"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_name_each_port_once() {
        assert!(rules([]).starts_with("define web = { 80, 443 }\n"));
        assert!(rules([8080, 80]).starts_with("define web = { 80, 443, 8080 }\n"));
        assert!(rules([]).contains(&format!("\ntable {} {{\n", TABLE.join(" "))));
    }
}
