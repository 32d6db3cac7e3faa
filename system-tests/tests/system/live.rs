//! Runs with real programs that are too large or too slow for every change: `scripts/test-live` installs what they need and
//! runs them by name. They are ignored everywhere else.

use crate::common::{LIMIT, REPOSITORY, quick_with};
use crate::slots::{self, Work};
use anyhow::{Context as _, Result, ensure};
use ebbtide_api::workspace::{State, Workspace};
use ebbtide_system_tests::agents::Agents;
use ebbtide_system_tests::browser::Visitor;
use ebbtide_system_tests::machine::{Machine, serve_this_repository};
use ebbtide_system_tests::{Machines, Options, Stack, paths, wait};
use serde_json::{Value, json};
use std::time::Duration;

/// CloudCLI looks for a newer version of itself when it starts, and without a network waits for that.
const SLOW: Duration = Duration::from_secs(300);

/// A tab that signs in, starts a session with one message, and is closed once the session runs.
const TAB: &str = r#"
const base = 'http://127.0.0.1:3001', [, , password, content] = process.argv;
const call = async (method, path, token, body) => (await fetch(base + path, {method, body: JSON.stringify(body),
  headers: {'content-type': 'application/json', authorization: 'Bearer ' + token}})).json();
(async () => {
  const {token} = await call('POST', '/api/auth/login', '', {username: 'ebbtide', password});
  if (!token) throw new Error('the password is not taken');
  const projectPath = '/workspaces/ebbtide';
  const made = await call('POST', '/api/providers/sessions', token, {provider: 'claude', projectPath, initialMessage: content});
  const sessionId = made.data.sessionId ?? made.data.session?.sessionId ?? made.data.id;
  const socket = new WebSocket('ws://127.0.0.1:3001/ws?token=' + token);
  socket.onopen = () => socket.send(JSON.stringify({type: 'chat.send', sessionId, content,
    options: {cwd: projectPath, permissionMode: 'bypassPermissions'}}));
  const look = setInterval(async () => {
    const {data} = await call('GET', '/api/providers/sessions/running', token);
    if (data.sessions.length > 0) { clearInterval(look); console.log('it runs'); process.exit(0); }
  }, 500);
})();
"#;

/// A workspace in which nothing but the session will keep the machine awake.
fn with_cloudcli(stack: &Stack) -> Result<(Workspace, Agents, Machine)> {
    let environment = json!({
        "ANTHROPIC_BASE_URL": "http://127.0.0.1:18777", "ANTHROPIC_API_KEY": "any", "DISABLE_AUTOUPDATER": "1",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "CLAUDE_CLI_PATH": "/usr/local/bin/claude",
        "npm_config_fetch_retries": "0",
    });
    let request = json!({ "repo": REPOSITORY, "idle_timeout": "10s", "env": environment });
    let id = stack.api.create(&request)?.id.to_string();
    let workspace = stack.api.wait_for(&id, State::Running, LIMIT)?;
    let machine = stack.machine_of(&id)?;
    machine.shell("root", "ebb hold 30m installing")?;
    let agents = Agents::prepare(machine.clone())?;
    machine.shell(
        "ebb",
        "mkdir -p ~/.local/bin ~/.local/lib/cloudcli && tar -C ~/.local/lib/cloudcli -xf /usr/local/bin/cloudcli.tar && \
         ln -s ~/.local/lib/cloudcli/node_modules/.bin/cloudcli ~/.local/bin/cloudcli",
    )?;
    Ok((workspace, agents, machine))
}

