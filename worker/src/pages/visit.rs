//! A signed-in browser: its session, the person behind it, and what it may look at.

use super::input::{self, Form};
use super::session::{LIFE_SECS, Session};
use crate::auth::{self, Context};
use crate::error::{ApiError, ApiResult};
use crate::invocation::Invocation;
use crate::object::EventPage;
use crate::workspaces;
use ebbtide_api::workspace::Workspace;
use ebbtide_api::{ErrorCode, Timestamp, WorkspaceId};
use ebbtide_control::tokens::SessionClaims;
use ebbtide_dashboard::page::Shell;
use ebbtide_dashboard::view::{self, WorkspaceView};
use jiff::SignedDuration;
use worker::Request;

/// Events that a page shows: the newest.
const HISTORY: u16 = 500;

/// A request of a signed-in browser.
pub struct Visit<'a> {
    /// The request's surroundings.
    pub invocation: &'a Invocation,
    /// For whom it acts.
    pub context: Context,
    session: Session,
    proof: String,
    back: String,
}

/// Begins a session for whoever knows the owner token.
///
/// # Errors
/// `unauthorized`, or `rate_limited` after many failures. An API key is refused: a session may do everything, a key
/// may not.
pub async fn begin(invocation: &Invocation, token: &str) -> ApiResult<Session> {
    const HINT: &str = "Use the owner token that the installation was set up with.";
    let refused = || ApiError::new(ErrorCode::Unauthorized, "that is not the owner token").hint(HINT);
    let context = match auth::sign_in(invocation, token.trim()).await {
        Ok(context) if context.actor == "owner" => context,
        Ok(_) => return Err(refused()),
        Err(error) if error.code() == ErrorCode::Unauthorized => return Err(refused()),
        Err(error) => return Err(error),
    };
    let claims = SessionClaims { tenant: context.tenant.clone(), actor: context.actor.clone() };
    let life = SignedDuration::from_secs(LIFE_SECS);
    let issued = invocation.config.token_keys.issue_session(&claims, invocation.now(), life);
    let issued = issued.map_err(ApiError::internal)?;
    workspaces::note(invocation, &context, "session.begin", &context.actor).await;
    Ok(Session::new(issued.token.expose()))
}

impl<'a> Visit<'a> {
    /// Recognises the browser by its session.
    ///
    /// # Errors
    /// `unauthorized` or `token_expired`.
    pub fn of(invocation: &'a Invocation, request: &Request) -> ApiResult<Self> {
        let cookies = input::header(request, "cookie").unwrap_or_default();
        let session = Session::from_cookies(&cookies)
            .ok_or_else(|| ApiError::new(ErrorCode::Unauthorized, "nobody is signed in"))?;
        let context =
            auth::session(&invocation.config, session.token(), invocation.now(), &invocation.request_id)
                .map_err(|error| error.hint("Sign in with the owner token."))?;
        let proof = session.proof();
        let back = below_workspace(invocation.url.path());
        Ok(Self { invocation, context, session, proof, back })
    }

    /// Proves that a form comes from this session.
    pub fn proof(&self) -> &str {
        &self.proof
    }

    /// The control plane's clock.
    pub fn now(&self) -> Timestamp {
        self.invocation.now()
    }

    /// Where a refusal leads back to.
    pub fn back(&self) -> &str {
        &self.back
    }

    /// What surrounds a page of this session.
    pub fn shell(&self, title: impl Into<String>) -> Shell {
        Shell::new(title, Some(self.proof.clone()))
    }

    /// Reads a form that changes something.
    ///
    /// # Errors
    /// `csrf_mismatch` where it does not come from a page of this session.
    pub async fn form(&self, request: &Request) -> ApiResult<Form> {
        input::refuse_other_sites(self.invocation, request)?;
        let form = input::form(request).await?;
        if self.session.proves(form.get("csrf")) {
            Ok(form)
        } else {
            Err(ApiError::new(ErrorCode::CsrfMismatch, "this page is out of date"))
        }
    }

    /// A workspace as its object knows it, which compares the tenant itself.
    ///
    /// # Errors
    /// There is none, or the object does not answer.
    pub async fn workspace(&self, id: &WorkspaceId) -> ApiResult<Workspace> {
        workspaces::view(self.invocation, &self.context, id).await
    }

    /// A workspace and its history, ready to show.
    ///
    /// # Errors
    /// There is none, or the object does not answer.
    pub async fn view(&self, id: &WorkspaceId) -> ApiResult<WorkspaceView> {
        let workspace = self.workspace(id).await?;
        let newest = EventPage::NEWEST;
        let history = workspaces::events(self.invocation, &self.context, id, newest, HISTORY).await?;
        // A list or a log that does not come costs its section, never the page.
        let backups = match view::workspace::chooses(workspace.state) {
            true => workspaces::snapshots(self.invocation, &self.context, id).await.ok(),
            false => None,
        };
        let log = match view::workspace::shows_log(workspace.state) {
            true => workspaces::machine_log(self.invocation, &self.context, id).await.ok(),
            false => None,
        };
        let shown = view::workspace(&workspace, &history.events, self.now());
        Ok(shown.with_snapshots(backups.as_ref(), self.now()).with_log(log.as_ref()))
    }
}

/// The page of the workspace that a path is below; the overview where it is below none.
fn below_workspace(path: &str) -> String {
    let id = path.strip_prefix("/w/").and_then(|rest| rest.split_once('/')).map(|(id, _)| id);
    match id.and_then(|id| id.parse::<WorkspaceId>().ok()) {
        Some(id) => format!("/w/{id}"),
        None => "/".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_button_leads_back_to_its_workspace() {
        for (path, back) in [
            ("/w/k3v7q2mzab/sleep", "/w/k3v7q2mzab"),
            ("/w/k3v7q2mzab", "/"),
            ("/w/<script>/x", "/"),
            ("/new", "/"),
        ] {
            assert_eq!(below_workspace(path), back, "{path}");
        }
    }
}
