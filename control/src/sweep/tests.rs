//! The rules as tables, named after what went wrong elsewhere.

mod lost;

use super::address::judge_address;
use super::image::judge_image;
use super::leftover::{Below, judge_leftover, shows_repository};
use super::name::judge_name;
use super::server::{
    Imaging, imaging, imaging_answered, is_same, judge_by_label, judge_by_label_alone, judge_server,
};
use super::*;
use crate::hetzner::{
    CreateImage, Failure, Image, ImageId, ImageStatus, PrimaryIp, PrimaryIpId, Server, ServerId,
    ServerStatus, VendorError,
};
use crate::names::{self, LABEL_EXPIRES, RecordOwner};
use crate::record::minus;
use ebbtide_api::TenantId;

const INSTALL: &str = "home";
const SERVER: u64 = 4711;

fn id() -> WorkspaceId {
    "k3v7q2mzab".parse().unwrap()
}

fn now() -> Timestamp {
    "2026-11-21T12:00:00Z".parse().unwrap()
}

fn ago(duration: Duration) -> Timestamp {
    minus(now(), duration)
}

fn ahead(duration: Duration) -> Timestamp {
    plus(now(), duration)
}

fn hours(hours: u64) -> Duration {
    Duration::from_hours(hours)
}

/// A server of machine 3, a day old, with two hours to go.
fn server() -> Server {
    Server {
        id: ServerId(SERVER),
        name: "ebb-k3v7q2mzab-3".into(),
        status: ServerStatus::Running,
        created: Some(ago(hours(24))),
        labels: names::labels(INSTALL, &TenantId::owner(), &id(), Generation(3), ahead(hours(2))),
        locked: false,
        ipv4: None,
        ipv4_id: None,
        ipv6: None,
        server_type: None,
        location: None,
    }
}

fn labelled_until(at: Timestamp) -> Server {
    let mut server = server();
    server.labels.insert(LABEL_EXPIRES.into(), at.as_second().to_string());
    server
}

fn row() -> Row {
    Row {
        id: id(),
        state: State::Running,
        generation: Generation(3),
        server: Some(SERVER),
        since: ago(hours(1)),
        lost_at: None,
    }
}

/// What the object of a running workspace says.
fn fate() -> Fate {
    Fate {
        state: State::Running,
        generation: Generation(3),
        may_have_machine: true,
        hard_end: ahead(hours(2)),
        holds: false,
        saved: false,
        refuses_image: false,
        server: Some(SERVER),
        images: Vec::new(),
        waits: None,
        purged: false,
    }
}

fn asleep() -> Fate {
    Fate { state: State::Asleep, may_have_machine: false, saved: true, ..fate() }
}

struct Case {
    server: Server,
    row: Option<Row>,
    asked: Asked,
    doubt: bool,
}

fn case() -> Case {
    Case { server: server(), row: Some(row()), asked: Asked::NotYet, doubt: false }
}

#[track_caller]
fn check(case: &Case, wanted: Verdict, because: &str) {
    let policy = Policy::default();
    let site = Site { install: INSTALL, policy: &policy, now: now(), index_in_doubt: case.doubt };
    let judged = judge_server(&case.server, case.row.as_ref(), &case.asked, &site);
    assert_eq!(judged.verdict, wanted, "{}", judged.because);
    assert!(judged.because.contains(because), "{}", judged.because);
}

/// Every answer an object could give about this server, and none.
fn every_answer() -> Vec<Asked> {
    let mut all = vec![Asked::NotYet, Asked::Unknown];
    for generation in [1, 3, 9] {
        for may_have_machine in [true, false] {
            for saved in [true, false] {
                for hard_end in [ago(hours(100)), ago(hours(1)), ahead(hours(1))] {
                    let generation = Generation(generation);
                    all.push(Asked::Known(Fate { generation, may_have_machine, saved, hard_end, ..fate() }));
                }
            }
        }
    }
    all
}

fn every_row() -> Vec<Option<Row>> {
    let of = |state, generation| Some(Row { state, generation: Generation(generation), ..row() });
    vec![None, of(State::Running, 3), of(State::Running, 2), of(State::Asleep, 3), of(State::Deleted, 9)]
}