#[test]
#[ignore = "needs 2 GB of programs: scripts/test-live"]
fn a_session_in_cloudcli_that_thinks_with_no_tab_open_stays_awake_and_its_end_lets_it_sleep() -> Result<()> {
    let programs = paths::cache().join("record/programs");
    ensure!(
        programs.join("cloudcli.tar").exists(),
        "{} is missing: scripts/setup record",
        programs.display()
    );
    let repositories = tempfile::Builder::new().prefix("ebbtide-repositories-").tempdir()?;
    serve_this_repository(repositories.path())?;
    slots::take(Work::Own);
    let stack = Stack::start(Options {
        name: "cloudcli".into(),
        machines: Machines::Process,
        policy: quick_with(json!({ "unknown_grace": "20s" })),
        repositories: Some(repositories.path().to_owned()),
        programs: Some(programs),
        cron_every: Duration::from_secs(5),
        ..Options::default()
    })?;
    let (workspace, agents, machine) = with_cloudcli(&stack)?;
    let id = workspace.id.to_string();

    // Installed after the boot, it is found, started, and its user registered.
    let account = wait::until("CloudCLI to say how to sign in", SLOW, || {
        machine.shell("ebb", "ebb cloudcli --json").map_err(|error| format!("{error:#}"))
    })?;
    let account: Value = serde_json::from_str(&account)?;
    let password =
        account["password"].as_str().filter(|password| password.len() >= 20).context("no password")?;
    wait::until("CloudCLI's user to be registered", SLOW, || {
        let look = "curl -s -m 5 http://127.0.0.1:3001/api/auth/status";
        let status = machine.shell("root", look).map_err(|error| format!("{error:#}"))?;
        if status.contains("\"needsSetup\":false") { Ok(()) } else { Err(status) }
    })?;
    let secret = machine.shell("root", "tr -d '\"' < /var/lib/ebbtide/cloudcli-secret.json")?;
    let lines = machine.shell("root", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '")?;
    ensure!(!lines.contains(&secret) && !lines.contains(password), "a secret in a command line");

    // Its page is the workspace's own name, for who has a link; its port has no name.
    let (_, page) = Visitor::open(&stack, &Visitor::link(&stack, &id, 3001)?)?;
    ensure!(page.status == 200 && page.text().contains("CloudCLI"), "{} {}", page.status, page.text());
    let port =
        stack.api.get(&id)?.ports.into_iter().find(|port| port.port == 3001).context("no port 3001")?;
    let own = port.url.context("no address")?;
    let host = own.trim_start_matches("http://").trim_end_matches('/').to_owned();
    let named = workspace.machine.context("no machine")?.host;
    ensure!(host.starts_with(&named), "{own} is not {named}");
    ensure!(Visitor::stranger(&host).get(&stack, "/")?.status == 401, "a stranger is let in");
    let raw = Visitor::stranger(&format!("3001.{host}")).get(&stack, "/")?;
    ensure!(raw.status == 404, "its port has a name: {}", raw.status);

    // The tab is closed before the model answers, four times the idle timeout later.
    machine.shell("root", &format!("cat > /tmp/tab.js <<'END-OF-FILE'\n{TAB}\nEND-OF-FILE\n"))?;
    let said =
        machine.shell("root", &format!("cd /tmp && timeout 120 node tab.js '{password}' 'do:think 45'"));
    ensure!(said.as_ref().is_ok_and(|said| said.contains("it runs")), "{said:?}\n{}", agents.last_words());
    machine.shell("root", "ebb release")?;
    let named = wait::until("why to name CloudCLI", LIMIT, || {
        let workspace = stack.api.get(&id).map_err(|error| format!("{error:#}"))?;
        if workspace.line.contains("a session in CloudCLI runs") {
            Ok(workspace.line)
        } else {
            // No look into the machine: what is asked there while it freezes never answers.
            Err(workspace.line)
        }
    })?;
    eprintln!("live: {named}");
    let outcome = wait::until("the model's answer", LIMIT, || {
        let workspace = stack.api.get(&id).map_err(|error| format!("{error:#}"))?;
        if workspace.state != State::Running {
            return Ok(Err(ebbtide_system_tests::api::shown(&workspace)));
        }
        let is_done = agents.is_done().map_err(|error| format!("{error:#}"))?;
        if is_done { Ok(Ok(())) } else { Err("the model thinks".to_owned()) }
    })?;
    outcome.map_err(|slept| anyhow::anyhow!("not awake before the answer: {slept}"))?;
    stack.api.wait_for(&id, State::Asleep, SLOW)?;
    // Fifty thousand files of CloudCLI's go with the machine; a slow disk takes longer for them than a stop waits.
    wait::until("the machine's files to be removed", SLOW, || {
        let machines = std::fs::read_dir(stack.directory().join("cloud/machines"));
        let left = machines.into_iter().flatten().count();
        if left == 0 { Ok(()) } else { Err(format!("{left} machines' files are there")) }
    })?;
    stack.stop()
}
