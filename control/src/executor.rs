//! Performs one effect of the lifecycle through the provider clients and storage.
//!
//! Every effect here may be repeated: it looks before it creates, and takes "not there" as done where it deletes. It
//! decides nothing: whatever comes back is an [`EffectOutcome`] for [`crate::lifecycle`]. The Worker and the simulation
//! run this same code over different [`Http`] and [`ControlStore`].

mod dns;
mod images;
mod project;
mod store;

use project::is_about_ssh_key;
pub use project::{Project, Seen, look};
pub use store::{ControlStore, StoreError};

use crate::cloudflare::Cloudflare;
use crate::hetzner::{
    self, Answer, CreateServer, DeleteServer, Hetzner, ImageId, ImageRef, Lookup, MetricKind, PowerAction,
    PowerOutcome, PublicNet, ServerId, ServerSpec, UpdateLabels, VendorError,
};
use crate::http::Http;
use crate::lifecycle::{EffectOutcome, failure};
use crate::names;
use crate::placement::Placement;
use crate::policy::Policy;
use crate::record::{Effect, Phase, Record, Server, ServerStatus, StartCheck, minus};
use crate::reservation::Reserved;
use ebbtide_api::vm::Pack;
use ebbtide_api::workspace::RescueChoice;
use ebbtide_api::{Duration, FailureCode, Hint, Timestamp};
use futures_util::future::join_all;

/// Metrics are read over so much time: a machine that did nothing in it is flat.
const METRICS_WINDOW: Duration = Duration::from_mins(3);
/// CPU in percent of a core below which a server counts as flat; an idle kernel with a ticking agent is above it.
const FLAT_CPU_PERCENT: f64 = 0.2;
/// Network in bytes a second below which a server counts as flat.
const FLAT_NETWORK: f64 = 100.0;
/// Packs that one [`Effect::CheckReceipt`] looks up, at once: with the snapshot itself 16 calls.
pub const RECEIPT_SLICE: usize = 15;

/// An effect that was performed.
#[derive(Debug)]
pub struct Performance {
    /// How it ended, for the lifecycle.
    pub outcome: EffectOutcome,
    /// What failed on our own side meanwhile, with its cause: for whoever performs, to be logged once.
    pub failure: Option<StoreError>,
}

/// An effect that is over before its end.
struct PutOff {
    outcome: EffectOutcome,
    failure: Option<Box<StoreError>>,
}

impl From<EffectOutcome> for PutOff {
    fn from(outcome: EffectOutcome) -> Self {
        Self { outcome, failure: None }
    }
}

/// Where effects happen.
pub struct Executor<'a, H, V> {
    /// The provider of machines.
    pub hetzner: &'a Hetzner<H>,
    /// The provider of names.
    pub cloudflare: &'a Cloudflare<H>,
    /// Our own storage.
    pub store: &'a V,
    /// Whose resources are ours.
    pub install: &'a str,
    /// The zone's id at the provider of names.
    pub zone_id: &'a str,
    /// Where servers serve pages.
    pub ingress_port: u16,
    /// Durations.
    pub policy: &'a Policy,
    /// The control plane's clock.
    pub now: Timestamp,
}

