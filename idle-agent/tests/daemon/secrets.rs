//! Secrets on a machine: private repositories, variables and files that change while it runs, and where no value is.

use crate::boot::cloning;
use crate::control::{Fault, secret};
use crate::machine::{Machine, SECRET, wait_until};
use ebbtide_api::secrets::FileMode;
use ebbtide_api::vm::{GitCredential, SecretFile, StepAction, UserSettings};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output};

const PASSWORD: &str = "a-password-of-the-host";

/// A private repository, with one of its own host within it.
fn private(name: &str) -> Machine {
    let machine = cloning(|base| format!("{base}/git/{name}.git"), None);
    let script = "
        cp -r demo.git private-inner.git
        mkdir outer; cd outer; git init -q -b main; git remote add origin \"$PWD/../private-outer.git\"
        git -c protocol.file.allow=always submodule --quiet add ../private-inner.git inner
        git -c user.name=t -c user.email=t@t commit -qm x
        git clone -q --bare . ../private-outer.git; git -C ../private-outer.git update-server-info; cd ..
        mkdir lfs; cd lfs; git init -q -b main; echo '*.bin filter=lfs diff=lfs merge=lfs -text' > .gitattributes
        printf 'version https://git-lfs.github.com/spec/v1\\noid sha256:ab\\nsize 3\\n' > a.bin
        git add -A; git -c user.name=t -c user.email=t@t commit -qm x
        git clone -q --bare . ../private-lfs.git; git -C ../private-lfs.git update-server-info";
    let made = Command::new("sh").args(["-ec", script]).current_dir(machine.path("git")).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    machine
}

fn host(machine: &Machine) -> String {
    machine.control.url().trim_start_matches("http://").to_owned()
}

fn gives(machine: &Machine, password: &str) {
    let found = GitCredential { username: "x-access-token".into(), password: password.into() };
    let host = host(machine);
    machine.control.state().git_credentials.insert(format!("http://{host}"), found);
}

fn failure(machine: &Machine) -> String {
    let failed = machine.control.heard("the failure", |heartbeat| heartbeat.boot_failure.is_some());
    failed.boot_failure.unwrap()
}

/// Git in a terminal of the machine.
fn git(machine: &Machine, arguments: &[&str]) -> Output {
    let mut command = Command::new("git");
    command
        .args(arguments)
        .env("GIT_CONFIG_SYSTEM", machine.path("etc/gitconfig"))
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("HOME", machine.path("home"))
        .current_dir(machine.path("home"));
    command.output().unwrap()
}

#[test]
fn a_private_repository_is_cloned_with_its_submodules_by_a_credential_that_is_kept_nowhere() {
    let mut machine = private("private-outer");
    gives(&machine, PASSWORD);
    machine.boot();
    let inner = machine.path("workspaces/demo/inner/README");
    assert_eq!(std::fs::read_to_string(inner).unwrap(), "hello\n");
    let found = Command::new("grep").args(["-rl", PASSWORD]).arg(machine.path("")).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&found.stdout), "", "files that hold the password");
    assert!(!machine.control.log().contains(PASSWORD) && !machine.agent_log().contains(PASSWORD));

    // Later, in a terminal; and no longer once it was taken back.
    let url = format!("{}/git/private-inner.git", machine.control.url());
    let fetched = git(&machine, &["ls-remote", &url]);
    assert!(fetched.status.success(), "{}", String::from_utf8_lossy(&fetched.stderr));
    machine.control.state().git_credentials.clear();
    let refused = git(&machine, &["ls-remote", &url]);
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("could not read Username"), "{refused:?}");
}

#[test]
fn git_lfs_signs_in_by_the_same_way() {
    let mut machine = private("private-lfs");
    gives(&machine, PASSWORD);
    // Stands for git-lfs, which asks git for what it signs in with.
    let ask = format!("printf 'protocol=http\\nhost={}\\n\\n' | git credential fill", host(&machine));
    let script = format!("#!/bin/sh\n[ \"$1\" != pull ] || {ask} | grep -c '^password=.' > a.bin\n");
    let program = machine.path("bin/git-lfs");
    std::fs::create_dir_all(machine.path("bin")).unwrap();
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(program, std::fs::Permissions::from_mode(0o755)).unwrap();
    machine.boot();
    assert_eq!(std::fs::read_to_string(machine.path("workspaces/demo/a.bin")).unwrap(), "1\n");
}

#[test]
fn a_clone_without_a_credential_or_with_a_wrong_one_says_what_to_do() {
    let mut machine = private("private-inner");
    machine.start();
    let (said, host) = (failure(&machine), host(&machine));
    assert!(said.contains(&format!("add a git credential for http://{host} under Secrets")), "{said}");
    assert!(said.contains("PUT /v1/secrets/{name}"), "{said}");

    let mut machine = private("private-inner");
    gives(&machine, "an-older-password");
    machine.start();
    let said = failure(&machine);
    assert!(said.contains("did not take the git credential") && said.contains("write another"), "{said}");
    assert!(!said.contains("an-older-password"), "{said}");
}

