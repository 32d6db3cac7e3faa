//! The sweep in the real Worker: what nobody answers for ends, everything else stays, and every "stays" is a look at
//! the vendors' inventory. Resources are planted through the vendors' own APIs; slices are run by `POST /v1/sweep`.
//!
//! Servers here are entries in a table.

mod unreadable;

use crate::common::{LIMIT, quick_with};
use crate::slots::{self, Work};
use crate::turns::{Turns, discarded};
use anyhow::{Context, Result, ensure};
use ebbtide_api::sweep::{SweepMode, SweepPart, SweepPartReport, SweepReport, SweepVerdict};
use ebbtide_api::workspace::State;
use ebbtide_system_tests::api::shown;
use ebbtide_system_tests::{Options, Runner, Stack, wait};
use serde_json::{Value, json};
use std::time::Duration;

/// Nobody's workspaces: valid ids that were never given out.
const UNKNOWN: [&str; 8] = [
    "aaaaaaaaaa",
    "bbbbbbbbbb",
    "cccccccccc",
    "dddddddddd",
    "eeeeeeeeee",
    "ffffffffff",
    "gggggggggg",
    "hhhhhhhhhh",
];

static SYSTEM: Turns = Turns::bringing_up(|| start("sweep", "local", json!({})));

/// A stack whose cron never comes: every slice is asked for.
fn options(name: &str, install: &'static str, changes: Value) -> Options {
    let mut policy = quick_with(json!({
        "sweep_min_age": "1s", "sweep_label_grace": "1s", "sweep_leftover_age": "1s", "undo": "1s",
    }));
    if let (Some(policy), Value::Object(changes)) = (policy.as_object_mut(), changes) {
        policy.extend(changes);
    }
    let cron_every = Duration::from_hours(10);
    let runner = Runner::Miniflare;
    Options { name: name.into(), runner, policy, install, cron_every, ..Options::default() }
}

fn start(name: &str, install: &'static str, changes: Value) -> Result<Stack> {
    slots::take(Work::Own);
    Stack::start(options(name, install, changes))
}

fn report(answer: &ebbtide_system_tests::http::Answer) -> Result<SweepReport> {
    serde_json::from_slice(&answer.body).with_context(|| format!("reading a report from {}", answer.text()))
}

/// Runs a slice. No slice may make more calls than the plan's bound allows.
fn sweep(stack: &Stack) -> Result<SweepReport> {
    let answer = stack.api.call("POST", "/v1/sweep", Some(&json!({})))?.expect(200)?;
    let report = report(&answer)?;
    ensure!(report.calls <= 28, "{} calls in a slice", report.calls);
    Ok(report)
}

fn set_mode(stack: &Stack, mode: SweepMode) -> Result<SweepReport> {
    report(&stack.api.call("PUT", "/v1/sweep", Some(&json!({ "mode": mode })))?.expect(200)?)
}

fn part(report: &SweepReport, part: SweepPart) -> Result<&SweepPartReport> {
    report.parts.iter().find(|state| state.part == part).context("a part is missing")
}

/// Runs slices until every part has been through everything twice more: what was to be found is found by then.
fn swept(stack: &Stack) -> Result<SweepReport> {
    // What lies in the trash has a time of its own.
    let rounds = |report: &SweepReport| {
        let parts = report.parts.iter().filter(|part| part.part != SweepPart::Trash);
        parts.map(|part| part.rounds).collect::<Vec<_>>()
    };
    let before = rounds(&sweep(stack)?);
    wait::until("two rounds of every part", LIMIT, || {
        let report = sweep(stack).map_err(|error| format!("{error:#}"))?;
        let done = rounds(&report).iter().zip(&before).all(|(now, before)| *now >= before + 2);
        if done { Ok(report) } else { Err(format!("{:?}", rounds(&report))) }
    })
}

fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.ok().and_then(|since| i64::try_from(since.as_secs()).ok()).unwrap_or(0)
}

fn seconds_from_now(seconds: i64) -> String {
    (now() + seconds).to_string()
}

fn labels(install: &str, workspace: &str, expires: &str) -> Value {
    json!({
        "ebbtide-install": install, "ebbtide-tenant": "owner", "ebbtide-workspace": workspace,
        "ebbtide-generation": "1", "ebbtide-expires": expires,
    })
}

