//! One invocation of the Worker: its environment, configuration, counter and name in the logs.
//!
//! Opens what handlers work with, so that every call is counted. Holds no state beyond the request.

use crate::auth::Context;
use crate::calls::{Binding, Calls};
use crate::chance;
use crate::config::Config;
use crate::error::{ApiError, ApiResult};
use crate::fetch_http::FetchHttp;
use crate::gate;
use crate::index::{AuditNote, Index};
use crate::keychain::Keychain;
use crate::object::{self, Call};
use crate::storage::Storage;
use ebbtide_api::{TenantId, Timestamp, WorkspaceId};
use ebbtide_control::hetzner::Hetzner;
use ebbtide_control::rate_limit::{Need, Provider};
use serde::de::DeserializeOwned;
use std::rc::Rc;
use url::Url;
use worker::{Env, Request};

/// How long a request waits for the provider's catalog, which answers in well under a second.
const PATIENCE_MS: u32 = 6_000;

/// One request, or one run of the cron.
pub struct Invocation {
    /// Bindings.
    pub env: Env,
    /// The installation.
    pub config: Rc<Config>,
    /// What was asked of bindings so far.
    pub calls: Calls,
    /// Names the invocation in the logs and in answers.
    pub request_id: String,
    /// Where the request comes from.
    pub address: String,
    /// What was asked for.
    pub url: Url,
}

impl Invocation {
    /// The control plane's clock.
    pub fn now(&self) -> Timestamp {
        chance::now()
    }

    /// The index.
    ///
    /// # Errors
    /// The binding is missing.
    pub fn index(&self) -> ApiResult<Index> {
        Index::open(&self.env, self.calls.clone())
    }

    /// The bucket.
    ///
    /// # Errors
    /// The binding is missing.
    pub fn storage(&self) -> ApiResult<Storage> {
        Storage::open(&self.env, self.calls.clone())
    }

    /// Tenants' and workspaces' keys.
    ///
    /// # Errors
    /// The binding is missing.
    pub fn keychain(&self) -> ApiResult<Keychain> {
        Ok(Keychain::new(Rc::clone(&self.config), self.storage()?))
    }

    /// Asks the provider gate for calls; whoever makes them counts them with the pass.
    ///
    /// # Errors
    /// When to ask again.
    pub async fn pass(&self, need: Need) -> Result<gate::Pass, gate::Wait> {
        gate::ask(&self.env, &self.calls, need).await
    }

    /// The provider of machines, asked for what a person waits for: counted, but not held back.
    pub fn hetzner(&self) -> Hetzner<FetchHttp> {
        let meter = gate::Meter::unasked(Provider::Machines);
        let http = FetchHttp::new(self.calls.clone()).within_ms(PATIENCE_MS).metered(meter);
        Hetzner::new(http, self.config.hetzner_url.as_str(), self.config.hetzner_token.clone())
    }

    /// Asks a workspace's object.
    ///
    /// # Errors
    /// What the object refuses.
    pub async fn ask<T: DeserializeOwned>(
        &self,
        tenant: &TenantId,
        id: &WorkspaceId,
        call: Call,
    ) -> ApiResult<T> {
        self.calls.count(Binding::Object);
        let answer = object::call(&self.env, tenant, id, call).await?;
        serde_json::from_value(answer).map_err(ApiError::internal)
    }

    /// Writes an audit line.
    ///
    /// # Errors
    /// The index does not answer.
    pub async fn audit(&self, context: &Context, action: &str, subject: &str) -> ApiResult<()> {
        self.index()?.note(&self.audit_note(context, action, subject)).await
    }

    /// An audit line, to be written with the change it is about.
    pub fn audit_note<'a>(
        &'a self,
        context: &'a Context,
        action: &'a str,
        subject: &'a str,
    ) -> AuditNote<'a> {
        AuditNote {
            at: self.now(),
            tenant: &context.tenant,
            actor: &context.actor,
            action,
            subject,
            from: &self.address,
        }
    }

    /// A parameter of the query.
    pub fn query(&self, name: &str) -> Option<String> {
        self.url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    }
}

/// The name of a request: Cloudflare's own where there is one.
pub fn request_id(request: &Request) -> String {
    let ray = request.headers().get("cf-ray").ok().flatten().filter(|ray| is_plain(ray));
    ray.or_else(|| chance::random::<8>().ok().map(hex::encode)).unwrap_or_else(|| "unnamed".to_owned())
}

/// Where a request comes from; Cloudflare overwrites the header, so a client cannot choose it.
pub fn address(request: &Request) -> String {
    let header = request.headers().get("cf-connecting-ip").ok().flatten();
    header.filter(|address| is_plain(address)).unwrap_or_else(|| "unknown".to_owned())
}

fn is_plain(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b':');
    !text.is_empty() && text.len() <= 64 && text.bytes().all(plain)
}
