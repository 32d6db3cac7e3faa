//! The dashboard: every path outside `/v1`, `/health` and `/openapi.json`.
//!
//! A page shows what the API would answer, and a form does what the API would do, through the same handlers: nothing
//! is decided here. Whoever looks needs a session; whoever changes something needs its proof besides. Looking never
//! counts as activity of a workspace. Start with [`handle`]; `route` names the pages, `session` the cookie.

mod buttons;
mod create;
mod input;
mod reply;
mod route;
mod secrets;
mod session;
mod ssh;
mod visit;

use crate::error::{ApiError, ApiResult};
use crate::http::limits;
use crate::http::request::Incoming;
use crate::http::response;
use crate::log::Level;
use crate::workspaces::actions;
use ebbtide_api::{ErrorCode, WorkspaceId};
use ebbtide_dashboard::asset::Asset;
use ebbtide_dashboard::page::{
    DeletePage, ErrorPage, Link, ListPage, Shell, SignInPage, WorkspaceFragment, WorkspacePage,
};
use ebbtide_dashboard::view;
use futures_util::future::join_all;
use route::{Route, Verb, safe_next};
use session::Session;
use visit::Visit;
use worker::{Method, Response};

/// Workspaces of the overview that are asked themselves (last backup, cost); the index alone speaks for the others.
/// 25 calls stay well below the 40 that one invocation may make.
const ASKED: usize = 25;

/// Answers a browser; a refusal is a page too.
pub async fn handle(incoming: &Incoming) -> Response {
    match answer(incoming).await {
        Ok(response) => response,
        Err(error) => {
            note(&error, &incoming.app.request_id);
            refusal(&error, &incoming.app.request_id, Visit::of(incoming).await.ok().as_ref())
        }
    }
}

/// Answers a browser while the installation is not configured, or does not know who asks: a refusal as a page.
pub fn refuse(error: &ApiError, request_id: &str) -> Response {
    refusal(error, request_id, None)
}

async fn answer(incoming: &Incoming) -> ApiResult<Response> {
    let verb = match incoming.request.method() {
        Method::Get | Method::Head => Verb::Get,
        Method::Post => Verb::Post,
        _ => Verb::Other,
    };
    let path = incoming.url.path();
    let visit = || Visit::of(incoming);
    match Route::find(verb, path) {
        Route::Static => {
            let asset = Asset::find(path).ok_or_else(nothing)?;
            reply::asset(&asset, incoming.header("if-none-match").as_deref())
        }
        Route::Home => match visit().await {
            Ok(visit) if path == "/" => list(&visit).await,
            Ok(_) => reply::see("/", None),
            Err(_) => ask_to_sign_in(incoming),
        },
        Route::SignIn => sign_in(incoming).await,
        Route::SignOut => {
            let visit = visit().await?;
            visit.form().await?;
            visit.end().await;
            reply::see("/", Some(&Session::end()))
        }
        Route::WrongMethod => {
            Err(ApiError::new(ErrorCode::MethodNotAllowed, "use the button instead of this address")
                .hint("Go back to the page that has it."))
        }
        Route::Unknown => Err(nothing()),
        Route::Live(id) => live(&visit().await?, &id).await,
        Route::Cost => create::cost(&visit().await?).await,
        page => match visit().await {
            Ok(visit) => signed_in(&visit, page).await,
            Err(error) if verb == Verb::Post => Err(error),
            // Looking without a session leads through the sign-in form and back.
            Err(_) => reply::see(&format!("/signin?next={}", safe_next(path)), None),
        },
    }
}

async fn signed_in(visit: &Visit<'_>, page: Route) -> ApiResult<Response> {
    match page {
        Route::New => create::form(visit).await,
        Route::Create => create::send(visit).await,
        Route::Secrets => secrets::show(visit).await,
        Route::PutSecret => secrets::put(visit).await,
        Route::DeleteSecret => secrets::delete(visit).await,
        Route::SshKeys => ssh::show(visit).await,
        Route::PutSshKey => ssh::put(visit).await,
        Route::DeleteSshKey => ssh::delete(visit).await,
        Route::Ssh(id) => ssh::access(visit, &id).await,
        Route::SwitchSsh(id) => ssh::switch(visit, &id).await,
        Route::Choice(id) => secrets::choice(visit, &id).await,
        Route::Choose(id) => secrets::choose(visit, &id).await,
        Route::Workspace(id) => workspace(visit, &id).await,
        Route::Open(id, port) => buttons::open(visit, &id, port).await,
        Route::Terminal(id) => buttons::terminal(visit, &id).await,
        Route::AskDelete(id) => {
            let id = actions::own(visit.app(), &visit.actor, id.as_str()).await?;
            let workspace = visit.workspace(&id).await?;
            let delete = view::action::delete(&workspace, visit.now());
            let shell = visit.shell(format!("Delete {}", workspace.name));
            reply::page(200, &DeletePage { shell: &shell, delete: &delete, csrf: visit.proof() })
        }
        Route::Press(id, button) => buttons::press(visit, &id, &button).await,
        Route::Static
        | Route::Home
        | Route::SignIn
        | Route::SignOut
        | Route::Cost
        | Route::Live(_)
        | Route::WrongMethod
        | Route::Unknown => Err(nothing()),
    }
}

