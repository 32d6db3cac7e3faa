//! Bad days of real machines: they cannot clone, lose their control plane, their idle-agent or their network, or die.
//! Whatever the day, the work is in storage or in a named image, and nothing bills on.

use crate::common::{
    LIMIT, REPOSITORY, cloning, nothing_bills, quick_with, ready, servers_ever, with_machines,
};
use crate::turns::{Turns, discarded};
use anyhow::{Context, Result, ensure};
use ebbtide_api::FailureCode;
use ebbtide_api::workspace::{State, StepState, Workspace};
use ebbtide_system_tests::api::shown;
use ebbtide_system_tests::{Stack, wait};
use serde_json::json;
use std::time::Duration;

static SYSTEM: Turns = Turns::bringing_up(|| {
    with_machines(
        "bad-machines",
        quick_with(json!({
            "silence_after": "4s", "silence_question": "2s", "reboot_grace": "8s", "silence_budget": "5s",
            "drain_ceiling": "12s", "rescue_ceiling": "20s",
        })),
    )
});

/// Where the repository is in a machine.
const PLACE: &str = "/workspaces/ebbtide";

/// Waits for `failed` or another rest without a machine.
fn rest(stack: &Stack, id: &str, limit: Duration) -> Result<Workspace> {
    wait::until("rest without a machine", limit, || {
        let workspace = stack.api.get(id).map_err(|error| format!("{error:#}"))?;
        let rests = matches!(workspace.state, State::Failed | State::Asleep | State::Deleted);
        if rests { Ok(workspace) } else { Err(shown(&workspace)) }
    })
}

fn heard(stack: &Stack, id: &str) -> Result<Workspace> {
    stack.api.wait(id, "running and heard of", LIMIT, |workspace| {
        workspace.state == State::Running && workspace.heard_secs_ago.is_some_and(|secs| secs <= 2)
    })
}

/// Waits until a machine that was cut off runs its idle-agent again.
fn boots_again(stack: &Stack, id: &str) -> Result<()> {
    wait::until("the machine to boot again", LIMIT, || {
        let machine = stack.machine_of(id).map_err(|error| format!("{error:#}"))?;
        if machine.pids_of("ebb-agent").is_empty() { Err("no idle-agent".into()) } else { Ok(()) }
    })
}

/// Ends the lifetime now, for which a machine that is not heard of would be kept.
fn ends_now(stack: &Stack, id: &str) -> Result<()> {
    let shorter = json!({ "lifetime": "10s" });
    stack.api.call("PATCH", &format!("/v1/workspaces/{id}"), Some(&shorter))?.expect(200).map(drop)
}

/// Leaves traces in a machine's workspace and in its user's home; says what they look like.
fn work(stack: &Stack, id: &str, megabytes: u32) -> Result<String> {
    let machine = stack.machine_of(id)?;
    machine.shell(
        "ebb",
        &format!(
            "cd {PLACE} && head -c {megabytes}M /dev/urandom > untracked.bin && echo SECRET=1 > .env && \
             mkdir -p ~/notes/empty && echo note > ~/notes/note && ln -sf ../note ~/notes/link && \
             chmod 600 ~/notes/note && touch -d 2001-02-03T04:05:06Z ~/notes/note"
        ),
    )?;
    traces(stack, id)
}

fn traces(stack: &Stack, id: &str) -> Result<String> {
    let machine = stack.machine_of(id)?;
    let home = machine.shell("ebb", "echo ~/notes")?;
    Ok(format!("{}\n{}", machine.fingerprint(PLACE)?, machine.fingerprint(&home)?))
}

/// Wakes it and compares.
fn wakes_to(stack: &Stack, id: &str, before: &str) -> Result<()> {
    stack.api.act(id, "wake")?;
    stack.api.wait(id, "running", LIMIT, |workspace| workspace.state == State::Running)?;
    let after = traces(stack, id)?;
    ensure!(before == after, "other bytes after the wake:\n{before}\n--- now\n{after}");
    Ok(())
}