#[test]
fn a_server_seconds_old_is_not_an_orphan() {
    let young = [Some(now()), Some(ago(Duration::from_mins(14))), Some(ahead(hours(1))), None];
    for created in young {
        for asked in every_answer() {
            for row in every_row() {
                let mut server = labelled_until(ago(hours(99)));
                server.created = created;
                check(&Case { server, row, asked: asked.clone(), doubt: false }, Verdict::Fine, "younger");
            }
        }
    }
}

#[test]
fn two_installations_in_one_account_touch_only_their_own() {
    for install in [Some("away"), Some("home-2"), Some(""), None] {
        for asked in every_answer() {
            let mut server = labelled_until(ago(hours(99)));
            match install {
                Some(other) => server.labels.insert(names::LABEL_INSTALL.into(), other.into()),
                None => server.labels.remove(names::LABEL_INSTALL),
            };
            check(&Case { server, row: None, asked, doubt: false }, Verdict::Leave, "install id");
        }
    }
}

#[test]
fn no_server_ends_on_the_word_of_the_index() {
    for row in every_row() {
        for server in [server(), labelled_until(ago(hours(99)))] {
            let policy = Policy::default();
            let site = Site { install: INSTALL, policy: &policy, now: now(), index_in_doubt: false };
            let judged = judge_server(&server, row.as_ref(), &Asked::NotYet, &site);
            assert!(matches!(judged.verdict, Verdict::Fine | Verdict::Ask), "{row:?} {judged:?}");
        }
    }
}

#[test]
fn a_healthy_server_costs_no_question_and_everything_else_one() {
    check(&case(), Verdict::Fine, "wants it");
    check(&Case { row: Some(Row { server: None, ..row() }), ..case() }, Verdict::Fine, "");
    for row in every_row().into_iter().filter(|known| *known != Some(row())) {
        check(&Case { row, ..case() }, Verdict::Ask, "index");
    }
    check(&Case { row: Some(Row { server: Some(1), ..row() }), ..case() }, Verdict::Ask, "another server");
    check(&Case { server: labelled_until(ago(hours(1))), ..case() }, Verdict::Ask, "ended it");
}

#[test]
fn orphans_that_look_fresh_for_80_days_end_by_their_label() {
    // Whatever else is fresh, the label's end was written once and nothing bumps it.
    let server = labelled_until(ago(hours(1)));
    let nobodys = |server, doubt| Case { server, row: None, asked: Asked::Unknown, doubt };
    for doubt in [true, false] {
        check(&nobodys(server.clone(), doubt), Verdict::End(First::Image), "label ended it");
    }
    // Within the grace its workspace may still end it.
    let server = labelled_until(ago(Duration::from_mins(5)));
    check(&nobodys(server, true), Verdict::Leave, "");
    // Long after every deadline it goes even where no image can be taken.
    check(&nobodys(labelled_until(ago(hours(9))), true), Verdict::End(First::ImageIfPossible), "");
}

#[test]
fn an_object_that_lives_outweighs_a_stale_label() {
    let server = labelled_until(ago(hours(99)));
    for row in every_row() {
        let case = Case { server: server.clone(), row, asked: Asked::Known(fate()), doubt: false };
        check(&case, Verdict::Relabel, "until");
    }
    let mut server = server;
    server.labels.remove(LABEL_EXPIRES);
    check(&Case { server, asked: Asked::Known(fate()), ..case() }, Verdict::Relabel, "until");
}

#[test]
fn a_restored_index_destroys_nothing() {
    for row in every_row() {
        // It is told to write its row anew, and that is all.
        let knows = row.as_ref().is_some_and(|row| row.may_have_machine() && row.generation == Generation(3));
        let case = Case { row, asked: Asked::Known(fate()), ..case() };
        check(&case, if knows { Verdict::Fine } else { Verdict::Nudge }, "running");
    }
    let server = labelled_until(ahead(hours(9)));
    check(&Case { server, asked: Asked::Unknown, ..case() }, Verdict::Leave, "is lost");
}

