//! SSH keys: a server that is created without one gets a root password, which the provider mails to the project's owner
//! at every start.
//!
//! `GET|POST /ssh_keys`. Unique in a project by name and by the key itself.

use super::page::{Listing, Meta};
use super::{Answer, Failure, Hetzner, Labels, Reply, SshKeyId, VendorError, decode};
use crate::http::{Http, Method};
use serde::{Deserialize, Serialize};

/// A key as far as it concerns us.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct SshKey {
    pub id: SshKeyId,
    pub name: String,
    #[serde(default)]
    pub public_key: String,
    #[serde(default)]
    pub labels: Labels,
}

/// What came of bringing a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CreateSshKey {
    Created(SshKey),
    /// The project has the name or the key already.
    Taken(VendorError),
}

impl<H: Http> Hetzner<H> {
    /// All keys that match a label selector; for selectors that match few.
    pub async fn find_ssh_keys(&self, label_selector: &str) -> Answer<Vec<SshKey>> {
        self.all::<SshKeys>("/ssh_keys", &[("label_selector", label_selector), ("sort", "id:asc")]).await
    }

    /// Brings a public key, in OpenSSH's form. Repeating is refused by its name.
    pub async fn create_ssh_key(
        &self,
        name: &str,
        public_key: &str,
        labels: &Labels,
    ) -> Answer<CreateSshKey> {
        let request = self.request(Method::Post, "/ssh_keys").json(&Body { name, public_key, labels });
        self.call(request).await.and_then(|reply| match reply {
            Reply::Done(body) => Ok(CreateSshKey::Created(decode::<One>(&body)?.ssh_key)),
            Reply::Refused(error) if error.code == "uniqueness_error" => Ok(CreateSshKey::Taken(error)),
            Reply::Refused(error) => Err(Failure::Refused(error)),
        })
    }
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