/// Makes a server at the vendor that the control plane knows nothing of.
fn plant_server(stack: &Stack, install: &str, workspace: &str, expires: &str) -> Result<u64> {
    let body = json!({
        "name": format!("ebb-{workspace}-1-{install}"), "server_type": "cx23", "image": "debian-12",
        "location": "fsn1", "labels": labels(install, workspace, expires),
    });
    let made = stack.hetzner("POST", "/servers", Some(&body))?.expect(201)?.json();
    made["server"]["id"].as_u64().context("no id")
}

fn plant_record(stack: &Stack, install: &str, workspace: &str) -> Result<String> {
    let name = format!("{install}-{workspace}.ebb.localhost");
    let body = json!({
        "type": "A", "name": name, "content": "198.18.0.9", "ttl": 60, "proxied": false,
        "comment": format!("ebbtide {install} {workspace} g1"),
    });
    let path = format!("/zones/{}/dns_records", stack.cloud.addresses.zone_id);
    stack.cloudflare("POST", &path, Some(&body))?.expect(200)?;
    Ok(name)
}

fn status(stack: &Stack, server: u64) -> Result<String> {
    let inventory = stack.cloud.inventory()?;
    let found = inventory.servers.iter().find(|known| known.id == server).context("no such server")?;
    Ok(found.status.clone())
}

fn is_gone(stack: &Stack, server: u64) -> Result<bool> {
    Ok(status(stack, server)? == "deleted")
}

/// Waits until the vendor is done with whatever it is doing: slices in between would use up its calls for nothing.
fn at_rest(stack: &Stack) -> Result<()> {
    wait::until("the vendor to be done", LIMIT, || {
        let inventory = stack.cloud.inventory().map_err(|error| format!("{error:#}"))?;
        let images = inventory.images.iter().filter(|image| image["available"] == false).count();
        let busy = |status: &str| !matches!(status, "running" | "off" | "deleted");
        let servers = inventory.servers.iter().filter(|server| busy(&server.status)).count();
        if images + servers == 0 { Ok(()) } else { Err(format!("{images} images, {servers} servers")) }
    })
}

/// Sweeps until the index knows a workspace again that it has lost.
fn indexed(stack: &Stack, id: &str) -> Result<()> {
    let path = format!("/v1/workspaces/{id}");
    stack.api.call("GET", &path, None)?.expect(404)?;
    let mut last = None;
    for _ in 0..10 {
        last = Some(sweep(stack)?);
        if stack.api.call("GET", &path, None)?.status == 200 {
            return Ok(());
        }
    }
    let report = last.context("no slice was run")?;
    anyhow::bail!("{id} has no row: {:?}", part(&report, SweepPart::Objects)?)
}

/// Sweeps until a server is gone: one slice takes its image, a later one ends it.
fn ends(stack: &Stack, server: u64) -> Result<SweepReport> {
    let mut last = None;
    for _ in 0..10 {
        at_rest(stack)?;
        let report = sweep(stack)?;
        at_rest(stack)?;
        if is_gone(stack, server)? {
            return Ok(report);
        }
        last = Some(report);
    }
    let report = last.context("no slice was run")?;
    anyhow::bail!("server {server} is still there: {:?}", part(&report, SweepPart::Servers)?)
}

fn images_of(stack: &Stack, workspace: &str) -> Result<Vec<Value>> {
    let of_it = |image: &Value| image["labels"]["ebbtide-workspace"] == workspace;
    Ok(stack.cloud.inventory()?.images.into_iter().filter(of_it).collect())
}

fn names(stack: &Stack) -> Result<Vec<String>> {
    let records = stack.cloud.inventory()?.dns_records;
    Ok(records.iter().filter_map(|record| Some(record.get("name")?.as_str()?.to_owned())).collect())
}

/// A workspace with its server and names, which nothing here may touch.
fn booting(stack: &Stack) -> Result<(String, u64)> {
    let id = stack.api.create(&json!({}))?.id.to_string();
    wait::until("booting, with its names", LIMIT, || {
        let workspace = stack.api.get(&id).map_err(|error| format!("{error:#}"))?;
        let inventory = stack.cloud.inventory().map_err(|error| format!("{error:#}"))?;
        let there = workspace.state == State::Booting && inventory.names_of(&id).len() == 2;
        if there { Ok(()) } else { Err(shown(&workspace)) }
    })?;
    let server = stack.cloud.inventory()?.live_of(&id).first().context("no server")?.id;
    Ok((id, server))
}

