//! What a trace keeps, and what it must not.

use super::*;
use crate::cloudcli::sessions::SessionList;
use crate::idle::facts::{AgentObservation, SessionStatus, Sockets};
use crate::idle::process_kinds::programs::{is_starter, says_it_watches};
use crate::os::processes::Process;
use ebbtide_api::vm::VmPolicy;

const POLICY: VmPolicy = VmPolicy {
    heartbeat_secs: 15,
    idle_timeout_secs: 60,
    unknown_grace_secs: 600,
    waiting_for_human_secs: 7200,
    agent_silence_secs: 1800,
    background_secs: 7200,
    snapshot_every_secs: 900,
};

fn process(pid: u32, arguments: &[&str]) -> Process {
    Process {
        pid,
        parent: 1,
        comm: "node".into(),
        uid: 1000,
        has_terminal: true,
        started: 70,
        ticks: 5,
        storage_bytes: Some(0),
        arguments: arguments.iter().map(|text| (*text).to_owned()).collect(),
    }
}

fn facts() -> Facts {
    let sockets = Sockets { open: 1, is_asked: true, received_bytes: 9, sent_bytes: 0 };
    Facts {
        ready: true,
        user: Some(1000),
        processes: Ok(vec![process(20, &["node", "/usr/bin/gemini", "--key=hunter2"])]),
        servers: [4].into(),
        watchers: [].into(),
        terminals: Ok(Some([("0".to_owned(), (5, 6))].into())),
        people: 3,
        observations: vec![AgentObservation {
            process: (20, 70),
            sockets: Some(sockets),
            grown: 8,
            status: Some(SessionStatus::Busy),
        }],
        cloudcli: SessionList::Absent,
    }
}

/// A recording of these looks, ten seconds apart.
fn recorded(looks: &[Facts]) -> String {
    let directory = tempfile::tempdir().unwrap();
    let mut recorder = Recorder::start(directory.path(), &POLICY, Moment(0)).unwrap();
    for (number, facts) in (0..).zip(looks) {
        recorder.look(Moment(number * 10_000), facts, TraceContext::default()).unwrap();
    }
    recorder.stop().unwrap();
    Recorder::text(directory.path()).unwrap()
}

#[test]
fn looks_come_back_as_they_were_but_for_arguments() {
    let mut blind = facts();
    blind.processes = Err("/proc: permission denied".into());
    blind.terminals = Err("/dev/pts: permission denied".into());
    blind.observations.clear();
    let text = recorded(&[facts(), blind.clone(), facts()]);
    assert!(!text.contains("hunter2") && !text.contains("denied"), "{text}");
    let trace = Trace::parse(&text).unwrap();
    let looks: Vec<&Facts> = trace
        .entries
        .iter()
        .filter_map(|(_, entry)| if let Entry::Look(look) = entry { Some(&look.facts) } else { None })
        .collect();
    let mut expected = facts();
    expected.processes = Ok(vec![process(20, &["gemini"])]);
    assert_eq!(looks[2], &expected);
    blind.processes = Err("it cannot be read".into());
    blind.terminals = blind.processes.clone().map(|_| None);
    assert_eq!(looks[1], &blind);
}

#[test]
fn who_watches_and_what_arguments_say_of_it_come_back() {
    let mut before = facts();
    before.watchers = [31].into();
    before.processes = Ok(vec![
        process(30, &["node", "/w/node_modules/.bin/concurrently", "tsc --watch -p acme"]),
        process(31, &["node", "/w/node_modules/.bin/tsc", "--watch", "-p", "acme"]),
        process(32, &["node", "/w/acme.js", "-p"]),
    ]);
    let text = recorded(std::slice::from_ref(&before));
    assert!(!text.contains("acme") && !text.contains("tsc"), "{text}");
    let trace = Trace::parse(&text).unwrap();
    let Some((_, Entry::Look(look))) = trace.entries.last() else { panic!("{text}") };
    assert_eq!(look.facts.watchers, before.watchers);
    let kinds = |processes: &[Process]| -> Vec<_> {
        processes.iter().map(|one| (one.pid, says_it_watches(one), is_starter(one))).collect()
    };
    let after = kinds(look.facts.processes.as_ref().unwrap());
    assert_eq!(after, kinds(before.processes.as_ref().unwrap()));
    assert_eq!(after, [(30, false, true), (31, true, false), (32, false, false)]);
}

#[test]
fn what_people_named_or_typed_is_in_no_trace() {
    let directory = tempfile::tempdir().unwrap();
    let mut recorder = Recorder::start(directory.path(), &POLICY, Moment(0)).unwrap();
    let mut named = facts();
    named.processes = Ok(vec![
        Process { comm: "npm show @acme".into(), ..process(20, &["npm", "show", "@acme/payroll"]) },
        Process { comm: "acme-server".into(), ..process(21, &["/srv/acme-server"]) },
    ]);
    recorder.look(Moment(0), &named, TraceContext::default()).unwrap();
    for id in ["hunter2", "h7", "the acme hold"] {
        recorder.write(Moment(1), &Entry::Release { id: Some(id.to_owned()) }).unwrap();
    }
    recorder.stop().unwrap();
    let text = Recorder::text(directory.path()).unwrap();
    assert!(!text.contains("acme") && !text.contains("hunter2"), "{text}");
    assert!(
        text.contains(r#""c":"npm""#) && text.contains(r#""c":"other""#) && text.contains("h7"),
        "{text}"
    );
}

#[test]
fn a_look_at_a_still_machine_costs_a_few_bytes() {
    let text = recorded(&vec![facts(); 100]);
    assert!(text.len() < 4000, "{}", text.len());
    assert_eq!(text.lines().last(), Some(r#"[990000,{"look":{}}]"#));
}

#[test]
fn the_format_is_pinned_because_recordings_are_kept() {
    let text = recorded(&[facts()]);
    assert_eq!(
        text.lines().last().unwrap(),
        r#"[0,{"look":{"people":3,"processes":{"20/70":{"a":"gemini","b":0,"c":"node","k":5,"p":1,"t":true,"u":1000}},"ready":true,"servers":[4],"sights":{"20/70":{"grown":8,"sockets":{"is_asked":true,"open":1,"received_bytes":9},"status":"Busy"}},"terminals":{"0":[5,6]},"user":1000}}]"#
    );
}

#[test]
fn what_is_no_trace_is_refused_with_its_line() {
    for text in ["x", "[1,{\"look\":{\"people\":\"many\"}}]", "[1,{\"nap\":1}]", "{\"format\":1}"] {
        assert_eq!(Trace::parse(&format!("[1,\"restarted\"]\n{text}")).unwrap_err().line, 2, "{text}");
    }
}

#[test]
fn about_a_third_is_held_out_by_the_name_alone() {
    let held = (0..300).filter(|number| is_held_out(&format!("scene-{number}"))).count();
    assert!((80..120).contains(&held), "{held}");
}
