//! User-data: the few files and the one command that bring the idle-agent onto a bare machine.
//!
//! The `#cloud-config` is written as JSON (which is YAML), so every value is quoted by its encoder; the bootstrap
//! script is a constant that reads its values from files. What is sent is base64 of gzip, which Hetzner's data source
//! and cloud-init both undo by themselves.

use crate::firewall;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ebbtide_api::{Generation, WorkspaceId};
use flate2::{Compression, GzBuilder};
use serde_json::{Value, json};
use std::fmt;
use std::io::Write;

/// Most bytes of user-data that the provider takes, encoded: 32 KiB
/// (<https://docs.hetzner.cloud/reference/cloud#servers-create-a-server>).
pub const USER_DATA_LIMIT: usize = 32 * 1024;

/// Where the idle-agent finds what it must know before it can ask.
const AGENT_CONFIG: &str = "/etc/ebbtide/agent.json";
/// The URL that the bootstrap fetches, one line.
const AGENT_URL: &str = "/etc/ebbtide/agent.url";
/// What the fetched file must hash to, in the form of `sha256sum --check`.
const AGENT_SHA256: &str = "/etc/ebbtide/agent.sha256";
const BOOTSTRAP: &str = "/usr/local/sbin/ebbtide-bootstrap";
const UNIT: &str = "/etc/systemd/system/ebbtide-agent.service";
/// Makes swap at every boot, by [`SWAP`].
const SWAP_UNIT: &str = "/etc/systemd/system/ebbtide-swap.service";
const SWAP: &str = "/etc/ebbtide/swap.sh";
/// Limits of the kernel that are too low for development.
const SYSCTL: &str = "/etc/sysctl.d/60-ebbtide.conf";
/// Loads the packet filter ([`crate::firewall`]) at every boot.
const FIREWALL_UNIT: &str = "/etc/systemd/system/ebbtide-firewall.service";
/// The slice in which the idle-agent starts what is the user's; below `ebbtide.slice`, by its name.
const WORK_SLICE: &str = "/etc/systemd/system/ebbtide-work.slice";

/// The token that lets one machine enrol once; good for minutes. Not shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct EnrolmentToken(String);

impl EnrolmentToken {
    /// Wraps the token's text.
    pub fn new(token: impl Into<String>) -> Self {
        Self(token.into())
    }
}

impl fmt::Debug for EnrolmentToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EnrolmentToken(redacted)")
    }
}

/// What a new machine is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineSpec {
    /// The workspace that it is a machine of.
    pub workspace: WorkspaceId,
    /// Which machine of it: the fencing token.
    pub generation: Generation,
    /// The workspace's readable name, also the machine's host name: lower-case letters, digits and dashes.
    pub name: String,
    /// Where the control plane answers machines: `http` or `https`, no trailing slash.
    pub control_url: String,
    /// SHA-256 of the idle-agent's binary, 64 lower-case hex digits.
    pub agent_sha256: String,
    /// Lets this machine enrol.
    pub enrolment_token: EnrolmentToken,
    /// What its disk is at first.
    pub disk: Disk,
}

/// What a new machine's disk holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disk {
    /// The provider's own image: nothing of ours.
    Fresh,
    /// A rescue image: an earlier machine of this workspace, with its idle-agent and everything of the user's. Both are
    /// put out of action before anything starts.
    Rescued,
}

/// Why no user-data can be made of a specification.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UserDataError {
    /// Not `http(s)://host[:port][/path]` in plain characters, or with a trailing slash.
    #[error("the control plane's URL {0:?} is unusable; write for example https://ebbtide.example.org")]
    ControlUrl(String),
    /// Not 64 lower-case hex digits.
    #[error("the idle-agent's checksum {0:?} has not the form of a SHA-256 (64 lower-case hex digits)")]
    AgentSha256(String),
    /// Not usable as a host name.
    #[error("the name {0:?} is no host name of lower-case letters, digits and dashes")]
    Name(String),
    /// The provider would refuse it.
    #[error("user-data has {size} bytes; the provider takes {USER_DATA_LIMIT}")]
    TooLarge {
        /// Its size in bytes, encoded.
        size: usize,
    },
    /// The compressor failed, which it does not do in memory.
    #[error("user-data could not be compressed: {0}")]
    Compression(String),
}

/// Renders the user-data of a machine, ready to be sent: base64 of gzip of [`cloud_config`].
///
/// # Errors
/// Names the field that is unusable, or the size that the provider would refuse.
pub fn user_data(spec: &MachineSpec) -> Result<String, UserDataError> {
    let failed = |error: std::io::Error| UserDataError::Compression(error.to_string());
    // Without a time stamp, so that the same specification gives the same bytes.
    let mut gzip = GzBuilder::new().mtime(0).write(Vec::new(), Compression::best());
    gzip.write_all(cloud_config(spec)?.as_bytes()).map_err(failed)?;
    fitting(STANDARD.encode(gzip.finish().map_err(failed)?))
}