#[test]
fn a_repository_that_cannot_be_cloned_is_named_with_its_fix_and_the_log_is_kept() {
    SYSTEM.run(|stack| {
        let table = [
            (json!({ "repo": "http://git.ebbtide.test/there-is-none.git" }), "check the URL"),
            (
                json!({ "repo": "http://git.ebbtide.test/private-app.git" }),
                "add a git credential for http://git.ebbtide.test under Secrets",
            ),
            (json!({ "repo": "http://unreachable.invalid/x.git" }), "cannot be reached"),
            (json!({ "repo": REPOSITORY, "branch": "$(id)" }), "no branch or tag"),
            (json!({ "repo": REPOSITORY, "branch": "`touch${IFS}/tmp/owned`" }), "no branch or tag"),
        ];
        let mut ids = Vec::new();
        for (request, _) in &table {
            ids.push(stack.api.create(request)?.id.to_string());
        }
        for (id, (request, fix)) in ids.iter().zip(&table) {
            let failed = rest(stack, id, LIMIT * 2)?;
            let failure = failed.failure.clone().context("it did not fail")?;
            ensure!(failure.code == FailureCode::BootFailed, "{request}: {failure:?}");
            ensure!(failure.message.contains(fix), "{request}: {failure:?}");
            let steps = stack.api.events(id)?;
            ensure!(steps.iter().any(|event| event.because.contains(fix)), "{request}: {steps:?}");
            let step = failed.boot.iter().find(|step| step.state == StepState::Failed);
            ensure!(step.is_some_and(|step| step.name == "clone"), "{request}: {:?}", failed.boot);
            let log = stack.api.call("GET", &format!("/v1/workspaces/{id}/log"), None)?.expect(200)?;
            let lines = log.json()["lines"].as_array().map_or(0, Vec::len);
            ensure!(lines > 0, "{request}: no line of the log is left");
            ensure!(!log.text().contains("uid="), "{request}: a branch was run: {}", log.text());
            servers_ever(stack, id, 1)?;
            nothing_bills(stack, id)?;
            discarded(stack, id)?;
        }
        Ok(())
    });
}

#[test]
fn a_control_plane_away_for_twenty_seconds_ends_no_machine_and_loses_no_backup() {
    SYSTEM.run(|stack| {
        let id = ready(stack, &cloning())?.id.to_string();
        let before = work(stack, &id, 4)?;
        let machine = stack.machine_of(&id)?;
        stack.crash_worker();
        wait::stays("the idle-agent", Duration::from_secs(20), || {
            (!machine.pids_of("ebb-agent").is_empty()).then_some(()).ok_or_else(|| "it ended".into())
        })?;
        stack.restart_worker()?;
        heard(stack, &id)?;
        servers_ever(stack, &id, 1)?;
        // Away again, from the moment at which it drains.
        stack.api.act(&id, "sleep")?;
        stack.crash_worker();
        wait::stays("the machine", Duration::from_secs(10), || {
            let live = stack.cloud.inventory().map_err(|error| format!("{error:#}"))?.live_of(&id).len();
            if live == 1 { Ok(()) } else { Err(format!("{live} servers")) }
        })?;
        stack.restart_worker()?;
        stack.api.wait_for(&id, State::Asleep, LIMIT)?;
        nothing_bills(stack, &id)?;
        wakes_to(stack, &id, &before)?;
        servers_ever(stack, &id, 2)?;
        discarded(stack, &id)
    });
}

#[test]
fn an_idle_agent_killed_again_and_again_while_it_drains_brings_the_same_bytes() {
    SYSTEM.run(|stack| {
        let id = ready(stack, &cloning())?.id.to_string();
        let before = work(stack, &id, 40)?;
        let machine = stack.machine_of(&id)?;
        stack.api.act(&id, "sleep")?;
        let mut kills = 0;
        // As often as it comes back, up to five times; the drain may be quicker than that.
        let slept = wait::until("sleep in spite of everything", LIMIT * 2, || {
            if kills < 5 && machine.crash("ebb-agent").is_ok() {
                kills += 1;
            }
            let workspace = stack.api.get(&id).map_err(|error| format!("{error:#}"))?;
            let rests = matches!(workspace.state, State::Asleep | State::Failed);
            if rests { Ok(workspace) } else { Err(format!("{} kills, {}", kills, shown(&workspace))) }
        })?;
        ensure!(slept.state == State::Asleep, "{}", shown(&slept));
        ensure!(kills > 0, "it was never killed");
        nothing_bills(stack, &id)?;
        wakes_to(stack, &id, &before)?;
        discarded(stack, &id)
    });
}

