//! Scenes of agents, ten seconds apart, and what must hold in all of them.

use super::*;
use proptest::prelude::*;

const POLICY: VmPolicy = VmPolicy {
    heartbeat_secs: 15,
    idle_timeout_secs: 1800,
    unknown_grace_secs: 600,
    waiting_for_human_secs: 7200,
    agent_silence_secs: 1800,
    background_secs: 7200,
    snapshot_every_secs: 900,
};
const CLAUDE: (u32, u64) = (20, 1000);

/// An agent that is there and shows nothing.
fn parked() -> AgentActivity {
    AgentActivity {
        pid: CLAUDE.0,
        started: CLAUDE.1,
        name: "claude".into(),
        works: false,
        only_stirs: false,
        is_lasting: false,
        writes: false,
        connection: ConnectionActivity::Absent,
        children: vec![],
        status: None,
    }
}

fn with_line(connection: ConnectionActivity) -> AgentActivity {
    AgentActivity { connection, ..parked() }
}

fn command(started: u64) -> Child {
    Child { pid: 30, started, is_shell: false, is_server: false, is_watcher: false, is_command: true }
}

fn hook(happened: Happened) -> Hook {
    Hook { session: "s".into(), transcript: None, happened }
}

/// Turns after these reports, all at tick 2000, and a first look.
fn told(reports: &[Happened]) -> Turns {
    let mut turns = Turns::default();
    for happened in reports {
        turns.hear(&hook(*happened), CLAUDE, 2000);
    }
    look(&mut turns, 10, &parked());
    turns
}

fn look(turns: &mut Turns, secs: u64, activity: &AgentActivity) -> Standing {
    turns.tick(Duration::from_secs(secs), std::slice::from_ref(activity), &POLICY)
}

fn is_active(standing: &Standing) -> bool {
    matches!(standing.reading, Reading::Active(_))
}

fn is_quiet(standing: &Standing) -> bool {
    matches!(standing.reading, Reading::Quiet(_)) && standing.asking.is_none()
}

fn is_unclear(standing: &Standing) -> bool {
    matches!(standing.reading, Reading::Unreadable(_))
}

const TURN: [Happened; 2] = [Happened::Started, Happened::Prompted];

#[test]
fn a_model_call_that_thinks_silently_is_work_for_half_an_hour_and_not_for_ever() {
    for connection in [ConnectionActivity::Open, ConnectionActivity::Asked] {
        let mut turns = told(&TURN);
        assert!(is_active(&look(&mut turns, 1790, &with_line(connection))), "{connection:?}");
        assert!(is_unclear(&look(&mut turns, 10, &with_line(connection))), "{connection:?}");
    }
}

#[test]
fn an_answer_that_comes_in_for_long_is_work_and_a_stream_of_pings_is_not_for_ever() {
    let mut turns = told(&TURN);
    assert!(is_active(&look(&mut turns, 7190, &with_line(ConnectionActivity::Moving))));
    assert!(is_unclear(&look(&mut turns, 10, &with_line(ConnectionActivity::Moving))));
}

#[test]
fn a_turn_that_nothing_shows_is_unclear_at_once() {
    let mut turns = told(&TURN);
    let standing = look(&mut turns, 10, &parked());
    assert_eq!(
        standing.reading,
        Reading::Unreadable("claude says it is working; nothing has confirmed that for 10s".into())
    );
}

#[test]
fn a_command_that_says_nothing_counts_and_a_helper_from_before_the_first_turn_does_not() {
    let running = |started| AgentActivity { children: vec![command(started)], ..parked() };
    assert!(is_active(&look(&mut told(&TURN), 1000, &running(2000))));
    assert!(is_unclear(&look(&mut told(&TURN), 1000, &running(1010))), "an MCP server");
}

#[test]
fn a_turn_that_is_over_is_parked_whatever_its_connection_does() {
    let reports = [TURN.as_slice(), &[Happened::Stopped(Left::default())]].concat();
    for connection in [ConnectionActivity::Open, ConnectionActivity::Asked, ConnectionActivity::Moving] {
        let activity = AgentActivity { status: Some(SessionStatus::Idle), ..with_line(connection) };
        assert!(is_quiet(&look(&mut told(&reports), 10, &activity)), "{connection:?}");
    }
}