fn fitting(encoded: String) -> Result<String, UserDataError> {
    match encoded.len() {
        size if size > USER_DATA_LIMIT => Err(UserDataError::TooLarge { size }),
        _ => Ok(encoded),
    }
}

/// Renders the `#cloud-config` of a machine in clear.
///
/// # Errors
/// Names the field that is unusable.
pub fn cloud_config(spec: &MachineSpec) -> Result<String, UserDataError> {
    check(spec)?;
    let agent = json!({
        "control_url": spec.control_url,
        "enrolment_token": spec.enrolment_token.0,
        "generation": spec.generation.0,
        "workspace": spec.workspace.as_str(),
    });
    let url = format!("{}/v1/vm/agent/{}\n", spec.control_url, spec.agent_sha256);
    let checksum = format!("{}  /usr/local/bin/ebb-agent.new\n", spec.agent_sha256);
    let mut config = json!({
        // Nobody signs in with a password, and naming root alone leaves out the image's default user with sudo rights.
        "hostname": spec.name,
        // Its own name has an address (`sudo` looks for it), and what people write into /etc/hosts stays.
        "manage_etc_hosts": "localhost",
        "runcmd": [[BOOTSTRAP]],
        "ssh_pwauth": false,
        "users": [{ "lock_passwd": true, "name": "root" }],
        "write_files": [
            file(AGENT_CONFIG, "0600", &format!("{agent:#}\n")),
            file(AGENT_URL, "0644", &url),
            file(AGENT_SHA256, "0644", &checksum),
            file(BOOTSTRAP, "0755", include_str!("bootstrap.sh")),
            file(UNIT, "0644", include_str!("agent.service")),
            file(&format!("/etc/{}", firewall::FILE), "0644", &firewall::rules([], firewall::Ssh::Closed)),
            file(FIREWALL_UNIT, "0644", include_str!("firewall.service")),
            file(SWAP_UNIT, "0644", include_str!("swap.service")),
            file(SWAP, "0644", include_str!("swap.sh")),
            file(SYSCTL, "0644", include_str!("sysctl.conf")),
            file(WORK_SLICE, "0644", include_str!("work.slice")),
        ],
    });
    if let (Disk::Rescued, Some(config)) = (spec.disk, config.as_object_mut()) {
        // The generation is an argument of the script, not part of its text.
        let generation = spec.generation.0.to_string();
        let command = json!([["sh", "-c", include_str!("salvage.sh"), "ebbtide-salvage", generation]]);
        config.insert("bootcmd".to_owned(), command);
    }
    Ok(format!("#cloud-config\n{config:#}\n"))
}

fn file(path: &str, permissions: &str, content: &str) -> Value {
    json!({ "content": content, "path": path, "permissions": permissions })
}

fn check(spec: &MachineSpec) -> Result<(), UserDataError> {
    if !is_plain_url(&spec.control_url) {
        return Err(UserDataError::ControlUrl(shortened(&spec.control_url)));
    }
    let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if spec.agent_sha256.len() != 64 || !spec.agent_sha256.bytes().all(hex) {
        return Err(UserDataError::AgentSha256(shortened(&spec.agent_sha256)));
    }
    let label = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let name = spec.name.as_str();
    if name.is_empty()
        || name.len() > 63
        || !name.bytes().all(label)
        || name.starts_with('-')
        || name.ends_with('-')
    {
        return Err(UserDataError::Name(shortened(name)));
    }
    Ok(())
}

/// Whether the text is `http(s)://…` in characters that no reader on the way could take for anything else.
fn is_plain_url(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://")) else {
        return false;
    };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_~:/[]".contains(&byte);
    !rest.is_empty()
        && !rest.starts_with('/')
        && !rest.ends_with('/')
        && rest.len() <= 512
        && rest.bytes().all(plain)
}

fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn spec() -> MachineSpec {
        MachineSpec {
            workspace: WorkspaceId::from_random(42),
            generation: Generation(3),
            name: "demo".into(),
            control_url: "https://ebbtide.example.org".into(),
            agent_sha256: "ab".repeat(32),
            enrolment_token: EnrolmentToken::new("enrol-me"),
            disk: Disk::Fresh,
        }
    }

    fn files(config: &str) -> Vec<Value> {
        let json = config.strip_prefix("#cloud-config\n").unwrap();
        let value: Value = serde_json::from_str(json).unwrap();
        value["write_files"].as_array().unwrap().clone()
    }

    #[test]
    fn what_a_machine_is_told_reads_like_this() {
        let config = cloud_config(&spec()).unwrap();
        let mut shown = config.split("\"write_files\"").next().unwrap().to_owned();
        for file in files(&config) {
            let text = |key: &str| file[key].as_str().unwrap().to_owned();
            shown += &format!("\n--- {} {}\n{}", text("permissions"), text("path"), text("content"));
        }
        insta::assert_snapshot!(shown);
    }

    #[test]
    fn a_rescued_disk_is_told_before_anything_starts_to_run_nothing_that_is_on_it() {
        let told = cloud_config(&MachineSpec { disk: Disk::Rescued, ..spec() }).unwrap();
        let value: Value = serde_json::from_str(told.strip_prefix("#cloud-config\n").unwrap()).unwrap();
        let command: Vec<&str> =
            value["bootcmd"][0].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
        assert_eq!(command[..2], ["sh", "-c"]);
        assert_eq!(command[3..], ["ebbtide-salvage", "3"]);
        insta::assert_snapshot!(command[2]);
        assert_eq!(files(&told), files(&cloud_config(&spec()).unwrap()), "the rest is as on any machine");
        assert!(!cloud_config(&spec()).unwrap().contains("bootcmd"));
    }

    #[test]
    fn what_is_sent_unpacks_to_the_cloud_config_and_fits_with_room_to_spare() {
        let sent = user_data(&spec()).unwrap();
        let gzip = STANDARD.decode(&sent).unwrap();
        let mut config = String::new();
        flate2::read::GzDecoder::new(gzip.as_slice()).read_to_string(&mut config).unwrap();
        assert_eq!(config, cloud_config(&spec()).unwrap());
        assert!(config.starts_with("#cloud-config\n"));
        assert!(sent.len() < USER_DATA_LIMIT / 4, "{}", sent.len());
        assert_eq!(sent, user_data(&spec()).unwrap(), "the same specification gives the same bytes");
    }

    #[test]
    fn more_than_the_provider_takes_is_refused_before_it_is_sent() {
        assert!(fitting("a".repeat(32_768)).is_ok());
        assert_eq!(fitting("a".repeat(32_769)), Err(UserDataError::TooLarge { size: 32_769 }));
    }

    #[test]
    fn a_value_with_shell_in_it_is_refused_or_stays_data() {
        let hostile = ["$(id)", "`id`", "\"; id; \"", "'\nid", "--upload-pack=id", "{{ id }}", "\u{0}"];
        for text in hostile {
            let url = MachineSpec { control_url: format!("https://h/{text}"), ..spec() };
            assert!(matches!(cloud_config(&url), Err(UserDataError::ControlUrl(_))), "{text}");
            let sha = MachineSpec { agent_sha256: text.into(), ..spec() };
            assert!(matches!(cloud_config(&sha), Err(UserDataError::AgentSha256(_))), "{text}");
            let name = MachineSpec { name: text.into(), ..spec() };
            assert!(matches!(cloud_config(&name), Err(UserDataError::Name(_))), "{text}");
            // The token is whatever its issuer makes it: it must come back unchanged and touch no other file.
            let token = MachineSpec { enrolment_token: EnrolmentToken::new(text), ..spec() };
            let (told, plain) =
                (files(&cloud_config(&token).unwrap()), files(&cloud_config(&spec()).unwrap()));
            let agent: Value = serde_json::from_str(told[0]["content"].as_str().unwrap()).unwrap();
            assert_eq!(agent["enrolment_token"], text);
            assert_eq!(told[1..], plain[1..]);
        }
    }

    #[test]
    fn an_unusable_control_url_is_refused() {
        for url in
            ["", "ftp://h", "https://", "https:///x", "https://h/", "https://u@h", "https://h?x", "//h"]
        {
            let spec = MachineSpec { control_url: url.into(), ..spec() };
            assert!(matches!(user_data(&spec), Err(UserDataError::ControlUrl(_))), "{url}");
        }
        for url in ["http://127.0.0.1:8787", "https://e.x.workers.dev", "http://[::1]:80/base"] {
            assert!(user_data(&MachineSpec { control_url: url.into(), ..spec() }).is_ok(), "{url}");
        }
    }

    #[test]
    fn the_token_does_not_show_in_debug_output() {
        assert!(!format!("{:?}", spec()).contains("enrol-me"));
    }

    #[test]
    fn the_agent_configuration_is_pinned_because_the_idle_agent_reads_it() {
        let told = files(&cloud_config(&spec()).unwrap());
        let agent: Value = serde_json::from_str(told[0]["content"].as_str().unwrap()).unwrap();
        assert_eq!(
            agent.to_string(),
            r#"{"control_url":"https://ebbtide.example.org","enrolment_token":"enrol-me","generation":3,"workspace":"kbaaaaaaaa"}"#
        );
        assert_eq!((&told[0]["path"], &told[0]["permissions"]), (&json!(AGENT_CONFIG), &json!("0600")));
    }
}
