//! What an installation has of its own in the provider's project, all of it free: a firewall for every server, one more
//! for those that let SSH in, and an SSH key.
//!
//! The firewall is also how a token is recognised. Whoever rotates `HETZNER_TOKEN` with one of another project makes
//! every server "not found": workspaces would fall asleep while their servers bill on, seen by nobody. So "not found" is
//! believed, and a server made, only where the same token sees the firewall that was seen before.

use super::{ControlStore, Executor, PutOff, put_off, store_later};
use crate::hetzner::{
    Answer, CreateFirewall, CreateSshKey, Failure, FirewallId, FirewallSpec, Hetzner, Lookup, SshKeyId,
    VendorError,
};
use crate::http::Http;
use crate::lifecycle::EffectOutcome;
use crate::names;
use ebbtide_api::ssh::PORT as SSH_PORT;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// What is open besides the port of pages, so that certificates change nothing here.
const WEB: [u16; 2] = [80, 443];
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
    /// It does.
    Same,
    /// It does not, or somebody deleted the firewall. Another with our label proves nothing: an installation of the same
    /// name may live in that project.
    Other,
}

/// Looks for the firewall that is remembered.
///
/// # Errors
/// The provider does not answer.
pub async fn look<H: Http>(hetzner: &Hetzner<H>, known: FirewallId) -> Result<Seen, Failure> {
    Ok(match hetzner.firewall(known).await.outcome? {
        Lookup::Found(_) => Seen::Same,
        Lookup::Gone => Seen::Other,
    })
}

impl<H: Http, V: ControlStore> Executor<'_, H, V> {
    /// The project, as it was before; what is ours in it is made where nothing is remembered.
    pub(super) async fn project(&self) -> Result<Project, PutOff> {
        let known = self.store.project().await.map_err(remembering)?;
        let project = match known {
            Some(project) => {
                self.recognise(project).await?;
                project
            }
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
            Some(project) => self.recognise(project).await,
            None => Ok(()),
        }
    }

    async fn recognise(&self, project: Project) -> Result<(), PutOff> {
        let outcome = look(self.hetzner, project.firewall).await;
        match self.outcome(Answer { outcome, budget: None })? {
            Seen::Same => Ok(()),
            Seen::Other => Err(EffectOutcome::OtherProject.into()),
        }
    }

    async fn ensure_firewall(&self) -> Result<FirewallId, PutOff> {
        let selector = names::install_selector(self.install);
        let labelled = self.outcome(self.hetzner.find_firewalls(&selector).await)?;
        let for_all = labelled.into_iter().filter(|firewall| !firewall.labels.contains_key(names::LABEL_SSH));
        if let Some(firewall) = for_all.min_by_key(|firewall| firewall.id) {
            return Ok(firewall.id);
        }
        let name = names::firewall_name(self.install);
        let spec = FirewallSpec {
            name: name.clone(),
            labels: names::install_labels(self.install),
            tcp_ports: WEB
                .into_iter()
                .chain([self.ingress_port])
                .collect::<BTreeSet<u16>>()
                .into_iter()
                .collect(),
            covers: selector,
        };
        match self.outcome(self.hetzner.create_firewall(&spec).await)? {
            CreateFirewall::Created(firewall) => Ok(firewall.id),
            CreateFirewall::NameTaken(_) => {
                // Another creation made it a moment ago, or it carries no label of ours.
                Err(put_off(format!("the firewall {name} to be listed as ours, or renamed by its owner")))
            }
        }
    }

    /// Sees to it that there is a firewall which lets SSH in to servers that say so by a label. It adds to the one for all,
    /// and is no proof of the project: nothing is remembered of it, and whoever deletes it gets another with the next server.
    pub(super) async fn ensure_ssh_firewall(&self) -> Result<(), PutOff> {
        let selector = names::ssh_selector(self.install);
        if !self.outcome(self.hetzner.find_firewalls(&selector).await)?.is_empty() {
            return Ok(());
        }
        let name = names::ssh_firewall_name(self.install);
        let mut labels = names::install_labels(self.install);
        labels.insert(names::LABEL_SSH.to_owned(), names::SSH_OPEN.to_owned());
        let spec = FirewallSpec { name, labels, tcp_ports: vec![SSH_PORT], covers: selector };
        let made = self.hetzner.create_firewall(&spec).await;
        // A name that is taken is that of this firewall, whatever became of its labels. What will not change by waiting
        // keeps no server from starting, nor its caps from being looked at: SSH is not let in then, and that is all.
        if let Err(Failure::Refused(_)) = made.outcome {
            return Ok(());
        }
        self.outcome(made).map(drop)
    }

    /// Somebody deleted the key: the next attempt makes another.
    pub(super) async fn forget_ssh_key(&self, project: Project) -> PutOff {
        match self.store.keep_project(Project { ssh_key: None, ..project }).await {
            Ok(()) => put_off("another SSH key to be made: this installation's is gone".to_owned()),
            Err(error) => remembering(error),
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
                Err(put_off(format!("the SSH key {name} to be listed as ours, or renamed by its owner")))
            }
        }
    }
}

/// Whether a creation is refused for its SSH key.
pub(super) fn is_about_ssh_key(error: &VendorError) -> bool {
    let message = error.message.to_ascii_lowercase();
    error.fields.iter().any(|field| field.name.starts_with("ssh_key"))
        || ["ssh key", "ssh_key"].iter().any(|text| message.contains(text))
}

fn remembering(error: super::StoreError) -> PutOff {
    store_later("what is remembered of the provider's project", error)
}
