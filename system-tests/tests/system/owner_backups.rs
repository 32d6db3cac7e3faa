//! An owner's way to the backups: the restic protocol with the owner's own token, a restore kit, and stock restic.

use crate::common::{LIMIT, cloning, quick, quick_with, ready, with_machines, without_machines};
use crate::slots::{self, Work};
use anyhow::{Context, Result, ensure};
use ebbtide_api::backups::RestoreKit;
use ebbtide_api::workspace::State;
use ebbtide_system_tests::api::Discard;
use ebbtide_system_tests::{Stack, paths, wait};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Stock restic on a repository.
pub struct Restic {
    /// The distribution's own, or a newer one.
    pub program: PathBuf,
    /// As restic names it, with the credential.
    pub repository: String,
    /// Opens it.
    pub password: String,
}

impl Restic {
    /// With nothing but a kit.
    pub fn of_kit(kit: &RestoreKit) -> Self {
        Self { program: "restic".into(), repository: kit.repository.clone(), password: kit.password.clone() }
    }

    /// With all rights over a workspace's repository.
    pub fn of_owner(stack: &Stack, id: &str, password: &str) -> Self {
        let host = stack.url.trim_start_matches("http://");
        let repository = format!("rest:http://owner:{}@{host}/v1/workspaces/{id}/restic/", stack.owner_token);
        Self { program: "restic".into(), repository, password: password.to_owned() }
    }

    /// The same repository as it is seen from a snapshot, or from `latest`, or from all that is `verified`.
    pub fn as_of(&self, seen: &str) -> Self {
        let Self { program, repository, password } = self;
        let repository = format!("{repository}as-of/{seen}/");
        Self { program: program.clone(), repository, password: password.clone() }
    }

    /// Runs restic; says what it said.
    ///
    /// # Errors
    /// Where it fails.
    pub fn run(&self, arguments: &[&str]) -> Result<String> {
        let output = Command::new(&self.program)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("RESTIC_REPOSITORY", &self.repository)
            .env("RESTIC_PASSWORD", &self.password)
            .arg("--no-cache")
            .args(arguments)
            .output()
            .context("running restic: is it installed?")?;
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        ensure!(output.status.success(), "restic {arguments:?}: {out}{err}");
        Ok(out.into_owned())
    }
}

/// Makes a restore kit.
///
/// # Errors
/// Where it is refused.
pub fn kit(stack: &Stack, id: &str) -> Result<RestoreKit> {
    let path = format!("/v1/workspaces/{id}/restore-kit");
    let answer = stack.api.call("POST", &path, Some(&json!({})))?.expect(201)?;
    serde_json::from_slice(&answer.body).with_context(|| format!("reading a kit from {}", answer.text()))
}

/// Takes a snapshot and waits until one more is verified.
///
/// # Errors
/// Where none comes.
pub fn snapshot_now(stack: &Stack, id: &str) -> Result<String> {
    let before = snapshots(stack, id)?.len();
    let path = format!("/v1/workspaces/{id}/snapshots");
    stack.api.call("POST", &path, Some(&json!({})))?.expect(202)?;
    wait::until("a verified snapshot", LIMIT, || {
        let now = snapshots(stack, id).map_err(|error| format!("{error:#}"))?;
        if now.len() > before { Ok(now[0].clone()) } else { Err(format!("{now:?}")) }
    })
}

/// Verified snapshots, newest first.
fn snapshots(stack: &Stack, id: &str) -> Result<Vec<String>> {
    let list = stack.api.call("GET", &format!("/v1/workspaces/{id}/snapshots"), None)?.expect(200)?.json();
    let list = list["snapshots"].as_array().context("no list")?;
    Ok(list.iter().filter_map(|one| one["snapshot"].as_str().map(str::to_owned)).collect())
}

