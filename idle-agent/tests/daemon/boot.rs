//! The boot plan: clone, failures with a way out, and being killed on the way.

use crate::control::Fault;
use crate::machine::{Machine, processes_of, wait_until};
use crate::skip::skip;
use ebbtide_api::programs::{Part, Program};
use ebbtide_api::vm::{PlannedFile, StepAction};
use ebbtide_api::workspace::StepState;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

pub fn cloning(url: impl Fn(&str) -> String, branch: Option<&str>) -> Machine {
    let machine = Machine::new(|paths| {
        vec![StepAction::Clone {
            url: String::new(),
            branch: branch.map(str::to_owned),
            directory: paths.of("workspaces/demo"),
            user: "ebb".into(),
        }]
    });
    let url = url(&machine.control.url());
    machine.repository("");
    if let StepAction::Clone { url: planned, .. } =
        &mut machine.control.state().enrolled.boot_plan.steps[1].action
    {
        *planned = url;
    }
    machine
}

#[test]
fn a_repository_is_cloned_as_the_user_with_steps_that_tell() {
    let mut machine = cloning(|base| format!("{base}/git/demo.git"), Some("main"));
    machine.boot();
    let readme = machine.path("workspaces/demo/README");
    assert_eq!(std::fs::read_to_string(&readme).unwrap(), "hello\n");
    use std::os::unix::fs::MetadataExt as _;
    assert_eq!(std::fs::metadata(&readme).unwrap().uid(), machine.uid);
    let heartbeat = machine.control.heard("ready", |heartbeat| heartbeat.ready);
    let steps: Vec<_> = heartbeat.boot.iter().map(|step| (step.name.as_str(), step.state)).collect();
    assert_eq!(steps, [("user", StepState::Skipped), ("clone", StepState::Done)]);
    assert!(heartbeat.boot_progress > 4, "{}", heartbeat.boot_progress);
    assert!(machine.control.log().contains("Cloning into"), "{}", machine.control.log());
    assert_eq!(
        std::fs::read_dir(machine.path("workspaces")).unwrap().count(),
        1,
        "no half-done clone is left"
    );
}

/// Repositories beside `demo.git`: one with a submodule of its own within a submodule, and one with a file of LFS.
const BESIDES: &str = r#"
commit() { git add -A; git -c user.name=t -c user.email=t@t commit -qm x; }
publish() { git clone -q --bare . ../$1.git; git -C ../$1.git update-server-info; }
add() { git -c protocol.file.allow=always submodule --quiet add ../$1.git $2; }
mkdir middle outer lfs hidden
(cd middle; git init -q -b main; git remote add origin "$PWD/../middle.git"; add demo inner; commit; publish middle)
(cd outer; git init -q -b main; git remote add origin "$PWD/../outer.git"; add middle libs/middle; add demo gone
 git config -f .gitmodules submodule.gone.url ../nothing.git; commit; publish outer)
(cd lfs; git init -q -b main; echo '*.bin filter=lfs diff=lfs merge=lfs -text' > .gitattributes
 printf 'version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 3\n' > a.bin; echo plain > b; commit; publish lfs)
(cd hidden; git clone -q ../lfs .; ln -s '[lfs]url=http://127.0.0.1/' .lfsconfig; commit; publish hidden)
"#;

fn with_besides(name: &str) -> Machine {
    let machine = cloning(|base| format!("{base}/git/{name}.git"), None);
    let made = Command::new("sh").args(["-ec", BESIDES]).current_dir(machine.path("git")).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    machine
}

fn detail_of_clone(machine: &Machine) -> String {
    let heartbeat = machine.control.heard("ready", |heartbeat| heartbeat.ready);
    assert_eq!(heartbeat.boot[1].state, StepState::Done);
    heartbeat.boot[1].detail.clone().unwrap_or_default()
}

#[test]
fn submodules_come_with_a_clone_and_one_that_is_gone_is_told_and_stops_nothing() {
    let mut machine = with_besides("outer");
    machine.boot();
    let inner = machine.path("workspaces/demo/libs/middle/inner/README");
    assert_eq!(std::fs::read_to_string(inner).unwrap(), "hello\n");
    let detail = detail_of_clone(&machine);
    assert!(detail.contains("with 2 submodules, not fetched: submodule gone: "), "{detail}");
    assert!(
        machine.control.log().contains("submodule gone: there is no git repository"),
        "{}",
        machine.control.log()
    );
}