#[test]
fn an_end_that_a_hook_of_the_repository_took_back_is_seen_by_what_the_agent_asks() {
    let reports = [TURN.as_slice(), &[Happened::Stopped(Left::default())]].concat();
    let mut turns = told(&reports);
    assert!(
        is_active(&look(&mut turns, 1200, &with_line(ConnectionActivity::Asked))),
        "there is no session file"
    );
    assert!(
        is_quiet(&look(&mut turns, 10, &with_line(ConnectionActivity::Open))),
        "a connection kept open for later"
    );
    assert!(is_quiet(&look(&mut turns, 600, &with_line(ConnectionActivity::Moving))), "bounded");
}

#[test]
fn what_a_watcher_uses_below_an_agent_at_its_prompt_is_no_work_and_what_a_build_uses_is() {
    let left = Happened::Stopped(Left { shells: 1, ..Left::default() });
    let reports = [TURN.as_slice(), &[left]].concat();
    let polls = AgentActivity {
        works: true,
        children: vec![command(3000)],
        status: Some(SessionStatus::Shell),
        ..with_line(ConnectionActivity::Open)
    };
    let mut turns = told(&reports);
    let standing = look(&mut turns, 3600, &polls);
    assert!(is_active(&standing) && standing.working.is_none());
    assert!(is_quiet(&look(&mut turns, 3600, &polls)), "bounded");
    let builds = AgentActivity { is_lasting: true, ..polls.clone() };
    assert_eq!(look(&mut turns, 10, &builds).working, Some(CLAUDE.0));
    let parked = AgentActivity { children: vec![], status: Some(SessionStatus::Idle), ..polls };
    let ended = [TURN.as_slice(), &[Happened::Stopped(Left::default())]].concat();
    assert!(is_quiet(&look(&mut told(&ended), 10, &parked)));
}

#[test]
fn a_loop_that_writes_like_an_agent_is_believed_for_two_hours() {
    let mut turns = Turns::default();
    let writes = AgentActivity { writes: true, works: true, ..parked() };
    assert_eq!(look(&mut turns, 7200, &writes).working, Some(CLAUDE.0));
    let standing = look(&mut turns, 1800, &writes);
    assert!(is_quiet(&standing) && standing.working.is_none());
    assert!(is_active(&look(
        &mut turns,
        10,
        &AgentActivity { connection: ConnectionActivity::Asked, ..writes.clone() }
    )));
    assert!(is_active(&look(&mut turns, 7190, &writes)));
}

#[test]
fn a_killed_agent_takes_its_turn_along() {
    let mut turns = told(&TURN);
    assert_eq!(
        turns.tick(Duration::from_secs(10), &[], &POLICY).reading,
        Reading::Quiet("no agent is there".into())
    );
    let another = AgentActivity { started: 5000, ..parked() };
    assert!(is_quiet(&look(&mut turns, 10, &another)), "another process with its id");
}

#[test]
fn a_lost_end_of_a_turn_is_doubted_for_a_minute_once_the_agent_says_that_it_is_at_its_prompt() {
    let activity = AgentActivity { status: Some(SessionStatus::Idle), ..with_line(ConnectionActivity::Open) };
    let mut turns = told(&TURN);
    assert!(is_unclear(&look(&mut turns, 50, &activity)));
    assert!(is_quiet(&look(&mut turns, 10, &activity)), "interrupted: the session file is all that says so");
    // Whatever shows that it works outweighs the file.
    for works in [
        AgentActivity { status: Some(SessionStatus::Idle), ..with_line(ConnectionActivity::Asked) },
        AgentActivity { children: vec![command(3000)], ..activity },
    ] {
        assert!(is_unclear(&look(&mut told(&TURN), 600, &works)), "{works:?}");
    }
}

