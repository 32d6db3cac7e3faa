//! How long the sweep takes to compare 10 000 workspaces with 10 000 servers and 20 000 names, and what a slice calls.
//!
//! Everything is as it should be but for a few strays: the vendors' state is written into the local cloud's file and the
//! rows into the index, because 10 000 workspaces that really boot would say no more about the sweep.

use super::report::{Section, verdict};
use crate::{Options, Stack, wait};
use anyhow::{Context, Result, ensure};
use ebbtide_api::sweep::{SweepPart, SweepPartReport, SweepReport};
use serde_json::{Map, Value, json};
use std::fmt::Write;
use std::time::{Duration, Instant};

/// Workspaces, each with a server and two names.
const WORKSPACES: u64 = 10_000;
/// Servers beside those whose workspace nobody knows; their label has ended.
const STRAYS: u64 = 3;
/// Calls that a slice may make.
const CALLS_MOST: f64 = 28.0;
/// How often the cron runs in production, in minutes.
const CRON_MINUTES: f64 = 5.0;
/// How long all slices may take.
const LIMIT: Duration = Duration::from_mins(20);
/// Ids of planted servers begin here.
const FIRST_SERVER: u64 = 2_000_000;

/// Brings up a system, plants all that, and runs slices until servers, machines and names were all seen.
///
/// # Errors
/// Where something cannot be planted, or the sweep does not come to its end.
pub fn run(say: fn(&str)) -> Result<Section> {
    let mut stack = Stack::start(Options {
        name: "bench".into(),
        cron_every: Duration::from_hours(10),
        policy: json!({ "sweep_min_age": "1s" }),
        cloud_arguments: [
            "--server-limit",
            "100000",
            "--record-limit",
            "100000",
            "--hetzner-budget",
            "1000000/60s",
            "--cloudflare-budget",
            "1000000/60s",
        ]
        .map(String::from)
        .into(),
        progress: say,
        ..Options::default()
    })?;
    say("planting 10 000 workspaces, their servers and their names");
    plant(&mut stack)?;
    say("sweeping");
    let section = measure(&stack);
    if section.is_err() {
        eprintln!("{}", stack.last_words());
    }
    stack.stop()?;
    section
}

fn measure(stack: &Stack) -> Result<Section> {
    let wanted = [SweepPart::Servers, SweepPart::Machines, SweepPart::Names];
    let (mut slices, mut longest, mut most_calls, mut seen) = (0_u32, Duration::ZERO, 0, [0; 3]);
    let (mut swept, mut waited) = (Duration::ZERO, 0_u32);
    wait::until("a whole sweep", LIMIT, || {
        let slice = || -> Result<(SweepReport, Duration)> {
            let asked = Instant::now();
            let answer = stack.api.call("POST", "/v1/sweep", Some(&json!({})))?.expect(200)?;
            let report = serde_json::from_slice(&answer.body).context("reading the report")?;
            Ok((report, asked.elapsed()))
        };
        let (report, took): (SweepReport, Duration) = slice().map_err(|error| format!("{error:#}"))?;
        // The gate learns this vendor's limits as it goes, and at first holds looks back: such a slice sweeps nothing.
        let shut = |part: &SweepPartReport| {
            let waits = part.error.as_ref().is_some_and(|error| error.contains("budget"));
            waits && part.last_run_at == report.last_run_at
        };
        if report.parts.iter().any(shut) {
            waited += 1;
            return Err(format!("the gate holds looks back; {slices} slices"));
        }
        swept += took;
        slices += 1;
        longest = longest.max(took);
        most_calls = most_calls.max(report.calls);
        let mut done = true;
        for (place, part) in wanted.iter().enumerate() {
            let state = report.parts.iter().find(|state| state.part == *part);
            let state = state.ok_or_else(|| "a part is missing".to_owned())?;
            if let Some(error) = &state.error {
                return Err(format!("{part:?}: {error}"));
            }
            done &= state.rounds > 0;
            seen[place] = seen[place].max(state.seen);
        }
        if done { Ok(()) } else { Err(format!("{slices} slices, {seen:?} seen")) }
    })?;
    eprintln!("bench: {waited} slices besides in which the gate held looks back");
    ensure!(seen[0] >= WORKSPACES && seen[1] >= WORKSPACES && seen[2] >= 2 * WORKSPACES, "saw {seen:?} only");
    let mut section = Section::new(
        "The sweep over 10 000 workspaces",
        "10 000 rows in the index, 10 000 servers and 20 000 names that agree, and 3 servers that nobody answers for. \
         Slices are asked for one after the other, in the debug build of the local cloud and the `ci` build of the Worker.",
        &["figure", "measured", "target"],
    );
    let calls = f64::from(most_calls);
    section.row([
        "calls of the largest slice".into(),
        most_calls.to_string(),
        verdict(calls, CALLS_MOST, "calls"),
    ]);
    section.row(["slices for everything".into(), slices.to_string(), String::new()]);
    section.row(["time for all of them".into(), format!("{:.1} s", swept.as_secs_f64()), String::new()]);
    section.row(["longest slice".into(), format!("{:.2} s", longest.as_secs_f64()), String::new()]);
    let hours = f64::from(slices) * CRON_MINUTES / 60.0;
    section.remark(format!(
        "Derived: with a slice every five minutes a whole sweep takes {hours:.1} h; no deadline waits for it, because \
         every object has its own alarm."
    ));
    Ok(section)
}

