//! From the API's types to strings ready to show. Pure: `now` is passed in.
//!
//! [`workspace`] makes the workspace page, [`list`] the overview, [`create`] the form. A view never holds an API
//! type, so that a template cannot decide anything.

pub mod action;
pub mod boot;
pub mod create;
pub mod list;
pub mod log;
pub mod secrets;
pub mod snapshots;
pub mod ssh;
pub mod why;
pub mod workspace;

pub use create::{CreateView, Defaults, create};
pub use list::{ListView, list};
pub use workspace::{WorkspaceView, workspace};

use ebbtide_api::workspace::State;
use ebbtide_api::{ErrorBody, Hint};

/// A state with the class that colours it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateView {
    /// The word people read.
    pub word: &'static str,
    /// One of `moving`, `awake`, `ending`, `asleep`, `trouble`, `failed`, `gone`.
    pub tone: &'static str,
}

/// How a state reads.
pub const fn state(state: State) -> StateView {
    let (word, tone) = match state {
        State::Requested => ("Requested", "moving"),
        State::Provisioning => ("Provisioning", "moving"),
        State::Booting => ("Booting", "moving"),
        State::Running => ("Running", "awake"),
        State::Silent => ("Silent", "trouble"),
        State::Draining => ("Backing up", "ending"),
        State::Rescuing => ("Rescuing", "trouble"),
        State::Destroying => ("Destroying", "ending"),
        State::Asleep => ("Asleep", "asleep"),
        State::Failed => ("Failed", "failed"),
        State::Deleted => ("Deleted", "gone"),
    };
    StateView { word, tone }
}

/// Whether a state lasts until a person does something: nothing bills, nothing moves.
pub const fn at_rest(state: State) -> bool {
    match state {
        State::Asleep | State::Failed | State::Deleted => true,
        State::Requested
        | State::Provisioning
        | State::Booting
        | State::Running
        | State::Silent
        | State::Draining
        | State::Rescuing
        | State::Destroying => false,
    }
}

/// A refusal as a page shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorView {
    /// HTTP status.
    pub status: u16,
    /// A few words.
    pub title: &'static str,
    /// What was wrong.
    pub message: String,
    /// What to do next.
    pub hint: String,
    /// The stable code.
    pub code: &'static str,
    /// Names the request in the logs.
    pub request_id: String,
}

/// How a refusal reads on a page.
pub fn error(body: &ErrorBody) -> ErrorView {
    let title = match body.code.status() {
        401 => "Sign in first",
        403 => "Not allowed",
        404 => "Nothing here",
        409 => "Not now",
        429 => "Too many requests",
        503 => "Not reachable right now",
        500..600 => "Something broke",
        _ => "That did not work",
    };
    ErrorView {
        status: body.code.status(),
        title,
        message: sentence(&body.message),
        hint: Hint::page_form(&body.hint).into_owned(),
        code: body.code.as_str(),
        request_id: body.request_id.clone(),
    }
}

/// Turns a clause of an error or a reason into a sentence: a capital first, a full stop last.
pub fn sentence(clause: &str) -> String {
    let clause = clause.trim();
    let mut chars = clause.chars();
    let Some(first) = chars.next() else {
        return String::new();
    };
    let end = if clause.ends_with(['.', '!', '?', '…', ':']) { "" } else { "." };
    format!("{}{}{end}", first.to_uppercase(), chars.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ebbtide_api::ErrorCode;

    #[test]
    fn clauses_become_sentences() {
        for (clause, expected) in [
            ("the agent is idle", "The agent is idle."),
            ("Ready.", "Ready."),
            ("", ""),
            ("éclair?", "Éclair?"),
            (" waiting… ", "Waiting…"),
        ] {
            assert_eq!(sentence(clause), expected);
        }
    }

    #[test]
    fn every_state_has_a_word_of_its_own() {
        let words: std::collections::BTreeSet<_> = State::ALL.iter().map(|each| state(*each).word).collect();
        assert_eq!(words.len(), State::ALL.len());
    }

    #[test]
    fn a_hint_that_speaks_of_the_api_is_told_in_words_of_the_page() {
        let shown = error(&ErrorBody {
            code: ErrorCode::NotFound,
            message: "there is no workspace k3v7q2mzab".into(),
            hint: ErrorCode::NotFound.hint().into(),
            request_id: "r".into(),
        });
        assert_eq!(shown.hint, Hint::SeeWorkspaces.for_page());
    }
}