async fn list(visit: &Visit<'_>) -> ApiResult<Response> {
    let cursor = visit.incoming.query("cursor");
    let page = actions::list(visit.app(), &visit.actor, cursor.as_deref()).await?;
    // An object that does not answer costs its line two figures, never the page.
    let asked = page.workspaces.iter().take(ASKED).map(|summary| visit.workspace(&summary.id));
    let is_left_out = |what| move |error: &ApiError| error.log_left_out(what, &visit.app().request_id);
    let answers = join_all(asked).await.into_iter();
    let mut answers = answers.map(|answer| answer.inspect_err(is_left_out("what a workspace says is")).ok());
    let entries: Vec<_> = page
        .workspaces
        .into_iter()
        .map(|summary| view::list::Entry { summary, full: answers.next().flatten() })
        .collect();
    let link = |cursor: &str| format!("/?{}", input::encode(&[("cursor", cursor)]));
    let here = cursor.as_deref().map_or_else(|| "/".to_owned(), link);
    let caps = crate::workspaces::usage::caps(visit.app(), &visit.actor).await;
    let caps = caps.inspect_err(is_left_out("the caps are")).ok();
    let list = view::list(&entries, here, page.next_cursor.as_deref().map(link), visit.now())
        .with_caps(caps.as_ref());
    reply::page(200, &ListPage { shell: &visit.shell("Workspaces"), list: &list })
}

async fn workspace(visit: &Visit<'_>, id: &WorkspaceId) -> ApiResult<Response> {
    // An id that nobody made must not make an object.
    let id = actions::own(visit.app(), &visit.actor, id.as_str()).await?;
    let view = visit.view(&id).await?;
    let shell = visit.shell(view.name.clone());
    reply::page(200, &WorkspacePage { shell: &shell, w: &view, csrf: visit.proof() })
}

async fn live(visit: &Visit<'_>, id: &WorkspaceId) -> ApiResult<Response> {
    let view = visit.view(id).await?;
    reply::page(200, &WorkspaceFragment { w: &view, csrf: visit.proof() })
}

fn ask_to_sign_in(incoming: &Incoming) -> ApiResult<Response> {
    let next = incoming.query("next").unwrap_or_default();
    let shell = Shell::new("Sign in", None);
    reply::page(200, &SignInPage { shell: &shell, refusal: None, next: safe_next(&next) })
}

async fn sign_in(incoming: &Incoming) -> ApiResult<Response> {
    input::refuse_other_sites(incoming)?;
    let form = input::form(&incoming.request).await?;
    let next = safe_next(form.get("next"));
    let signed_in = match limits::admit(&incoming.app, "signIn", &incoming.address).await {
        Ok(()) => visit::begin(incoming, form.get("token")).await,
        Err(refusal) => Err(refusal),
    };
    match signed_in {
        Ok(session) => reply::see(next, Some(&session.begin())),
        Err(error) => {
            note(&error, &incoming.app.request_id);
            let refusal = view::error(&error.body(&incoming.app.request_id));
            let shell = Shell::new("Sign in", None);
            let page = SignInPage { shell: &shell, refusal: Some(&refusal), next };
            reply::page(error.status(), &page).map(|page| response::with_headers(page, &error))
        }
    }
}

fn nothing() -> ApiError {
    ApiError::new(ErrorCode::NotFound, "there is no such page")
}

fn refusal(error: &ApiError, request_id: &str, visit: Option<&Visit<'_>>) -> Response {
    let shown = view::error(&error.body(request_id));
    let shell = visit.map_or_else(|| Shell::new(shown.title, None), |visit| visit.shell(shown.title));
    let back = visit.map_or("/", Visit::back);
    let label = match (visit.is_some(), back) {
        (false, _) => "To the sign-in form",
        (true, "/") => "To the overview",
        (true, _) => "Back to the workspace",
    };
    let page = ErrorPage { shell: &shell, error: &shown, back: Link { href: back, label } };
    reply::page(shown.status, &page)
        .map(|page| response::with_headers(page, error))
        .unwrap_or_else(|error| response::refusal(&error, request_id))
}

/// Tells the log what the page does not tell.
fn note(error: &ApiError, request_id: &str) {
    if error.logged_cause().is_some() {
        error.log(Level::Error, error.message(), &[("request.id", request_id)]);
    }
}
