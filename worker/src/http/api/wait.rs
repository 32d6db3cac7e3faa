//! `GET /v1/workspaces/{id}`, at once or when the workspace is where the caller wants it.
//!
//! The Worker asks the object at a bounded pace; nothing ever hangs inside an object, whose time is what the plan
//! counts.

use crate::actor::Actor;
use crate::error::{ApiError, ApiResult};
use crate::http::request::Incoming;
use crate::http::response;
use crate::workspaces::actions;
use ebbtide_api::Duration;
use ebbtide_api::workspace::{State, Workspace};
use worker::{Delay, Response};

/// Longest wait: with a call a second and two before, an invocation stays within 40 calls.
const WAIT_MAX: Duration = Duration::from_secs(25);
/// Pauses between looks, the last one repeated.
const PAUSES_MS: &[u64] = &[250, 250, 500, 1000];

/// Waits for a machine that is through its boot plan.
const READY: &str = "ready";

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Goal {
    /// A machine that is through its boot plan.
    Ready,
    /// A state by name.
    State(State),
}

/// All that may be waited for.
pub fn goals() -> Vec<&'static str> {
    std::iter::once(READY).chain(State::ALL.iter().map(|state| state.as_str())).collect()
}

impl Goal {
    fn parse(text: &str) -> Option<Self> {
        if text == READY {
            return Some(Self::Ready);
        }
        State::ALL.iter().find(|state| state.as_str() == text).map(|state| Self::State(*state))
    }

    /// Whether there is nothing more to wait for: it is so, or it has failed and will not be so by itself.
    fn is_settled(self, workspace: &Workspace) -> bool {
        let wanted = match self {
            Self::Ready => State::Running,
            Self::State(state) => state,
        };
        workspace.state == wanted || matches!(workspace.state, State::Failed | State::Deleted)
    }
}

/// Answers with the workspace, as soon as the goal is reached or when the time is over.
pub async fn get(incoming: &Incoming, actor: &Actor) -> ApiResult<Response> {
    let app = &incoming.app;
    let goal = incoming.query("wait").map(|text| {
        Goal::parse(&text).ok_or_else(|| {
            ApiError::field("wait", "this is nothing to wait for")
                .hint("Wait for `ready` or a state such as `asleep` or `deleted`.")
        })
    });
    let goal = goal.transpose()?;
    let longest = match incoming.query("timeout") {
        Some(text) => text.parse().map_err(|error| ApiError::field("timeout", error))?,
        None => WAIT_MAX,
    };
    let id = actions::own(app, actor, incoming.params.get("id")).await?;
    let mut workspace = actions::view(app, actor, &id).await?;
    let Some(goal) = goal else { return response::json(200, &workspace) };
    let end = app.now().as_millisecond().saturating_add(millis(longest.min(WAIT_MAX)));
    let mut pauses = PAUSES_MS.iter().copied().chain(std::iter::repeat(1000));
    while !goal.is_settled(&workspace) {
        let left = u64::try_from(end.saturating_sub(app.now().as_millisecond())).unwrap_or(0);
        if left == 0 {
            break;
        }
        let pause = pauses.next().unwrap_or(1000).min(left);
        Delay::from(std::time::Duration::from_millis(pause)).await;
        workspace = actions::view(app, actor, &id).await?;
    }
    response::json(200, &workspace)
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs().saturating_mul(1000)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goals_are_ready_or_the_name_of_a_state() {
        assert_eq!(Goal::parse("ready"), Some(Goal::Ready));
        for state in State::ALL {
            assert_eq!(Goal::parse(state.as_str()), Some(Goal::State(*state)));
        }
        assert_eq!(Goal::parse("awake"), None);
    }

    #[test]
    fn the_longest_wait_stays_within_the_calls_of_an_invocation() {
        let mut left = millis(WAIT_MAX);
        let mut looks = 0;
        for pause in PAUSES_MS.iter().copied().chain(std::iter::repeat(1000)) {
            if left <= 0 {
                break;
            }
            left -= i64::try_from(pause).unwrap();
            looks += 1;
        }
        assert!(looks + 3 <= 40, "{looks}");
    }
}
