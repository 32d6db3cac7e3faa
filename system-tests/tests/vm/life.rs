//! A whole life with everything that befalls a machine on the way. The image has the programs already: that a boot installs
//! them is in `first_boot`.

use crate::steps::{LIMIT, Life, PORT, spawn, stack};
use crate::timeline::Timeline;
use anyhow::{Result, ensure};
use ebbtide_api::workspace::State;
use ebbtide_system_tests::{VmImage, wait};
use serde_json::json;
use std::time::Duration;

/// Starts threads, which cost a task but little memory, until it is refused one.
const STORM: &str = r#"
import threading, time
threading.stack_size(65536)
count = 0
try:
    while count < 100_000:
        threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()
        count += 1
except RuntimeError:
    pass
with open("/home/ebb/storm-count", "w") as told:
    told.write(str(count))
time.sleep(3600)
"#;

/// How long a paused machine stands still: longer than the control plane bears silence.
const PAUSE: Duration = Duration::from_secs(185);

#[test]
fn a_machine_bears_what_machines_go_through() -> Result<()> {
    let mut timeline = Timeline::new("life");
    let stack = timeline.must("control plane and local cloud are up", || {
        Ok((String::new(), stack("vm-life", VmImage::Prepared, &[])?))
    })?;
    let id = timeline.must("spawn, until ready", || spawn(&stack))?;
    let life = Life { stack, id };
    timeline.step("systemd has no failed unit", || life.no_failed_unit());
    timeline.step("a port answers", || {
        life.serve()?;
        life.page_answers()
    });
    timeline.must("files of every kind are made", || Ok((life.make_files()?, ())))?;
    agent_dies(&mut timeline, &life);
    machine_starts_again(&mut timeline, &life);
    time_is_off(&mut timeline, &life);
    network_goes(&mut timeline, &life);
    shortage(&mut timeline, &life);
    let before = timeline.must("the files' manifest", || {
        let facts = life.manifest()?;
        Ok((format!("{} entries", facts.len()), facts))
    })?;
    for (sleep, wake, same) in [
        ("sleep, until the server is gone", "wake, until ready", "the same bytes"),
        ("second sleep", "second wake", "the same bytes again"),
    ] {
        timeline.must(sleep, || Ok((life.sleep()?, ())))?;
        timeline.must(wake, || Ok((life.wake()?, ())))?;
        timeline.step(same, || life.has_files(&before));
    }
    timeline.step("everything ends", || life.stack.stop().map(|()| String::new()));
    timeline.end()
}

/// The idle-agent is killed, alone and with all that its unit holds; what the user runs goes on.
fn agent_dies(timeline: &mut Timeline, life: &Life) {
    for (step, whom) in [
        ("the agent's main process is killed; the port answers", "--kill-whom=main"),
        ("its whole unit is killed; the same server answers", "--kill-whom=all"),
    ] {
        timeline.step(step, || {
            let guest = life.guest()?;
            let server = format!("pgrep --full --oldest --uid ebb 'http.server {PORT}'");
            let (agent, served_by) = (life.agent_pid()?, guest.shell(&server)?);
            guest.shell(&format!("systemctl kill {whom} --signal=KILL ebbtide-agent.service"))?;
            let back = life.other_agent(agent)?;
            let serves = guest.shell(&server).unwrap_or_default();
            ensure!(serves == served_by, "the user's server was process {served_by}, now \"{serves}\"");
            Ok(format!("{back}; {}", life.page_answers()?))
        });
    }
}

/// The system is restarted from inside, and its power is cut.
fn machine_starts_again(timeline: &mut Timeline, life: &Life) {
    timeline.step("reboot; ports answer again", || life.reboots());
    timeline.step("the packet filter stood before the network", || life.filter_stood_first());
    timeline.step("power cut; ports answer again", || life.loses_power());
}

/// The machine stands still for a while, and its clock is wrong.
fn time_is_off(timeline: &mut Timeline, life: &Life) {
    timeline.step("the machine is paused for 185 s", || {
        let guest = life.guest()?;
        guest.hardware("stop", json!({}))?;
        let silent = life.becomes(State::Silent);
        wait::stays("the pause", PAUSE, || Ok(()))?;
        guest.hardware("cont", json!({}))?;
        let running = life.becomes(State::Running)?;
        Ok(format!("silent after {:.0} s, running {running:.1} s after it went on", silent?))
    });
    timeline.step("after the pause a fresh link answers", || life.page_answers());
    for (step, there, back) in [
        ("the clock is 50 s behind; a fresh link answers", "- 50 seconds", "+ 50 seconds"),
        ("the clock is 3 min behind; a fresh link answers", "- 3 minutes", "+ 3 minutes"),
        ("the clock is 3 h ahead; a fresh link answers", "+ 3 hours", "- 3 hours"),
    ] {
        timeline.step(step, || {
            let set = |by: &str| {
                life.guest()?.shell(&format!("timedatectl set-ntp false; date -s \"$(date) {by}\""))
            };
            set(there)?;
            let answered = life.page_answers();
            set(back)?;
            answered
        });
    }
}

fn network_goes(timeline: &mut Timeline, life: &Life) {
    timeline.step("the network is away until it is silent; ports answer again", || {
        let cable = |up: bool| life.guest()?.hardware("set_link", json!({ "name": "nic0", "up": up }));
        cable(false)?;
        let silent = life.becomes(State::Silent);
        cable(true)?;
        let running = life.becomes(State::Running)?;
        Ok(format!("silent after {:.0} s, running {running:.1} s after; {}", silent?, life.page_answers()?))
    });
}

/// The user's programs take all processes and all memory that they can get.
fn shortage(timeline: &mut Timeline, life: &Life) {
    timeline.step("a fork storm until the system refuses; a snapshot still comes", || {
        let guest = life.guest()?;
        guest.shell_as(
            "ebb",
            &format!("cat > ~/storm.py <<'END'\n{STORM}\nEND\ntmux new-window -d 'python3 ~/storm.py'"),
        )?;
        let count = wait::until("the storm's end", LIMIT, || {
            let told = guest.shell("cat /home/ebb/storm-count").map_err(|error| format!("{error:#}"))?;
            if told.is_empty() { Err("no count yet".into()) } else { Ok(told) }
        })?;
        // Work, so that there is something to back up.
        guest.shell("touch /home/ebb/kept/storm")?;
        let taken = life.snapshot();
        guest.shell("pkill --uid ebb --full storm.py || true")?;
        Ok(format!("{count} tasks of the user's; {}", taken?))
    });
    timeline.step("out of memory; the agent is the same, a snapshot still comes", || {
        let guest = life.guest()?;
        let agent = life.agent_pid()?;
        let told = life.bears_a_hog()?;
        ensure!(life.agent_pid()? == agent, "the idle-agent was restarted");
        guest.shell_as("ebb", "echo after the shortage > ~/kept/shortage")?;
        life.page_answers()?;
        Ok(format!("{told}; the server beside it answers; {}", life.snapshot()?))
    });
}
