//! The daemon at rest, measured: `EBB_AGENT=<binary> cargo test --test daemon -- --ignored --nocapture at_rest`.

use crate::machine::{Machine, machine_bin};
use ebbtide_api::vm::{StepAction, VmPolicy};
use std::time::Duration;

/// Processor time of a process, in ticks of a hundredth of a second.
fn ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
#[ignore = "measures for a minute; the figures are for docs/evidence/benchmarks.md"]
fn at_rest_it_is_small_and_quiet() {
    let mut machine = Machine::new(|paths| {
        let mut steps =
            vec![StepAction::StartTerminal { user: "ebb".into(), directory: paths.of("workspaces") }];
        steps.extend(machine_bin().join("caddy").exists().then_some(StepAction::StartCaddy));
        steps
    });
    machine.control.state().enrolled.policy =
        VmPolicy { heartbeat_secs: 15, idle_timeout_secs: 1800, ..crate::machine::policy() };
    machine.boot();
    let mut others: Vec<_> = (0..300).map(|_| machine.user_process("sleep", &["3600"])).collect();
    let secs = std::env::var("REST_SECS").ok().and_then(|text| text.parse().ok()).unwrap_or(60);
    std::thread::sleep(Duration::from_secs(5));
    let before = ticks(machine.pid());
    std::thread::sleep(Duration::from_secs(secs));
    let used = ticks(machine.pid()) - before;
    let status = std::fs::read_to_string(format!("/proc/{}/status", machine.pid())).unwrap();
    for line in status
        .lines()
        .filter(|line| line.starts_with("Vm") || line.starts_with("Rss") || line.starts_with("Threads"))
    {
        eprintln!("{line}");
    }
    for thread in std::fs::read_dir(format!("/proc/{}/task", machine.pid())).unwrap().flatten() {
        let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        let name = std::fs::read_to_string(thread.path().join("comm")).unwrap();
        eprintln!("{} user {} system {} since its start", name.trim(), fields[11], fields[12]);
    }
    eprintln!("{used} ticks in {secs} s: {:.3} % of a core", used as f64 / secs as f64);
    for other in &mut others {
        other.kill().unwrap();
        other.wait().unwrap();
    }
    assert!(used * 10 <= secs * 3, "more than 0.3 % of a core");
}
