//! Real coding agents in a machine, before a model that a test scripts (`fake_llm.py`).
//!
//! The agents are unmodified; they are only spared the questions of their first start. Nothing leaves the machine.

use crate::machine::Machine;
use crate::wait;
use anyhow::{Context, Result};
use std::time::Duration;

/// Where the model listens inside the machine.
const PORT: u16 = 18_777;
/// Where agents work.
const DIRECTORY: &str = "/workspaces/ebbtide";

/// A machine with a model in it.
#[derive(Debug)]
pub struct Agents {
    machine: Machine,
}

impl Agents {
    /// Starts the model and prepares Claude Code.
    ///
    /// # Errors
    /// Where Claude Code is not on the machine, or the model does not come up.
    pub fn prepare(machine: Machine) -> Result<Self> {
        machine.shell("ebb", "command -v claude").context("no Claude Code: scripts/setup test")?;
        let settings = serde_json::json!({
            "hasCompletedOnboarding": true,
            "theme": "dark",
            "projects": { DIRECTORY: { "hasTrustDialogAccepted": true, "hasCompletedProjectOnboarding": true } },
            "customApiKeyResponses": { "approved": ["any"], "rejected": [] },
        });
        let environment = format!(
            "export ANTHROPIC_BASE_URL=http://127.0.0.1:{PORT} ANTHROPIC_API_KEY=any DISABLE_AUTOUPDATER=1 \
             CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1"
        );
        for (file, text) in [
            ("fake_llm.py", include_str!("fake_llm.py")),
            (".claude.json", settings.to_string().as_str()),
            ("agents.env", environment.as_str()),
        ] {
            machine.shell("ebb", &format!("cat > ~/{file} <<'END-OF-FILE'\n{text}\nEND-OF-FILE\n"))?;
        }
        // What a repository may try: our hooks are not its to switch off.
        let off = r#"mkdir -p .claude && echo '{"disableAllHooks":true}' > .claude/settings.json"#;
        machine.shell("ebb", &format!("cd {DIRECTORY} && {off}"))?;
        Self::again(machine)
    }

    /// Starts the model on another machine of a workspace that was prepared once.
    ///
    /// # Errors
    /// Where it does not come up.
    pub fn again(machine: Machine) -> Result<Self> {
        let model = format!("tmux new-window -d 'exec python3 ~/fake_llm.py {PORT} ~/model.log'");
        machine.shell("ebb", &format!("rm -f ~/model.log && {model}"))?;
        wait::until("the model to listen", Duration::from_secs(60), || {
            if machine.listens(PORT) { Ok(()) } else { Err("it does not".to_owned()) }
        })?;
        Ok(Self { machine })
    }

    /// Starts Claude Code in a terminal window, with these arguments and that prompt.
    ///
    /// # Errors
    /// Where the terminal does not take it.
    pub fn claude(&self, arguments: &str, prompt: &str) -> Result<()> {
        let start = format!(". ~/agents.env; exec claude {arguments} -- \"{prompt}\"");
        let window = format!("tmux new-window -d -c {DIRECTORY} '{start}'");
        self.machine.shell("ebb", &window).map(drop).context("starting Claude Code")
    }

    /// Tells Codex where its model is.
    ///
    /// # Errors
    /// Where the machine does not answer.
    pub fn prepare_codex(&self) -> Result<()> {
        let settings = format!(
            "model = \"stub\"\nmodel_provider = \"stub\"\napproval_policy = \"never\"\n\
             sandbox_mode = \"danger-full-access\"\n[model_providers.stub]\nname = \"stub\"\n\
             base_url = \"http://127.0.0.1:{PORT}/v1\"\nwire_api = \"responses\"\n\
             [projects.\"{DIRECTORY}\"]\ntrust_level = \"trusted\""
        );
        // What a repository may try, once a person trusts it.
        let off = "mkdir -p .codex && printf '[features]\\nhooks = false\\n' > .codex/config.toml";
        self.machine.shell("ebb", &format!("cd {DIRECTORY} && {off}"))?;
        let write = format!(
            "mkdir -p ~/.codex && cat > ~/.codex/config.toml <<'END-OF-FILE'\n{settings}\nEND-OF-FILE\n"
        );
        self.machine.shell("ebb", &write).map(drop)
    }