/// Ids that begin evenly with all letters, none twice.
fn workspace(number: u64) -> String {
    const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyz234567";
    let mut rest = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) & ((1 << 50) - 1);
    let mut id = String::new();
    for _ in 0..10 {
        let place = usize::try_from(rest >> 45).unwrap_or_default();
        id.extend(LETTERS.get(place).map(|letter| char::from(*letter)));
        rest = (rest << 5) & ((1 << 50) - 1);
    }
    id
}

fn plant(stack: &mut Stack) -> Result<()> {
    // One of each is made in earnest, as the pattern for the others.
    let body = json!({ "name": "pattern", "server_type": "cx23", "image": "debian-12", "location": "fsn1" });
    stack.hetzner("POST", "/servers", Some(&body))?.expect(201)?;
    let zone = stack.cloud.addresses.zone_id.clone();
    let record = json!({ "type": "A", "name": "pattern.ebb.localhost", "content": "198.18.0.9", "ttl": 60 });
    stack.cloudflare("POST", &format!("/zones/{zone}/dns_records"), Some(&record))?.expect(200)?;
    wait::until("the pattern to run", Duration::from_secs(30), || {
        let inventory = stack.cloud.inventory().map_err(|error| format!("{error:#}"))?;
        let running = inventory.servers.iter().all(|server| server.status == "running");
        if running { Ok(()) } else { Err("it does not yet".into()) }
    })?;
    let file = stack.directory().join("cloud/state.json");
    let mut state: Value =
        serde_json::from_slice(&std::fs::read(&file)?).context("reading the cloud's state")?;
    multiply(&mut state, &zone)?;
    stack.restart_cloud_with(&serde_json::to_vec(&state)?)?;
    let mut sql = String::new();
    let now = now_ms();
    for number in 0..WORKSPACES {
        if number % 250 == 0 {
            sql += if number == 0 { "" } else { ";\n" };
            sql += "INSERT INTO workspaces (id, tenant, name, state, because, size, location, created_at, since, \
                    next_deadline, generation, server_id) VALUES ";
        } else {
            sql += ", ";
        }
        let (id, server) = (workspace(number), FIRST_SERVER + number);
        let (then, later) = (now - 7_200_000, now + 86_400_000);
        write!(
            sql,
            "('{id}', 'owner', 'bench', 'running', 'it works', 'cx23', 'fsn1', {then}, {then}, {later}, 1, {server})"
        )?;
    }
    stack.change_index(&format!("{sql};"))
}

fn multiply(state: &mut Value, zone: &str) -> Result<()> {
    let object = |value: Option<&mut Value>| -> Result<Map<String, Value>> {
        value.and_then(|value| value.as_object_mut()).cloned().context("the cloud's state has another form")
    };
    let now = now_ms();
    let servers = object(state.pointer_mut("/project/servers"))?;
    let pattern = servers.values().next().context("no server")?.clone();
    let mut many = Map::new();
    for number in 0..WORKSPACES + STRAYS {
        let stray = number >= WORKSPACES;
        let (id, workspace) = (FIRST_SERVER + number, workspace(number));
        let expires = now / 1000 + if stray { -86_400 } else { 86_400 };
        let mut server = pattern.clone();
        server["id"] = json!(id);
        server["name"] = json!(format!("ebb-{workspace}-1"));
        server["created_ms"] = json!(now - 7_200_000);
        server["ipv4"] = Value::Null;
        server["ipv6"] = Value::Null;
        server["labels"] = json!({
            "ebbtide-install": "local", "ebbtide-tenant": "owner", "ebbtide-workspace": workspace,
            "ebbtide-generation": "1", "ebbtide-expires": expires.to_string(),
        });
        many.insert(id.to_string(), server);
    }
    state["project"]["servers"] = Value::Object(many);
    state["last_id"] = json!(FIRST_SERVER + 2 * WORKSPACES);
    let place = format!("/zones/{zone}/records");
    let records = object(state.pointer_mut(&place))?;
    let pattern = records.values().next().context("no record")?.clone();
    let mut many = Map::new();
    for number in 0..WORKSPACES {
        let workspace = workspace(number);
        for (at, prefix) in ["", "*."].into_iter().enumerate() {
            let id = format!("{:032x}", number * 2 + at as u64 + 1);
            let mut record = pattern.clone();
            record["id"] = json!(id);
            record["name"] = json!(format!("{prefix}bench-{workspace}.ebb.localhost"));
            record["comment"] = json!(format!("ebbtide local {workspace} g1"));
            record["seq"] = json!(number * 2 + at as u64 + 1);
            many.insert(id, record);
        }
    }
    *state.pointer_mut(&place).context("no records")? = Value::Object(many);
    Ok(())
}

fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.ok().and_then(|since| i64::try_from(since.as_millis()).ok()).unwrap_or(0)
}