fn is_untouched(stack: &Stack, (id, server): &(String, u64)) -> Result<()> {
    let inventory = stack.cloud.inventory()?;
    let state = stack.api.get(id)?.state;
    ensure!(state == State::Booting, "{id} is {state}");
    ensure!(inventory.live_of(id).iter().any(|live| live.id == *server), "{id} has lost server {server}");
    ensure!(inventory.names_of(id).len() == 2, "{id} has {:?}", inventory.names_of(id));
    Ok(())
}

#[test]
fn an_unknown_server_is_imaged_before_it_ends_and_its_neighbour_is_not_touched() {
    SYSTEM.run(|stack| {
        let ours = booting(stack)?;
        let stray = plant_server(stack, "local", UNKNOWN[0], &seconds_from_now(9_999))?;
        let foreign = plant_server(stack, "another", UNKNOWN[0], &seconds_from_now(-9_999))?;
        let report = ends(stack, stray)?;
        let images = images_of(stack, UNKNOWN[0])?;
        ensure!(images.len() == 1, "{images:?}");
        let expires = images[0]["labels"]["ebbtide-expires"].as_str().context("no end")?.parse::<i64>()?;
        let keeps = expires - now();
        ensure!((6 * 86_400..8 * 86_400).contains(&keeps), "the image is kept for {keeps} s");
        let findings = &part(&report, SweepPart::Servers)?.findings;
        let of_it = findings.iter().find(|finding| finding.id == format!("server {stray}"));
        let finding = of_it.context("not reported")?;
        ensure!(finding.verdict == SweepVerdict::End && finding.done == "ended", "{finding:?}");
        ensure!(finding.because.contains("no workspace answers"), "{finding:?}");
        let audit = stack.api.call("GET", "/v1/audit", None)?.expect(200)?.text();
        ensure!(audit.contains("sweep.server.image") && audit.contains("sweep.server.end"), "{audit}");
        swept(stack)?;
        is_untouched(stack, &ours)?;
        ensure!(!is_gone(stack, foreign)?, "another installation's server is gone");
        stack.hetzner("DELETE", &format!("/servers/{foreign}"), None)?.expect(200)?;
        discarded(stack, &ours.0)
    });
}

#[test]
fn labels_end_machines_even_where_the_index_is_lost_and_objects_that_live_outweigh_them() {
    SYSTEM.run(|stack| {
        let ours = booting(stack)?;
        stack.plant_object(&format!("workspaces/owner/{}/key.json", ours.0), "x")?;
        let path = format!("/servers/{}", ours.1);
        let stale = json!({ "labels": labels("local", &ours.0, &seconds_from_now(-9_999)) });
        stack.hetzner("PUT", &path, Some(&stale))?.expect(200)?;
        let over = plant_server(stack, "local", UNKNOWN[1], &seconds_from_now(-60))?;
        let young = plant_server(stack, "local", UNKNOWN[2], &seconds_from_now(9_999))?;
        // It stays as lost as it is: no workspace gets its row back.
        stack.change_index(
            "CREATE TRIGGER keeps_out BEFORE INSERT ON workspaces BEGIN SELECT RAISE(IGNORE); END;
            DELETE FROM workspaces;",
        )?;
        ends(stack, over)?;
        ensure!(images_of(stack, UNKNOWN[1])?.len() == 1, "it ended without an image");
        swept(stack)?;
        ensure!(!is_gone(stack, young)?, "a server ended before its label said so, with no index to say why");
        // The object wrote the label anew, and nothing of it was touched.
        let server = stack.hetzner("GET", &path, None)?.expect(200)?.json();
        let expires = server["server"]["labels"]["ebbtide-expires"].as_str().unwrap_or_default();
        ensure!(expires.parse::<i64>()? > now(), "the label is still {expires}");
        let names = stack.cloud.inventory()?.names_of(&ours.0);
        ensure!(names.len() == 2, "{names:?}");
        // Where the index knows somebody again, what nobody knows ends.
        stack.change_index(&format!(
            "DROP TRIGGER keeps_out;
            CREATE TRIGGER keeps_out BEFORE INSERT ON workspaces WHEN NEW.id = '{}'
                BEGIN SELECT RAISE(IGNORE); END;",
            ours.0
        ))?;
        let other = booting(stack)?;
        ends(stack, young)?;
        ensure!(status(stack, ours.1)? != "deleted", "a live workspace without a row has lost its server");
        stack.change_index("DROP TRIGGER keeps_out;")?;
        indexed(stack, &ours.0)?;
        is_untouched(stack, &ours)?;
        discarded(stack, &ours.0)?;
        discarded(stack, &other.0)
    });
}