    /// Starts the real Codex in a terminal window, without a person; `how` is empty, or `resume --last`.
    ///
    /// # Errors
    /// Where the terminal does not take it.
    pub fn codex_exec(&self, how: &str, prompt: &str) -> Result<()> {
        let start = format!("exec codex exec {how} --skip-git-repo-check \"{prompt}\" </dev/null");
        let window = format!("tmux new-window -d -c {DIRECTORY} '{start}'");
        self.machine.shell("ebb", &window).map(drop).context("starting Codex")
    }

    /// Has the model forget what it noted, for the next agent.
    ///
    /// # Errors
    /// Where the machine does not answer.
    pub fn forget(&self) -> Result<()> {
        self.machine.shell("ebb", ": > ~/model.log").map(drop)
    }

    /// A person presses a key in the window that was opened last.
    ///
    /// # Errors
    /// Where the terminal does not take it.
    pub fn presses(&self, key: &str) -> Result<()> {
        self.machine.shell("ebb", &format!("tmux send-keys -t ':$' {key}")).map(drop)
    }

    /// A person types a line there, sees it and presses Enter.
    ///
    /// # Errors
    /// Where it does not show.
    pub fn types(&self, line: &str) -> Result<()> {
        self.machine.shell("ebb", &format!("tmux send-keys -t ':$' -l '{line}'"))?;
        wait::until("what was typed to show", Duration::from_secs(60), || {
            let look = self.machine.shell("ebb", "tmux capture-pane -p -t ':$'");
            let screen = look.map_err(|error| format!("{error:#}"))?;
            if screen.contains(line) { Ok(()) } else { Err(screen) }
        })?;
        self.presses("Enter")
    }

    /// Waits until Claude Code's own file says so: `busy`, `idle`, …
    ///
    /// # Errors
    /// Where it does not.
    pub fn until_claude_is(&self, status: &str) -> Result<()> {
        let wanted = format!("\"status\":\"{status}\"");
        wait::until(&format!("Claude Code to be {status}"), Duration::from_secs(120), || {
            let look = self.machine.shell("ebb", "cat ~/.claude/sessions/*.json | tr -d ' '");
            let said = look.map_err(|error| format!("{error:#}"))?;
            if said.contains(&wanted) { Ok(()) } else { Err(said) }
        })
    }

    /// Starts a program called `codex` that asks the model once, waits for the answer without a word, and then stays at
    /// its prompt with its connection open: an agent that reports nothing.
    ///
    /// # Errors
    /// Where the terminal does not take it.
    pub fn codex(&self, prompt: &str) -> Result<()> {
        let question =
            serde_json::json!({ "tools": [{}], "messages": [{ "role": "user", "content": prompt }] });
        let program = format!(
            "import http.client, time\n\
             model = http.client.HTTPConnection('127.0.0.1', {PORT})\n\
             model.request('POST', '/v1/messages', '{question}')\n\
             print(model.getresponse().read())\n\
             time.sleep(600)"
        );
        self.machine.shell("ebb", &format!("cat > ~/codex.py <<'END-OF-FILE'\n{program}\nEND-OF-FILE\n"))?;
        self.machine.shell("ebb", "tmux new-window -d 'exec python3 ~/codex.py'").map(drop)
    }

    /// Whether the model has answered all that a prompt had it do.
    ///
    /// # Errors
    /// Where the machine does not answer.
    pub fn is_done(&self) -> Result<bool> {
        Ok(self.machine.shell("ebb", "cat ~/model.log")?.contains("all done"))
    }

    /// Whether the agent told its model how the machine is held.
    ///
    /// # Errors
    /// Where the machine does not answer.
    pub fn knows_holds(&self) -> Result<bool> {
        Ok(self.machine.shell("ebb", "cat ~/model.log")?.contains("knows how to hold"))
    }

    /// What the terminals show and the model was asked, for a failure.
    pub fn last_words(&self) -> String {
        let screens = "for w in $(tmux list-windows -F '#I'); do tmux capture-pane -p -t :$w | grep -v '^$' | tail -15; done";
        let look = format!("{screens}; cat ~/model.log; ps -eo pid,ppid,stat,etimes,wchan:20,comm; ebb why");
        self.machine.shell("ebb", &look).unwrap_or_else(|error| format!("{error:#}"))
    }
}
