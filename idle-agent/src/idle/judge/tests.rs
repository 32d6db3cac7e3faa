//! What a restart, a reboot and a suspension mean.

use super::*;
use ebbtide_api::why::Verdict;

pub const POLICY: VmPolicy = VmPolicy {
    heartbeat_secs: 15,
    idle_timeout_secs: 60,
    unknown_grace_secs: 600,
    waiting_for_human_secs: 7200,
    agent_silence_secs: 1800,
    background_secs: 7200,
    snapshot_every_secs: 900,
};

/// Nothing goes on.
pub fn still() -> Facts {
    Facts {
        ready: true,
        user: Some(1000),
        processes: Ok(vec![]),
        servers: [].into(),
        terminals: Ok(None),
        people: 0,
        sights: vec![],
        cloudcli: cloudcli::Sight::Absent,
    }
}

fn quiet_secs(why: &Why) -> u64 {
    why.budgets.iter().find(|budget| budget.name == "idle_timeout").unwrap().used_secs
}

fn leases_after(kept: &Kept, boot: &str, at: u64) -> Vec<u64> {
    let mut judge = Judge::resume(kept.clone(), boot, Moment(at));
    let why = judge.judge(Moment(at), &still(), &POLICY);
    why.leases.iter().map(|lease| lease.expires_in_secs).collect()
}

#[test]
fn a_suspended_machine_does_not_become_idle_by_it() {
    let mut judge = Judge::default();
    judge.judge(Moment(0), &still(), &POLICY);
    let why = judge.judge(Moment(3_600_000), &still(), &POLICY);
    assert_eq!((why.verdict, quiet_secs(&why)), (Verdict::Quiet, 20));
}

#[test]
fn a_restart_keeps_leases_and_clocks_and_a_reboot_keeps_what_was_left() {
    let mut judge = Judge::resume(Kept::default(), "one", Moment(1_000_000));
    judge.hold(Duration::from_secs(100), "demo", Moment(1_000_000)).unwrap();
    let kept = judge.keep(Moment(1_000_000));
    assert_eq!(leases_after(kept, "one", 1_030_000), [70]);
    // Another boot: its clock begins again, and nobody knows how long the machine was off.
    assert_eq!(leases_after(kept, "another", 5_000), [100]);
}

#[test]
fn time_without_the_agent_is_not_counted() {
    let mut judge = Judge::resume(Kept::default(), "one", Moment(0));
    judge.judge(Moment(0), &still(), &POLICY);
    let mut again = Judge::resume(judge.keep(Moment(0)).clone(), "one", Moment(900_000));
    assert_eq!(quiet_secs(&again.judge(Moment(900_000), &still(), &POLICY)), 0);
}

#[test]
fn what_processes_used_while_they_could_not_be_read_is_spread_over_that_time() {
    let server = |ticks| Process {
        pid: 30,
        parent: 1,
        comm: "redis-server".into(),
        uid: 1000,
        has_terminal: false,
        started: 7,
        ticks,
        storage_bytes: Some(0),
        arguments: vec![],
    };
    let look = |ticks| Facts { processes: Ok(vec![server(ticks)]), ..still() };
    let mut judge = Judge::default();
    judge.judge(Moment(0), &look(0), &POLICY);
    for at in 1..=30 {
        let blind = Facts { processes: Err("/proc".into()), ..still() };
        judge.judge(Moment(at * 10_000), &blind, &POLICY);
    }
    // 3 % of a core for five minutes.
    assert_ne!(judge.judge(Moment(310_000), &look(930), &POLICY).verdict, Verdict::Active);
}

#[test]
fn a_hold_takes_back_a_wish_to_sleep() {
    let mut judge = Judge::default();
    judge.ask_to_sleep();
    assert_eq!(judge.judge(Moment(0), &still(), &POLICY).verdict, Verdict::Idle);
    judge.hold(Duration::from_secs(5), "wait", Moment(2)).unwrap();
    assert_ne!(judge.judge(Moment(3), &still(), &POLICY).verdict, Verdict::Idle);
}
