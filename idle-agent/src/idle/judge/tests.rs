//! What a restart, a reboot and a suspension mean.

use super::*;
use crate::cloudcli::sessions::SessionList;
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
        watchers: [].into(),
        terminals: Ok(None),
        people: 0,
        observations: vec![],
        cloudcli: SessionList::Absent,
    }
}

#[test]
fn a_slow_look_counts_whole_and_a_suspension_as_two_looks() {
    let minute = VmPolicy { idle_timeout_secs: 60, ..POLICY };
    let half_hour = VmPolicy { idle_timeout_secs: 1800, ..POLICY };
    let of = |policy, secs| counted(Duration::from_secs(secs), policy).as_secs();
    assert_eq!([2, 15, 30, 60, 61, 9000].map(|secs| of(&minute, secs)), [2, 15, 20, 20, 4, 4]);
    assert_eq!([10, 20, 60, 9000].map(|secs| of(&half_hour, secs)), [10, 20, 20, 20]);
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
    assert_eq!((why.verdict, quiet_secs(&why)), (Verdict::Quiet, 4));
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

fn user_process(pid: u32, comm: &str, ticks: u64) -> Process {
    Process {
        pid,
        parent: 1,
        comm: comm.into(),
        uid: 1000,
        has_terminal: true,
        started: 7,
        ticks,
        storage_bytes: Some(0),
        arguments: vec![],
    }
}

/// For how many seconds of ten hours the machine is active, with such looks.
fn active_secs(look: impl Fn(u64) -> Facts) -> u64 {
    let mut judge = Judge::default();
    let verdicts =
        (0..3600).map(|number| judge.judge(Moment(number * 10_000), &look(number), &POLICY).verdict);
    10 * verdicts.filter(|verdict| *verdict == Verdict::Active).count() as u64
}

#[test]
fn a_program_in_a_terminal_that_talks_over_the_network_is_waited_for_half_an_hour() {
    let look = |open: u32| {
        move |number: u64| Facts {
            processes: Ok(vec![user_process(30, "terraform", number)]),
            observations: vec![crate::idle::facts::AgentObservation {
                process: (30, 7),
                sockets: Some(crate::idle::facts::Sockets {
                    open,
                    is_asked: false,
                    received_bytes: u64::from(open) * number * 1000,
                    sent_bytes: 0,
                }),
                grown: 0,
                status: None,
            }],
            ..still()
        }
    };
    assert_eq!(active_secs(look(1)), 1800);
    assert_eq!(active_secs(look(0)), 0);
}

#[test]
fn a_server_that_may_poll_counts_for_two_hours_and_tests_with_servers_as_long_as_they_run() {
    let look = |percent: u64| {
        move |number: u64| Facts {
            processes: Ok(vec![user_process(30, "node", number * percent * 10)]),
            servers: [30].into(),
            ..still()
        }
    };
    assert_eq!(active_secs(look(15)), 0);
    assert_eq!(active_secs(look(35)), 7200);
    assert!(active_secs(look(90)) > 35_000);
}

#[test]
fn new_events_of_cloudcli_that_nothing_else_shows_count_for_two_hours() {
    let look =
        |number: u64| Facts { cloudcli: SessionList::Running([(number / 6, number)].into()), ..still() };
    // The first look counts nothing.
    assert_eq!(active_secs(look), 7210);
}

#[test]
fn a_cloudcli_that_died_is_doubted_once() {
    let mut judge = Judge::default();
    let running = Facts { cloudcli: SessionList::Running([(5, 3)].into()), ..still() };
    judge.judge(Moment(0), &running, &POLICY);
    let mut unknown = 0;
    for number in 1..1000 {
        // Somebody opens a page now and then.
        let facts = Facts { people: number / 100, ..still() };
        let why = judge.judge(Moment(number * 10_000), &facts, &POLICY);
        unknown += u64::from(why.verdict == Verdict::Unknown);
    }
    assert!((50..=60).contains(&unknown), "{unknown}");
}
