//! What an installation has of its own in the provider's project: a firewall and an SSH key, both free.
//!
//! The firewall is also how a token is recognised. Whoever rotates `HETZNER_TOKEN` with one of another project makes
//! every server "not found": workspaces would fall asleep while their servers bill on, seen by nobody. So "not found" is
//! believed, and a server made, only where the same token sees the firewall that was seen before.

use super::{ControlStore, Executor, PutOff, put_off, store_later};
use crate::hetzner::{
    CreateFirewall, CreateSshKey, Firewall, FirewallId, FirewallSpec, Hetzner, Lookup, SshKeyId,
};
use crate::http::Http;
use crate::names;
use serde::{Deserialize, Serialize};

/// What servers serve pages at; both are open, so that certificates change nothing here.
const WEB: [u16; 2] = [80, 443];
/// What is waited for where the token sees another project.
pub const OTHER_PROJECT: &str =
    "a token of the project that this installation began in: `HETZNER_TOKEN` does not see its firewall";

/// What is remembered of the project, in storage of our own: it must not come from the project that is in question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Project {
    /// Ours, and the proof that it is this project.
    pub firewall: FirewallId,
    /// Given to every server, so that the provider mails no root password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh_key: Option<SshKeyId>,
}

/// Whether a token sees the project that was seen before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// It does. A firewall that was replaced by hand is taken for ours by its label.
    Same(FirewallId),
    /// It does not, or somebody deleted the firewall.
    Other,
}

/// Looks for the firewall that is remembered; by its label where it is gone.
///
/// # Errors
/// The provider does not answer.
pub async fn look<H: Http>(
    hetzner: &Hetzner<H>,
    install: &str,
    known: FirewallId,
) -> Result<Seen, crate::hetzner::Failure> {
    if let Lookup::Found(found) = hetzner.firewall(known).await.outcome? {
        return Ok(Seen::Same(found.id));
    }
    let labelled = hetzner.find_firewalls(&names::install_selector(install)).await.outcome?;
    Ok(oldest(labelled).map_or(Seen::Other, |firewall| Seen::Same(firewall.id)))
}

fn oldest(firewalls: Vec<Firewall>) -> Option<Firewall> {
    firewalls.into_iter().min_by_key(|firewall| firewall.id)
}

impl<H: Http, V: ControlStore> Executor<'_, H, V> {
    /// The project, as it was before; what is ours in it is made where nothing is remembered.
    pub(super) async fn project(&self) -> Result<Project, PutOff> {
        let known = self.store.project().await.map_err(remembering)?;
        let project = match known {
            Some(project) => self.recognised(project).await?,
            None => Project { firewall: self.ensure_firewall().await?, ssh_key: None },
        };
        let project = match project.ssh_key {
            Some(_) => project,
            None => Project { ssh_key: Some(self.ensure_ssh_key().await?), ..project },
        };
        if known != Some(project) {
            self.store.keep_project(project).await.map_err(remembering)?;
        }
        Ok(project)
    }

    /// That "not found" comes from the project that we know. An installation that remembers none has made no server since
    /// it remembers, and is believed as before.
    pub(super) async fn believe_gone(&self) -> Result<(), PutOff> {
        match self.store.project().await.map_err(remembering)? {
            Some(project) => self.recognised(project).await.map(drop),
            None => Ok(()),
        }
    }

    async fn recognised(&self, project: Project) -> Result<Project, PutOff> {
        let seen = look(self.hetzner, self.install, project.firewall).await;
        match self.outcome(crate::hetzner::Answer { outcome: seen, budget: None })? {
            Seen::Same(firewall) => Ok(Project { firewall, ..project }),
            Seen::Other => Err(put_off(OTHER_PROJECT.to_owned())),
        }
    }

    async fn ensure_firewall(&self) -> Result<FirewallId, PutOff> {
        let selector = names::install_selector(self.install);
        let labelled = self.outcome(self.hetzner.find_firewalls(&selector).await)?;
        if let Some(firewall) = oldest(labelled) {
            return Ok(firewall.id);
        }
        let name = names::firewall_name(self.install);
        let spec = FirewallSpec {
            name: name.clone(),
            labels: names::install_labels(self.install),
            tcp_ports: WEB.to_vec(),
            covers: selector,
        };
        match self.outcome(self.hetzner.create_firewall(&spec).await)? {
            CreateFirewall::Created(firewall) => Ok(firewall.id),
            CreateFirewall::NameTaken(_) => {
                Err(put_off(format!("somebody to rename the firewall {name}, which is not ours")))
            }
        }
    }

    async fn ensure_ssh_key(&self) -> Result<SshKeyId, PutOff> {
        let selector = names::install_selector(self.install);
        let labelled = self.outcome(self.hetzner.find_ssh_keys(&selector).await)?;
        if let Some(key) = labelled.into_iter().min_by_key(|key| key.id) {
            return Ok(key.id);
        }
        let public_key = self.store.ssh_public_key().await.map_err(remembering)?;
        let (name, labels) = (names::ssh_key_name(self.install), names::install_labels(self.install));
        match self.outcome(self.hetzner.create_ssh_key(&name, &public_key, &labels).await)? {
            CreateSshKey::Created(key) => Ok(key.id),
            CreateSshKey::Taken(_) => {
                Err(put_off(format!("somebody to rename the SSH key {name}, which is not ours")))
            }
        }
    }
}

fn remembering(error: super::StoreError) -> PutOff {
    store_later("what is remembered of the provider's project", error)
}
