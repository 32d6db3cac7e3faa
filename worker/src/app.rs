//! What one invocation of the Worker works with: bindings, configuration, and a count of all that it asks of them.
//!
//! A request has one, and so have a run of the cron and an effect of a workspace's object. It knows nothing of who asks:
//! that is the [`Actor`], and of what was asked for: that is `request`.

use crate::actor::Actor;
use crate::clock;
use crate::config::Config;
use crate::d1::{AuditNote, Index};
use crate::durable_objects::client::WorkspaceClient;
use crate::durable_objects::rate_limit;
use crate::error::{ApiError, ApiResult};
use crate::fetch_http::FetchHttp;
use crate::r2::bucket::Storage;
use crate::r2::keychain::Keychain;
use crate::subrequests::Calls;
use ebbtide_api::{TenantId, Timestamp, WorkspaceId};
use ebbtide_control::hetzner::Hetzner;
use ebbtide_control::rate_limit::{CallCost, Provider};
use std::rc::Rc;
use worker::Env;

/// How long a request waits for the provider's catalog, which answers in well under a second.
const PATIENCE_MS: u32 = 6_000;

/// Opens what an invocation works with, so that every call is counted.
pub struct App {
    /// Bindings.
    pub env: Env,
    /// The installation.
    pub config: Rc<Config>,
    /// What was asked of bindings so far.
    pub calls: Calls,
    /// Names the invocation in the logs and in answers.
    pub request_id: String,
}

impl App {
    /// What an invocation of that name works with, which has called so much already.
    ///
    /// # Errors
    /// The installation is not configured.
    pub fn open(env: &Env, request_id: String, calls: Calls) -> ApiResult<Self> {
        let config = Config::from_env(env).map_err(ApiError::not_configured)?;
        Ok(Self { env: env.clone(), config, calls, request_id })
    }

    /// The control plane's clock.
    pub fn now(&self) -> Timestamp {
        clock::now()
    }

    /// The database.
    ///
    /// # Errors
    /// The binding is missing.
    pub fn d1(&self) -> ApiResult<Index> {
        Index::open(&self.env, self.calls.clone())
    }

    /// The bucket.
    ///
    /// # Errors
    /// The binding is missing.
    pub fn r2(&self) -> ApiResult<Storage> {
        Storage::open(&self.env, self.calls.clone())
    }

    /// Tenants' and workspaces' keys.
    ///
    /// # Errors
    /// The binding is missing.
    pub fn keychain(&self) -> ApiResult<Keychain> {
        Ok(Keychain::new(Rc::clone(&self.config), self.r2()?))
    }

    /// A workspace's Durable Object, asked for that tenant.
    pub fn workspace(&self, tenant: &TenantId, id: &WorkspaceId) -> WorkspaceClient {
        WorkspaceClient::new(self.env.clone(), self.calls.clone(), tenant.clone(), id.clone())
    }

    /// Asks the provider gate for calls; whoever makes them counts them with the pass.
    ///
    /// # Errors
    /// When to ask again.
    pub async fn pass(&self, need: CallCost) -> Result<rate_limit::Permit, rate_limit::RetryAfter> {
        rate_limit::ask(&self.env, &self.calls, need).await
    }

    /// The provider of machines, asked for what a person waits for: counted, but not held back.
    pub fn hetzner(&self) -> Hetzner<FetchHttp> {
        let meter = rate_limit::Meter::unasked(Provider::Machines);
        let http = FetchHttp::new(self.calls.clone()).within_ms(PATIENCE_MS).metered(meter);
        Hetzner::new(http, self.config.hetzner_url.as_str(), self.config.hetzner_token.clone())
    }

    /// An audit line, to be written with the change it is about.
    pub fn audit_note<'a>(&self, actor: &'a Actor, action: &'a str, subject: &'a str) -> AuditNote<'a> {
        AuditNote {
            at: self.now(),
            tenant: &actor.tenant,
            actor: &actor.name,
            action,
            subject,
            from: &actor.address,
        }
    }
}