/// Where the index does not answer: what its label lets be is let be, whatever an object says.
#[test]
fn without_an_index_only_what_its_label_ended_is_looked_at_and_its_workspace_is_asked() {
    let policy = Policy::default();
    let site = Site { install: INSTALL, policy: &policy, now: now(), index_in_doubt: false };
    let mut foreign = labelled_until(ago(hours(99)));
    foreign.labels.insert(names::LABEL_INSTALL.into(), "another".into());
    for asked in every_answer() {
        for server in [server(), labelled_until(ago(Duration::from_mins(5)))] {
            assert_eq!(judge_by_label(&server, &asked, &site).verdict, Verdict::Fine, "{asked:?}");
        }
        assert_eq!(judge_by_label(&foreign, &asked, &site).verdict, Verdict::Leave, "{asked:?}");
    }
    let over = labelled_until(ago(hours(1)));
    let judge = |server: &Server, asked: &Asked| judge_by_label(server, asked, &site).verdict;
    assert_eq!(judge(&over, &Asked::NotYet), Verdict::Ask);
    assert_eq!(judge(&over, &Asked::Unknown), Verdict::End(First::Image));
    assert_eq!(judge(&over, &Asked::Known(fate())), Verdict::Relabel, "who lives says so");
    assert_eq!(judge(&over, &Asked::Known(asleep())), Verdict::End(First::Nothing));
}

#[test]
fn where_nobody_answers_a_machine_goes_only_beyond_every_deadline_and_an_image_is_tried() {
    let policy = Policy::default();
    let site = Site { install: INSTALL, policy: &policy, now: now(), index_in_doubt: true };
    let judge = |server: &Server| judge_by_label_alone(server, "no answer", &site).verdict;
    assert_eq!(judge(&server()), Verdict::Leave);
    assert_eq!(judge(&labelled_until(ago(hours(1)))), Verdict::Leave);
    assert_eq!(judge(&labelled_until(ago(hours(3)))), Verdict::End(First::ImageIfPossible));
    let mut unlabelled = server();
    unlabelled.labels.remove(LABEL_EXPIRES);
    assert_eq!(judge(&unlabelled), Verdict::Leave);
    // A record that cannot be read says no more than nobody.
    let unreadable = |server: &Server| {
        let site = Site { index_in_doubt: false, ..site };
        judge_server(server, Some(&row()), &Asked::Unreadable, &site).verdict
    };
    assert_eq!(unreadable(&labelled_until(ago(hours(1)))), Verdict::Leave);
    assert_eq!(unreadable(&labelled_until(ago(hours(3)))), Verdict::End(First::ImageIfPossible));
}

#[test]
fn a_label_that_refuses_an_image_outlives_every_record() {
    let policy = Policy::default();
    let site = Site { install: INSTALL, policy: &policy, now: now(), index_in_doubt: false };
    let refusing = |mut server: Server| {
        server.labels.insert(names::LABEL_IMAGE.into(), names::IMAGE_REFUSED.into());
        server
    };
    let over = labelled_until(ago(hours(3)));
    let ends = [
        (
            judge_by_label_alone(&over, "no answer", &site),
            judge_by_label_alone(&refusing(over.clone()), "no answer", &site),
        ),
        (
            judge_server(&over, Some(&row()), &Asked::Unreadable, &site),
            judge_server(&refusing(over.clone()), Some(&row()), &Asked::Unreadable, &site),
        ),
        (
            judge_server(&over, None, &Asked::Unknown, &site),
            judge_server(&refusing(over.clone()), None, &Asked::Unknown, &site),
        ),
        (
            judge_server(&over, Some(&row()), &Asked::Unknown, &site),
            judge_server(&refusing(over.clone()), Some(&row()), &Asked::Unknown, &site),
        ),
    ];
    for (without, with) in ends {
        assert!(
            matches!(without.verdict, Verdict::End(First::Image | First::ImageIfPossible)),
            "{without:?}"
        );
        assert_eq!(with, Judged { verdict: Verdict::End(First::Nothing), ..without });
    }
    // It ends nothing sooner.
    assert_eq!(judge_by_label_alone(&refusing(server()), "no answer", &site).verdict, Verdict::Leave);
}

