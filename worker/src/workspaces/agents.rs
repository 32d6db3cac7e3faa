//! Which coding agents a workspace gets: what was asked for, against what the installation has published.

use crate::error::{ApiError, ApiResult};
use ebbtide_api::agents::Install;
use ebbtide_api::programs::ProgramList;
use ebbtide_api::{Agent, ErrorCode};

/// What is installed where nobody says anything, if it is published: what most people come for.
const DEFAULT: Agent = Agent::Claude;

/// The agents of a request that names some, or none.
///
/// # Errors
/// The first that is unknown, not installed by Ebbtide, or not published here.
pub fn chosen(wanted: Option<&[String]>, published: &ProgramList) -> ApiResult<Vec<String>> {
    let Some(wanted) = wanted else {
        let default = Some(DEFAULT).filter(|agent| published.has(*agent));
        return Ok(default.iter().map(ToString::to_string).collect());
    };
    let mut chosen: Vec<String> = Vec::new();
    for name in wanted {
        let agent = known(name, published)?;
        if !chosen.iter().any(|there| there == agent.as_str()) {
            chosen.push(agent.to_string());
        }
    }
    Ok(chosen)
}

/// Whether nothing has to be asked of what is published.
pub fn is_none(wanted: Option<&[String]>) -> bool {
    wanted.is_some_and(<[String]>::is_empty)
}

fn known(name: &str, published: &ProgramList) -> ApiResult<Agent> {
    let shown: String = name.chars().take(40).collect();
    let Some(agent) = Agent::parse(name) else {
        let unknown = ApiError::field("agents", format!("there is no agent {shown:?}"));
        return Err(unknown.hint(available(published)));
    };
    match &agent.profile().install {
        Install::ByHand(why) => {
            let message = format!("agents: {} is not installed by Ebbtide: {why}", agent.profile().title);
            Err(ApiError::new(ErrorCode::NotBuilt, message)
                .hint("Leave it out and install it in the workspace: it is recognised there."))
        }
        Install::Bundle(_) if published.has(agent) => Ok(agent),
        Install::Bundle(_) => {
            let message = format!("{} is not published in this installation", agent.profile().title);
            let how = format!("`scripts/programs publish {agent}` publishes it. {}", available(published));
            Err(ApiError::field("agents", message).hint(how))
        }
    }
}

fn available(published: &ProgramList) -> String {
    let names: Vec<&str> = published.agents().map(Agent::as_str).collect();
    if names.is_empty() {
        "No agent is published here yet.".to_owned()
    } else {
        format!("These are published here: {}.", names.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ebbtide_api::programs::Program;

    fn published(names: &[&str]) -> ProgramList {
        let program = |name: &&str| Program {
            name: (*name).to_owned(),
            version: "1".into(),
            parts: vec![],
            unpacked_bytes: 1,
        };
        ProgramList { programs: names.iter().map(program).collect() }
    }

    fn check(wanted: Option<&[&str]>, names: &[&str], expected: &str) {
        let wanted: Option<Vec<String>> =
            wanted.map(|wanted| wanted.iter().map(|&name| name.into()).collect());
        let said = match chosen(wanted.as_deref(), &published(names)) {
            Ok(agents) => agents.join(" "),
            Err(refusal) => {
                let body = refusal.body("r");
                format!("{}: {} {}", body.code.as_str(), body.message, body.hint)
            }
        };
        assert_eq!(said, expected, "{wanted:?} of {names:?}");
    }

    #[test]
    fn who_says_nothing_gets_claude_code_where_it_is_published() {
        check(None, &["claude", "codex"], "claude");
        check(None, &["codex"], "");
        check(None, &[], "");
        check(Some(&[]), &["claude"], "");
    }

    #[test]
    fn what_is_asked_for_is_taken_once_and_in_order() {
        check(Some(&["codex", "claude", "codex"]), &["claude", "codex"], "codex claude");
    }

    #[test]
    fn what_cannot_be_had_is_refused_by_name_with_what_can() {
        check(
            Some(&["hal"]),
            &["claude"],
            "invalid_field: agents: there is no agent \"hal\" These are published here: claude.",
        );
        check(
            Some(&["gemini"]),
            &["claude", "gemini"],
            "invalid_field: agents: Gemini CLI is not published in this installation `scripts/programs publish gemini` \
             publishes it. These are published here: claude.",
        );
        check(
            Some(&["aider"]),
            &[],
            "not_built: agents: Aider is not installed by Ebbtide: it needs a Python of its own, of which there is no \
             bundle yet Leave it out and install it in the workspace: it is recognised there.",
        );
        check(
            Some(&["claude"]),
            &[],
            "invalid_field: agents: Claude Code is not published in this installation `scripts/programs publish claude` publishes it. No agent is published here yet.",
        );
    }
}