#[test]
fn a_sleeping_workspace_s_repository_is_listed_to_its_owner_and_to_nobody_else() -> Result<()> {
    slots::take(Work::Long);
    let stack = with_machines("restic", quick())?;
    let id = ready(&stack, &cloning())?.id.to_string();
    let early = stack.api.call("POST", &format!("/v1/workspaces/{id}/restore-kit"), Some(&json!({})))?;
    ensure!(early.status == 409 || early.status == 201, "{} {}", early.status, early.text());
    stack.machine_of(&id)?.shell("ebb", "echo kept > /workspaces/ebbtide/kept")?;
    stack.api.act(&id, "sleep")?;
    stack.api.wait_for(&id, State::Asleep, LIMIT)?;
    let path = format!("/v1/workspaces/{id}/restic/snapshots/");
    let listed =
        stack.api.raw("GET", &path, &[("accept", "application/vnd.x.restic.rest.v2")], None)?.expect(200)?;
    ensure!(listed.json().as_array().is_some_and(|list| !list.is_empty()), "{}", listed.text());
    let nobody = stack.api.with_token("wrong").raw("GET", &path, &[], None)?;
    ensure!(nobody.status == 401, "{} {}", nobody.status, nobody.text());
    // Ciphertext only: nothing of the work shows in what storage holds.
    let file = format!("/v1/workspaces/{id}/restic/config");
    let config = stack.api.raw("GET", &file, &[], None)?.expect(200)?;
    ensure!(!config.text().contains("chunker"), "the repository's configuration is in clear");
    a_kit_and_restic_alone(&stack, &id)?;
    stack.stop()
}

/// In a new directory, with nothing but the kit's text.
fn a_kit_and_restic_alone(stack: &Stack, id: &str) -> Result<()> {
    let path = format!("/v1/workspaces/{id}/restore-kit");
    let headers = [("accept", "text/plain"), ("content-type", "application/json")];
    let text = stack.api.raw("POST", &path, &headers, Some(b"{}"))?.expect(201)?.text();
    let directory = stack.directory().join("elsewhere");
    std::fs::create_dir(&directory)?;
    std::fs::write(directory.join("kit.sh"), &text)?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut paths = vec![path.clone()];
    for program in paths::newer_restics()? {
        let above = program.parent().context("no directory")?.to_owned();
        paths.push(std::env::join_paths(std::iter::once(above).chain(std::env::split_paths(&path)))?);
    }
    for path in paths {
        ebbtide_system_tests::process::run("sh", |sh| {
            sh.env_clear().env("PATH", &path);
            sh.env("HOME", &directory).current_dir(&directory).args(["-e", "kit.sh"])
        })?;
        let kept = std::fs::read_to_string(directory.join("restored/workspaces/ebbtide/kept"))?;
        ensure!(kept == "kept\n", "{kept}");
        std::fs::remove_dir_all(directory.join("restored"))?;
    }

    let kit = kit(stack, id)?;
    let restic = Restic::of_kit(&kit);
    restic.run(&["--no-lock", "check", "--read-data"])?;
    a_copy_of_the_bucket_opens_as_the_docs_say(stack, id, &restic.password, &directory.join("copy"))?;
    ensure!(
        restic.run(&["--no-lock", "dump", "latest", "/workspaces/ebbtide/kept"])? == "kept\n",
        "another file"
    );
    ensure!(
        restic.run(&["--no-lock", "ls", "latest"])?.contains("/workspaces/ebbtide/kept"),
        "it is not listed"
    );
    ensure!(restic.run(&["forget", &kit.snapshot]).is_err(), "a kit deletes");
    // Its credential is good for that and nothing else, and ends when it is revoked.
    let key =
        kit.repository.split("kit:").nth(1).and_then(|rest| rest.split('@').next()).context("no key")?;
    let api = stack.api.with_token(key);
    let other = stack.api.create(&json!({}))?.id.to_string();
    for (method, path, status) in [
        ("GET", "/v1/workspaces".to_owned(), 403),
        ("GET", format!("/v1/workspaces/{id}"), 403),
        ("POST", format!("/v1/workspaces/{id}/restore-kit"), 403),
        ("DELETE", format!("/v1/workspaces/{id}/restic/snapshots/{}", kit.snapshot), 403),
        ("POST", format!("/v1/workspaces/{id}/restic/locks/{}", kit.snapshot), 403),
        ("GET", format!("/v1/workspaces/{other}/restic/config"), 404),
        ("GET", format!("/v1/workspaces/{id}/restic/config"), 200),
    ] {
        let answer = api.raw(method, &path, &[], None)?;
        ensure!(answer.status == status, "{method} {path}: {} {}", answer.status, answer.text());
    }
    let listed = stack.api.call("GET", "/v1/keys", None)?.expect(200)?.json();
    let of_kit =
        |one: &Value| one["id"] == kit.key.id && one["repository"] == id && one["scopes"] == json!([]);
    ensure!(listed["keys"].as_array().is_some_and(|keys| keys.iter().any(of_kit)), "{listed}");
    stack.api.call("DELETE", &format!("/v1/keys/{}", kit.key.id), None)?.expect(204)?;
    ensure!(
        api.raw("GET", &format!("/v1/workspaces/{id}/restic/config"), &[], None)?.status == 401,
        "it lives"
    );
    Ok(())
}