#[test]
fn a_lost_index_destroys_nothing_before_its_label_does() {
    check(
        &Case { row: None, asked: Asked::Unknown, doubt: true, ..case() },
        Verdict::Leave,
        "its label will",
    );
    assert!(index_in_doubt(true, 1, 1));
    assert!(index_in_doubt(false, 50, 26));
    assert!(!index_in_doubt(false, 50, 25));
    assert!(!index_in_doubt(false, 9, 9));
}

#[test]
fn an_unknown_machine_is_imaged_before_it_ends() {
    let case = Case { row: None, asked: Asked::Unknown, ..case() };
    check(&case, Verdict::End(First::Image), "no workspace answers");
}

#[test]
fn a_machine_whose_time_is_over_ends_and_is_imaged_unless_its_work_is_saved() {
    let over = |fate: Fate| Case { asked: Asked::Known(fate), ..case() };
    check(&over(asleep()), Verdict::End(First::Nothing), "asleep");
    check(&over(Fate { saved: false, ..asleep() }), Verdict::End(First::Image), "asleep");
    check(&over(Fate { generation: Generation(4), ..fate() }), Verdict::End(First::Image), "machine 4");
    let refused = Fate { saved: false, refuses_image: true, ..asleep() };
    check(&over(refused.clone()), Verdict::End(First::Nothing), "asleep");
    check(&over(Fate { generation: Generation(4), ..refused }), Verdict::End(First::Nothing), "machine 4");
    check(&over(Fate { generation: Generation(4), ..asleep() }), Verdict::End(First::Image), "machine 4");
    check(&over(Fate { generation: Generation(2), ..fate() }), Verdict::Leave, "2 only");
}

#[test]
fn a_doubled_machine_is_left_to_its_workspace() {
    let asked = Asked::Known(Fate { server: Some(1), ..fate() });
    check(&Case { asked, ..case() }, Verdict::Leave, "ends both");
}

#[test]
fn a_workspace_past_its_end_is_told_first() {
    let past = |hard_end| Fate { hard_end, ..fate() };
    let with = |server: Server, fate| Case { server, asked: Asked::Known(fate), ..case() };
    let (soon, late) = (ago(hours(1)), ago(hours(9)));
    check(&with(labelled_until(soon), past(soon)), Verdict::Nudge, "past its end");
    check(&with(labelled_until(late), past(late)), Verdict::End(First::ImageIfPossible), "past its end");
    let saved = Fate { saved: true, ..past(late) };
    check(&with(labelled_until(late), saved), Verdict::End(First::Nothing), "past its end");
    // Its label says otherwise: the object and the provider disagree, so nobody ends anything.
    check(&with(server(), past(late)), Verdict::Nudge, "past its end");
    let holds = Fate { holds: true, ..past(late) };
    check(&with(labelled_until(late), holds), Verdict::Leave, "owner chose");
}

#[test]
fn labels_that_cannot_be_read_are_reported_and_still_end_the_machine() {
    let broken = |mut server: Server| {
        server.labels.insert(names::LABEL_GENERATION.into(), "third".into());
        server
    };
    check(&Case { server: broken(server()), ..case() }, Verdict::Leave, "somebody should look");
    let server = broken(labelled_until(ago(hours(1))));
    check(&Case { server, ..case() }, Verdict::End(First::Image), "label ended it");
}

#[test]
fn a_server_that_changed_since_it_was_listed_is_another() {
    assert!(is_same(&server(), &Server { status: ServerStatus::Off, locked: true, ..server() }));
    assert!(!is_same(&server(), &labelled_until(ahead(hours(9)))));
    assert!(!is_same(&server(), &Server { created: Some(now()), ..server() }));
    assert!(!is_same(&server(), &Server { name: "mine".into(), ..server() }));
}

