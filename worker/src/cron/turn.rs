//! What the parts of one run share: the clock, the bound on calls, the limit on endings, and what objects have said.

use crate::app::App;
use crate::d1::{AuditNote, Index};
use crate::durable_objects::rate_limit::Permit;
use crate::durable_objects::rpc::{Call, FateAnswer};
use crate::error::{ApiError, ApiResult};
use crate::fetch_http::FetchHttp;
use crate::log::{self, Level};
use ebbtide_api::sweep::{SweepFinding, SweepMode};
use ebbtide_api::{Generation, TenantId, Timestamp, WorkspaceId};
use ebbtide_control::cloudflare::Cloudflare;
use ebbtide_control::hetzner::Hetzner;
use ebbtide_control::rate_limit::Provider;
use ebbtide_control::sweep::state::PartState;
use ebbtide_control::sweep::walk::Doubt;
use ebbtide_control::sweep::{Asked, Judged, Row, Site, Verdict};
use serde_json::Value;
use std::collections::BTreeMap;

/// How a turn ended, where nothing went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Calls, or the limit, are used up: the next turn goes on.
    Turn,
    /// It came to the end of everything.
    Round,
}

/// What stopped a turn, for the report.
#[derive(Debug)]
pub struct Trouble(pub String);

impl From<ApiError> for Trouble {
    fn from(error: ApiError) -> Self {
        // The report is for people; what only the log may know is written there.
        if error.logged_cause().is_some() {
            error.log(Level::Warn, "a turn of the sweep met an error", &[]);
        }
        Self(error.message().to_owned())
    }
}

impl From<ebbtide_control::hetzner::Failure> for Trouble {
    fn from(failure: ebbtide_control::hetzner::Failure) -> Self {
        Self(format!("the server provider: {failure}"))
    }
}

impl From<ebbtide_control::cloudflare::Failure> for Trouble {
    fn from(failure: ebbtide_control::cloudflare::Failure) -> Self {
        Self(format!("the DNS provider: {failure}"))
    }
}

impl From<Doubt> for Trouble {
    fn from(doubt: Doubt) -> Self {
        Self(doubt.to_string())
    }
}

/// A workspace that does not answer: nothing of it may end but a server that outlived its label by far.
#[derive(Debug, thiserror::Error)]
#[error("its workspace does not answer: {}", .0.message())]
pub struct NoAnswer(#[source] ApiError);

impl From<NoAnswer> for Judged {
    fn from(silence: NoAnswer) -> Self {
        Self { verdict: Verdict::Leave, because: silence.to_string() }
    }
}

/// Whose something is, for findings and the audit log.
#[derive(Debug, Clone, Default)]
pub struct Subject {
    /// `server 4711`, `record x`, …
    pub what: String,
    /// Its owner, where that is known.
    pub tenant: Option<TenantId>,
    /// Its workspace.
    pub workspace: Option<WorkspaceId>,
    /// Of which machine.
    pub generation: Option<Generation>,
}

struct Note {
    tenant: TenantId,
    action: &'static str,
    subject: String,
}

/// One run.
pub struct Sweeper<'a> {
    /// The invocation that it runs in.
    pub app: &'a App,
    /// What it may do.
    pub mode: SweepMode,
    from: &'a str,
    /// The control plane's clock at its beginning.
    pub now: Timestamp,
    /// How many things it may still end.
    pub limit_left: u32,
    /// The provider of machines.
    pub hetzner: Hetzner<FetchHttp>,
    /// The provider of names.
    pub cloudflare: Cloudflare<FetchHttp>,
    /// What the calls are counted with; told to the gate once it is dropped.
    #[allow(dead_code)] // for its end
    pass: Permit,
    ends_at: u32,
    asked: BTreeMap<WorkspaceId, Asked>,
    index_is_empty: Option<bool>,
    notes: Vec<Note>,
}

impl<'a> Sweeper<'a> {
    /// A run that has not begun.
    pub fn new(app: &'a App, mode: SweepMode, from: &'a str) -> Self {
        let pass = Permit::default();
        let (hetzner, cloudflare) = clients(app, &pass);
        Self {
            app,
            mode,
            from,
            now: app.now(),
            limit_left: app.config.policy.sweep_limit,
            hetzner,
            cloudflare,
            pass,
            ends_at: 0,
            asked: BTreeMap::new(),
            index_is_empty: None,
            notes: Vec::new(),
        }
    }

    /// Lets the run call the providers, counted with a pass of the gate.
    pub fn open(&mut self, pass: Permit) {
        (self.hetzner, self.cloudflare) = clients(self.app, &pass);
        self.pass = pass;
    }

    /// Bounds the turn that begins.
    pub fn turn_ends_at(&mut self, calls: u32) {
        self.ends_at = calls;
    }

    /// Whether so many calls are left in this turn.
    pub fn has(&self, calls: u32) -> bool {
        self.left() >= calls
    }

    /// Calls that are left in this turn.
    pub fn left(&self) -> u32 {
        self.ends_at.saturating_sub(self.app.calls.total())
    }

    /// The index.
    ///
    /// # Errors
    /// The binding is missing.
    pub fn index(&self) -> ApiResult<Index> {
        self.app.d1()
    }

