//! What watching a busy machine costs: the idle-agent's processor time and memory with many processes, agents in turns
//! and a long transcript that grows. Read from outside, from the kernel's own account of the idle-agent.

use super::report::{Section, verdict};
use crate::agents::Agents;
use crate::machine::Machine;
use crate::{Machines, Options, Stack, machine, paths, wait};
use anyhow::{Context, Result, ensure};
use ebbtide_api::workspace::State;
use serde_json::json;
use std::time::{Duration, Instant};

/// Processes that are there beside the agents, and how many of them use 10 ms of the processor every nine seconds, so
/// that each look has to read more of them than a line.
const PROCESSES: usize = 500;
const TICKING: usize = 100;
/// Agents that wait for their model.
const AGENTS: usize = 5;
/// Size of the transcript.
const TRANSCRIPT_MB: usize = 200;
/// What the kernel counts processor time in.
const TICKS_PER_SEC: f64 = 100.0;
/// Targets: a part of a core in percent, and megabytes.
const CPU_MOST: f64 = 0.3;
const MEMORY_MOST: f64 = 15.0;

/// Measures for so long, in a system of its own; says the table.
///
/// # Errors
/// Something does not come up.
pub fn run(watched: Duration, say: fn(&str)) -> Result<Section> {
    let repositories = tempfile::Builder::new().prefix("ebbtide-repositories-").tempdir()?;
    machine::serve_this_repository(repositories.path())?;
    let stack = Stack::start(Options {
        name: "watching".into(),
        machines: Machines::Process,
        policy: json!({ "heartbeat": "15s", "use_paid_hour": true }),
        repositories: Some(repositories.path().to_owned()),
        cron_every: Duration::from_secs(300),
        progress: say,
        ..Options::default()
    })?;
    let agent = paths::root().join("target/x86_64-unknown-linux-musl/release/ebb-agent");
    ensure!(agent.exists(), "{} is missing; run scripts/build release", agent.display());
    stack.api.publish_agent(&agent)?;
    let measured = measure(&stack, watched, say);
    stack.stop()?;
    measured
}

fn measure(stack: &Stack, watched: Duration, say: fn(&str)) -> Result<Section> {
    let limit = Duration::from_secs(120);
    let id = stack.api.create(&json!({ "repo": "http://git.ebbtide.test/ebbtide.git" }))?.id.to_string();
    stack.api.wait_for(&id, State::Running, limit)?;
    let inside = stack.machine_of(&id)?;
    let pid = *inside.pids_of("ebb-agent").first().context("no idle-agent runs")?;
    let mut section = Section::new(
        "What watching costs",
        &format!(
            "The idle-agent of one machine, from the kernel's account of it, {} s each; idle timeout 30 min.",
            watched.as_secs()
        ),
        &["machine", "processor time", "target", "resident", "target"],
    );
    row(&mut section, "at rest", pid, watched)?;
    say(&format!("{PROCESSES} processes, {AGENTS} agents, a transcript of {TRANSCRIPT_MB} MB"));
    busy(&inside)?;
    row(&mut section, "busy", pid, watched)?;
    section.remark(format!(
        "Busy: {PROCESSES} processes of which {TICKING} use the processor in every look, {AGENTS} Claude Code in turns whose \
         model is silent, and the transcript of one of these, {TRANSCRIPT_MB} MB long, grows by 20 kB a second."
    ));
    Ok(section)
}

fn busy(inside: &Machine) -> Result<()> {
    let agents = Agents::prepare(inside.clone())?;
    for _ in 0..AGENTS {
        agents.claude("-p", "do:think 3000")?;
    }
    wait::until("the agents to ask", Duration::from_secs(180), || {
        let asked = std::fs::read_to_string(inside.path("/home/ebb/model.log")).unwrap_or_default();
        let times = asked.lines().filter(|line| *line == "asked").count();
        if times >= AGENTS { Ok(()) } else { Err(format!("{times} have")) }
    })?;
    // Of a session that reported: its own transcript is what is looked at. An agent that only appends does not mind.
    let transcript = inside.shell("ebb", "ls ~/.claude/projects/*/*.jsonl | head -n 1")?;
    ensure!(!transcript.is_empty(), "no session has a transcript");
    inside.shell("ebb", &format!("head -c {TRANSCRIPT_MB}M /dev/zero >> '{transcript}'"))?;
    let grow = format!("while sleep 1; do head -c 20000 /dev/zero; done >> {transcript}");
    inside.shell("ebb", &format!("tmux new-window -d '{grow}'"))?;
    let tick = "import os, time\nfor number in range(TICKING - 1):\n    if os.fork() == 0:\n        break\nwhile True:\n    \
                end = time.process_time() + 0.01\n    while time.process_time() < end:\n        pass\n    time.sleep(9)\n";
    let tick = tick.replace("TICKING", &TICKING.to_string());
    inside.shell("ebb", &format!("cat > ~/tick.py <<'END-OF-FILE'\n{tick}END-OF-FILE\n"))?;
    inside.shell("ebb", "tmux new-window -d 'exec python3 ~/tick.py'")?;
    let asleep = PROCESSES - TICKING;
    let many = format!("for i in $(seq {asleep}); do sleep 3000 & done; wait");
    inside.shell("ebb", &format!("tmux new-window -d '{many}'"))?;
    wait::until("the processes", Duration::from_secs(120), || {
        let (sleeping, ticking) = (inside.pids_of("sleep").len(), inside.pids_of("python3").len());
        let all = sleeping >= asleep && ticking >= TICKING;
        if all { Ok(()) } else { Err(format!("{sleeping} sleep and {ticking} tick")) }
    })
}

fn row(section: &mut Section, what: &str, pid: u32, watched: Duration) -> Result<()> {
    // The first look at something new reads more; it is not what watching costs.
    std::thread::sleep(Duration::from_secs(25));
    let (begun, then) = (Instant::now(), ticks(pid)?);
    std::thread::sleep(watched);
    let used = ticks(pid)?.saturating_sub(then);
    let percent = f64::from(u32::try_from(used)?) / TICKS_PER_SEC / begun.elapsed().as_secs_f64() * 100.0;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kilobytes: u32 = kilobytes.trim().trim_end_matches(" kB").parse()?;
    let mebibytes = f64::from(kilobytes) / 1024.0;
    section.row([
        what.to_owned(),
        format!("{percent:.2} % of a core"),
        verdict(percent, CPU_MOST, "%"),
        format!("{mebibytes:.1} MiB"),
        verdict(mebibytes, MEMORY_MOST, "MiB"),
    ]);
    Ok(())
}

fn ticks(pid: u32) -> Result<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, rest) = stat.rsplit_once(')').context("a torn line")?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let number = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
    Ok(number(11) + number(12))
}