fn stub(machine: &Machine, name: &str, script: &str) {
    let program = machine.path("bin").join(name);
    std::fs::create_dir_all(machine.path("bin")).unwrap();
    std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(program, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn files_of_lfs_are_fetched_and_where_they_cannot_be_the_step_says_what_they_are() {
    let mut machine = with_besides("lfs");
    stub(&machine, "git-lfs", "[ \"$1\" != pull ] || echo abc > a.bin");
    machine.boot();
    assert_eq!(std::fs::read_to_string(machine.path("workspaces/demo/a.bin")).unwrap(), "abc\n");
    assert_eq!(detail_of_clone(&machine), "with 1 file of Git LFS");

    let mut machine = with_besides("lfs");
    stub(&machine, "git-lfs", "[ \"$1\" != pull ] || { echo 'batch response: no such object'; exit 2; }");
    machine.boot();
    let detail = detail_of_clone(&machine);
    let expected = "not fetched: 1 file of Git LFS, pointers now: batch response: no such object";
    assert_eq!(detail, expected);
}

#[test]
fn a_server_of_lfs_that_cannot_be_looked_at_is_not_asked() {
    // git-lfs takes what is committed where that leads to no file.
    let mut machine = with_besides("hidden");
    stub(&machine, "git-lfs", "[ \"$1\" != pull ] || echo abc > a.bin");
    machine.boot();
    let expected = "not fetched: 1 file of Git LFS, pointers now: its .lfsconfig is no file that can be read";
    assert_eq!(detail_of_clone(&machine), expected);
}

#[test]
fn what_cannot_be_cloned_fails_with_the_way_out() {
    let table = [
        ("/git/private.git", None, "wants to know who asks"),
        ("/git/nothing.git", None, "there is no git repository"),
        ("/git/demo.git", Some("$(id)"), "no branch or tag \"$(id)\""),
        ("/git/demo.git", Some("--upload-pack=x"), "no branch or tag"),
    ];
    for (path, branch, reason) in table {
        let mut machine = cloning(|base| format!("{base}{path}"), branch);
        machine.start();
        let failed = machine.control.heard("the failure", |heartbeat| heartbeat.boot_failure.is_some());
        let failure = failed.boot_failure.unwrap();
        assert!(failure.contains(reason), "{failure}");
        assert!(!failed.ready);
        assert_eq!(failed.boot[1].state, StepState::Failed);
        assert_eq!(std::fs::read_dir(machine.path("workspaces")).unwrap().count(), 0);
    }
    for (url, reason) in [
        ("file:///etc", "only http, https and ssh"),
        ("ext::sh -c id", "only http, https and ssh"),
        ("http://127.0.0.1:1/x.git", "cannot be reached"),
        ("--upload-pack=id", "git clone failed"),
    ] {
        let mut machine = cloning(|_| url.to_owned(), None);
        machine.start();
        let failed = machine.control.heard("the failure", |heartbeat| heartbeat.boot_failure.is_some());
        let failure = failed.boot_failure.unwrap();
        assert!(failure.contains(reason), "{url}: {failure}");
    }
}

#[test]
fn killed_in_the_middle_of_a_clone_it_begins_the_clone_again_and_not_the_boot() {
    let mut machine = cloning(|base| format!("{base}/git/demo.git"), None);
    // Held up on its way, so that it is killed while it clones.
    machine.control.fault("/git/demo.git/objects", &[Fault::Status(503); 1000]);
    machine.start();
    machine.control.heard("the clone", |heartbeat| {
        heartbeat.boot.get(1).is_some_and(|step| step.state == StepState::Running)
    });
    let half = machine.path("workspaces/.demo.cloning-1");
    std::fs::create_dir(&half).unwrap();
    machine.kill();
    machine.control.heal();
    machine.control.state().heartbeats.clear();
    machine.boot();
    assert!(machine.path("workspaces/demo/README").exists());
    wait_until("the half-done clone is gone", || !half.exists());
    machine.kill();
    let before = machine.control.log().matches("Cloning into").count();
    machine.control.state().heartbeats.clear();
    machine.boot();
    assert_eq!(machine.control.log().matches("Cloning into").count(), 0, "done is done ({before} before)");
}

#[test]
fn a_failed_boot_stays_failed_over_a_restart() {
    let mut machine = cloning(|base| format!("{base}/git/nothing.git"), None);
    machine.start();
    let first = machine.control.heard("the failure", |heartbeat| heartbeat.boot_failure.is_some());
    machine.kill();
    machine.control.state().heartbeats.clear();
    machine.start();
    let again = machine.control.heard("the failure again", |heartbeat| heartbeat.boot_failure.is_some());
    assert_eq!(first.boot_failure, again.boot_failure);
}

#[test]
fn a_step_of_a_newer_control_plane_fails_with_its_reason() {
    let mut machine = Machine::new(|_| vec![StepAction::Unknown]);
    machine.start();
    let failed = machine.control.heard("the failure", |heartbeat| heartbeat.boot_failure.is_some());
    assert!(failed.boot_failure.unwrap().contains("older than the control plane"));
}

#[test]
fn missing_programs_are_named_and_present_ones_skipped() {
    let mut machine =
        Machine::new(|_| vec![StepAction::EnsurePrograms { programs: vec![("git".into(), "git".into())] }]);
    machine.boot();
    let heartbeat = machine.control.heard("ready", |heartbeat| heartbeat.ready);
    assert_eq!(heartbeat.boot[1].state, StepState::Skipped);
}

#[test]
fn an_agent_that_cannot_be_had_is_said_and_stops_no_boot() {
    let mut machine = Machine::new(|paths| {
        let file = |name: &str, needs: &[&str]| PlannedFile {
            path: paths.of(name),
            content: "x".into(),
            executable: true,
            needs: needs.iter().map(|&name| name.to_owned()).collect(),
        };
        // Nobody serves it.
        let part = Part { sha256: "ab".repeat(32), size_bytes: 7 };
        let program =
            Program { name: "claude".into(), version: "1".into(), parts: vec![part], unpacked_bytes: 9 };
        vec![StepAction::InstallBundles {
            directory: paths.of("programs"),
            programs: vec![program],
            files: vec![file("etc/claude/settings", &[]), file("bin/launcher", &["claude"])],
            missing: vec!["codex is not among the programs of this installation".into()],
        }]
    });
    machine.boot();
    let heartbeat = machine.control.heard("ready", |heartbeat| heartbeat.ready);
    let detail = heartbeat.boot[1].detail.clone().unwrap_or_default();
    assert!(heartbeat.boot[1].warned && heartbeat.boot[1].state == StepState::Done);
    assert!(detail.starts_with("codex is not among the programs"), "{detail}");
    assert!(detail.contains("a part of claude cannot be fetched"), "{detail}");
    assert!(machine.path("etc/claude/settings").exists());
    assert!(!machine.path("bin/launcher").exists(), "it would lead nowhere");
}

/// A repository that says by a manifest what it is made of.
const WITH_A_MANIFEST: &str = r#"
git clone -q w made; cd made; printf '[package]\nname = "x"\n' > Cargo.toml; git add -A
git -c user.name=t -c user.email=t@t commit -qm x; git clone -q --bare . ../made.git; git -C ../made.git update-server-info"#;

#[test]
fn agents_that_are_there_are_told_of_the_machine_and_the_repository_below_the_home_at_first_and_never_again()
{
    let mut machine = cloning(|base| format!("{base}/git/made.git"), None);
    let made = Command::new("sh").args(["-ec", WITH_A_MANIFEST]).current_dir(machine.path("git")).output();
    assert!(made.unwrap().status.success());
    std::fs::create_dir(machine.path("bin")).unwrap();
    for agent in ["claude", "codex"] {
        std::fs::write(machine.path("bin").join(agent), "#!/bin/sh\n").unwrap();
        std::fs::set_permissions(machine.path("bin").join(agent), std::fs::Permissions::from_mode(0o755))
            .unwrap();
    }
    let agents = StepAction::InstallBundles {
        directory: machine.path("programs").display().to_string(),
        programs: vec![],
        files: vec![],
        missing: vec![],
    };
    machine.control.state().enrolled.boot_plan.steps.push(crate::machine::planned(agents));
    machine.boot();
    let read = |path: &str| std::fs::read_to_string(machine.path("home").join(path)).unwrap();
    let [claude, codex] = [".claude/CLAUDE.md", ".codex/AGENTS.md"].map(read);
    assert!(claude.contains("test `cargo test`") && !claude.contains("ends itself"), "{claude}");
    assert!(codex.contains("test `cargo test`") && codex.contains("ends itself"), "{codex}");
    assert!(!machine.path("home/.gemini").exists(), "it is not there");
    assert!(!machine.path("workspaces/demo/CLAUDE.md").exists(), "the work tree is left alone");
    std::fs::remove_file(machine.path("home/.codex/AGENTS.md")).unwrap();
    machine.kill();
    machine.control.state().heartbeats.clear();
    machine.boot();
    assert!(!machine.path("home/.codex/AGENTS.md").exists(), "who took it away does not want it");
}

mod as_root {
    use super::*;

    #[test]
    fn the_terminal_runs_as_the_user_with_the_environment_and_outlives_the_agent() {
        let mut machine = Machine::new(|paths| {
            vec![StepAction::StartTerminal { user: "ebb".into(), directory: paths.of("workspaces") }]
        });
        if machine.uid < 1_000_000 {
            skip("only root can act for another user");
            return;
        }
        machine.boot();
        let script =
            "tmux send-keys -t main 'echo \"[$API_KEY]\" > \"$HOME/out\"; pwd >> \"$HOME/out\"' Enter";
        let mut typing = machine.user_process("sh", &["-c", script]);
        assert!(typing.wait().unwrap().success());
        let out = machine.path("home/out");
        wait_until("the terminal answers", || {
            std::fs::read_to_string(&out).is_ok_and(|text| text.lines().count() == 2)
        });
        let text = std::fs::read_to_string(&out).unwrap();
        assert_eq!(text, format!("[it's-a-very-secret-value]\n{}\n", machine.path("workspaces").display()));
        let running = processes_of(machine.uid);
        machine.kill();
        machine.control.state().heartbeats.clear();
        machine.boot();
        let again = processes_of(machine.uid);
        assert!(running.iter().any(|pid| again.contains(pid)), "{running:?} {again:?}");
        let _ = Command::new("true").status();
    }
}

#[test]
fn a_step_that_cannot_be_stored_as_done_is_not_done() {
    let mut machine =
        Machine::new(|_| vec![StepAction::EnsurePrograms { programs: vec![("git".into(), "git".into())] }]);
    machine.control.state().enrolled.boot_plan.steps[0].retries = 1000;
    // Stands for a disk that is full.
    std::fs::create_dir_all(machine.path("state/.boot.json.new")).unwrap();
    machine.start();
    wait_until("it is tried again", || machine.control.log().contains("cannot store that it is done"));
    assert!(!machine.control.state().heartbeats.iter().any(|heartbeat| heartbeat.ready));
    std::fs::remove_dir(machine.path("state/.boot.json.new")).unwrap();
    machine.control.heard("ready", |heartbeat| heartbeat.ready);
    // A record that is lost may say that everything was done: nothing is done a second time over what is there.
    machine.kill();
    std::fs::write(machine.path("state/boot.json"), "{\"ste").unwrap();
    machine.control.state().heartbeats.clear();
    machine.start();
    let failed = machine.control.heard("the failure", |heartbeat| heartbeat.boot_failure.is_some());
    assert!(failed.boot_failure.unwrap().contains("cannot be read") && !failed.ready);
}

/// Puts a program in the place of Caddy. Whether "it" listens is the test's: it binds the port itself.
fn caddy_does(machine: &Machine, script: &str) {
    let program = machine.path("bin/caddy");
    std::fs::create_dir_all(machine.path("bin")).unwrap();
    std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(program, std::fs::Permissions::from_mode(0o755)).unwrap();
}

fn caddy_of(machine: &Machine) -> String {
    std::fs::read_to_string(machine.path("run/caddy.pid")).unwrap()
}

#[test]
fn a_web_proxy_that_is_slow_is_waited_for_and_one_that_ends_is_tried_until_it_stands() {
    let mut machine = Machine::new(|_| vec![StepAction::StartCaddy]);
    let door = machine.path("door-opens");
    let listens = format!(
        "import socket, time; s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); \
         s.bind((\"127.0.0.1\", {})); s.listen(); time.sleep(1000)",
        machine.listen_port
    );
    // Its own socket: one of somebody else's on that port does not count.
    let lives = format!("until [ -e '{}' ]; do sleep 0.1; done; exec python3 -c '{listens}'", door.display());
    caddy_does(&machine, &lives);
    {
        let mut state = machine.control.state();
        let step = &mut state.enrolled.boot_plan.steps[1];
        (step.timeout_secs, step.retries) = (1, 1000);
    }
    machine.start();
    wait_until("it is waited for", || machine.control.log().matches("does not listen on port").count() > 1);
    let slow = caddy_of(&machine);
    std::fs::write(&door, "").unwrap();
    machine.control.heard("ready", |heartbeat| heartbeat.ready);
    assert_eq!(caddy_of(&machine), slow, "the same one all the time");

    // A restart on a bad day.
    machine.kill();
    assert!(Command::new("kill").args(["-9", &slow]).status().unwrap().success());
    caddy_does(&machine, "echo 'Error: as the test wants it' >&2; exit 3");
    machine.control.state().heartbeats.clear();
    machine.start();
    wait_until("it is told", || {
        let log = machine.control.log();
        log.contains("does not stand any more") && log.contains("as the test wants it")
    });
    caddy_does(&machine, &lives);
    wait_until("it stands", || {
        let log = machine.control.log();
        log.contains("it stands again") || log.contains("the web proxy listens")
    });
}