#[test]
fn a_machine_that_dies_is_imaged_and_ended_and_its_last_backup_can_be_woken_instead() {
    SYSTEM.run(|stack| {
        let id = ready(stack, &cloning())?.id.to_string();
        let before = work(stack, &id, 1)?;
        stack.api.call("POST", &format!("/v1/workspaces/{id}/snapshots"), Some(&json!({})))?.expect(202)?;
        let backed_up =
            stack.api.wait(&id, "backed up", LIMIT, |workspace| workspace.last_backup.is_some())?;
        let snapshot = backed_up.last_backup.context("no backup")?.snapshot;
        stack.machine_of(&id)?.shell("ebb", &format!("echo later > {PLACE}/not-backed-up"))?;
        let server = stack.cloud.inventory()?.live_of(&id)[0].id;
        // Its host is broken: the one reboot that silence allows would else cure it now and then.
        let broken =
            json!({ "kind": "refuse", "status": 503, "code": "unavailable", "message": "broken host" });
        for action in ["poweron", "reset"] {
            let call = format!("POST /servers/{server}/actions/{action}");
            stack.cloud.fault("hetzner", &call, 1000, &broken)?;
        }
        stack.cloud.machine_fault(server, "die")?;
        stack.api.wait(&id, "silent", LIMIT, |workspace| workspace.state == State::Silent)?;
        ends_now(stack, &id)?;
        let end = rest(stack, &id, LIMIT * 2)?;
        let failure = end.failure.clone().context("what was not backed up is not told")?;
        ensure!(failure.code == FailureCode::Rescued, "{failure:?}");
        nothing_bills(stack, &id)?;
        servers_ever(stack, &id, 1)?;
        let images = stack.cloud.inventory()?.images;
        let image = images
            .iter()
            .find(|image| image["labels"]["ebbtide-workspace"] == *id)
            .with_context(|| format!("no image of it: {images:?}"))?;
        ensure!(image["labels"]["ebbtide-expires"].is_string(), "nothing says when the image goes: {image}");
        let id_of_image = image["id"].to_string();
        ensure!(failure.message.contains(&id_of_image), "{failure:?} does not name the image {id_of_image}");
        let longer = json!({ "lifetime": "1h" });
        stack.api.call("PATCH", &format!("/v1/workspaces/{id}"), Some(&longer))?.expect(200)?;
        // Without a choice the image would be salvaged: see `rescue`.
        let chosen = json!({ "snapshot": snapshot });
        stack.api.call("POST", &format!("/v1/workspaces/{id}/wake"), Some(&chosen))?.expect(202)?;
        stack.api.wait_for(&id, State::Running, LIMIT)?;
        ensure!(traces(stack, &id)? == before, "other bytes than in the backup");
        servers_ever(stack, &id, 2)?;
        discarded(stack, &id)
    });
}

#[test]
fn a_drain_that_cannot_upload_has_an_end() {
    SYSTEM.run(|stack| {
        let id = ready(stack, &cloning())?.id.to_string();
        work(stack, &id, 8)?;
        let server = stack.cloud.inventory()?.live_of(&id)[0].id;
        stack.cloud.machine_fault(server, "lose_network")?;
        stack.api.act(&id, "sleep")?;
        ends_now(stack, &id)?;
        let end = rest(stack, &id, LIMIT * 2)?;
        let failure = end.failure.context("what was not backed up is not told")?;
        ensure!([FailureCode::Rescued, FailureCode::WorkLost].contains(&failure.code), "{failure:?}");
        nothing_bills(stack, &id)?;
        servers_ever(stack, &id, 1)
    });
}

#[test]
fn vendors_that_crash_under_a_running_machine_cost_no_work() {
    SYSTEM.run(|stack| {
        let id = ready(stack, &cloning())?.id.to_string();
        let before = work(stack, &id, 1)?;
        super::crash_cloud(stack)?;
        stack.restart_cloud()?;
        boots_again(stack, &id)?;
        heard(stack, &id)?;
        ensure!(traces(stack, &id)? == before, "the machine came back with other bytes");
        stack.api.act(&id, "sleep")?;
        stack.api.wait_for(&id, State::Asleep, LIMIT)?;
        nothing_bills(stack, &id)?;
        wakes_to(stack, &id, &before)?;
        servers_ever(stack, &id, 2)?;
        discarded(stack, &id)
    });
}

#[test]
fn a_machine_that_somebody_switched_off_is_started_once_and_goes_on_with_its_files() {
    SYSTEM.run(|stack| {
        let id = ready(stack, &cloning())?.id.to_string();
        let before = work(stack, &id, 1)?;
        let server = stack.cloud.inventory()?.live_of(&id)[0].id;
        stack.cloud.machine_fault(server, "switch_off")?;
        stack.api.wait(&id, "silent", LIMIT, |workspace| workspace.state == State::Silent)?;
        heard(stack, &id)?;
        ensure!(traces(stack, &id)? == before, "the machine came back with other bytes");
        let reboots = stack.cloud.journal()?;
        let path = format!("/servers/{server}/actions/poweron");
        let reboots = reboots.iter().filter(|call| call["path"] == path.as_str()).count();
        ensure!(reboots == 1, "switched on {reboots} times");
        servers_ever(stack, &id, 1)?;
        // What the machine can do again: back up, and go.
        stack.api.act(&id, "sleep")?;
        stack.api.wait_for(&id, State::Asleep, LIMIT)?;
        nothing_bills(stack, &id)?;
        wakes_to(stack, &id, &before)?;
        discarded(stack, &id)
    });
}