#[test]
fn a_row_without_a_server_is_nudged_and_never_edited() {
    let policy = Policy::default();
    let site = Site { install: INSTALL, policy: &policy, now: now(), index_in_doubt: false };
    let judge = |row: &Row, since, found| judge_record(&Row { since, ..row.clone() }, found, &site).verdict;
    assert_eq!(judge(&row(), ago(hours(1)), 1), Verdict::Fine);
    assert_eq!(judge(&row(), ago(hours(1)), 0), Verdict::Nudge);
    assert_eq!(judge(&row(), ago(Duration::from_mins(1)), 0), Verdict::Fine, "being created");
    assert_eq!(judge(&Row { state: State::Asleep, ..row() }, ago(hours(1)), 0), Verdict::Fine);
}

#[test]
fn a_name_goes_once_its_machine_is_over_and_not_before() {
    let policy = Policy::default();
    let check = |install: &str, row: Option<Row>, asked: Asked, doubt, wanted| {
        let owner = RecordOwner { install: install.into(), workspace: id(), generation: Generation(3) };
        let site = Site { install: INSTALL, policy: &policy, now: now(), index_in_doubt: doubt };
        let judged = judge_name(&owner, row.as_ref(), &asked, &site);
        assert_eq!(judged.verdict, wanted, "{}", judged.because);
    };
    let (known, ended) = (Asked::Known, Verdict::End(First::Nothing));
    check("away", None, Asked::Unknown, false, Verdict::Leave);
    check(INSTALL, Some(row()), Asked::NotYet, false, Verdict::Fine);
    check(INSTALL, None, Asked::NotYet, false, Verdict::Ask);
    check(INSTALL, Some(Row { state: State::Asleep, ..row() }), Asked::NotYet, false, Verdict::Ask);
    check(INSTALL, Some(Row { generation: Generation(4), ..row() }), Asked::NotYet, false, Verdict::Ask);
    check(INSTALL, None, known(fate()), false, Verdict::Fine);
    check(INSTALL, Some(row()), known(asleep()), false, ended);
    check(INSTALL, Some(row()), known(Fate { generation: Generation(4), ..fate() }), false, ended);
    check(INSTALL, None, known(Fate { generation: Generation(2), ..fate() }), false, Verdict::Leave);
    check(INSTALL, None, Asked::Unknown, false, ended);
    check(INSTALL, None, Asked::Unknown, true, Verdict::Leave);
    check(INSTALL, Some(row()), Asked::Unknown, false, Verdict::Leave);
}

#[test]
fn an_image_goes_when_its_label_says_or_its_workspace_is_purged() {
    const IMAGE: u64 = 99;
    let policy = Policy::default();
    let check = |install: &str, expires: Timestamp, asked: &Asked, wanted| {
        let image = Image {
            id: ImageId(IMAGE),
            kind: "snapshot".into(),
            status: ImageStatus::Available,
            description: String::new(),
            labels: names::labels(install, &TenantId::owner(), &id(), Generation(3), expires),
            created: Some(ago(hours(1))),
            created_from: Some(ServerId(SERVER)),
            size_mb: None,
            disk_gb: None,
        };
        let site = Site { install: INSTALL, policy: &policy, now: now(), index_in_doubt: false };
        let judged = judge_image(&image, asked, &site);
        assert_eq!(judged.verdict, wanted, "{}", judged.because);
        let young = Image { created: Some(now()), ..image.clone() };
        let written = Image { status: ImageStatus::Creating, ..image };
        for image in [young, written] {
            let verdict = judge_image(&image, asked, &site).verdict;
            assert!(matches!(verdict, Verdict::Fine | Verdict::Leave), "{verdict:?}");
        }
    };
    let (past, future, ended) = (ago(hours(1)), ahead(hours(1)), Verdict::End(First::Nothing));
    let holding = |fate: Fate| Asked::Known(Fate { images: vec![IMAGE], ..fate });
    let purged = Asked::Known(Fate { purged: true, state: State::Deleted, ..asleep() });
    let waiting = |until| holding(Fate { waits: Some((IMAGE, until)), ..asleep() });
    check(INSTALL, past, &waiting(future), Verdict::Fine);
    check(INSTALL, past, &waiting(past), ended);
    check("away", past, &Asked::Unknown, Verdict::Leave);
    check(INSTALL, past, &Asked::NotYet, Verdict::Ask);
    check(INSTALL, past, &Asked::Unknown, ended);
    check(INSTALL, future, &Asked::Unknown, Verdict::Leave);
    check(INSTALL, past, &holding(asleep()), ended);
    check(INSTALL, future, &holding(asleep()), Verdict::Fine);
    check(INSTALL, past, &holding(fate()), Verdict::Leave);
    check(INSTALL, future, &Asked::Known(asleep()), Verdict::Leave);
    check(INSTALL, future, &purged, ended);
}

