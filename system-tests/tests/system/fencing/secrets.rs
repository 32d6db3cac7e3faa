//! Where the secrets of real machines are, and where they are not.

use crate::common::{LIMIT, REPOSITORY, quick, ready, with_machines};
use crate::turns::Turns;
use anyhow::{Context, Result, ensure};
use ebbtide_system_tests::api::Discard;
use ebbtide_system_tests::browser::Visitor;
use ebbtide_system_tests::played_machine::told;
use ebbtide_system_tests::{Stack, wait};
use serde_json::{Value, json};
use std::collections::BTreeMap;

static SYSTEM: Turns = Turns::bringing_up(|| with_machines("fencing-secrets", quick()));

const VALUE: &str = "correct-horse-battery-staple";

/// Every secret of a stack and of one of its machines, by name.
fn secrets(stack: &Stack, id: &str) -> Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::from([("the value in env".to_owned(), VALUE.to_owned())]);
    let settings = std::fs::read_to_string(stack.directory().join("worker.env"))?;
    for name in ["OWNER_TOKEN", "HETZNER_TOKEN", "CLOUDFLARE_TOKEN"] {
        let value =
            settings.lines().find_map(|line| line.strip_prefix(&format!("{name}='"))?.strip_suffix('\''));
        found.insert(name.to_owned(), value.context("a secret is missing")?.to_owned());
    }
    for name in ["MASTER_KEYS", "TOKEN_KEYS"] {
        let value =
            settings.lines().find_map(|line| line.strip_prefix(&format!("{name}='"))?.strip_suffix('\''));
        let keys: Value = serde_json::from_str(value.context("keys are missing")?)?;
        found.insert(name.to_owned(), keys["keys"]["k1"].as_str().context("no key")?.to_owned());
    }
    let told = told(stack, id)?;
    found.insert("the enrolment token".into(), told["enrolment_token"].as_str().context("none")?.to_owned());
    let machine = stack.machine_of(id)?;
    for (name, file) in [
        ("the VM token", "/run/ebbtide/vm-token"),
        ("the repository's password", "/run/ebbtide/repository-password"),
    ] {
        found.insert(name.into(), machine.shell("root", &format!("cat {file}"))?.trim().to_owned());
    }
    for (name, secret) in &found {
        ensure!(secret.len() >= 16, "{name} is no secret: {secret:?}");
    }
    Ok(found)
}

fn holds_none(place: &str, text: &str, secrets: &BTreeMap<String, String>) -> Result<()> {
    ensure!(!text.is_empty(), "{place} is empty: nothing was looked at");
    for (name, secret) in secrets {
        ensure!(!text.contains(secret.as_str()), "{name} is in {place}");
    }
    Ok(())
}

