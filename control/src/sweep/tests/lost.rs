//! A workspace whose object holds nothing although the index knows it.

use super::super::lost::{is_asked, judge_lost};
use super::*;

fn lost(server: Server, state: State) -> Case {
    Case { server, row: Some(Row { state, ..row() }), asked: Asked::Unknown, doubt: false }
}

#[test]
fn the_machine_of_a_lost_record_ends_with_its_lifetime_and_an_image_is_taken_in_the_time_to_drain() {
    let after = Policy::default().time_after_lifetime();
    let lifetime_ends = |at: Timestamp| labelled_until(plus(at, after));
    let of = |server| lost(server, State::Running);
    check(&of(lifetime_ends(ahead(hours(1)))), Verdict::Leave, "DELETE the workspace");
    check(&of(lifetime_ends(ago(Duration::from_mins(1)))), Verdict::End(First::Image), "lifetime ended");
    // Where no image could be taken in all that time it is gone by the end on its label all the same.
    let over = of(labelled_until(ago(Duration::from_secs(1))));
    check(&over, Verdict::End(First::ImageIfPossible), "label ended");
    let mut unlabelled = server();
    unlabelled.labels.remove(LABEL_EXPIRES);
    check(&of(unlabelled), Verdict::Leave, "DELETE");
}

#[test]
fn its_owner_may_end_it_sooner() {
    let server = labelled_until(ahead(hours(99)));
    check(&lost(server.clone(), State::Deleted), Verdict::End(First::Image), "its owner deleted it");
    // The word of an object that is there after all outweighs the row.
    let lives = Case { asked: Asked::Known(fate()), ..lost(server, State::Deleted) };
    check(&lives, Verdict::Nudge, "running");
}

#[test]
fn a_lost_one_is_found_within_a_round_where_it_may_bill_and_within_a_day_where_it_rests() {
    assert!(is_asked(&row(), now()));
    let asleep = Row { state: State::Asleep, ..row() };
    let asked = (0..24).filter(|hour| is_asked(&asleep, ahead(hours(*hour)))).count();
    assert_eq!(asked, 1);
    assert!(!is_asked(&Row { lost_at: Some(now()), ..row() }, now()), "it is told once");
    assert!(judge_lost(&row(), &Asked::Unknown).unwrap().because.contains("holds nothing"));
    for answer in [Asked::Known(fate()), Asked::Unreadable, Asked::NotYet] {
        assert_eq!(judge_lost(&row(), &answer), None, "{answer:?}");
    }
    let intent = Row { generation: Generation(0), state: State::Requested, ..row() };
    assert_eq!(judge_lost(&intent, &Asked::Unknown), None, "its object was never called");
}

#[test]
fn names_and_backups_of_a_lost_record_go_at_its_owners_word_and_backups_no_sooner_than_any_others() {
    let policy = Policy::default();
    let site = Site { install: INSTALL, policy: &policy, now: now(), index_in_doubt: false };
    let owner = RecordOwner { install: INSTALL.into(), workspace: id(), generation: Generation(3) };
    let of = |state, since| Row { state, since, ..row() };
    let name = |row: &Row| judge_name(&owner, Some(row), &Asked::Unknown, &site).verdict;
    assert_eq!(name(&of(State::Failed, now())), Verdict::Leave);
    assert_eq!(name(&of(State::Deleted, now())), Verdict::End(First::Nothing));
    let below = Below { newest: Some(ago(hours(999))), repository: true };
    let objects = |row: &Row| judge_leftover(Some(row), &Asked::Unknown, &below, &site).verdict;
    assert_eq!(objects(&of(State::Failed, ago(hours(999)))), Verdict::Leave);
    assert_eq!(objects(&of(State::Deleted, ago(hours(24 * 6)))), Verdict::Leave);
    assert_eq!(objects(&of(State::Deleted, ago(hours(24 * 8)))), Verdict::End(First::Nothing));
}
