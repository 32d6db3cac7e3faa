//! Puts programs into a machine and tells them where their model is; the programs themselves are unmodified.
//! Needs `scripts/setup record`; must never reach for a network, of which a machine has none.

use super::stage::Stage;
use anyhow::{Result, ensure};
use ebbtide_system_tests::paths;
use std::path::PathBuf;

const CODEX: &str = "model = \"stub\"
model_provider = \"stub\"
check_for_update_on_startup = false
approval_policy = \"never\"
sandbox_mode = \"danger-full-access\"
[model_providers.stub]
name = \"stub\"
base_url = \"http://127.0.0.1:18777/v1\"
wire_api = \"responses\"
[analytics]
enabled = false
[projects.\"/workspaces/ebbtide\"]
trust_level = \"trusted\"";

const GEMINI: &str = r#"{"security":{"auth":{"selectedType":"gemini-api-key"},"folderTrust":{"enabled":false}},
"privacy":{"usageStatisticsEnabled":false},"general":{"disableAutoUpdate":true,"disableUpdateNag":true}}"#;

const OPENCODE: &str = r#"{"autoupdate":false,"model":"stub/stub","small_model":"stub/stub","provider":{"stub":{
"npm":"@ai-sdk/openai-compatible","name":"stub","options":{"baseURL":"http://127.0.0.1:18777/v1","apiKey":"any"},
"models":{"stub":{"name":"stub"}}}}}"#;

const ENVIRONMENT: &str = "export PATH=~/.local/opt/bin:$PATH GOOGLE_GEMINI_BASE_URL=http://127.0.0.1:18777 GEMINI_API_KEY=any
export OPENCODE_DISABLE_AUTOUPDATE=1 OPENCODE_DISABLE_MODELS_FETCH=1 TERM=xterm-256color
export OPENAI_API_BASE=http://127.0.0.1:18777/v1 OPENAI_API_KEY=any AIDER_ANALYTICS=false PYTHONPATH=~/.local/opt/aider
export aider='--model openai/aider-stub --no-check-update --no-show-model-warnings --yes-always --no-show-release-notes'
export aider=\"$aider --no-gitignore --no-git\"";

/// Where `scripts/setup record` put what machines are shown.
///
/// # Errors
/// It did not run.
pub fn directory() -> Result<PathBuf> {
    let directory = paths::cache().join("record/programs");
    ensure!(directory.join("rust.tar").exists(), "{} is missing: scripts/setup record", directory.display());
    Ok(directory)
}

/// Unpacks what comes in many files and configures the agents that a scene names.
pub fn install(stage: &Stage<'_>, programs: &[&str]) -> Result<()> {
    stage.shell(&format!(
        "mkdir -p ~/.local/opt/bin && cat >> ~/agents.env <<'END-OF-FILE'\n\n{ENVIRONMENT}\nEND-OF-FILE\n"
    ))?;
    // What the model notes is no file of the workspace's.
    stage.shell("touch ~/model.log && mv ~/model.log ~/.model.log && ln -s .model.log ~/model.log")?;
    // A command that says nothing: agents refuse, or give up on, a plain `sleep`.
    stage.file("~/quiet.py", "import sys, time\ntime.sleep(float(sys.argv[1]))")?;
    for program in programs {
        match *program {
            "codex" => stage.file("~/.codex/config.toml", CODEX)?,
            "opencode" => stage.file("~/.config/opencode/opencode.json", OPENCODE)?,
            "gemini" => {
                unpack(stage, "gemini")?;
                stage.file("~/.gemini/settings.json", GEMINI)?;
                stage.shell("ln -s ~/.local/opt/gemini/node_modules/.bin/gemini ~/.local/opt/bin/gemini")?;
            }
            "cloudcli" => unpack(stage, "cloudcli")?,
            "aider" => {
                unpack(stage, "aider")?;
                let start = "#!/usr/bin/python3\nimport sys\nfrom aider.main import main\nsys.exit(main())";
                stage.file("~/.local/opt/bin/aider", start)?;
                stage.shell("chmod +x ~/.local/opt/bin/aider")?;
            }
            "rust" | "vite" | "sshd" => unpack(stage, program)?,
            _ => {}
        }
    }
    Ok(())
}

/// A small web application with Vite in it.
pub fn app(stage: &Stage<'_>) -> Result<()> {
    stage.shell(
        "mkdir -p ~/app && cp ~/.local/opt/vite/package*.json ~/app/ && cp -r ~/.local/opt/vite/node_modules ~/app/",
    )?;
    stage.file("~/app/main.js", "console.log(1)")?;
    stage.file("~/app/index.html", "<script type=module src=/main.js></script>")
}

fn unpack(stage: &Stage<'_>, name: &str) -> Result<()> {
    stage
        .shell(&format!(
            "mkdir -p ~/.local/opt/{name} && tar -C ~/.local/opt/{name} -xf /usr/local/bin/{name}.tar"
        ))
        .map(drop)
}

/// Asks a program for its version.
pub fn version(stage: &Stage<'_>, program: &str) -> String {
    let command = match program {
        "claude" | "codex" | "gemini" | "opencode" | "aider" => format!("{program} --version"),
        "cloudcli" => "node -p 'require(process.env.HOME+\"/.local/opt/cloudcli/node_modules/@cloudcli-ai/cloudcli/package.json\").version'".into(),
        "vite" => "node -p 'require(process.env.HOME+\"/.local/opt/vite/node_modules/vite/package.json\").version'".into(),
        "rust" => "~/.local/opt/rust/bin/cargo --version".into(),
        "sshd" => "cat ~/.local/opt/sshd/usr/version".into(),
        "tmux" => "tmux -V".into(),
        "caddy" => "caddy version".into(),
        other => format!("{other} --version"),
    };
    let said = stage.shell(&format!(". ~/agents.env; {command} | head -1")).unwrap_or_default();
    let number = said
        .split(|c: char| c.is_whitespace() || ",()".contains(c))
        .find(|word| word.contains(|c: char| c.is_ascii_digit()));
    number.unwrap_or("?").to_owned()
}