#[test]
fn reports_without_end_that_nothing_confirms_keep_nobody_awake_for_ever() {
    let mut turns = told(&TURN);
    let mut awake_secs = 0;
    for _ in 0..6 * 360 {
        turns.hear(&hook(Happened::Went), CLAUDE, 9000);
        awake_secs += if is_active(&look(&mut turns, 10, &parked())) { 10 } else { 0 };
    }
    assert!((1700..=1800).contains(&awake_secs), "{awake_secs}");
    // Rarer reports buy no more.
    let mut turns = told(&TURN);
    let mut awake_secs = 0;
    for round in 0..6 * 360 {
        if round % 150 == 0 {
            turns.hear(&hook(Happened::Went), CLAUDE, 9000);
        }
        awake_secs +=
            if is_active(&look(&mut turns, 10, &with_line(ConnectionActivity::Open))) { 10 } else { 0 };
    }
    assert!(awake_secs <= 2 * 1800, "{awake_secs}");
    // What the agent shows itself renews the belief.
    look(&mut turns, 10, &AgentActivity { writes: true, ..parked() });
    turns.hear(&hook(Happened::Went), CLAUDE, 9000);
    assert!(is_active(&look(&mut turns, 10, &parked())));
}

#[test]
fn a_turn_whose_beginning_was_lost_counts_while_an_earlier_background_command_is_left() {
    let left = Happened::Stopped(Left { shells: 1, ..Left::default() });
    let reports = [TURN.as_slice(), &[left]].concat();
    let busy = |connection| AgentActivity { status: Some(SessionStatus::Busy), ..with_line(connection) };
    let standing = look(&mut told(&reports), 600, &busy(ConnectionActivity::Asked));
    let waits = "claude waits for its model, silent for 10m";
    assert_eq!(standing.reading, Reading::Active(waits.into()));
    // The bound of the command is the longer one.
    let both = AgentActivity { children: vec![command(3000)], ..busy(ConnectionActivity::Asked) };
    assert!(is_active(&look(&mut told(&reports), 3600, &both)));
    assert!(
        is_unclear(&look(&mut told(&reports), 600, &busy(ConnectionActivity::Absent))),
        "nothing vouches for either"
    );
}

#[test]
fn a_question_that_is_repeated_has_one_budget_until_the_agent_gets_on() {
    let flapping = [Happened::Asks(Asks::Answer), Happened::Went];
    let mut turns = told(&TURN);
    for _ in 0..4 * 360 {
        for happened in flapping.into_iter().rev() {
            turns.hear(&hook(happened), CLAUDE, 9000);
        }
        turns.hear(&Hook { session: "another".into(), ..hook(Happened::Started) }, CLAUDE, 9000);
        turns.hear(&hook(Happened::Asks(Asks::Answer)), CLAUDE, 9000);
        look(&mut turns, 10, &parked());
    }
    assert_eq!(look(&mut turns, 10, &parked()).asking, None, "four hours of asking");
    // It was answered, and asks again before anybody looked.
    turns.hear(&hook(Happened::Went), CLAUDE, 9000);
    turns.hear(&hook(Happened::Asks(Asks::Permission)), CLAUDE, 9000);
    let standing = look(&mut turns, 10, &AgentActivity { writes: true, ..parked() });
    assert_eq!(standing.asking.map(|asking| asking.left_ms), Some(7_190_000));
}

#[test]
fn a_lost_end_of_a_turn_of_which_only_a_server_is_left_is_doubted() {
    let says = AgentActivity { status: Some(SessionStatus::Shell), ..with_line(ConnectionActivity::Open) };
    assert!(is_unclear(&look(&mut told(&TURN), 10, &says)));
    let running = AgentActivity { children: vec![command(3000)], ..says };
    assert!(is_active(&look(&mut told(&TURN), 10, &running)));
}