#[test]
fn secrets_are_in_no_argument_no_log_and_no_environment_but_the_workspace_s_own() {
    SYSTEM.run(|stack| {
        let request = json!({ "repo": REPOSITORY, "idle_timeout": "1h", "env": { "API_KEY": VALUE } });
        let id = ready(stack, &request)?.id.to_string();
        let secrets = secrets(stack, &id)?;
        let machine = stack.machine_of(&id)?;
        // A backup and a renewed token, so that everything that handles a secret has run.
        stack.api.call("POST", &format!("/v1/workspaces/{id}/snapshots"), Some(&json!({})))?.expect(202)?;
        stack.api.wait(&id, "backed up", LIMIT, |workspace| workspace.last_backup.is_some())?;
        // A terminal gets the workspace's environment.
        machine.shell("ebb", "tmux new-window && tmux send-keys 'printenv API_KEY > /tmp/seen' Enter")?;
        wait::until("the environment in a terminal", LIMIT, || {
            let seen = machine.shell("ebb", "cat /tmp/seen").map_err(|error| format!("{error:#}"))?;
            if seen == VALUE { Ok(()) } else { Err(seen) }
        })?;
        machine.shell("ebb", "rm /tmp/seen")?;
        let told = told(stack, &id)?;
        ensure!(told.as_object().is_some_and(|told| told.len() == 4), "user-data holds more than it must: {told}");
        for place in ["/etc/ebbtide", "/run/ebbtide", "/var/lib/ebbtide", "/proc/[0-9]*/environ"] {
            let text = format!("find {place} -type f -readable -exec cat {{}} + 2>/dev/null; echo end");
            let read = machine.shell("ebb", &text)?;
            for (name, secret) in secrets.iter().filter(|(name, _)| *name != "the value in env") {
                ensure!(!read.contains(secret.as_str()), "the machine's user reads {name} in {place}");
            }
        }
        let shown = stack.api.call("GET", &format!("/v1/workspaces/{id}"), None)?.expect(200)?.text();
        holds_none("the workspace in the API", &shown, &secrets)?;
        let arguments = machine.shell("root", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '")?;
        ensure!(arguments.contains("ebb-agent"), "the idle-agent is not among the processes: {arguments}");
        holds_none("the arguments of a process", &arguments, &secrets)?;
        let environment = machine.shell(
            "root",
            "for p in $(pgrep -x 'ebb-agent|caddy|systemd|init'); do tr '\\0' '\\n' < /proc/$p/environ; done; echo end",
        )?;
        holds_none("the environment of the machine's own programs", &environment, &secrets)?;
        let logs = machine.shell("root", "find /var/log -type f -size -5M -exec cat {} + 2>/dev/null; echo end")?;
        holds_none("the machine's logs", &logs, &secrets)?;
        let owned = machine.shell("root", "find / -xdev -user ebb -type f -size -1M -newer /proc/1 -exec cat {} + 2>/dev/null; echo end")?;
        for (name, secret) in secrets.iter().filter(|(name, _)| *name != "the value in env") {
            ensure!(!owned.contains(secret.as_str()), "{name} is in a file of the machine's user");
        }
        let log = stack.api.call("GET", &format!("/v1/workspaces/{id}/log"), None)?.expect(200)?.text();
        holds_none("the machine's log in the API", &log, &secrets)?;
        let history = stack.api.call("GET", &format!("/v1/workspaces/{id}/events"), None)?.expect(200)?.text();
        holds_none("the history in the API", &history, &secrets)?;
        for part in ["worker", "cloud"] {
            let log = std::fs::read(stack.log(part))?;
            holds_none(&format!("the log of the {part}"), &String::from_utf8_lossy(&log), &secrets)?;
        }
        holds_none("what the vendors were told", &serde_json::to_string(&stack.cloud.journal()?)?, &secrets)?;
        stack.api.delete(&id, Discard::Work)
    });
}

#[test]
fn a_token_for_one_workspace_or_one_port_or_a_past_hour_opens_no_other_page() {
    SYSTEM.run(|stack| {
        let request = json!({ "repo": REPOSITORY, "idle_timeout": "1h" });
        let ids = [stack.api.create(&request)?.id.to_string(), stack.api.create(&request)?.id.to_string()];
        let mut hosts = Vec::new();
        for id in &ids {
            let name = stack.api.wait_for(id, ebbtide_api::workspace::State::Running, LIMIT)?.name;
            stack.machine_of(id)?.shell(
                "ebb",
                "mkdir -p /tmp/page && echo private-page > /tmp/page/index.html && \
                 tmux new-window -d 'cd /tmp/page && exec python3 -m http.server 3000 --bind 127.0.0.1'",
            )?;
            hosts.push(format!("3000.{name}-{id}.{}", ebbtide_system_tests::ZONE));
        }
        let link = |id: &str, life: &str| -> Result<String> {
            let path = format!("/v1/workspaces/{id}/ports/3000/link");
            let answer = stack.api.call("POST", &path, Some(&json!({ "for": life })))?.expect(201)?;
            let url = answer.json()["url"].as_str().context("no url")?.to_owned();
            Ok(url.split_once('?').context("no token")?.1.to_owned())
        };
        let (own, other) = (link(&ids[0], "5m")?, link(&ids[1], "5m")?);
        wait::until("the page of the first", LIMIT, || {
            let answer = Visitor::stranger(&hosts[0]).get(stack, &format!("/?{own}"));
            let answer = answer.map_err(|error| format!("{error:#}"))?;
            let opened = matches!(answer.status, 200 | 302 | 303 | 307);
            if opened { Ok(()) } else { Err(format!("{} {}", answer.status, answer.text())) }
        })?;
        let vm_token = stack.machine_of(&ids[0])?.shell("root", "cat /run/ebbtide/vm-token")?;
        let middle = own.len() / 2;
        let flipped: String = own
            .char_indices()
            .map(|(at, c)| if at == middle { if c == 'A' { 'B' } else { 'A' } } else { c })
            .collect();
        for (what, query) in [
            ("nothing", String::new()),
            ("the other workspace's token", format!("?{other}")),
            ("a token with one character changed", format!("?{flipped}")),
            ("the machine's own token", format!("?ebb_access={}", vm_token.trim())),
            ("the owner's token", format!("?ebb_access={}", stack.owner_token)),
        ] {
            let answer = Visitor::stranger(&hosts[0]).get(stack, &format!("/{query}"))?;
            ensure!([401, 403].contains(&answer.status), "{what}: {} {}", answer.status, answer.text());
            ensure!(!answer.text().contains("private-page"), "{what} opened the page");
        }
        let short = link(&ids[0], "1s")?;
        wait::until("a link to end", LIMIT * 2, || {
            let answer = Visitor::stranger(&hosts[0]).get(stack, &format!("/?{short}"));
            let status = answer.map_err(|error| format!("{error:#}"))?.status;
            if [401, 403].contains(&status) { Ok(()) } else { Err(format!("it still answers {status}")) }
        })?;
        for id in &ids {
            stack.api.delete(id, Discard::Work)?;
        }
        Ok(())
    });
}