impl<H: Http, V: ControlStore> Executor<'_, H, V> {
    /// Performs an effect for a record that was saved with it in flight.
    pub async fn perform(&self, effect: Effect, record: &Record) -> Performance {
        let outcome = match effect {
            Effect::Reserve => self.reserve(record).await,
            Effect::EnsureServer => self.ensure_server(record).await,
            Effect::EnsureDns => self.ensure_dns(record).await,
            Effect::UpdateLabels => self.update_labels(record).await,
            Effect::FindServer => self.find_server(record).await,
            Effect::AskServer => self.ask_server(record).await,
            Effect::Reboot => self.reboot(record).await,
            Effect::PowerOff => self.power(record, PowerAction::Off).await,
            Effect::TakeImage => self.take_image(record).await,
            Effect::AwaitImage => self.await_image(record).await,
            Effect::DeleteServer => self.delete_server(record).await,
            Effect::DeleteDns => self.delete_dns(record).await,
            Effect::CheckReceipt => self.check_receipt(record).await,
            Effect::CheckSpending => self.check_spending(record).await,
            Effect::Purge => self.purge(record).await,
            Effect::CheckPeers => self.check_peers(record).await,
            Effect::DeleteImage { image } => self.delete_image(image).await,
        };
        let outcome = match outcome {
            Ok(EffectOutcome::Gone) => self.believe_gone().await.map(|()| EffectOutcome::Gone),
            outcome => outcome,
        };
        match outcome {
            Ok(outcome) => Performance { outcome, failure: None },
            Err(PutOff { outcome, failure }) => {
                Performance { outcome, failure: failure.map(|failure| *failure) }
            }
        }
    }

    async fn reserve(&self, record: &Record) -> Result<EffectOutcome, PutOff> {
        match self.store.reserve(record).await {
            Ok(Reserved::Stands(next)) => Ok(EffectOutcome::Reserved(Box::new(next))),
            Ok(Reserved::Refused(failure)) => Ok(EffectOutcome::Refused(failure)),
            Err(error) => Err(store_later("the check of your spending cap", error)),
        }
    }

    async fn check_spending(&self, record: &Record) -> Result<EffectOutcome, PutOff> {
        match self.store.spending(record).await {
            Ok(Some(spending)) => Ok(EffectOutcome::Spending(spending)),
            Ok(None) => Ok(EffectOutcome::Done),
            // Looked at again next time, and told: money that cannot be counted stops no work.
            Err(error) => Err(PutOff { outcome: EffectOutcome::Done, failure: Some(Box::new(error)) }),
        }
    }

    async fn purge(&self, record: &Record) -> Result<EffectOutcome, PutOff> {
        self.store.shred(record).await.map_err(storage_later)?;
        Ok(EffectOutcome::Done)
    }

    async fn check_peers(&self, record: &Record) -> Result<EffectOutcome, PutOff> {
        let peers = self.store.peers(record).await;
        peers.map(EffectOutcome::Peers).map_err(|error| store_later("a look at the other workspaces", error))
    }

    fn selector(&self, record: &Record) -> String {
        names::machine_selector(self.install, &record.id, record.generation)
    }

    fn labels(&self, record: &Record, expires: Timestamp) -> hetzner::Labels {
        let mut labels = names::labels(self.install, &record.tenant, &record.id, record.generation, expires);
        if record.spec.rescue_image == RescueChoice::Refuse {
            labels.insert(names::LABEL_IMAGE.to_owned(), names::IMAGE_REFUSED.to_owned());
        }
        if record.lets_ssh_in() {
            labels.insert(names::LABEL_SSH.to_owned(), names::SSH_OPEN.to_owned());
        }
        labels
    }

    async fn find(&self, record: &Record) -> Result<Vec<hetzner::Server>, PutOff> {
        self.outcome(self.hetzner.find_servers(&self.selector(record)).await)
    }

    async fn ensure_server(&self, record: &Record) -> Result<EffectOutcome, PutOff> {
        // A look creates nothing, whatever becomes of it.
        let found = self.find(record).await.map_err(nothing_landed)?;
        if let Some(server) = found.into_iter().min_by_key(|server| server.id) {
            self.label_address(&server, record).await;
            return Ok(EffectOutcome::Exists(adopt(server, record)));
        }
        let project = self.project().await.map_err(nothing_landed)?;
        if record.lets_ssh_in() {
            self.ensure_ssh_firewall().await.map_err(nothing_landed)?;
        }
        let user_data = self.store.user_data(record).await.map_err(storage_later)?;
        let placement = &record.spec.placement;
        let spec = ServerSpec {
            name: names::server_name(&record.id, record.generation),
            server_type: placement.size.clone(),
            image: match record.salvage_image_id {
                Some(image) => ImageRef::Id(ImageId(image)),
                None => ImageRef::Named(record.spec.image.clone()),
            },
            location: Some(placement.location.clone()),
            ssh_keys: project.ssh_key.into_iter().collect(),
            // It covers by label too; named here, it is there before the server boots.
            firewalls: vec![project.firewall],
            labels: self.labels(record, record.hard_end_at(self.policy)),
            user_data,
            public_net: PublicNet::V4AndV6,
        };
        match self.outcome(self.hetzner.create_server(&spec).await)? {
            CreateServer::Created { server, .. } => {
                self.label_address(&server, record).await;
                Ok(EffectOutcome::Exists(adopt(server, record)))
            }
            CreateServer::NameTaken(error) => match self.find(record).await?.into_iter().next() {
                Some(server) => Ok(EffectOutcome::Exists(adopt(server, record))),
                // The name is ours by construction: either the listing lags behind or somebody else uses it.
                None => Err(put_off(format!("the server {} to show in the listing ({error})", spec.name))),
            },
            CreateServer::Capacity { error, .. } => {
                Ok(EffectOutcome::NoRoom { message: vendor_message(&error) })
            }
            CreateServer::LimitExceeded(error) => Ok(EffectOutcome::Refused(failure(
                FailureCode::Limit,
                format!("the provider's limit for this project is reached: {}", vendor_message(&error)),
                Hint::RaiseTheLimit,
            ))),
            CreateServer::Invalid(error) if is_about_ssh_key(&error) => {
                Err(self.forget_ssh_key(project).await)
            }
            CreateServer::Invalid(error) if self.is_without_image(record).await? => {
                Ok(EffectOutcome::ImageImpossible { message: vendor_message(&error) })
            }
            CreateServer::Invalid(error) => Ok(EffectOutcome::Refused(failure(
                FailureCode::Refused,
                format!("the provider refuses this server: {}", vendor_message(&error)),
                Hint::ChooseOffered,
            ))),
        }
    }

    /// Whether a server cannot be made because the image that it would be made from is gone.
    async fn is_without_image(&self, record: &Record) -> Result<bool, PutOff> {
        let Some(image) = record.salvage_image_id else { return Ok(false) };
        let found = self.outcome(self.hetzner.image(ImageId(image)).await).map_err(nothing_landed)?;
        match found {
            Lookup::Found(_) => Ok(false),
            Lookup::Gone => self.believe_gone().await.map(|()| true),
        }
    }

    /// Labels the address that came with a server, so that the sweep knows it for ours should it outlive the server,
    /// which addresses of this kind do not do by rule. A label that fails is not worth a machine.
    async fn label_address(&self, server: &hetzner::Server, record: &Record) {
        if let Some(id) = server.ipv4_id {
            let labels = self.labels(record, record.hard_end_at(self.policy));
            let _best_effort = self.hetzner.label_primary_ip(id, &labels).await;
        }
    }

    async fn update_labels(&self, record: &Record) -> Result<EffectOutcome, PutOff> {
        let until = record.hard_end_at(self.policy);
        if record.lets_ssh_in() {
            // In this project alone: a token of another must leave nothing there.
            self.project().await?;
            self.ensure_ssh_firewall().await?;
        }
        let labels = self.labels(record, until);
        match self.outcome(self.hetzner.update_labels(server_id(record)?, &labels).await)? {
            UpdateLabels::Updated(_) => Ok(EffectOutcome::Labelled { until, ssh: record.lets_ssh_in() }),
            UpdateLabels::Gone => Ok(EffectOutcome::Gone),
            UpdateLabels::Locked(error) => Err(put_off(format!("the server to be unlocked ({error})"))),
        }
    }

    async fn ask_server(&self, record: &Record) -> Result<EffectOutcome, PutOff> {
        let id = server_id(record)?;
        let server = match self.outcome(self.hetzner.server(id).await)? {
            Lookup::Found(server) => server,
            Lookup::Gone => return Ok(EffectOutcome::Gone),
        };
        match server.status {
            hetzner::ServerStatus::Off => return Ok(EffectOutcome::Status(ServerStatus::Off)),
            // Nothing is known of how busy a machine is that boots.
            hetzner::ServerStatus::Running if matches!(record.phase, Phase::Booting { .. }) => {
                return Ok(EffectOutcome::Status(ServerStatus::Alive));
            }
            hetzner::ServerStatus::Running => {}
            _ => return Ok(EffectOutcome::Status(ServerStatus::Unclear)),
        }
        let kinds = [MetricKind::Cpu, MetricKind::Network];
        let metrics =
            self.hetzner.server_metrics(id, &kinds, minus(self.now, METRICS_WINDOW), self.now).await;
        let status = match metrics.outcome {
            Ok(Lookup::Found(metrics)) => match (metrics.highest("cpu"), metrics.highest("network")) {
                (Some(cpu), Some(network)) if cpu < FLAT_CPU_PERCENT && network < FLAT_NETWORK => {
                    ServerStatus::Flat
                }
                (Some(_), Some(_)) => ServerStatus::Alive,
                _ => ServerStatus::Unclear,
            },
            Ok(Lookup::Gone) => return Ok(EffectOutcome::Gone),
            // The server answers, its metrics do not: that is no proof of death.
            Err(_) => ServerStatus::Unclear,
        };
        Ok(EffectOutcome::Status(status))
    }

    async fn reboot(&self, record: &Record) -> Result<EffectOutcome, PutOff> {
        let off = matches!(
            &record.phase,
            Phase::Silent { status: Some(ServerStatus::Off), .. }
                | Phase::Booting { start: StartCheck::Off, .. }
        );
        self.power(record, if off { PowerAction::On } else { PowerAction::Reset }).await
    }

    async fn power(&self, record: &Record, action: PowerAction) -> Result<EffectOutcome, PutOff> {
        match self.outcome(self.hetzner.power(server_id(record)?, action).await)? {
            PowerOutcome::Started(_) => Ok(EffectOutcome::Done),
            PowerOutcome::Gone => Ok(EffectOutcome::Gone),
            PowerOutcome::Locked(error) => Err(put_off(format!("the server to be unlocked ({error})"))),
        }
    }

    async fn find_server(&self, record: &Record) -> Result<EffectOutcome, PutOff> {
        if let Some(server) = self.find(record).await?.into_iter().min_by_key(|server| server.id) {
            return Ok(EffectOutcome::Exists(adopt(server, record)));
        }
        match self.outcome(self.hetzner.server(server_id(record)?).await)? {
            Lookup::Found(server) => Ok(EffectOutcome::Exists(adopt(server, record))),
            Lookup::Gone => Ok(EffectOutcome::Gone),
        }
    }

    /// Deletes by the id that is known first, then whatever else carries the labels; what fails stops nothing else.
    async fn delete_server(&self, record: &Record) -> Result<EffectOutcome, PutOff> {
        let known = record.server.as_ref().map(|server| ServerId(server.id));
        let mut worst = Ok(EffectOutcome::Gone);
        if let Some(id) = known {
            worst = self.delete_one(id).await;
        }
        for server in self.find(record).await? {
            if known == Some(server.id) {
                continue;
            }
            let one = self.delete_one(server.id).await;
            if matches!(worst, Ok(EffectOutcome::Gone)) || one.is_err() {
                worst = one;
            }
        }
        worst
    }

    async fn delete_one(&self, id: ServerId) -> Result<EffectOutcome, PutOff> {
        match self.outcome(self.hetzner.delete_server(id).await)? {
            DeleteServer::Deleting(_) => Ok(EffectOutcome::Deleting),
            DeleteServer::Gone => Ok(EffectOutcome::Gone),
            DeleteServer::Locked(error) => Err(put_off(format!("the server to be unlocked ({error})"))),
        }
    }

    async fn check_receipt(&self, record: &Record) -> Result<EffectOutcome, PutOff> {
        let Some(pending) = &record.pending else { return Ok(EffectOutcome::ReceiptChecked { packs: 0 }) };
        let slice: Vec<&Pack> = pending.unchecked.iter().rev().take(RECEIPT_SLICE).collect();
        let snapshot = format!("snapshots/{}", pending.receipt.snapshot);
        let paths: Vec<String> =
            slice.iter().map(|pack| format!("data/{}", pack.name)).chain([snapshot]).collect();
        // All at once: one after the other a large receipt would take a quarter of an hour.
        let looks = join_all(paths.iter().map(|path| self.store.object_size(record, path))).await;
        let wanted = slice.iter().map(|pack| Some(pack.size)).chain([None]);
        for ((path, found), wanted) in paths.iter().zip(looks).zip(wanted) {
            let problem = match (found.map_err(storage_later)?, wanted) {
                (Some(size), Some(wanted)) if size != wanted => {
                    format!("{path} has {size} bytes in storage and {wanted} in the receipt")
                }
                (Some(_), _) => continue,
                (None, _) => format!("{path} is not in storage"),
            };
            return Ok(EffectOutcome::ReceiptWrong { problem });
        }
        Ok(EffectOutcome::ReceiptChecked { packs: slice.len() })
    }

    /// The outcome of a call, or the effect put off. A spent API budget refills by one call a second, so the usual
    /// pauses serve it better than its reset, which is the time at which the bucket is full.
    fn outcome<T>(&self, answer: Answer<T>) -> Result<T, PutOff> {
        let later = |failure: hetzner::Failure| EffectOutcome::Later {
            waiting_for: format!("the server provider: {failure}"),
            maybe_landed: failure.may_have_landed(),
            not_before: None,
        };
        answer.outcome.map_err(|failure| later(failure).into())
    }
}