#[test]
fn a_background_command_after_the_turn_is_work_while_it_runs_and_a_dev_server_is_not() {
    let left = Happened::Stopped(Left { shells: 1, ..Left::default() });
    let reports = [TURN.as_slice(), &[left]].concat();
    let running = AgentActivity { children: vec![command(3000)], ..parked() };
    let mut turns = told(&reports);
    assert!(is_active(&look(&mut turns, 3600, &running)));
    assert!(is_quiet(&look(&mut turns, 3600, &running)), "bounded: two hours without a sign");
    assert!(is_quiet(&look(&mut told(&reports), 10, &parked())), "it has ended");
    let serving = AgentActivity { children: vec![Child { is_server: true, ..command(3000) }], ..parked() };
    assert!(is_quiet(&look(&mut told(&reports), 10, &serving)));
}

#[test]
fn a_watcher_counts_as_a_server_once_the_turn_is_over_and_not_within_one() {
    let watcher = Child { is_watcher: true, ..command(3000) };
    let watching = AgentActivity { children: vec![watcher.clone()], ..parked() };
    assert!(is_active(&look(&mut told(&TURN), 10, &watching)), "it may be what the turn waits for");
    let left = Happened::Stopped(Left { shells: 1, ..Left::default() });
    let reports = [TURN.as_slice(), &[left]].concat();
    assert!(is_quiet(&look(&mut told(&reports), 10, &watching)));
    let both = AgentActivity { children: vec![watcher, command(3000)], ..parked() };
    assert!(is_active(&look(&mut told(&reports), 10, &both)), "a build beside it");
    let builds = AgentActivity {
        works: true,
        is_lasting: true,
        status: Some(SessionStatus::Shell),
        ..watching.clone()
    };
    assert_eq!(look(&mut told(&reports), 10, &builds).working, Some(CLAUDE.0), "the watcher itself builds");
    // The end of the turn was lost: the session file says that a command is left.
    let says = AgentActivity { status: Some(SessionStatus::Shell), works: true, ..watching };
    let activity = look(&mut told(&TURN), 10, &says);
    assert!(is_quiet(&activity) && activity.working.is_none());
    let began_again = AgentActivity { status: Some(SessionStatus::Busy), ..says };
    assert!(is_active(&look(&mut told(&reports), 10, &began_again)));
}

#[test]
fn an_agent_without_reports_that_only_flushes_its_files_is_parked_and_one_that_asked_just_before_is_not() {
    let writes = |connection| AgentActivity {
        works: true,
        only_stirs: true,
        name: "codex".into(),
        ..with_line(connection)
    };
    let mut turns = Turns::default();
    assert!(is_active(&look(&mut turns, 10, &writes(ConnectionActivity::Asked))));
    assert!(is_active(&look(&mut turns, 50, &writes(ConnectionActivity::Open))), "what is left of a turn");
    let later = look(&mut turns, 50, &writes(ConnectionActivity::Open));
    assert!(is_quiet(&later) && later.working.is_none());
    assert!(is_active(&look(&mut turns, 10, &writes(ConnectionActivity::Asked))));
    let uses = AgentActivity { only_stirs: false, ..writes(ConnectionActivity::Open) };
    assert!(is_active(&look(&mut turns, 3000, &uses)), "it uses the processor, or a command writes");
    let lost = AgentActivity { status: Some(SessionStatus::Idle), ..writes(ConnectionActivity::Open) };
    assert!(look(&mut told(&TURN), 3000, &lost).working.is_none(), "the end was lost; the file says so");
    // In a turn that was reported it counts as before.
    assert!(look(&mut told(&TURN), 3000, &writes(ConnectionActivity::Open)).working.is_some());
}

#[test]
fn a_sub_agent_that_goes_on_after_the_turn_is_work_and_one_that_died_without_a_word_is_not() {
    let left = Happened::Stopped(Left { others: 1, ..Left::default() });
    let reports = [TURN.as_slice(), &[left]].concat();
    assert!(is_active(&look(&mut told(&reports), 1000, &with_line(ConnectionActivity::Open))));
    assert!(is_active(&look(&mut told(&reports), 10, &AgentActivity { writes: true, ..parked() })));
    assert!(is_unclear(&look(&mut told(&reports), 10, &parked())));
}

