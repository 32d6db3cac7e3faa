//! The buttons of a workspace's page, and the way to its ports: each does what the API's own handler does.

use super::input::Form;
use super::reply;
use super::route::Action;
use super::visit::Visit;
use crate::error::{ApiError, ApiResult};
use crate::workspaces::{self, Act};
use ebbtide_api::workspace::CreateHold;
use ebbtide_api::{Duration, WorkspaceId};
use ebbtide_control::tokens::AccessLevel;
use worker::{Request, Response};

/// How long the button holds a workspace.
const HOLD: Duration = Duration::from_hours(1);

/// How long the way to a port works: long enough to follow it, too short to be worth stealing from a history. The
/// machine keeps a cookie of its own from then on.
const LINK: Duration = Duration::from_mins(5);

/// Does what a button says, then shows the workspace.
///
/// # Errors
/// `csrf_mismatch`, or what the API refuses.
pub async fn act(
    visit: &Visit<'_>,
    request: &Request,
    id: &WorkspaceId,
    action: Action,
) -> ApiResult<Response> {
    let form = visit.form(request).await?;
    let (invocation, context) = (visit.invocation, &visit.context);
    let id = workspaces::own(invocation, context, id.as_str()).await?;
    match meaning(action, &form)? {
        Meaning::Act(act) => workspaces::act(invocation, context, &id, act).await.map(drop)?,
        Meaning::Hold(hold) => workspaces::take_hold(invocation, context, &id, hold).await.map(drop)?,
    }
    reply::see(&format!("/w/{id}"), None)
}

/// What a button means to the API.
#[derive(Debug, PartialEq, Eq)]
enum Meaning {
    /// One of its actions.
    Act(Act),
    /// A hold.
    Hold(CreateHold),
}

fn meaning(action: Action, form: &Form) -> ApiResult<Meaning> {
    let act = match action {
        Action::Sleep => Act::Sleep,
        // Without one it is the newest. The object knows which there are.
        Action::Wake => Act::Wake(Some(form.get("snapshot")).filter(|id| !id.is_empty()).map(str::to_owned)),
        Action::Snapshot => Act::Snapshot,
        Action::Retry => Act::Retry,
        Action::Undelete => Act::Undelete,
        Action::Release => Act::ReleaseHold(form.get("hold").to_owned()),
        Action::Hold => {
            let reason = "taken on the dashboard".to_owned();
            return Ok(Meaning::Hold(CreateHold { r#for: HOLD, reason }));
        }
        // Neither is the default of the other: a form that says nothing deletes nothing.
        Action::Delete => match form.get("how") {
            "backup" => Act::Delete,
            "discard" => Act::Discard,
            _ => {
                return Err(ApiError::field("how", "it does not say whether to back up first")
                    .hint("Go back and use one of the two buttons."));
            }
        },
    };
    Ok(Meaning::Act(act))
}

/// Sends the browser on to a port, with an access token.
///
/// # Errors
/// There is no such workspace, or the port is reserved.
pub async fn open(visit: &Visit<'_>, id: &WorkspaceId, port: u16) -> ApiResult<Response> {
    let (invocation, context) = (visit.invocation, &visit.context);
    let id = workspaces::own(invocation, context, id.as_str()).await?;
    let link = workspaces::link(invocation, context, &id, port, LINK, AccessLevel::Owner).await?;
    reply::see(&link.url, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(text: &str) -> Form {
        Form::parse(text.as_bytes())
    }

    #[test]
    fn deleting_says_whether_to_back_up_and_nothing_is_the_default() {
        let meant = |text| meaning(Action::Delete, &form(text));
        assert_eq!(meant("how=backup"), Ok(Meaning::Act(Act::Delete)));
        assert_eq!(meant("how=discard"), Ok(Meaning::Act(Act::Discard)));
        for text in ["", "how=", "how=BACKUP", "discard=true"] {
            assert!(meant(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_wake_takes_the_newest_backup_unless_one_was_chosen() {
        for text in ["", "snapshot="] {
            assert_eq!(meaning(Action::Wake, &form(text)), Ok(Meaning::Act(Act::Wake(None))), "{text}");
        }
        let chosen = Ok(Meaning::Act(Act::Wake(Some("c0ffee".to_owned()))));
        assert_eq!(meaning(Action::Wake, &form("snapshot=c0ffee")), chosen);
    }

    #[test]
    fn a_hold_lasts_an_hour_and_says_where_it_comes_from() {
        let Ok(Meaning::Hold(hold)) = meaning(Action::Hold, &form("for=99h")) else {
            panic!("a hold is a hold");
        };
        assert_eq!(hold.r#for, Duration::from_hours(1));
        assert!(!hold.reason.is_empty());
    }
}