#[test]
fn a_workspace_asleep_comes_back_into_a_lost_index_and_wakes() {
    SYSTEM.run(|stack| {
        let (id, _) = booting(stack)?;
        stack.plant_object(&format!("workspaces/owner/{id}/restic/config"), "x")?;
        stack.api.act(&id, "sleep")?;
        stack.api.wait_for(&id, State::Asleep, LIMIT)?;
        stack.change_index("DELETE FROM workspaces;")?;
        indexed(stack, &id)?;
        let workspace = stack.api.get(&id)?;
        ensure!(workspace.state == State::Asleep, "{}", shown(&workspace));
        let list = stack.api.call("GET", "/v1/workspaces", None)?.expect(200)?.text();
        ensure!(list.contains(&id), "{list}");
        stack.api.act(&id, "wake")?;
        stack.api.wait_for(&id, State::Booting, LIMIT)?;
        discarded(stack, &id)
    });
}

#[test]
fn a_machine_that_nobody_may_image_goes_only_beyond_every_deadline() {
    SYSTEM.run(|stack| {
        let ours = booting(stack)?;
        let refusal = json!({ "kind": "refuse", "status": 422, "code": "invalid_input", "message": "no" });
        stack.cloud.fault("hetzner", "POST /servers/*/actions/create_image", 1_000, &refusal)?;
        let old = plant_server(stack, "local", UNKNOWN[4], &seconds_from_now(-999_999))?;
        let young = plant_server(stack, "local", UNKNOWN[5], &seconds_from_now(9_999))?;
        ends(stack, old)?;
        let report = swept(stack)?;
        let findings = &part(&report, SweepPart::Servers)?.findings;
        let finding = findings.iter().find(|finding| finding.id == format!("server {young}"));
        ensure!(finding.is_some_and(|finding| finding.done.contains("invalid_input")), "{findings:?}");
        ensure!(!is_gone(stack, young)?, "a server ended without its image");
        let audit = stack.api.call("GET", "/v1/audit", None)?.expect(200)?.text();
        ensure!(audit.contains("sweep.server.unimaged"), "{audit}");
        stack.cloud.clear_faults()?;
        ends(stack, young)?;
        is_untouched(stack, &ours)?;
        discarded(stack, &ours.0)
    });
}

#[test]
fn a_restored_index_destroys_nothing() {
    SYSTEM.run(|stack| {
        let ours = booting(stack)?;
        let rows = ["state = 'asleep', next_deadline = NULL", "state = 'deleted', generation = 9"];
        for change in rows {
            stack.change_index(&format!("UPDATE workspaces SET {change} WHERE id = '{}';", ours.0))?;
            swept(stack)?;
            is_untouched(stack, &ours)?;
            let list = stack.api.call("GET", "/v1/workspaces", None)?.expect(200)?.json();
            let listed = list["workspaces"].as_array().into_iter().flatten();
            let states: Vec<&Value> =
                listed.filter(|row| row["id"] == ours.0).map(|row| &row["state"]).collect();
            ensure!(states == ["booting"], "after {change} its row was not mended: {list}");
        }
        discarded(stack, &ours.0)
    });
}

/// Slices without an index: they answer that it is away, whatever they enforce.
fn blind(stack: &Stack) -> Result<()> {
    let answer = stack.api.call("POST", "/v1/sweep", Some(&json!({})))?;
    ensure!(answer.status == 503, "{}", answer.text());
    at_rest(stack)
}

