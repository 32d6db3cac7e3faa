//! SSH: whose keys sign in, the key by which clients know a workspace, and what clients are told. Pure.
//!
//! Formats are OpenSSH's own, and few: a public key is three to five fields, and the one private key that is made here
//! is Ed25519. `public_key` reads what people give, `host_key` makes a workspace's, `login_keys` keeps a tenant's.

mod host_key;
mod login_keys;
mod public_key;

pub use host_key::HostKey;
pub use login_keys::{LoginKey, StoredLoginKeys};
pub use public_key::{PublicKey, PublicKeyError};

use ebbtide_api::WorkspaceId;
use ebbtide_api::ssh::{PORT, SshAccess, USER};

/// How a workspace is reached at its host name.
pub fn access(name: &str, workspace: &WorkspaceId, host: &str, key: &HostKey) -> SshAccess {
    let alias = alias(name, workspace);
    let public_key = key.public_key();
    SshAccess {
        host: host.to_owned(),
        port: PORT,
        user: USER.to_owned(),
        // A session that stands still for a last backup, an hour at most, is not given up: it may go on.
        // Known by its alias alone: the address is another at each wake, and no address stands for it.
        config: format!(
            "Host {alias}\n  HostName {host}\n  Port {PORT}\n  User {USER}\n  HostKeyAlias {alias}\n  \
             HostKeyAlgorithms ssh-ed25519\n  CheckHostIP no\n  StrictHostKeyChecking yes\n  ServerAliveInterval 15\n  \
             ServerAliveCountMax 240\n"
        ),
        known_hosts: format!("{alias} {public_key}\n"),
        host_key: public_key.to_string(),
        fingerprint: public_key.fingerprint(),
    }
}

/// By what name clients know a workspace: unlike its host name it is short, and unlike its name nobody else's.
fn alias(name: &str, workspace: &WorkspaceId) -> String {
    format!("{name}-{workspace}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_told_where_it_is_and_by_which_key_to_know_it() {
        let id: WorkspaceId = "abcdefghij".parse().unwrap();
        let access = access("demo", &id, "demo-abcdefghij.example.org", &HostKey::from_seed([7; 32].into()));
        insta::assert_snapshot!(access.config, @r"
        Host demo-abcdefghij
          HostName demo-abcdefghij.example.org
          Port 22
          User ebb
          HostKeyAlias demo-abcdefghij
          HostKeyAlgorithms ssh-ed25519
          CheckHostIP no
          StrictHostKeyChecking yes
          ServerAliveInterval 15
          ServerAliveCountMax 240
        ");
        assert_eq!(access.known_hosts, format!("demo-abcdefghij {}\n", access.host_key));
    }
}