#[test]
fn a_time_at_which_an_agent_goes_on_by_itself_is_waited_for_within_a_bound() {
    let left = Happened::Stopped(Left { wakeups: 1, ..Left::default() });
    let mut turns = told(&[TURN.as_slice(), &[left]].concat());
    assert!(is_active(&look(&mut turns, 7190, &parked())));
    assert!(is_quiet(&look(&mut turns, 10, &parked())));
}

#[test]
fn a_question_has_its_own_budget_and_is_answered_by_the_next_report() {
    let reports = [TURN.as_slice(), &[Happened::Asks(Asks::Permission)]].concat();
    let mut turns = told(&reports);
    let asking = look(&mut turns, 7000, &parked()).asking.unwrap();
    assert_eq!((asking.what.as_str(), asking.left_ms), ("claude asks for permission", 190_000));
    // Its notification is no second question.
    turns.hear(&hook(Happened::Asks(Asks::Permission)), CLAUDE, 9000);
    assert_eq!(look(&mut turns, 100, &parked()).asking.unwrap().left_ms, 90_000);
    let mut answered = turns.clone();
    assert!(is_quiet(&look(&mut turns, 90, &parked())));
    answered.hear(&hook(Happened::Went), CLAUDE, 9000);
    assert!(is_active(&look(&mut answered, 10, &parked())));
    assert_eq!(look(&mut answered, 10, &with_line(ConnectionActivity::Asked)).asking, None);
}

#[test]
fn an_old_notification_at_the_prompt_is_no_activity_and_ends_a_turn_whose_end_was_lost() {
    let mut turns = told(&TURN);
    turns.hear(&hook(Happened::Parked), CLAUDE, 9000);
    assert!(is_quiet(&look(&mut turns, 10, &parked())));
}

#[test]
fn a_session_whose_hooks_are_off_is_known_by_its_file() {
    let of = |status| AgentActivity { status: Some(status), ..with_line(ConnectionActivity::Open) };
    let first = |activity: &AgentActivity| {
        let mut turns = Turns::default();
        look(&mut turns, 0, activity);
        look(&mut turns, 600, activity)
    };
    assert!(is_active(&first(&of(SessionStatus::Busy))));
    assert!(is_quiet(&first(&of(SessionStatus::Idle))));
    assert!(first(&of(SessionStatus::Waiting)).asking.is_some());
    let shell = AgentActivity { children: vec![command(9000)], ..of(SessionStatus::Shell) };
    assert!(is_active(&first(&shell)));
}

#[test]
fn an_agent_without_reports_is_believed_while_it_has_asked_something_lately() {
    let mut turns = Turns::default();
    let codex = |connection| AgentActivity { name: "codex".into(), ..with_line(connection) };
    assert!(is_active(&look(
        &mut turns,
        10,
        &AgentActivity { works: true, ..codex(ConnectionActivity::Open) }
    )));
    assert!(is_active(&look(&mut turns, 1700, &codex(ConnectionActivity::Asked))));
    assert!(
        is_quiet(&look(&mut turns, 10, &codex(ConnectionActivity::Open))),
        "a connection kept open for later"
    );
    assert!(is_quiet(&look(&mut turns, 100, &codex(ConnectionActivity::Asked))), "bounded");
    assert!(is_active(&look(
        &mut turns,
        10,
        &AgentActivity { writes: true, ..codex(ConnectionActivity::Absent) }
    )));
    let running =
        |started| AgentActivity { children: vec![command(started)], ..codex(ConnectionActivity::Absent) };
    assert!(is_active(&look(&mut turns, 600, &running(9000))));
    let helper = AgentActivity {
        children: vec![Child { is_command: false, ..command(9000) }],
        ..codex(ConnectionActivity::Absent)
    };
    assert!(is_quiet(&look(&mut turns, 10, &helper)), "a language server");
}

#[test]
fn a_restart_of_ours_forgets_nothing() {
    let turns = told(&TURN);
    let text = serde_json::to_string(&turns).unwrap();
    assert_eq!(serde_json::from_str::<Turns>(&text).unwrap(), turns);
}

