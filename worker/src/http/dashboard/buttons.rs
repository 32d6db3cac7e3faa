//! The buttons of a workspace's page, and the way to its ports: each does what the API's own handler does.

use super::input::Form;
use super::reply;
use super::visit::Visit;
use crate::error::{ApiError, ApiResult};
use crate::http::routes;
use crate::workspaces::actions;
use crate::workspaces::actions::LinkFor;
use ebbtide_api::workspace::Hold;
use ebbtide_api::{Duration, ErrorCode, Timestamp, WorkspaceId};
use ebbtide_control::lifecycle::Command;
use ebbtide_control::record::plus;
use worker::Response;

/// How long the button holds a workspace.
const HOLD: Duration = Duration::from_hours(1);

/// How long the way to a port works: long enough to follow it, too short to be worth stealing from a history. The
/// machine keeps a cookie of its own from then on.
const LINK: Duration = Duration::from_mins(5);

/// Reads a button's form.
type Reads = fn(&Form, Timestamp) -> ApiResult<Command>;

/// A button of a workspace's page: the command that it sends.
pub enum Button {
    /// One that needs nothing but the workspace: every such line of the table of routes has a button.
    Plain(Command),
    /// One that its form says more about.
    Form(Reads),
}

/// The buttons with a form, by name.
const FORMS: &[(&str, Reads)] = &[("wake", wake), ("hold", hold), ("release", release), ("delete", delete)];

impl Button {
    /// The button of that name.
    pub fn find(name: &str) -> Option<Self> {
        let form = FORMS.iter().find(|(known, _)| *known == name).map(|(_, make)| Self::Form(*make));
        form.or_else(|| routes::command(name).map(Self::Plain))
    }

    fn command(self, form: &Form, now: Timestamp) -> ApiResult<Command> {
        match self {
            Self::Plain(command) => Ok(command),
            Self::Form(make) => make(form, now),
        }
    }
}

/// Does what a button says, then shows the workspace.
///
/// # Errors
/// `csrf_mismatch`, or what the API refuses.
pub async fn press(visit: &Visit<'_>, id: &WorkspaceId, button: &str) -> ApiResult<Response> {
    let form = visit.form().await?;
    let (app, actor) = (visit.app(), &visit.actor);
    let id = actions::own(app, actor, id.as_str()).await?;
    let button =
        Button::find(button).ok_or_else(|| ApiError::new(ErrorCode::NotFound, "there is no such button"))?;
    actions::command(app, actor, &id, button.command(&form, visit.now())?).await?;
    reply::see(&format!("/w/{id}"), None)
}

/// Without a choice it is the newest backup. The object knows which there are.
fn wake(form: &Form, _now: Timestamp) -> ApiResult<Command> {
    let snapshot = Some(form.get("snapshot")).filter(|id| !id.is_empty()).map(str::to_owned);
    Ok(Command::Wake { snapshot })
}

fn hold(_form: &Form, now: Timestamp) -> ApiResult<Command> {
    let reason = "taken on the dashboard".to_owned();
    Ok(Command::TakeHold(Hold { id: actions::short_id()?, reason, ends_at: plus(now, HOLD) }))
}

fn release(form: &Form, _now: Timestamp) -> ApiResult<Command> {
    Ok(Command::ReleaseHold { id: form.get("hold").to_owned() })
}

/// Neither way is the default of the other: a form that says nothing deletes nothing.
fn delete(form: &Form, _now: Timestamp) -> ApiResult<Command> {
    match form.get("how") {
        "backup" => Ok(Command::Delete),
        "discard" => Ok(Command::Discard),
        _ => Err(ApiError::field("how", "it does not say whether to back up first")
            .hint("Go back and use one of the two buttons.")),
    }
}

/// Sends the browser on to a port, with an access token.
///
/// # Errors
/// There is no such workspace, or the port is reserved.
pub async fn open(visit: &Visit<'_>, id: &WorkspaceId, port: u16) -> ApiResult<Response> {
    let (app, context) = (visit.app(), &visit.actor);
    let id = actions::own(app, context, id.as_str()).await?;
    let link = actions::link(app, context, &id, port, LINK, LinkFor::Owner).await?;
    reply::see(&link.url, None)
}

/// Sends the browser on to the terminal, with an access token.
///
/// # Errors
/// There is no such workspace.
pub async fn terminal(visit: &Visit<'_>, id: &WorkspaceId) -> ApiResult<Response> {
    let (app, context) = (visit.app(), &visit.actor);
    let id = actions::own(app, context, id.as_str()).await?;
    let link = actions::terminal_link(app, context, &id, LINK, LinkFor::Owner).await?;
    reply::see(&link.url, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(text: &str) -> Form {
        Form::parse(text.as_bytes())
    }

    fn meant(button: &str, text: &str) -> ApiResult<Command> {
        Button::find(button).unwrap().command(&form(text), Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn deleting_says_whether_to_back_up_and_nothing_is_the_default() {
        assert_eq!(meant("delete", "how=backup"), Ok(Command::Delete));
        assert_eq!(meant("delete", "how=discard"), Ok(Command::Discard));
        for text in ["", "how=", "how=BACKUP", "discard=true"] {
            assert!(meant("delete", text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_wake_takes_the_newest_backup_unless_one_was_chosen() {
        for text in ["", "snapshot="] {
            assert_eq!(meant("wake", text), Ok(Command::Wake { snapshot: None }), "{text}");
        }
        let chosen = Ok(Command::Wake { snapshot: Some("c0ffee".to_owned()) });
        assert_eq!(meant("wake", "snapshot=c0ffee"), chosen);
    }

    #[test]
    fn a_hold_lasts_an_hour_and_says_where_it_comes_from() {
        let Ok(Command::TakeHold(hold)) = meant("hold", "for=99h") else { panic!("a hold is a hold") };
        assert_eq!(hold.ends_at, Timestamp::from_second(3600).unwrap());
        assert!(!hold.reason.is_empty());
    }

    #[test]
    fn plain_commands_have_a_button_and_others_do_not() {
        assert_eq!(meant("sleep", "x=y"), Ok(Command::Sleep));
        for name in ["", "forget", "quote", "holds", "live"] {
            assert!(Button::find(name).is_none(), "{name}");
        }
    }
}