/// A bucket holds packs side by side, restic's directories hold them by the first two digits: the docs say how to get there.
fn a_copy_of_the_bucket_opens_as_the_docs_say(
    stack: &Stack,
    id: &str,
    password: &str,
    copy: &Path,
) -> Result<()> {
    let path = |below: &str| format!("/v1/workspaces/{id}/restic/{below}");
    std::fs::create_dir(copy)?;
    std::fs::write(copy.join("config"), stack.api.raw("GET", &path("config"), &[], None)?.expect(200)?.body)?;
    for kind in ["data", "index", "keys", "snapshots"] {
        std::fs::create_dir(copy.join(kind))?;
        let list = stack.api.raw("GET", &path(&format!("{kind}/")), &[], None)?.expect(200)?.json();
        for name in list.as_array().into_iter().flatten().filter_map(Value::as_str) {
            let object = stack.api.raw("GET", &path(&format!("{kind}/{name}")), &[], None)?.expect(200)?;
            std::fs::write(copy.join(kind).join(name), object.body)?;
        }
    }
    let docs = std::fs::read_to_string(paths::root().join("docs/operate/keys.md"))?;
    let sorting = docs.lines().find(|line| line.trim_start().starts_with("(cd there/data && for pack in"));
    let sorting = sorting
        .context("docs/operate/keys.md does not say how to sort packs")?
        .trim()
        .replace("there/", "copy/");
    let above = copy.parent().context("no parent")?;
    ebbtide_system_tests::process::run("sh", |sh| sh.current_dir(above).args(["-ec", &sorting]))?;
    let repository = copy.to_string_lossy().into_owned();
    let restic = Restic { program: "restic".into(), repository, password: password.to_owned() };
    restic.run(&["--no-lock", "check", "--read-data"]).map(drop)
}