#[test]
fn where_a_record_cannot_be_read_an_image_is_kept_as_long_again_and_an_address_as_long_as_a_machine_may_live()
{
    let policy = Policy::default();
    let site = Site { install: INSTALL, policy: &policy, now: now(), index_in_doubt: false };
    let labels = |expires| names::labels(INSTALL, &TenantId::owner(), &id(), Generation(3), expires);
    let image = |expires| Image {
        id: ImageId(99),
        kind: "snapshot".into(),
        status: ImageStatus::Available,
        description: String::new(),
        labels: labels(expires),
        created: Some(ago(hours(400))),
        created_from: Some(ServerId(SERVER)),
        size_mb: None,
        disk_gb: None,
    };
    let judge = |expires| judge_image(&image(expires), &Asked::Unreadable, &site);
    let keep = policy.rescue_image_keep;
    assert_eq!(judge(ahead(hours(1))).verdict, Verdict::Leave);
    assert_eq!(judge(ago(keep)).verdict, Verdict::Leave);
    let ended = judge(ago(keep.plus(hours(1))));
    assert_eq!(ended.verdict, Verdict::End(First::Nothing));
    assert!(ended.because.contains("cannot be read, and its label ended it at "), "{}", ended.because);

    let address = |expires, used: bool| PrimaryIp {
        id: PrimaryIpId(5),
        name: "primary_ip-5".into(),
        kind: "ipv4".into(),
        ip: "198.18.0.10".into(),
        labels: labels(expires),
        assigned_to: used.then_some(ServerId(SERVER)),
        auto_delete: Some(true),
        created: Some(ago(hours(40))),
        location: None,
    };
    let judge = |expires, used| judge_address(&address(expires, used), &Asked::Unreadable, &site).verdict;
    assert_eq!(judge(ago(hours(2)), false), Verdict::Leave);
    assert_eq!(judge(ago(hours(4)), false), Verdict::End(First::Nothing));
    assert_eq!(judge(ago(hours(4)), true), Verdict::Fine);
}

#[test]
fn an_address_goes_when_nothing_uses_it_and_its_machine_is_over() {
    let policy = Policy::default();
    let site = Site { install: INSTALL, policy: &policy, now: now(), index_in_doubt: false };
    let address = PrimaryIp {
        id: PrimaryIpId(5),
        name: "primary_ip-5".into(),
        kind: "ipv4".into(),
        ip: "198.18.0.10".into(),
        labels: server().labels,
        assigned_to: None,
        auto_delete: Some(true),
        created: Some(ago(hours(1))),
        location: None,
    };
    let judge = |address: &PrimaryIp, asked: &Asked| judge_address(address, asked, &site).verdict;
    let ended = Verdict::End(First::Nothing);
    assert_eq!(judge(&address, &Asked::NotYet), Verdict::Ask);
    assert_eq!(judge(&address, &Asked::Unknown), ended);
    assert_eq!(judge(&address, &Asked::Known(asleep())), ended);
    assert_eq!(judge(&address, &Asked::Known(fate())), Verdict::Fine);
    let used = PrimaryIp { assigned_to: Some(ServerId(SERVER)), ..address.clone() };
    assert_eq!(judge(&used, &Asked::Unknown), Verdict::Fine);
    let young = PrimaryIp { created: Some(now()), ..address.clone() };
    assert_eq!(judge(&young, &Asked::Unknown), Verdict::Fine);
    let foreign = PrimaryIp { labels: std::collections::BTreeMap::new(), ..address };
    assert_eq!(judge(&foreign, &Asked::Unknown), Verdict::Leave);
}

