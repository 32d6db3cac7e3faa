//! The table of moves as a page, and what becomes of a move that is none.

use super::super::tests::new_record;
use super::*;

const STATES: [State; 11] = [
    State::Requested,
    State::Provisioning,
    State::Booting,
    State::Running,
    State::Silent,
    State::Draining,
    State::Rescuing,
    State::Destroying,
    State::Asleep,
    State::Failed,
    State::Deleted,
];

#[test]
fn every_move_that_may_be_made_reads_as_a_table() {
    let mut table = String::new();
    for from in STATES {
        table.push_str(&format!("\n{from}\n"));
        for to in STATES {
            if let Some(why) = may_follow(from, to) {
                table.push_str(&format!("    → {:<13}{why}\n", to.as_str()));
            }
        }
    }
    insta::assert_snapshot!(table, @"
    requested
        → provisioning a server is asked for
        → asleep       put to sleep before it began
        → deleted      deleted before it began

    provisioning
        → booting      the server exists
        → destroying   unwanted, refused or too slow, and a server may exist
        → asleep       unwanted, and certainly nothing was created
        → failed       refused or too slow, and certainly nothing was created
        → deleted      deleted, and certainly nothing was created

    booting
        → running      the boot plan is through
        → draining     the boot plan is through, only to back up a rescue image
        → destroying   failed, stalled or unwanted; it holds no work yet

    running
        → running      rebooted, as its owner asked
        → silent       not heard
        → draining     idle, asked for, the lifetime or a cap: backed up first
        → destroying   discarded, not persisted, or gone at the provider

    silent
        → running      heard again, where it was
        → draining     heard again, where it was
        → rescuing     not heard until its budget or its time was over
        → destroying   its last backup is verified, or discarded, lost by rule, or gone

    draining
        → running      taken back, or given back after a last backup that is not whole
        → silent       not heard
        → rescuing     the backup did not finish in time
        → destroying   its last backup is verified, or discarded, lost by rule, or gone

    rescuing
        → destroying   its image is written, or discarded, lost by rule, or gone

    destroying
        → asleep       no server is left
        → failed       no server is left, and something to say
        → deleted      no server is left, and no workspace is wanted

    asleep
        → requested    woken
        → failed       what it costs is not reserved
        → deleted      deleted

    failed
        → requested    woken or retried
        → failed       what it costs is not reserved
        → deleted      deleted

    deleted
        → asleep       undone before anything was shredded
    ");
}

#[test]
fn every_state_is_left_and_nothing_ends_a_machine_but_by_destroying_it() {
    for from in STATES {
        assert!(STATES.iter().any(|to| may_follow(from, *to).is_some()), "{from} is never left");
        for to in [State::Asleep, State::Failed, State::Deleted] {
            let has_machine =
                from.may_have_machine() && !matches!(from, State::Destroying | State::Provisioning);
            assert!(!has_machine || may_follow(from, to).is_none(), "{from} → {to} forgets a machine");
        }
    }
}

#[test]
#[should_panic(expected = "requested → rescuing is no move: by mistake")]
fn a_move_that_the_table_does_not_know_stops_a_test() {
    let mut draft = draft();
    take_image(&mut draft, Reason::new(EventCode::DrainOverdue, "by mistake"), Timestamp::UNIX_EPOCH);
}

#[test]
fn a_move_that_the_table_does_not_know_is_told_and_changes_nothing() {
    let mut draft = draft();
    tell_mistake(&mut draft, State::Rescuing, "by mistake");
    assert_eq!(draft.record, new_record());
    assert_eq!(draft.notes[0].code, EventCode::Mistake);
    insta::assert_snapshot!(draft.notes[0].because, @"a mistake of the control plane: it stays requested, which rescuing never follows (by mistake)");
}

fn draft() -> Draft {
    Draft { record: new_record(), notes: Vec::new(), refusal: None, may_begin: false }
}

#[test]
fn the_keys_of_the_last_four_machines_are_known_and_of_none_before_them() {
    let mut record = new_record();
    keep_former_key(&mut record);
    assert_eq!(record.former_machine_keys, [""; 0], "a machine that never enrolled");
    for number in 1..=6 {
        record.machine_key = Some(format!("key {number}"));
        keep_former_key(&mut record);
        assert_eq!(record.machine_key, None);
    }
    assert_eq!(record.former_machine_keys, ["key 3", "key 4", "key 5", "key 6"]);
}