#[test]
fn an_owner_prunes_with_stock_restic_while_asleep_and_takes_it_back() -> Result<()> {
    slots::take(Work::Long);
    let stack = with_machines("prune", quick_with(json!({ "grant_idle": "20s" })))?;
    let id = ready(&stack, &cloning())?.id.to_string();
    let machine = stack.machine_of(&id)?;
    machine.shell(
        "ebb",
        "head -c 2000000 /dev/urandom > /workspaces/ebbtide/big; echo one > /workspaces/ebbtide/file",
    )?;
    let older = snapshot_now(&stack, &id)?;
    machine.shell(
        "ebb",
        "head -c 2000000 /dev/urandom > /workspaces/ebbtide/big; echo two > /workspaces/ebbtide/file",
    )?;
    let kit = kit(&stack, &id)?;
    let restic = Restic::of_owner(&stack, &id, &kit.password);
    ensure!(restic.run(&["forget", &older]).is_err(), "it was changed beside a machine");
    stack.api.act(&id, "sleep")?;
    stack.api.wait_for(&id, State::Asleep, LIMIT)?;
    let newer = snapshots(&stack, &id)?[0].clone();
    let before = stored(&stack, &id)?;
    restic.run(&["forget", "--prune", "--max-unused", "0", &older])?;
    ensure!(snapshots(&stack, &id)? == [newer.clone()], "{:?}", snapshots(&stack, &id)?);
    ensure!(stored(&stack, &id)? + 1_000_000 < before, "{} of {before} bytes are left", stored(&stack, &id)?);
    restic.run(&["check", "--read-data"])?;
    Restic::of_kit(&kit).run(&["--no-lock", "check", "--read-data"])?;
    // The lock file is gone, and the lock with it: a wake goes on at once, and finds everything as of its receipt.
    stack.api.act(&id, "wake")?;
    stack.api.wait_for(&id, State::Running, LIMIT)?;
    let file = stack.machine_of(&id)?.shell("ebb", "cat /workspaces/ebbtide/file")?;
    ensure!(file == "two", "{file}");
    stack.api.act(&id, "sleep")?;
    stack.api.wait_for(&id, State::Asleep, LIMIT)?;
    let path = format!("/v1/workspaces/{id}/backups/undelete");
    wait::until("everything deleted to be back", LIMIT, || {
        let undone =
            || Ok::<_, anyhow::Error>(stack.api.call("POST", &path, Some(&json!({})))?.expect(200)?.json());
        let undone = undone().map_err(|error| format!("{error:#}"))?;
        if undone["more"] == false { Ok(()) } else { Err(undone.to_string()) }
    })?;
    ensure!(snapshots(&stack, &id)?.contains(&older), "{:?}", snapshots(&stack, &id)?);
    restic.run(&["check", "--read-data"])?;
    let dumped = Restic::of_kit(&kit).run(&["--no-lock", "dump", &older, "/workspaces/ebbtide/file"])?;
    ensure!(dumped == "one\n", "{dumped}");
    stack.stop()
}

#[test]
fn stock_restic_makes_fills_checks_restores_and_prunes_a_repository_by_itself() -> Result<()> {
    slots::take(Work::Long);
    let stack = without_machines("stock", quick())?;
    let programs = std::iter::once(PathBuf::from("restic")).chain(paths::newer_restics()?);
    for (number, program) in programs.enumerate() {
        let id = stack.api.create(&json!({}))?.id.to_string();
        stack.api.delete(&id, Discard::Work)?;
        stack.api.wait_for(&id, State::Deleted, LIMIT)?;
        stack.api.act(&id, "undelete")?;
        stack.api.wait_for(&id, State::Asleep, LIMIT)?;
        let named = program.display().to_string();
        let restic = Restic { program, ..Restic::of_owner(&stack, &id, "a password of the test") };
        let directory = stack.directory().join(number.to_string());
        std::fs::create_dir(&directory)?;
        a_whole_life_of_a_repository(&restic, &directory, number > 0).context(named.clone())?;
        if number < 2 {
            what_is_damaged_goes_as_the_docs_say(&stack, &id, &restic, &directory, number > 0)
                .context(named)?;
        }
    }
    stack.stop()
}

