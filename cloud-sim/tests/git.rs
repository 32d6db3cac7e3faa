//! The git host on loopback, with the real git as its client: bare and other repositories, and no way to write.

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use ebbtide_cloud_sim::git::{self, Repositories};
use tokio::net::TcpListener;

fn git(dir: &Path, arguments: &[&str]) -> Output {
    Command::new("git")
        .args(["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "init.defaultBranch=main"])
        .arg("-C")
        .arg(dir)
        .args(arguments)
        .env("GIT_TERMINAL_PROMPT", "0")
        .output()
        .unwrap()
}

fn succeed(dir: &Path, arguments: &[&str]) {
    let done = git(dir, arguments);
    assert!(done.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn repositories_are_cloned_and_never_changed() {
    let dir = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("app")).unwrap();
    succeed(&dir.path().join("app"), &["init", "-q"]);
    // Larger than one buffer, so that the answer is streamed in several parts.
    let text: String = (0..200_000).map(|n| format!("{n}\n")).collect();
    std::fs::write(dir.path().join("app/numbers"), &text).unwrap();
    succeed(&dir.path().join("app"), &["add", "."]);
    succeed(&dir.path().join("app"), &["commit", "-qm", "first"]);
    succeed(dir.path(), &["clone", "-q", "--bare", "app", "bare.git"]);
    std::os::unix::fs::symlink(dir.path().join("app"), dir.path().join("linked")).unwrap();
    std::fs::create_dir(dir.path().join("plain")).unwrap();

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(git::serve(listener, Arc::new(Repositories::new(Some(dir.path().to_owned())))));
    for name in ["app.git", "app", "bare.git", "linked.git"] {
        succeed(elsewhere.path(), &["clone", "-q", &format!("{base}/{name}"), name]);
        assert_eq!(std::fs::read_to_string(elsewhere.path().join(name).join("numbers")).unwrap(), text);
    }
    succeed(
        elsewhere.path(),
        &["clone", "-q", "--depth=1", "--filter=blob:none", &format!("{base}/app"), "shallow"],
    );
    for name in ["plain.git", "none.git", "..", "app/.git"] {
        assert!(
            !git(elsewhere.path(), &["clone", "-q", &format!("{base}/{name}"), "refused"]).status.success()
        );
    }
    let clone = elsewhere.path().join("app");
    succeed(&clone, &["commit", "-q", "--allow-empty", "-m", "second"]);
    let pushed = git(&clone, &["push", "origin", "HEAD:other"]);
    assert!(!pushed.status.success());
    assert!(String::from_utf8_lossy(&pushed.stderr).contains("403"), "{pushed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_repository_is_there_for_whoever_knows_its_password_of_the_moment() {
    let dir = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    succeed(dir.path(), &["init", "-q", "app"]);
    succeed(&dir.path().join("app"), &["commit", "-q", "--allow-empty", "-m", "first"]);
    succeed(dir.path(), &["clone", "-q", "--bare", "app", "private-app.git"]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(git::serve(listener, Arc::new(Repositories::new(Some(dir.path().to_owned())))));
    let password = dir.path().join("private-app.git/password");
    let asks = |user: &str, name: &str| {
        let url = format!("http://{user}{address}/{name}.git");
        git(elsewhere.path(), &["ls-remote", &url])
    };
    assert!(!asks("u:secret@", "private-app").status.success(), "it has no password");
    std::fs::write(&password, "secret\n").unwrap();
    assert!(asks("u:secret@", "private-app").status.success());
    assert!(!asks("u:other@", "private-app").status.success());
    let refused = String::from_utf8_lossy(&asks("", "private-app").stderr).into_owned();
    assert!(refused.contains("could not read Username"), "{refused}");
    let unknown = String::from_utf8_lossy(&asks("", "private-none").stderr).into_owned();
    assert!(unknown.contains("could not read Username"), "strangers are not told what there is: {unknown}");
    std::fs::write(&password, "newer\n").unwrap();
    assert!(!asks("u:secret@", "private-app").status.success());
}