    /// By what resources are judged.
    pub fn site(&self, index_in_doubt: bool) -> Site<'a> {
        let config = &self.app.config;
        Site { install: &config.install_id, policy: &config.policy, now: self.now, index_in_doubt }
    }

    /// Asks an object what becomes of its workspace; once a run.
    ///
    /// # Errors
    /// It does not answer. What only the log may know is written there.
    pub async fn ask(&mut self, id: &WorkspaceId) -> Result<Asked, NoAnswer> {
        if let Some(asked) = self.asked.get(id) {
            return Ok(asked.clone());
        }
        // The object looks at the id alone.
        let answer = self.app.workspace(&TenantId::owner(), id).ask::<FateAnswer>(Call::Fate).await;
        let asked = match answer {
            Ok(FateAnswer::Known(fate)) => Asked::Known(fate),
            Ok(FateAnswer::Unknown) => Asked::Unknown,
            Ok(FateAnswer::Unreadable) => Asked::Unreadable,
            Err(error) => {
                error.log(
                    Level::Warn,
                    "a workspace does not answer the sweep",
                    &[("workspace.id", id.as_str())],
                );
                return Err(NoAnswer(error));
            }
        };
        self.asked.insert(id.clone(), asked.clone());
        Ok(asked)
    }

    /// Whether the index knows no workspace at all; looked up once a run.
    ///
    /// # Errors
    /// The index does not answer.
    pub async fn index_is_empty(&mut self) -> ApiResult<bool> {
        match self.index_is_empty {
            Some(known) => Ok(known),
            None => {
                let is_empty = self.index()?.is_empty().await?;
                self.index_is_empty = Some(is_empty);
                Ok(is_empty)
            }
        }
    }

    /// Whether the index has to be doubted, given what it knows of things on a page.
    ///
    /// # Errors
    /// The index does not answer.
    pub async fn doubts_index(
        &mut self,
        rows: &BTreeMap<WorkspaceId, Row>,
        wanted: &[WorkspaceId],
    ) -> ApiResult<bool> {
        let without = wanted.iter().filter(|id| !rows.contains_key(*id)).count();
        if without == 0 {
            return Ok(false);
        }
        let is_empty = self.index_is_empty().await?;
        Ok(ebbtide_control::sweep::index_in_doubt(is_empty, wanted.len(), without))
    }

    /// Tells a workspace to look for itself, or to write its labels anew; says what came of it.
    pub async fn tell(&mut self, tenant: &TenantId, id: &WorkspaceId, call: Call) -> String {
        if self.mode == SweepMode::DryRun {
            return "its workspace would be told".to_owned();
        }
        match self.app.workspace(tenant, id).ask::<Value>(call).await {
            Ok(_) => "its workspace was told".to_owned(),
            Err(error) => {
                error.log(Level::Warn, "a workspace could not be told", &[("workspace.id", id.as_str())]);
                format!("its workspace could not be told: {}", error.message())
            }
        }
    }

    /// Whether one more thing may end now; `Err` says what is reported instead.
    pub fn may_end(&self) -> Result<(), &'static str> {
        match self.mode {
            SweepMode::On => Ok(()),
            SweepMode::DryRun => Err("it would be ended"),
            SweepMode::Off => Err("the sweep is off"),
        }
    }

    /// Counts, logs and audits something that was ended, or an image that was taken.
    pub fn acted(&mut self, action: &'static str, subject: &Subject, because: &str) {
        let workspace = subject.workspace.as_ref().map_or("", WorkspaceId::as_str);
        let generation = subject.generation.map(|generation| generation.to_string()).unwrap_or_default();
        let fields = [
            ("request.id", self.app.request_id.as_str()),
            ("action", action),
            ("subject", &subject.what),
            ("workspace.id", workspace),
            ("generation", &generation),
            ("because", because),
        ];
        log::write(Level::Warn, "the sweep acted", &fields);
        let tenant = subject.tenant.clone().unwrap_or_else(TenantId::owner);
        let text = if workspace.is_empty() {
            subject.what.clone()
        } else {
            format!("{} of {workspace}", subject.what)
        };
        self.notes.push(Note { tenant, action, subject: text });
    }

    /// Puts a finding into the report, unless all is well.
    pub fn found(&self, state: &mut PartState, subject: &Subject, judged: &Judged, done: String) {
        if judged.verdict == Verdict::Fine {
            return;
        }
        state.note(SweepFinding {
            at: self.now,
            id: subject.what.clone(),
            workspace: subject.workspace.clone(),
            generation: subject.generation,
            verdict: judged.verdict.reported(),
            because: judged.because.clone(),
            done,
        });
    }

    /// The audit lines of what was done.
    pub fn notes(&self) -> Vec<AuditNote<'_>> {
        let mut lines = Vec::with_capacity(self.notes.len());
        for Note { tenant, action, subject } in &self.notes {
            lines.push(AuditNote { at: self.now, tenant, actor: "sweep", action, subject, from: self.from });
        }
        lines
    }
}

fn clients(app: &App, pass: &Permit) -> (Hetzner<FetchHttp>, Cloudflare<FetchHttp>) {
    let config = &app.config;
    let http = |provider| FetchHttp::new(app.calls.clone()).metered(pass.meter(provider));
    let hetzner =
        Hetzner::new(http(Provider::Machines), config.hetzner_url.as_str(), config.hetzner_token.clone());
    let cloudflare = Cloudflare::new(
        http(Provider::Names),
        config.cloudflare_url.as_str(),
        config.cloudflare_token.clone(),
    );
    (hetzner, cloudflare)
}