#[test]
fn stored_objects_go_only_when_purged_or_long_unknown() {
    let policy = Policy::default();
    let site = Site { install: INSTALL, policy: &policy, now: now(), index_in_doubt: false };
    let judge = |row: Option<Row>, asked: &Asked, newest| {
        judge_leftover(row.as_ref(), asked, &Below { newest, repository: false }, &site).verdict
    };
    let (old, ended) = (Some(ago(hours(24 * 8))), Verdict::End(First::Nothing));
    let deleted = Row { state: State::Deleted, ..row() };
    let undoable = Asked::Known(Fate { state: State::Deleted, ..asleep() });
    let purged = Asked::Known(Fate { state: State::Deleted, purged: true, ..asleep() });
    assert_eq!(judge(Some(row()), &Asked::NotYet, None), Verdict::Fine);
    assert_eq!(judge(Some(deleted.clone()), &Asked::NotYet, None), Verdict::Ask);
    assert_eq!(judge(None, &Asked::NotYet, None), Verdict::Ask);
    assert_eq!(judge(Some(deleted.clone()), &undoable, old), Verdict::Fine);
    assert_eq!(judge(None, &undoable, old), Verdict::Nudge, "a lost index deletes no backup");
    let alive = Asked::Known(asleep());
    assert_eq!(judge(Some(deleted.clone()), &alive, old), Verdict::Nudge, "a restored row is mended");
    assert_eq!(judge(Some(deleted.clone()), &purged, None), ended);
    assert_eq!(judge(None, &Asked::Unknown, old), ended);
    assert_eq!(judge(None, &Asked::Unknown, Some(ago(hours(24)))), Verdict::Leave);
    assert_eq!(judge(None, &Asked::Unknown, None), Verdict::Leave);
    assert_eq!(judge(Some(deleted), &Asked::Unknown, old), Verdict::Leave);
    let lost = Site { index_in_doubt: true, ..site };
    let below = Below { newest: old, repository: false };
    let judged = judge_leftover(None, &Asked::Unknown, &below, &lost).verdict;
    assert_eq!(judged, Verdict::Leave, "a new installation over an old bucket deletes no backup");
    assert_eq!(judge_leftover(None, &purged, &Below::default(), &lost).verdict, ended);
}

#[test]
fn a_backup_that_nobody_shredded_never_ends_with_its_workspace_unknown() {
    let policy = Policy::default();
    let purged = Asked::Known(Fate { state: State::Deleted, purged: true, ..asleep() });
    for index_in_doubt in [true, false] {
        let site = Site { install: INSTALL, policy: &policy, now: now(), index_in_doubt };
        for newest in [None, Some(ago(hours(1))), Some(ago(hours(24 * 999)))] {
            let below = Below { newest, repository: true };
            let judged = judge_leftover(None, &Asked::Unknown, &below, &site);
            assert_eq!(judged.verdict, Verdict::Leave);
            assert!(judged.because.contains("backup") && judged.because.contains("delete"), "{judged:?}");
            assert_eq!(judge_leftover(None, &purged, &below, &site).verdict, Verdict::End(First::Nothing));
        }
    }
    let prefix = "workspaces/owner/k3v7q2mzab/";
    for (path, shows) in [
        ("restic/config", true),
        ("restic/keys/00", true),
        ("restic/data/00", false),
        ("restic/config2", false),
        ("key.json", false),
    ] {
        assert_eq!(shows_repository(prefix, &format!("{prefix}{path}")), shows, "{path}");
    }
    assert!(!shows_repository(prefix, "workspaces/owner/another/restic/config"));
}

#[test]
fn a_workspace_without_a_row_is_told_to_write_it() {
    let policy = Policy::default();
    for index_in_doubt in [true, false] {
        let site = Site { install: INSTALL, policy: &policy, now: now(), index_in_doubt };
        let judge = |row: Option<&Row>, fate: Fate| {
            judge_leftover(row, &Asked::Known(fate), &Below::default(), &site).verdict
        };
        assert_eq!(judge(None, asleep()), Verdict::Nudge);
        assert_eq!(judge(None, fate()), Verdict::Nudge);
        let deleted = Row { state: State::Deleted, ..row() };
        assert_eq!(judge(Some(&deleted), asleep()), Verdict::Nudge, "a restored row is wrong");
        assert_eq!(judge(Some(&deleted), Fate { state: State::Deleted, ..asleep() }), Verdict::Fine);
    }
}