fn server_id(record: &Record) -> Result<ServerId, PutOff> {
    record.server.as_ref().map(|server| ServerId(server.id)).ok_or_else(|| EffectOutcome::Gone.into())
}

fn adopt(server: hetzner::Server, record: &Record) -> Server {
    let asked = &record.spec.placement;
    Server {
        id: server.id.0,
        ipv4: server.ipv4.map(|ip| ip.to_string()),
        created: server.created,
        placement: Placement {
            size: server.server_type.unwrap_or_else(|| asked.size.clone()),
            location: server.location.unwrap_or_else(|| asked.location.clone()),
        },
    }
}

fn vendor_message(error: &VendorError) -> String {
    error.to_string()
}

fn nothing_landed(put_off: PutOff) -> PutOff {
    let PutOff { mut outcome, failure } = put_off;
    if let EffectOutcome::Later { maybe_landed, .. } = &mut outcome {
        *maybe_landed = false;
    }
    PutOff { outcome, failure }
}

fn put_off(waiting_for: String) -> PutOff {
    EffectOutcome::Later { waiting_for, maybe_landed: false, not_before: None }.into()
}

fn store_later(what: &str, error: StoreError) -> PutOff {
    let put_off = put_off(format!("{what}: {error}"));
    PutOff { failure: Some(Box::new(error)), ..put_off }
}

fn storage_later(error: StoreError) -> PutOff {
    store_later("storage", error)
}

#[cfg(test)]
mod tests;