#[test]
fn without_an_index_labels_alone_end_what_outlived_them_unless_the_switch_is_off() {
    const AWAY: &str =
        "ALTER TABLE sweep RENAME TO sweep_away; ALTER TABLE workspaces RENAME TO workspaces_away;";
    const BACK: &str =
        "ALTER TABLE sweep_away RENAME TO sweep; ALTER TABLE workspaces_away RENAME TO workspaces;";
    SYSTEM.run(|stack| {
        let ours = booting(stack)?;
        let over = plant_server(stack, "local", "iiiiiiiiii", &seconds_from_now(-60))?;
        let young = plant_server(stack, "local", "jjjjjjjjjj", &seconds_from_now(9_999))?;
        let foreign = plant_server(stack, "another", "kkkkkkkkkk", &seconds_from_now(-60))?;
        set_mode(stack, SweepMode::Off)?;
        stack.change_index(AWAY)?;
        blind(stack)?;
        blind(stack)?;
        ensure!(!is_gone(stack, over)?, "it ended although the switch was off");
        ensure!(images_of(stack, "iiiiiiiiii")?.is_empty(), "an image was taken with the switch off");
        stack.change_index(BACK)?;
        set_mode(stack, SweepMode::On)?;
        stack.change_index(AWAY)?;
        for _ in 0..10 {
            blind(stack)?;
            if is_gone(stack, over)? {
                break;
            }
        }
        stack.change_index(BACK)?;
        ensure!(is_gone(stack, over)?, "its label ended it, and it is still there");
        ensure!(images_of(stack, "iiiiiiiiii")?.len() == 1, "it ended without an image");
        ensure!(
            !is_gone(stack, young)? && !is_gone(stack, foreign)?,
            "a server ended that no label of ours ended"
        );
        is_untouched(stack, &ours)?;
        discarded(stack, &ours.0)
    });
}

#[test]
fn the_switch_and_the_dry_run_end_nothing() {
    SYSTEM.run(|stack| {
        let ours = booting(stack)?;
        let stray = plant_server(stack, "local", UNKNOWN[3], &seconds_from_now(-60))?;
        let name = plant_record(stack, "local", UNKNOWN[3])?;
        let nothing_ended = |stack: &Stack| -> Result<()> {
            ensure!(!is_gone(stack, stray)? && names(stack)?.contains(&name), "something ended");
            ensure!(images_of(stack, UNKNOWN[3])?.is_empty(), "an image was taken");
            Ok(())
        };
        let off = set_mode(stack, SweepMode::Off)?;
        ensure!((off.mode, off.configured, off.asked) == (SweepMode::Off, SweepMode::On, SweepMode::Off));
        let before = part(&sweep(stack)?, SweepPart::Servers)?.last_run_at;
        let after = part(&sweep(stack)?, SweepPart::Servers)?.last_run_at;
        ensure!(before == after, "servers were compared while the sweep is off");
        nothing_ended(stack)?;
        set_mode(stack, SweepMode::DryRun)?;
        // A server is looked at once it is a second old.
        let report = wait::until("the server to be reported", LIMIT, || {
            let report = swept(stack).map_err(|error| format!("{error:#}"))?;
            let findings = &part(&report, SweepPart::Servers).map_err(|error| format!("{error:#}"))?.findings;
            let is_told = findings.iter().any(|finding| finding.id == format!("server {stray}"));
            if is_told { Ok(report) } else { Err(format!("{findings:?}")) }
        })?;
        nothing_ended(stack)?;
        for (of, id) in
            [(SweepPart::Servers, format!("server {stray}")), (SweepPart::Names, format!("record A {name}"))]
        {
            let findings = &part(&report, of)?.findings;
            let finding = findings.iter().find(|finding| finding.id == id).context("not reported")?;
            ensure!(
                finding.verdict == SweepVerdict::End && finding.done == "it would be ended",
                "{finding:?}"
            );
        }
        set_mode(stack, SweepMode::On)?;
        ends(stack, stray)?;
        swept(stack)?;
        ensure!(!names(stack)?.contains(&name), "the record is still there");
        is_untouched(stack, &ours)?;
        discarded(stack, &ours.0)
    });
}

