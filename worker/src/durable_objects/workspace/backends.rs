//! Where an object's effects happen: the providers, the bucket, and what a new machine is told.

use super::log;
use crate::app::App;
use crate::config::{Config, Reach};
use crate::d1::Index;
use crate::durable_objects::rate_limit;
use crate::error::ApiError;
use crate::fetch_http::FetchHttp;
use crate::r2::bucket::{PROJECT, Storage, repository_path};
use crate::r2::keychain::Keychain;
use crate::r2::programs;
use crate::random::random;
use crate::subrequests::Calls;
use crate::workspaces::reservation;
use ebbtide_api::Timestamp;
use ebbtide_api::programs::ProgramList;
use ebbtide_api::vm::Enrolled;
use ebbtide_control::cloudflare::Cloudflare;
use ebbtide_control::executor::{ControlStore, Executor, Project, StoreError};
use ebbtide_control::hetzner::Hetzner;
use ebbtide_control::lifecycle::{Effect, EffectOutcome, Peers};
use ebbtide_control::money::caps::Spending;
use ebbtide_control::rate_limit::{CallCost, Provider};
use ebbtide_control::record::Record;
use ebbtide_control::reservation::Reserved;
use ebbtide_control::secret::{SecretKey, SecretText};
use ebbtide_control::tokens::openssh_public_key;
use ebbtide_control::view::machine::{self, BirthError, Site};
use std::rc::Rc;
use worker::Env;

/// The bucket and the configuration, as effects need them.
pub(super) struct Backing {
    env: Env,
    config: Rc<Config>,
    storage: Storage,
    calls: Calls,
    now: Timestamp,
}

impl Backing {
    /// Opens what an effect needs; what it asks for is counted in `calls`.
    ///
    /// # Errors
    /// What the installation lacks.
    pub(super) fn open(env: &Env, now: Timestamp, calls: Calls) -> Result<Self, ApiError> {
        let config = Config::from_env(env).map_err(ApiError::not_configured)?;
        Ok(Self { env: env.clone(), storage: Storage::open(env, calls.clone())?, config, calls, now })
    }

    /// Performs an effect, once the provider gate lets it.
    pub(super) async fn perform(&self, effect: Effect, record: &Record) -> EffectOutcome {
        let pass = match CallCost::of(effect) {
            Some(need) => match rate_limit::ask(&self.env, &self.calls, need).await {
                Ok(pass) => pass,
                Err(wait) => return wait.into(),
            },
            None => rate_limit::Permit::default(),
        };
        let http = |provider| FetchHttp::new(self.calls.clone()).metered(pass.meter(provider));
        let (config, token) = (&self.config, &self.config.hetzner_token);
        let hetzner = Hetzner::new(http(Provider::Machines), config.hetzner_url.as_str(), token.clone());
        let cloudflare = Cloudflare::new(
            http(Provider::Names),
            config.cloudflare_url.as_str(),
            config.cloudflare_token.clone(),
        );
        let executor = Executor {
            hetzner: &hetzner,
            cloudflare: &cloudflare,
            store: self,
            install: &config.install_id,
            zone_id: &config.zone_id,
            ingress_port: config.ingress_port,
            policy: &config.policy,
            now: self.now,
        };
        let performance = executor.perform(effect, record).await;
        if let Some(failure) = &performance.failure {
            log::failed(record, effect, failure);
        }
        performance.outcome
    }

    /// The answer to an enrolment, with the workspace's key and environment.
    ///
    /// # Errors
    /// Storage does not answer, or a key does not open.
    pub(super) async fn enrolled(&self, record: &Record) -> Result<Enrolled, ApiError> {
        let keychain = Keychain::new(Rc::clone(&self.config), self.storage.clone());
        let key = keychain.workspace_key(&record.tenant, &record.id).await?;
        let settings = keychain.user_settings(&record.tenant, &record.id, &record.into()).await?;
        let programs = match record.spec.agents.is_empty() {
            true => ProgramList::default(),
            false => programs::published(&self.storage).await?,
        };
        let password = key.repository_password();
        machine::enrolled(record, &password, settings, &programs, &site(&self.config)?, self.now)
            .map_err(ApiError::internal)
    }
}

/// What this installation tells every machine.
///
/// # Errors
/// It is not configured.
pub(super) fn site(config: &Config) -> Result<Site<'_>, ApiError> {
    config.ensure(Reach::Machines).map_err(ApiError::not_configured)?;
    Ok(Site {
        control_url: &config.control_url,
        port_url_template: &config.port_url_template,
        ingress_port: config.ingress_port,
        tokens: config.token_keys().map_err(ApiError::not_configured)?,
        policy: &config.policy,
    })
}

/// The sentence is for whoever waits, the cause for the log.
impl From<ApiError> for StoreError {
    fn from(error: ApiError) -> Self {
        let failure = Self::new(error.message());
        match error.logged_cause() {
            Some(cause) => failure.because(cause.to_owned()),
            None => failure,
        }
    }
}

impl ControlStore for Backing {
    async fn object_size(&self, record: &Record, path: &str) -> Result<Option<u64>, StoreError> {
        let key = repository_path(&record.tenant, &record.id, path);
        Ok(self.storage.size(&key).await?)
    }

    async fn shred(&self, record: &Record) -> Result<(), StoreError> {
        let keychain = Keychain::new(Rc::clone(&self.config), self.storage.clone());
        Ok(keychain.shred(&record.tenant, &record.id).await?)
    }

    async fn user_data(&self, record: &Record) -> Result<SecretText, StoreError> {
        self.config.ensure(Reach::Everything).map_err(ApiError::not_configured)?;
        let none =
            || StoreError::new("no idle-agent has been uploaded: PUT /v1/vm/agent/{sha256} brings one");
        let agent = self.storage.current_agent().await?.ok_or_else(none)?;
        let unusable = |error: BirthError| StoreError::new(error.to_string()).because(error);
        machine::user_data(record, &agent, &site(&self.config)?, self.now).map_err(unusable)
    }

    async fn project(&self) -> Result<Option<Project>, StoreError> {
        Ok(self.storage.json(PROJECT).await?)
    }

    async fn keep_project(&self, project: Project) -> Result<(), StoreError> {
        let text = serde_json::to_string(&project).map_err(ApiError::internal)?;
        Ok(self.storage.replace(PROJECT, text).await?)
    }

    async fn ssh_public_key(&self) -> Result<String, StoreError> {
        let seed = SecretKey::new(random()?);
        let comment = format!("ebbtide-{}", self.config.install_id);
        Ok(openssh_public_key(&seed, &comment).map_err(ApiError::internal)?)
    }

    async fn reserve(&self, record: &Record) -> Result<Reserved, StoreError> {
        let app = App {
            env: self.env.clone(),
            config: Rc::clone(&self.config),
            calls: self.calls.clone(),
            request_id: format!("{} g{}", record.id, record.generation.next()),
        };
        Ok(reservation::waited_for(&app, record).await?)
    }

    async fn spending(&self, record: &Record) -> Result<Option<Spending>, StoreError> {
        let index = Index::open(&self.env, self.calls.clone())?;
        Ok(Some(index.spending(&record.tenant, self.now).await?))
    }

    async fn peers(&self, record: &Record) -> Result<Peers, StoreError> {
        let index = Index::open(&self.env, self.calls.clone())?;
        Ok(index.peers(record, &self.config.policy).await?)
    }
}
