//! What agents tell their hooks, read down to what the idle verdict needs. Pure.
//!
//! Must never keep what people or tools wrote: prompts, commands and answers are skipped while reading.

use ebbtide_api::Agent;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use std::io::Read;
use std::path::PathBuf;

/// Tools by which an agent asks a person.
const ASKING_TOOLS: [&str; 2] = ["AskUserQuestion", "ExitPlanMode"];

/// One report of an agent about a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// Names the session.
    pub session: String,
    /// Where its transcript grows.
    pub transcript: Option<PathBuf>,
    /// What happened.
    pub happened: Happened,
}

/// What happened in a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Happened {
    /// It began, or goes on after its history was compacted.
    Started,
    /// A turn began.
    Prompted,
    /// Something went on within a turn.
    Went,
    /// A sub-agent ended; says nothing about the turn.
    SubagentEnded,
    /// It waits for a person.
    Asks(Asks),
    /// It says that it has long been waiting at its prompt.
    Parked,
    /// A turn is over; this is still to come by itself.
    Stopped(Left),
    /// The session is over.
    Ended,
}

impl Happened {
    /// Whether a restart of ours must not forget it.
    pub fn is_worth_storing(self) -> bool {
        match self {
            Self::Prompted | Self::Asks(_) | Self::Stopped(_) => true,
            Self::Started | Self::Went | Self::SubagentEnded | Self::Parked | Self::Ended => false,
        }
    }
}

/// What an agent wants of a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Asks {
    /// To be allowed something.
    Permission,
    /// An answer.
    Answer,
}

/// What goes on after a turn.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    /// Shell commands in the background.
    pub shells: u32,
    /// Sub-agents and other work within the agent.
    pub others: u32,
    /// Times at which it wakes up by itself.
    pub wakeups: u32,
}

#[derive(Deserialize)]
struct Input {
    session_id: String,
    transcript_path: Option<PathBuf>,
    hook_event_name: String,
    tool_name: Option<String>,
    notification_type: Option<String>,
    background_tasks: Option<Vec<Task>>,
    session_crons: Option<Vec<IgnoredAny>>,
}

#[derive(Deserialize)]
struct Task {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    status: String,
}

/// Reads the input of an agent's hook; `None` where the event says nothing to us.
///
/// # Errors
/// It is not what that agent writes.
pub fn read(agent: Agent, input: impl Read) -> serde_json::Result<Option<Hook>> {
    let input: Input = serde_json::from_reader(input)?;
    let happened = match agent {
        Agent::Claude | Agent::Codex => by_claude_code(&input),
        Agent::Gemini => by_gemini(&input),
        Agent::Aider | Agent::OpenCode | Agent::CursorAgent | Agent::Copilot => None,
    };
    Ok(happened.map(|happened| Hook {
        session: input.session_id,
        transcript: input.transcript_path,
        happened,
    }))
}

/// In Claude Code's words, which Codex took over.
fn by_claude_code(input: &Input) -> Option<Happened> {
    let asks_by_tool = input.tool_name.as_deref().is_some_and(|tool| ASKING_TOOLS.contains(&tool));
    Some(match input.hook_event_name.as_str() {
        "SessionStart" => Happened::Started,
        "UserPromptSubmit" => Happened::Prompted,
        "PreToolUse" if asks_by_tool => Happened::Asks(Asks::Answer),
        "PreToolUse" | "PostToolUse" | "PostToolUseFailure" | "SubagentStart" | "PreCompact" => {
            Happened::Went
        }
        "SubagentStop" => Happened::SubagentEnded,
        "PermissionRequest" if asks_by_tool => Happened::Asks(Asks::Answer),
        "PermissionRequest" => Happened::Asks(Asks::Permission),
        "Notification" => match input.notification_type.as_deref() {
            Some("permission_prompt") => Happened::Asks(Asks::Permission),
            Some("elicitation_dialog") => Happened::Asks(Asks::Answer),
            Some("idle_prompt") => Happened::Parked,
            _ => return None,
        },
        "Stop" | "StopFailure" | "Interrupt" => Happened::Stopped(left(input)),
        "SessionEnd" => Happened::Ended,
        _ => return None,
    })
}