#[test]
fn a_listing_that_fails_or_is_partial_ends_nothing_and_stops_no_other_part() {
    SYSTEM.run(|stack| {
        let ours = booting(stack)?;
        let stray = plant_server(stack, "local", UNKNOWN[4], &seconds_from_now(-60))?;
        let faults = [
            json!({ "kind": "refuse", "status": 500, "code": "server_error", "message": "oh" }),
            json!({ "kind": "landed_then_error", "status": 502 }),
            json!({ "kind": "lost_response" }),
        ];
        for fault in faults {
            let name = plant_record(stack, "local", UNKNOWN[4])?;
            stack.cloud.fault("hetzner", "GET /servers", 1_000, &fault)?;
            let read = report(&stack.api.call("GET", "/v1/sweep", None)?.expect(200)?)?;
            let before = part(&read, SweepPart::Servers)?.last_run_at;
            // A part that was through everything a moment ago may have no turn in the run that ends the record.
            let report = wait::until("the record to go, and a turn of the servers", LIMIT, || {
                let report = sweep(stack).map_err(|error| format!("{error:#}"))?;
                let names = names(stack).map_err(|error| format!("{error:#}"))?;
                let servers = part(&report, SweepPart::Servers).map_err(|error| format!("{error:#}"))?;
                let is_over = !names.contains(&name) && servers.last_run_at > before;
                if is_over { Ok(report) } else { Err(format!("{report:?}")) }
            })?;
            let servers = part(&report, SweepPart::Servers)?;
            ensure!(servers.error.as_ref().is_some_and(|error| error.contains("provider")), "{servers:?}");
            ensure!(!is_gone(stack, stray)?, "a server ended on a listing that failed");
            stack.cloud.clear_faults()?;
        }
        let report = ends(stack, stray)?;
        ensure!(part(&report, SweepPart::Servers)?.error.is_none(), "{report:?}");
        is_untouched(stack, &ours)?;
        discarded(stack, &ours.0)
    });
}

#[test]
fn no_more_than_the_limit_ends_in_a_run() {
    SYSTEM.run(|stack| {
        let ours = booting(stack)?;
        for workspace in UNKNOWN {
            plant_record(stack, "local", workspace)?;
        }
        let strays = |stack: &Stack| -> Result<usize> {
            Ok(names(stack)?.iter().filter(|name| name.starts_with("local-")).count())
        };
        let mut left = strays(stack)?;
        ensure!(left == UNKNOWN.len(), "{left} records");
        wait::until("all of them to go", LIMIT, || {
            let one_run = |left: usize| -> Result<(usize, SweepReport)> {
                let report = sweep(stack)?;
                let now = strays(stack)?;
                ensure!(left - now <= 5, "{} ended in a run", left - now);
                ensure!((report.limit - report.limit_left) as usize >= left - now, "{report:?}");
                Ok((now, report))
            };
            match one_run(left) {
                Ok((0, _)) => Ok(Ok(())),
                Ok((now, report)) => {
                    left = now;
                    Err(format!("{:?}", part(&report, SweepPart::Names)))
                }
                Err(error) => Ok(Err(error)),
            }
        })??;
        is_untouched(stack, &ours)?;
        discarded(stack, &ours.0)
    });
}

#[test]
fn images_and_addresses_go_when_their_time_is_over_and_not_before() {
    SYSTEM.run(|stack| {
        let ours = booting(stack)?;
        let image = |install: &str, expires: &str| -> Result<u64> {
            let path = format!("/servers/{}/actions/create_image", ours.1);
            let body = json!({ "type": "snapshot", "labels": labels(install, UNKNOWN[5], expires) });
            wait::until("an image to be taken", LIMIT, || {
                let answer =
                    stack.hetzner("POST", &path, Some(&body)).map_err(|error| format!("{error:#}"))?;
                answer.json()["image"]["id"].as_u64().ok_or_else(|| answer.text())
            })
        };
        let over = image("local", &seconds_from_now(-60))?;
        let kept = image("local", &seconds_from_now(9_999))?;
        let foreign = image("another", &seconds_from_now(-60))?;
        let address = |name: &str, labels: Value| -> Result<u64> {
            let body = json!({ "name": name, "type": "ipv4", "location": "fsn1", "labels": labels });
            let made = stack.hetzner("POST", "/primary_ips", Some(&body))?.expect(201)?.json();
            made["primary_ip"]["id"].as_u64().context("no id")
        };
        let unused = address("unused", labels("local", UNKNOWN[5], &seconds_from_now(9_999)))?;
        let others = address("others", labels("another", UNKNOWN[5], &seconds_from_now(-60)))?;
        let nobodys = address("nobodys", json!({}))?;
        at_rest(stack)?;
        let there = |path: &str, id: u64| -> Result<bool> {
            Ok(stack.hetzner("GET", &format!("/{path}/{id}"), None)?.status == 200)
        };
        wait::until("the image and the address to go", LIMIT, || {
            let report = sweep(stack).map_err(|error| format!("{error:#}"))?;
            let left = (there("images", over), there("primary_ips", unused));
            if matches!(left, (Ok(false), Ok(false))) { Ok(()) } else { Err(format!("{left:?} {report:?}")) }
        })?;
        swept(stack)?;
        for (path, id) in
            [("images", kept), ("images", foreign), ("primary_ips", others), ("primary_ips", nobodys)]
        {
            ensure!(there(path, id)?, "{path} {id} is gone");
        }
        // The address of a live machine carries our label, so that it would be found if it outlived the machine.
        let addresses = stack.cloud.inventory()?.primary_ips;
        let labelled = |address: &&Value| address["labels"]["ebbtide-workspace"] == ours.0.as_str();
        ensure!(addresses.iter().filter(labelled).count() == 1, "{addresses:?}");
        for (path, id) in
            [("images", kept), ("images", foreign), ("primary_ips", others), ("primary_ips", nobodys)]
        {
            stack.hetzner("DELETE", &format!("/{path}/{id}"), None)?.expect(204)?;
        }
        is_untouched(stack, &ours)?;
        discarded(stack, &ours.0)
    });
}

