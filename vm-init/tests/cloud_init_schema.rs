//! The rendered cloud-config is judged by the real `cloud-init schema`, from Debian's package, which `scripts/setup`
//! unpacks into the cache (it is never installed: it would start services on the next boot).
//!
//! Where the package is missing the test fails and says how to get it: a skipped check would look like a passed one.

use ebbtide_api::{Generation, WorkspaceId};
use ebbtide_vm_init::{Disk, EnrolmentToken, MachineSpec, cloud_config};
use std::path::PathBuf;
use std::process::Command;

fn cache() -> PathBuf {
    let from = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    from("EBBTIDE_CACHE").unwrap_or_else(|| {
        let home = || from("HOME").unwrap_or_default().join(".cache");
        from("XDG_CACHE_HOME").unwrap_or_else(home).join("ebbtide")
    })
}

/// Runs `cloud-init schema` over a text: whether it is valid, and what was said.
fn judge(config: &str) -> (bool, String) {
    let program = cache().join("cloud-init/usr/bin/cloud-init");
    assert!(program.exists(), "{} is missing; run `scripts/setup test` to get it", program.display());
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("user-data");
    std::fs::write(&file, config).unwrap();
    let output = Command::new("/usr/bin/python3")
        .arg(&program)
        .args(["schema", "--config-file"])
        .arg(&file)
        .env("PYTHONPATH", cache().join("cloud-init/usr/lib/python3/dist-packages"))
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

fn rendered(disk: Disk) -> String {
    cloud_config(&MachineSpec {
        workspace: WorkspaceId::from_random(7),
        generation: Generation(1),
        name: "demo".into(),
        control_url: "https://ebbtide.example.org".into(),
        agent_sha256: "0f".repeat(32),
        enrolment_token: EnrolmentToken::new("a.b.c"),
        disk,
    })
    .unwrap()
}

#[test]
fn cloud_init_finds_our_user_data_valid() {
    let (valid, said) = judge(&rendered(Disk::Fresh));
    assert!(valid, "{said}");
}

#[test]
fn cloud_init_finds_the_user_data_of_a_salvage_valid() {
    let (valid, said) = judge(&rendered(Disk::Rescued));
    assert!(valid, "{said}");
}

#[test]
fn cloud_init_would_have_found_a_mistake() {
    let (valid, said) = judge(&rendered(Disk::Fresh).replace("\"runcmd\": [", "\"runcmd\": [7,"));
    assert!(!valid, "{said}");
    assert!(said.contains("runcmd"), "{said}");
}