fn by_gemini(input: &Input) -> Option<Happened> {
    Some(match input.hook_event_name.as_str() {
        "SessionStart" => Happened::Started,
        "BeforeAgent" => Happened::Prompted,
        "BeforeTool" | "AfterTool" | "PreCompress" => Happened::Went,
        "Notification" if input.notification_type.as_deref() == Some("ToolPermission") => {
            Happened::Asks(Asks::Permission)
        }
        "AfterAgent" => Happened::Stopped(Left::default()),
        "SessionEnd" => Happened::Ended,
        _ => return None,
    })
}

fn left(input: &Input) -> Left {
    let mut left = Left::default();
    let ended = ["completed", "failed", "killed", "stopped", "cancelled"];
    let tasks = input.background_tasks.iter().flatten();
    for task in tasks.filter(|task| !ended.contains(&task.status.as_str())) {
        if task.kind.contains("shell") || task.kind.contains("bash") {
            left.shells += 1;
        } else {
            left.others += 1;
        }
    }
    let wakeups = input.session_crons.as_ref().map_or(0, Vec::len);
    left.wakeups = u32::try_from(wakeups).unwrap_or(u32::MAX);
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    fn happened(text: &str) -> Option<Happened> {
        told(Agent::Claude, text)
    }

    fn told(agent: Agent, text: &str) -> Option<Happened> {
        let text = format!(r#"{{"session_id":"s","transcript_path":"/t","cwd":"/w",{text}}}"#);
        read(agent, text.as_bytes()).unwrap().map(|hook| hook.happened)
    }

    #[test]
    fn every_event_that_a_machine_has_an_agent_report_is_understood() {
        for agent in Agent::ALL.iter().filter(|agent| agent.profile().reports) {
            let settings = agent.profile().files.iter().find(|(_, content)| content.contains("ebb hook"));
            let settings: serde_json::Value = serde_json::from_str(settings.unwrap().1).unwrap();
            for event in settings["hooks"].as_object().unwrap().keys() {
                // Of notifications only some say anything, in words that differ.
                let kind = if *agent == Agent::Gemini { "ToolPermission" } else { "idle_prompt" };
                let text = format!(r#""hook_event_name":"{event}","notification_type":"{kind}""#);
                assert!(told(*agent, &text).is_some(), "{agent}: {event}");
            }
        }
    }

    #[test]
    fn events_as_codex_0_171_and_gemini_cli_0_61_write_them() {
        let table = [
            (
                Agent::Codex,
                r#""turn_id":"t","hook_event_name":"UserPromptSubmit","model":"m","permission_mode":"bypassPermissions","prompt":"p""#,
                Some(Happened::Prompted),
            ),
            (
                Agent::Codex,
                r#""turn_id":"t","hook_event_name":"PermissionRequest","tool_name":"Bash","tool_input":{"command":"x"}"#,
                Some(Happened::Asks(Asks::Permission)),
            ),
            (
                Agent::Codex,
                r#""turn_id":"t","hook_event_name":"Stop","stop_hook_active":false,"last_assistant_message":"all done""#,
                Some(Happened::Stopped(Left::default())),
            ),
            (
                Agent::Gemini,
                r#""hook_event_name":"BeforeAgent","timestamp":"2026-11-30T13:46:38.820Z","prompt":"p""#,
                Some(Happened::Prompted),
            ),
            (
                Agent::Gemini,
                r#""hook_event_name":"AfterAgent","prompt":"p","prompt_response":"r","stop_hook_active":false"#,
                Some(Happened::Stopped(Left::default())),
            ),
            (Agent::Gemini, r#""hook_event_name":"Stop""#, None),
        ];
        for (agent, text, expected) in table {
            assert_eq!(told(agent, text), expected, "{agent}: {text}");
        }
        // Codex may have no file to name.
        let text = r#"{"session_id":"s","transcript_path":null,"hook_event_name":"SessionStart"}"#;
        assert_eq!(read(Agent::Codex, text.as_bytes()).unwrap().unwrap().transcript, None);
    }

    #[test]
    fn events_as_claude_code_2_1_329_writes_them() {
        let table = [
            (r#""hook_event_name":"SessionStart","source":"startup""#, Some(Happened::Started)),
            (r#""hook_event_name":"UserPromptSubmit","prompt":"hello""#, Some(Happened::Prompted)),
            (
                r#""hook_event_name":"PreToolUse","tool_name":"Bash","tool_input":{"command":"x"}"#,
                Some(Happened::Went),
            ),
            (
                r#""hook_event_name":"PreToolUse","tool_name":"AskUserQuestion""#,
                Some(Happened::Asks(Asks::Answer)),
            ),
            (
                r#""hook_event_name":"PermissionRequest","tool_name":"Bash""#,
                Some(Happened::Asks(Asks::Permission)),
            ),
            (r#""hook_event_name":"Notification","notification_type":"idle_prompt""#, Some(Happened::Parked)),
            (r#""hook_event_name":"Notification","notification_type":"auth_success""#, None),
            (r#""hook_event_name":"Notification","message":"an older version""#, None),
            (
                r#""hook_event_name":"Stop","stop_hook_active":false,"background_tasks":[],"session_crons":[]"#,
                Some(Happened::Stopped(Left::default())),
            ),
            (r#""hook_event_name":"Stop""#, Some(Happened::Stopped(Left::default()))),
            (
                r#""hook_event_name":"Stop","background_tasks":[{"id":"b","type":"shell","status":"running","description":"d","command":"sleep 9"},{"id":"c","type":"subagent","status":"running"},{"id":"d","type":"shell","status":"completed"}],"session_crons":[{"id":"e","schedule":"* * * * *","recurring":true,"prompt":"p"}]"#,
                Some(Happened::Stopped(Left { shells: 1, others: 1, wakeups: 1 })),
            ),
            (r#""hook_event_name":"SessionEnd","reason":"other""#, Some(Happened::Ended)),
            (r#""hook_event_name":"SomethingNew""#, None),
        ];
        for (text, expected) in table {
            assert_eq!(happened(text), expected, "{text}");
        }
        assert!(read(Agent::Claude, &b"{\"session_id\":"[..]).is_err());
        assert!(read(Agent::Claude, &b"[]"[..]).is_err());
    }

    #[test]
    fn nothing_that_was_written_stays() {
        let hook = happened(r#""hook_event_name":"UserPromptSubmit","prompt":"my password is x""#);
        assert!(!format!("{hook:?}").contains("password"));
    }
}

#[cfg(test)]
mod fuzz {
    use super::*;
    use ebbtide_fuzz_inputs::bytes_like;
    use proptest::prelude::*;

    const REPORTS: &[&str] = &[
        r#"{"session_id":"s","transcript_path":"/t","hook_event_name":"Stop","background_tasks":[{"type":"shell","status":"running"}],"session_crons":[{"id":"e"}]}"#,
        r#"{"session_id":"s","hook_event_name":"PermissionRequest","tool_name":"AskUserQuestion","tool_input":{"a":[[[1]]]}}"#,
        r#"{"session_id":"s","hook_event_name":"Notification","notification_type":"idle_prompt","x":1e999}"#,
    ];

    proptest! {
        #[test]
        fn a_report_of_any_kind_is_read_or_refused(report in bytes_like(REPORTS)) {
            if let Ok(Some(hook)) = read(Agent::Claude, &report[..]) {
                let stored = serde_json::to_string(&hook).unwrap();
                prop_assert_eq!(serde_json::from_str::<Hook>(&stored).unwrap(), hook);
            }
        }
    }
}