#[test]
fn stored_objects_go_with_a_purged_or_unknown_workspace_and_with_no_other() {
    SYSTEM.run(|stack| {
        let ours = booting(stack)?;
        let purged = stack.api.create(&json!({}))?.id.to_string();
        discarded(stack, &purged)?;
        let key = |workspace: &str, path: &str| format!("workspaces/owner/{workspace}/restic/{path}");
        let kept = key(&ours.0, "config");
        let go = [key(&purged, "config"), key(&purged, "data/00"), key(UNKNOWN[7], "data/00")];
        let backup = [key(UNKNOWN[6], "config"), key(UNKNOWN[6], "data/00")];
        let all = go.iter().chain(std::iter::once(&kept)).chain(&backup);
        all.clone().try_for_each(|key| stack.plant_object(key, "x"))?;
        wait::until("the objects to be swept", LIMIT, || {
            let report = sweep(stack).map_err(|error| format!("{error:#}"))?;
            let findings = &part(&report, SweepPart::Objects).map_err(|error| format!("{error:#}"))?.findings;
            let gone = |workspace: &str, done: &str| {
                findings.iter().any(|found| found.id.contains(workspace) && found.done == done)
            };
            let told = findings.iter().any(|found| {
                let is_it = found.id.contains(UNKNOWN[6]) && found.verdict == SweepVerdict::Leave;
                is_it && found.because.contains("it holds a backup")
            });
            let both = gone(&purged, "2 objects deleted") && gone(UNKNOWN[7], "1 objects deleted");
            if both && told { Ok(()) } else { Err(format!("{findings:?}")) }
        })?;
        let left: Vec<&String> = all.filter(|key| stack.has_object(key)).collect();
        ensure!(left == [&kept, &backup[0], &backup[1]], "{left:?}");
        is_untouched(stack, &ours)?;
        discarded(stack, &ours.0)
    });
}

#[test]
fn two_installations_share_a_project_and_never_touch_each_other() {
    SYSTEM.run(|stack| {
        let other = stack.start_beside(options("beside", "away", json!({})))?;
        let (ours, theirs) = (booting(stack)?, booting(&other)?);
        let our_stray = plant_server(stack, "local", UNKNOWN[6], &seconds_from_now(-60))?;
        let their_stray = plant_server(stack, "away", UNKNOWN[6], &seconds_from_now(-60))?;
        let our_name = plant_record(stack, "local", UNKNOWN[6])?;
        let their_name = plant_record(stack, "away", UNKNOWN[6])?;
        ends(stack, our_stray)?;
        swept(stack)?;
        ensure!(!is_gone(stack, their_stray)?, "we ended their server");
        ensure!(
            names(stack)?.contains(&their_name) && !names(stack)?.contains(&our_name),
            "{:?}",
            names(stack)?
        );
        is_untouched(stack, &ours)?;
        is_untouched(&other, &theirs)?;
        ends(&other, their_stray)?;
        swept(&other)?;
        ensure!(!names(stack)?.contains(&their_name), "their record is still there");
        is_untouched(stack, &ours)?;
        is_untouched(&other, &theirs)?;
        discarded(&other, &theirs.0)?;
        other.stop()?;
        discarded(stack, &ours.0)
    });
}