#[test]
fn a_machine_that_its_owner_has_rebooted_comes_back_by_itself_with_its_files() {
    SYSTEM.run(|stack| {
        let id = ready(stack, &cloning())?.id.to_string();
        let before = work(stack, &id, 1)?;
        let server = stack.cloud.inventory()?.live_of(&id)[0].id;
        stack.machine_of(&id)?.shell("ebb", "nohup sleep 4000 > /dev/null 2>&1 &")?;
        stack.api.act(&id, "reboot")?;
        wait::until("what ran to end", LIMIT, || {
            let machine = stack.machine_of(&id).map_err(|error| format!("{error:#}"))?;
            if machine.pids_of("sleep").is_empty() { Ok(()) } else { Err("it runs on".into()) }
        })?;
        boots_again(stack, &id)?;
        heard(stack, &id)?;
        ensure!(traces(stack, &id)? == before, "the machine came back with other bytes");
        let path = format!("/servers/{server}/actions/reset");
        let resets = stack.cloud.journal()?.iter().filter(|call| call["path"] == path.as_str()).count();
        ensure!(resets == 1, "reset {resets} times");
        let events = stack.api.call("GET", &format!("/v1/workspaces/{id}/events"), None)?.expect(200)?.text();
        ensure!(events.contains("as its owner asked"), "{events}");
        stack.api.act(&id, "sleep")?;
        let late = stack.api.call("POST", &format!("/v1/workspaces/{id}/reboot"), Some(&json!({})))?;
        late.expect(409)?;
        stack.api.wait_for(&id, State::Asleep, LIMIT)?;
        wakes_to(stack, &id, &before)?;
        discarded(stack, &id)
    });
}

#[test]
fn a_machine_switched_off_in_the_middle_of_its_last_backup_finishes_it_after_a_start() {
    SYSTEM.run(|stack| {
        let id = ready(stack, &cloning())?.id.to_string();
        let before = work(stack, &id, 40)?;
        let server = stack.cloud.inventory()?.live_of(&id)[0].id;
        stack.api.act(&id, "sleep")?;
        stack.cloud.machine_fault(server, "switch_off")?;
        let end = rest(stack, &id, LIMIT * 2)?;
        ensure!(end.state == State::Asleep, "{}", shown(&end));
        nothing_bills(stack, &id)?;
        wakes_to(stack, &id, &before)?;
        servers_ever(stack, &id, 2)?;
        discarded(stack, &id)
    });
}

#[test]
fn a_wake_in_the_middle_of_a_drain_loses_nothing_and_doubles_nothing() {
    SYSTEM.run(|stack| {
        let id = ready(stack, &cloning())?.id.to_string();
        let before = work(stack, &id, 20)?;
        for _ in 0..3 {
            stack.api.act(&id, "sleep")?;
            stack.api.act(&id, "wake")?;
            heard(stack, &id)?;
            ensure!(traces(stack, &id)? == before, "the work has changed");
            ensure!(stack.cloud.inventory()?.live_of(&id).len() == 1, "two machines of one workspace");
        }
        discarded(stack, &id)
    });
}

#[test]
fn a_web_server_that_is_killed_in_a_machine_comes_back_with_its_routes() {
    SYSTEM.run(|stack| {
        let workspace = ready(stack, &cloning())?;
        let id = workspace.id.to_string();
        let machine = stack.machine_of(&id)?;
        machine.shell("ebb", "tmux new-window -d 'exec python3 -m http.server 3000 --bind 127.0.0.1'")?;
        let host = format!("3000.{}-{id}.{}", workspace.name, ebbtide_system_tests::ZONE);
        let access = json!({ "access": "public" });
        stack.api.call("PUT", &format!("/v1/workspaces/{id}/ports/3000"), Some(&access))?.expect(200)?;
        let answers = || match stack.visit(&host, "/", &[]) {
            Ok(answer) if answer.status == 200 => Ok(()),
            Ok(answer) => Err(format!("{} {}", answer.status, answer.text())),
            Err(error) => Err(format!("{error:#}")),
        };
        wait::until("the page", LIMIT, answers)?;
        machine.crash("caddy")?;
        wait::until("the page after the web server died", LIMIT, answers)?;
        discarded(stack, &id)
    });
}