fn happened() -> impl Strategy<Value = Happened> {
    let left = (0u32..2, 0u32..2, 0u32..2)
        .prop_map(|(shells, others, wakeups)| Happened::Stopped(Left { shells, others, wakeups }));
    prop_oneof![
        Just(Happened::Started),
        Just(Happened::Prompted),
        Just(Happened::Went),
        Just(Happened::SubagentEnded),
        Just(Happened::Asks(Asks::Answer)),
        Just(Happened::Parked),
        left,
    ]
}

/// Everything that is no progress of the agent itself: all of it can lie for ever.
fn idle_scene() -> impl Strategy<Value = AgentActivity> {
    let connection = prop_oneof![
        Just(ConnectionActivity::Absent),
        Just(ConnectionActivity::Open),
        Just(ConnectionActivity::Asked),
        Just(ConnectionActivity::Moving),
        Just(ConnectionActivity::Unreadable)
    ];
    let status = prop::option::of(prop_oneof![
        Just(SessionStatus::Busy),
        Just(SessionStatus::Shell),
        Just(SessionStatus::Idle),
        Just(SessionStatus::Waiting)
    ]);
    (connection, status, any::<bool>()).prop_map(|(connection, status, runs)| AgentActivity {
        status,
        children: if runs { vec![command(90_000)] } else { vec![] },
        ..with_line(connection)
    })
}

proptest! {
    #[test]
    fn without_progress_every_session_ends_within_its_bounds(
        reports in prop::collection::vec(happened(), 0..8),
        scene in idle_scene(),
    ) {
        let mut turns = told(&reports);
        for _ in 0..(7200 + 7200) / 60 {
            look(&mut turns, 60, &scene);
        }
        let standing = look(&mut turns, 60, &scene);
        prop_assert!(!is_active(&standing) && standing.asking.is_none(), "{standing:?} {turns:?}");
    }

    #[test]
    fn progress_always_shows(reports in prop::collection::vec(happened(), 0..8), scene in idle_scene()) {
        let mut turns = told(&reports);
        let quietest = look(&mut turns.clone(), 9000, &scene);
        let standing = look(&mut turns, 9000, &AgentActivity { writes: true, ..scene });
        // A question stays a question; nothing else is quieter for having written.
        prop_assert!(is_active(&standing) || standing.asking.is_some() || is_quiet(&quietest)
            || is_unclear(&quietest), "{standing:?} {quietest:?}");
    }
}

#[test]
fn an_agent_at_its_prompt_that_hears_a_little_every_few_minutes_is_not_in_a_turn() {
    let mut turns = Turns::default();
    let flush = AgentActivity { works: true, only_stirs: true, ..parked() };
    for _ in 0..20 {
        for _ in 0..12 {
            look(&mut turns, 10, &with_line(ConnectionActivity::Open));
        }
        assert!(!is_active(&look(&mut turns, 10, &with_line(ConnectionActivity::Trickling))), "on its own");
        let standing = look(&mut turns, 10, &flush);
        assert!(!is_active(&standing) && standing.working.is_none(), "what it stores after that is no work");
    }
}

#[test]
fn a_little_that_comes_in_again_and_again_is_an_answer() {
    let mut turns = Turns::default();
    look(&mut turns, 10, &with_line(ConnectionActivity::Trickling));
    for _ in 0..20 {
        assert!(is_active(&look(&mut turns, 10, &with_line(ConnectionActivity::Trickling))));
        look(&mut turns, 10, &with_line(ConnectionActivity::Open));
    }
    look(&mut turns, 300, &with_line(ConnectionActivity::Asked));
    assert!(
        is_active(&look(&mut turns, 10, &with_line(ConnectionActivity::Trickling))),
        "after a question it counts at once"
    );
    let mut told = told(&[Happened::Prompted]);
    look(&mut told, 600, &with_line(ConnectionActivity::Open));
    assert!(
        is_active(&look(&mut told, 10, &with_line(ConnectionActivity::Trickling))),
        "a turn that was reported goes on"
    );
}