#[test]
fn a_control_plane_that_is_away_for_a_moment_fails_no_clone() {
    let mut machine = private("private-inner");
    gives(&machine, PASSWORD);
    machine.control.state().enrolled.boot_plan.steps[1].retries = 5;
    machine.control.fault("/v1/vm/git-credential", &[Fault::Status(503)]);
    machine.boot();
    assert!(
        machine.control.log().contains("the control plane did not say how to sign in"),
        "{}",
        machine.control.log()
    );
}

#[test]
fn a_stranger_s_host_is_answered_nothing_and_git_s_other_wishes_do_nothing() {
    let mut machine = Machine::new(|_| vec![]);
    gives(&machine, PASSWORD);
    machine.boot();
    let ask = |operation: &str, text: String| {
        use std::io::Write as _;
        let mut child = Command::new(env!("CARGO_BIN_EXE_ebb-agent"))
            .arg("--run-dir")
            .arg(machine.path("run"))
            .args(["git-credential", operation])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let done = child.wait_with_output().unwrap();
        assert!(done.status.success());
        String::from_utf8(done.stdout).unwrap()
    };
    let own = format!("protocol=http\nhost={}\n\n", host(&machine));
    assert_eq!(ask("get", own.clone()), format!("username=x-access-token\npassword={PASSWORD}\n"));
    assert_eq!(ask("get", "protocol=https\nhost=evil.example\n\n".into()), "");
    for operation in ["store", "erase", "approve"] {
        assert_eq!(ask(operation, own.clone()), "");
    }
}

#[test]
fn variables_and_files_change_while_it_runs_and_go_again() {
    let mut machine = Machine::new(|_| vec![]);
    machine.boot();
    let settings = |revision: u64, file: Option<&str>| UserSettings {
        revision,
        variables: vec![secret("NEW_URL", "a-value-of-a-variable")],
        files: file
            .map(|value| SecretFile {
                name: "npm".into(),
                path: ".npmrc".into(),
                mode: FileMode::Read,
                value: value.into(),
            })
            .into_iter()
            .collect(),
        ssh_keys: vec![],
        git_author: None,
        ssh: None,
    };
    let read = |name: &str| std::fs::read_to_string(machine.path(name)).unwrap_or_default();
    machine.control.state().settings = settings(1, Some("a-value-of-a-file"));
    machine.control.fault("/v1/vm/settings", &[Fault::Status(503)]);
    machine.control.instruct(|instruction| instruction.settings_revision = Some(1));
    wait_until("the file is there", || read("home/.npmrc") == "a-value-of-a-file");
    let git = format!("GIT_CONFIG_SYSTEM='{}'\n", machine.path("etc/gitconfig").display());
    assert_eq!(read("run/env"), format!("NEW_URL='a-value-of-a-variable'\n{git}"));
    assert!(machine.path("home/.npmrc").symlink_metadata().unwrap().is_symlink(), "no backup holds it");

    machine.control.state().settings = settings(2, None);
    machine.control.instruct(|instruction| instruction.settings_revision = Some(2));
    wait_until("the link is gone", || machine.path("home/.npmrc").symlink_metadata().is_err());
    assert!(!machine.path("run/secrets/npm").exists());
    let kept = read("run/enrolled.json");
    for gone in ["a-value-of-a-file", SECRET] {
        assert!(!kept.contains(gone), "a daemon that is restarted would bring it back");
    }
    assert!(kept.contains("a-value-of-a-variable"));
    wait_until("it is told", || machine.control.log().contains("were renewed"));
    for value in ["a-value-of-a-variable", "a-value-of-a-file"] {
        assert!(!machine.control.log().contains(value) && !machine.agent_log().contains(value));
    }
}

#[test]
fn a_daemon_that_starts_again_fetches_what_changed_meanwhile() {
    let mut machine = Machine::new(|_| vec![StepAction::EnsurePrograms { programs: vec![] }]);
    machine.boot();
    machine.kill();
    let next = UserSettings {
        revision: 7,
        variables: vec![secret("A", "another-value")],
        ..UserSettings::default()
    };
    {
        let mut state = machine.control.state();
        state.settings = next;
        state.instruction.settings_revision = Some(7);
        state.heartbeats.clear();
    }
    machine.boot();
    wait_until("the variable is there", || {
        std::fs::read_to_string(machine.path("run/env"))
            .is_ok_and(|text| text.starts_with("A='another-value'\n"))
    });
}