/// With a newer restic also what 0.14 has not, or does another way.
fn a_whole_life_of_a_repository(restic: &Restic, directory: &Path, is_newer: bool) -> Result<()> {
    let (source, target) = (directory.join("source"), directory.join("target"));
    std::fs::create_dir(&source)?;
    std::fs::write(source.join("file"), "one")?;
    let place = source.to_string_lossy();
    restic.run(&["init"])?;
    ensure!(restic.run(&["init"]).is_err(), "it was made twice");
    restic.run(&["backup", &place])?;
    std::fs::write(source.join("file"), vec![7; 3_000_000])?;
    restic.run(&["backup", &place])?;
    ensure!(restic.run(&["snapshots"])?.contains("2 snapshots"), "two were taken");
    restic.run(&["check", "--read-data"])?;
    if is_newer {
        std::fs::write(source.join("secret"), "to be taken out")?;
        restic.run(&["backup", &place])?;
        restic.run(&["rewrite", "--forget", "--exclude", "secret", "latest"])?;
        ensure!(!restic.run(&["ls", "latest"])?.contains("secret"), "it was not taken out");
        restic.run(&["tag", "--add", "mine", "latest"])?;
        ensure!(restic.run(&["snapshots", "--tag", "mine"])?.contains("1 snapshots"), "no tag");
        restic.run(&["repair", "index"])?;
        restic.run(&["repair", "snapshots", "--forget"])?;
        restic.run(&["check", "--read-data"])?;
    }
    restic.run(&["forget", "--keep-last", "1", "--prune"])?;
    ensure!(restic.run(&["snapshots"])?.contains("1 snapshots"), "one was kept");
    restic.run(&["check", "--read-data"])?;
    restic.run(&["restore", "latest", "--target", &target.to_string_lossy()])?;
    let file = place.trim_start_matches('/').to_owned() + "/file";
    let restored = std::fs::read(target.join(&file))?;
    ensure!(restored == vec![7; 3_000_000], "{} other bytes", restored.len());
    let dumped = restic.run(&["--no-lock", "dump", "latest", &format!("/{file}")])?;
    ensure!(dumped.as_bytes() == restored, "dumped {} other bytes", dumped.len());
    let locks = restic.run(&["list", "locks"])?;
    ensure!(locks.trim().is_empty(), "locks are left: {locks}");
    Ok(())
}

/// A snapshot that cannot be read, which restic passes over, and an index.
fn what_is_damaged_goes_as_the_docs_say(
    stack: &Stack,
    id: &str,
    restic: &Restic,
    directory: &Path,
    is_newer: bool,
) -> Result<()> {
    let path = |below: &str| format!("/v1/workspaces/{id}/restic/{below}");
    let names = |kind: &str| -> Result<Vec<String>> {
        let list = stack.api.raw("GET", &path(&format!("{kind}/")), &[], None)?.expect(200)?.json();
        Ok(list.as_array().into_iter().flatten().filter_map(|name| Some(name.as_str()?.to_owned())).collect())
    };
    let damage = |object: &str| {
        stack.plant_object(&format!("workspaces/owner/{id}/restic/{object}"), "what a disk made of it")
    };
    let before = names("snapshots")?;
    restic.run(&["backup", &directory.join("source").to_string_lossy()])?;
    let snapshot =
        names("snapshots")?.into_iter().find(|name| !before.contains(name)).context("no new one")?;
    damage(&format!("snapshots/{snapshot}"))?;
    let forgotten = restic.run(&["forget", &snapshot]);
    ensure!(names("snapshots")?.contains(&snapshot), "restic removes it now: {forgotten:?}");
    stack.api.raw("DELETE", &path(&format!("snapshots/{snapshot}")), &[], None)?.expect(200)?;
    ensure!(names("snapshots")? == before, "{:?}", names("snapshots")?);

    let index = names("index")?.into_iter().next().context("no index")?;
    damage(&format!("index/{index}"))?;
    ensure!(restic.run(&["check"]).is_err(), "nothing is damaged");
    restic.run(if is_newer { &["repair", "index"] } else { &["rebuild-index"] })?;
    ensure!(!names("index")?.contains(&index), "{index} is still there");
    restic.run(&["check", "--read-data"]).map(drop)
}

fn stored(stack: &Stack, id: &str) -> Result<u64> {
    let list = stack.api.call("GET", &format!("/v1/workspaces/{id}/snapshots"), None)?.expect(200)?.json();
    list["stored_bytes"].as_u64().context("no stored_bytes")
}
