//! SSH keys: every server gets one, or the provider makes up a root password and mails it.
//!
//! `GET|POST /ssh_keys`.

use super::page::{Listing, Meta};
use super::{Answer, Failure, Hetzner, Labels, Reply, SshKeyId, VendorError, decode};
use crate::http::{Http, Method};
use serde::{Deserialize, Serialize};

/// A public key as the provider keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct SshKey {
    pub id: SshKeyId,
    #[serde(default)]
    pub name: String,
    #[serde(default)]
    pub public_key: String,
}

/// What came of making sure that a key is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnsureSshKey {
    /// It was there, perhaps under another name.
    Found(SshKey),
    Created(SshKey),
    /// The name belongs to another key.
    NameTaken(SshKey),
    /// The provider does not take it for a key.
    Invalid(VendorError),
}

impl<H: Http> Hetzner<H> {
    /// Makes sure that a public key is known to the provider. Safe to repeat.
    pub async fn ensure_ssh_key(
        &self,
        name: &str,
        public_key: &str,
        labels: &Labels,
    ) -> Answer<EnsureSshKey> {
        let Answer { outcome, budget } = self.all::<SshKeys>("/ssh_keys", &[]).await;
        let keys = match outcome {
            Ok(keys) => keys,
            Err(failure) => return Answer { outcome: Err(failure), budget },
        };
        if let Some(found) = keys.iter().find(|key| same_key(&key.public_key, public_key)) {
            return Answer { outcome: Ok(EnsureSshKey::Found(found.clone())), budget };
        }
        if let Some(other) = keys.iter().find(|key| key.name == name) {
            return Answer { outcome: Ok(EnsureSshKey::NameTaken(other.clone())), budget };
        }
        let request = self.request(Method::Post, "/ssh_keys").json(&Body { name, public_key, labels });
        self.call(request).await.and_then(|reply| match reply {
            Reply::Done(body) => Ok(EnsureSshKey::Created(decode::<One>(&body)?.ssh_key)),
            Reply::Refused(error) if error.code == "invalid_input" => Ok(EnsureSshKey::Invalid(error)),
            // Somebody else was quicker: the next look finds it.
            Reply::Refused(error) if error.code == "uniqueness_error" => Err(Failure::Busy(error)),
            Reply::Refused(error) => Err(Failure::Refused(error)),
        })
    }
}

/// Whether two lines hold the same key; comments differ.
fn same_key(one: &str, other: &str) -> bool {
    let key = |line: &str| line.split_whitespace().take(2).map(str::to_owned).collect::<Vec<_>>();
    key(one) == key(other)
}

#[derive(Serialize)]
struct Body<'a> {
    name: &'a str,
    public_key: &'a str,
    labels: &'a Labels,
}

#[derive(Deserialize)]
struct One {
    ssh_key: SshKey,
}

#[derive(Deserialize)]
struct SshKeys {
    ssh_keys: Vec<SshKey>,
    meta: Option<Meta>,
}

impl Listing for SshKeys {
    type Item = SshKey;
    fn split(self) -> (Vec<SshKey>, Option<Meta>) {
        (self.ssh_keys, self.meta)
    }
}