#[test]
fn a_machine_beyond_every_deadline_goes_once_its_image_is_definitely_refused() {
    let error = |code: &str| VendorError { status: 422, code: code.into(), ..VendorError::default() };
    let answered = |answer, first| imaging_answered(answer, first);
    for refusal in [
        Ok(CreateImage::LimitExceeded(error("resource_limit_exceeded"))),
        Err(Failure::Refused(error("invalid_input"))),
    ] {
        assert_eq!(answered(refusal.clone(), First::ImageIfPossible), Ok(Imaging::Without));
        let stays = answered(refusal, First::Image);
        assert!(matches!(&stays, Ok(Imaging::Stays(why)) if why.contains("HTTP 422")), "{stays:?}");
    }
    let passing = [
        Failure::Unauthorized(error("forbidden")),
        Failure::RateLimited { reset: None, error: None },
        Failure::Busy(error("conflict")),
        Failure::NotSent { reason: String::new() },
        Failure::Unknown { reason: String::new(), error: None },
    ];
    for failure in passing {
        assert_eq!(answered(Err(failure.clone()), First::ImageIfPossible), Err(failure));
    }
    let locked = answered(Ok(CreateImage::Locked(error("locked"))), First::ImageIfPossible);
    assert!(matches!(&locked, Ok(Imaging::Stays(why)) if why.contains("locked")), "{locked:?}");
}

#[test]
fn an_image_that_came_to_nothing_is_not_taken_again_in_every_turn() {
    let image = |id, of, status: &str| Image {
        id: ImageId(id),
        kind: "snapshot".into(),
        status: ImageStatus::from(status.to_owned()),
        description: String::new(),
        labels: std::collections::BTreeMap::new(),
        created: Some(ago(hours(1))),
        created_from: Some(ServerId(of)),
        size_mb: None,
        disk_gb: None,
    };
    let failed = image(1, SERVER, "unavailable");
    let stands = |images: &[Image], first| imaging(ServerId(SERVER), images, first);
    assert_eq!(stands(&[], First::Image), Imaging::Take);
    assert_eq!(stands(&[image(2, 1, "available"), image(3, 1, "unavailable")], First::Image), Imaging::Take);
    assert_eq!(stands(std::slice::from_ref(&failed), First::ImageIfPossible), Imaging::Without);
    let stays = |images: &[Image], first, because: &str| {
        let stands = stands(images, first);
        assert!(matches!(&stands, Imaging::Stays(why) if why.contains(because)), "{stands:?}");
    };
    stays(std::slice::from_ref(&failed), First::Image, "came to nothing");
    for first in [First::Image, First::ImageIfPossible] {
        assert_eq!(stands(&[failed.clone(), image(2, SERVER, "available")], first), Imaging::Taken);
        stays(&[failed.clone(), image(2, SERVER, "creating")], first, "being written");
        stays(&[image(2, SERVER, "new_word")], first, "new_word");
    }
}

#[test]
fn a_machine_that_nobody_wants_and_that_has_outlived_its_label_needs_no_image_to_go() {
    let went_on = || Asked::Known(Fate { generation: Generation(4), ..fate() });
    let unsaved = || Asked::Known(Fate { state: State::Failed, may_have_machine: false, ..fate() });
    let answers: [&dyn Fn() -> Asked; 2] = [&went_on, &unsaved];
    for asked in answers {
        let fresh = Case { server: labelled_until(ahead(hours(1))), asked: asked(), ..case() };
        check(&fresh, Verdict::End(First::Image), "its workspace");
        let long_over = Case { server: labelled_until(ago(hours(24))), asked: asked(), ..case() };
        check(&long_over, Verdict::End(First::ImageIfPossible), "its workspace");
    }
}
