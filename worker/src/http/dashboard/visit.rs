//! A signed-in browser: its session, the person behind it, and what it may look at.

use super::input::{self, Form};
use super::session::{LIFE_SECS, Session};
use crate::actor::Actor;
use crate::app::App;
use crate::durable_objects::rpc::EventPage;
use crate::error::{ApiError, ApiResult};
use crate::http::auth;
use crate::http::request::Incoming;
use crate::log::Level;
use crate::workspaces::{actions, audit, lost};
use ebbtide_api::history::EventList;
use ebbtide_api::workspace::Workspace;
use ebbtide_api::{Duration, ErrorCode, Timestamp, WorkspaceId};
use ebbtide_control::record::plus;
use ebbtide_control::tokens::SessionClaims;
use ebbtide_dashboard::page::Shell;
use ebbtide_dashboard::view::{self, WorkspaceView};
use jiff::SignedDuration;

/// Events that a page shows: the newest.
const HISTORY: u16 = 500;

/// A request of a signed-in browser.
pub struct Visit<'a> {
    /// The request.
    pub incoming: &'a Incoming,
    /// For whom it acts.
    pub actor: Actor,
    session: Session,
    proof: String,
    back: String,
}

/// Begins a session for whoever knows the owner token.
///
/// # Errors
/// `unauthorized`, or `rate_limited` after many failures. An API key is refused: a session may do everything, a key
/// may not.
pub async fn begin(incoming: &Incoming, token: &str) -> ApiResult<Session> {
    let app = &incoming.app;
    const HINT: &str = "Use the owner token that the installation was set up with.";
    let refused = || ApiError::new(ErrorCode::Unauthorized, "that is not the owner token").hint(HINT);
    let actor = match auth::sign_in(app, token.trim(), &incoming.address).await {
        Ok(actor) if actor.name == "owner" => actor,
        Ok(_) => return Err(refused()),
        Err(error) if error.code() == ErrorCode::Unauthorized => return Err(refused()),
        Err(error) => return Err(error),
    };
    let claims = SessionClaims {
        tenant: actor.tenant.clone(),
        actor: actor.name.clone(),
        signed_in_with: auth::signed_in_with(app),
    };
    let life = SignedDuration::from_secs(LIFE_SECS);
    let issued = auth::token_keys(app)?.issue_session(&claims, app.now(), life);
    let issued = issued.map_err(ApiError::internal)?;
    audit::note(app, &actor, "session.begin", &actor.name).await;
    Ok(Session::new(issued.token.expose()))
}

impl<'a> Visit<'a> {
    /// Recognises the browser by its session. While the index does not answer, a session that was ended counts until its
    /// time is over: whoever has to end a machine must get in.
    ///
    /// # Errors
    /// `unauthorized` or `token_expired`.
    pub async fn of(incoming: &'a Incoming) -> ApiResult<Self> {
        let cookies = incoming.header("cookie").unwrap_or_default();
        let session = Session::from_cookies(&cookies)
            .ok_or_else(|| ApiError::new(ErrorCode::Unauthorized, "nobody is signed in"))?;
        let actor = auth::session(&incoming.app, session.token(), &incoming.address)
            .map_err(|error| error.hint("Sign in with the owner token."))?;
        match incoming.app.d1()?.is_session_ended(&session.digest()).await {
            Ok(false) => {}
            Ok(true) => return Err(ApiError::new(ErrorCode::Unauthorized, "this session was signed out of")),
            Err(error) => error.log(Level::Warn, "whether a session was ended is not known", &[]),
        }
        let proof = session.proof();
        let back = below_workspace(incoming.url.path());
        Ok(Self { incoming, actor, session, proof, back })
    }

    /// What the request works with.
    pub fn app(&self) -> &App {
        &self.incoming.app
    }

    /// Ends the session, wherever its cookie is. While the index does not answer, only this browser forgets it.
    pub async fn end(&self) {
        let (app, now) = (self.app(), self.now());
        let until = plus(now, Duration::from_secs(LIFE_SECS.unsigned_abs()));
        let note = app.audit_note(&self.actor, "session.end", &self.actor.name);
        let ended = match app.d1() {
            Ok(index) => index.end_session(&self.session.digest(), until, now, &note).await,
            Err(error) => Err(error),
        };
        if let Err(error) = ended {
            error.log(Level::Warn, "a session was not noted as ended", &[]);
        }
    }

    /// Proves that a form comes from this session.
    pub fn proof(&self) -> &str {
        &self.proof
    }

    /// The control plane's clock.
    pub fn now(&self) -> Timestamp {
        self.app().now()
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
    pub async fn form(&self) -> ApiResult<Form> {
        input::refuse_other_sites(self.incoming)?;
        let form = input::form(&self.incoming.request).await?;
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
        actions::view(self.app(), &self.actor, id).await
    }

    /// A workspace and its history, ready to show.
    ///
    /// # Errors
    /// There is none, or the object does not answer.
    pub async fn view(&self, id: &WorkspaceId) -> ApiResult<WorkspaceView> {
        let workspace = self.workspace(id).await?;
        let newest = EventPage::NEWEST;
        let history = match actions::events(self.app(), &self.actor, id, newest, HISTORY).await {
            // With the record went the history; what is left is worth a page.
            Err(refusal) if lost::is_lost(&refusal) => EventList { events: Vec::new(), more: false },
            history => history?,
        };
        // A list or a log that does not come costs its section, never the page.
        let is_left_out = |what| move |error: &ApiError| error.log_left_out(what, &self.app().request_id);
        let backups = match view::workspace::chooses(workspace.state) {
            true => actions::snapshots(self.app(), &self.actor, id)
                .await
                .inspect_err(is_left_out("backups are"))
                .ok(),
            false => None,
        };
        let log = match view::workspace::shows_log(workspace.state) {
            true => actions::machine_log(self.app(), &self.actor, id, None)
                .await
                .inspect_err(is_left_out("the log is"))
                .ok(),
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
