//! A whole life with everything that befalls a machine on the way. The image has the programs already: that a boot installs
//! them is in `first_boot`.

use crate::steps::{Life, PORT, spawn, stack};
use crate::timeline::Timeline;
use anyhow::{Result, ensure};
use ebbtide_api::workspace::State;
use ebbtide_system_tests::{VmImage, wait};
use serde_json::json;
use std::time::Duration;

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
    timeline.step("systemd has no failed unit", || no_failed_unit(&life));
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

fn no_failed_unit(life: &Life) -> Result<String> {
    let said = life.guest()?.shell("systemctl list-units --failed --plain --no-legend; cloud-init status")?;
    ensure!(said == "status: done", "{said}");
    Ok(said)
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
    let again = |restart: &dyn Fn() -> Result<()>| {
        let guest = life.guest()?;
        let boot_id = "cat /proc/sys/kernel/random/boot_id";
        let before = guest.shell(boot_id)?;
        guest.shell("sync")?;
        restart()?;
        wait::until("another boot", crate::steps::LIMIT, || match guest.shell(boot_id) {
            Ok(now) if now != before => Ok(()),
            seen => Err(format!("{seen:?}")),
        })?;
        let back = life.other_agent(0)?;
        // What the user ran ended with the machine; a person starts it again, in the terminal that must be there.
        wait::until("a terminal", crate::steps::LIMIT, || {
            life.serve().map_err(|error| format!("{error:#}"))
        })?;
        Ok(format!("{back}; page {}", life.page_answers()?))
    };
    timeline.step("reboot; ports answer again", || {
        again(&|| life.guest()?.shell("systemctl --no-block reboot").map(drop))
    });
    timeline.step("power cut; ports answer again", || {
        again(&|| life.guest()?.hardware("system_reset", json!({})))
    });
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
    timeline.step("a fork storm; a snapshot still comes", || {
        let guest = life.guest()?;
        let storm = "tmux new-window -d 'for i in $(seq 4000); do sleep 3600 & done; sleep 3600'";
        guest.shell_as("ebb", storm)?;
        let sleeping = || guest.shell("pgrep --count --uid ebb --exact sleep || true");
        let mut last = String::new();
        wait::until("the storm's end", crate::steps::LIMIT, || {
            let now = sleeping().map_err(|error| format!("{error:#}"))?;
            let done = now != "0" && now == last;
            last = now;
            if done { Ok(()) } else { Err(last.clone()) }
        })?;
        // Work, so that there is something to back up.
        guest.shell_as("ebb", "echo in the storm > ~/kept/storm")?;
        let taken = life.snapshot();
        guest.shell("pkill --uid ebb --exact sleep || true")?;
        Ok(format!("{last} processes; {}", taken?))
    });
    timeline.step("out of memory; the agent is the same, a snapshot still comes", || {
        let guest = life.guest()?;
        let agent = life.agent_pid()?;
        let hog = "python3 -c 'held = [bytearray(50_000_000) for _ in range(200)]' 2>&1; echo $?";
        let said = guest.shell_as("ebb", hog)?;
        ensure!(said != "0", "the hog was not stopped");
        ensure!(life.agent_pid()? == agent, "the idle-agent was restarted");
        guest.shell_as("ebb", "echo after the shortage > ~/kept/shortage")?;
        Ok(format!("the hog ended with {}; {}", said.lines().last().unwrap_or_default(), life.snapshot()?))
    });
}
