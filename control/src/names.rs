//! How things at the providers are named, labelled and commented, and read back.
//!
//! Names and labels are the idempotency keys of everything we create, and the only proof of whose it is: whatever is
//! written here is pinned by tests, because machines and records of older versions carry it. Pure functions; what
//! people type is checked in [`input`].

pub mod input;

pub use input::{
    BranchError, NameError, RepoUrlError, default_name, validate_branch, validate_repo_url,
    validate_workspace_name,
};

use ebbtide_api::vm::{CLOUDCLI_PORT, TERMINAL_LABEL, TERMINAL_PORT};
use ebbtide_api::{Generation, TenantId, WorkspaceId};
use jiff::Timestamp;
use std::collections::BTreeMap;

/// Label: which installation owns the resource.
pub const LABEL_INSTALL: &str = "ebbtide-install";
/// Label: which tenant.
pub const LABEL_TENANT: &str = "ebbtide-tenant";
/// Label: which workspace.
pub const LABEL_WORKSPACE: &str = "ebbtide-workspace";
/// Label: which incarnation.
pub const LABEL_GENERATION: &str = "ebbtide-generation";
/// Label: when it has to be gone, unix seconds.
pub const LABEL_EXPIRES: &str = "ebbtide-expires";
/// Label: whether an image of it may be taken. Absent where one may; the wish has to outlive the record that it stands in.
pub const LABEL_IMAGE: &str = "ebbtide-image";
/// The value of [`LABEL_IMAGE`] where none may be taken.
pub const IMAGE_REFUSED: &str = "refuse";

/// Label: whether the firewall for SSH covers it. Absent where SSH is closed.
pub const LABEL_SSH: &str = "ebbtide-ssh";
/// The value of [`LABEL_SSH`] where SSH is let in.
pub const SSH_OPEN: &str = "open";

/// Whose a provider resource is, as its labels say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourceOwner {
    pub install: String,
    pub tenant: TenantId,
    pub workspace: WorkspaceId,
    pub generation: Generation,
    /// Absent where the label is missing or unreadable.
    pub expires: Option<Timestamp>,
}

/// Whose a DNS record is, as its comment says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordOwner {
    pub install: String,
    pub workspace: WorkspaceId,
    pub generation: Generation,
}

/// `ebb-{workspace}-{generation}`: unique in the provider's project.
pub fn server_name(workspace: &WorkspaceId, generation: Generation) -> String {
    format!("ebb-{workspace}-{generation}")
}

/// The labels of a server or image. The tenant and the installation have to be usable as label values
/// (at most 63 letters, digits, dashes, dots and underscores).
pub fn labels(
    install: &str,
    tenant: &TenantId,
    workspace: &WorkspaceId,
    generation: Generation,
    expires: Timestamp,
) -> BTreeMap<String, String> {
    BTreeMap::from([
        (LABEL_INSTALL.to_owned(), install.to_owned()),
        (LABEL_TENANT.to_owned(), tenant.to_string()),
        (LABEL_WORKSPACE.to_owned(), workspace.to_string()),
        (LABEL_GENERATION.to_owned(), generation.to_string()),
        (LABEL_EXPIRES.to_owned(), expires.as_second().to_string()),
    ])
}

/// Reads [`labels`] back; `None` where one of those that say whose it is is missing or not ours.
pub fn parse_labels(labels: &BTreeMap<String, String>) -> Option<ResourceOwner> {
    let expires = labels.get(LABEL_EXPIRES).and_then(|text| text.parse().ok());
    Some(ResourceOwner {
        install: labels.get(LABEL_INSTALL)?.clone(),
        tenant: TenantId(labels.get(LABEL_TENANT)?.clone()),
        workspace: labels.get(LABEL_WORKSPACE)?.parse().ok()?,
        generation: parse_generation(labels.get(LABEL_GENERATION)?)?,
        expires: expires.and_then(|seconds| Timestamp::from_second(seconds).ok()),
    })
}

/// The labels of what belongs to an installation and to no workspace of it.
pub fn install_labels(install: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(LABEL_INSTALL.to_owned(), install.to_owned())])
}

/// The firewall of an installation.
pub fn firewall_name(install: &str) -> String {
    format!("ebb-{install}")
}

/// The firewall that lets SSH in. No id of an installation holds `_`: it is no other installation's [`firewall_name`].
pub fn ssh_firewall_name(install: &str) -> String {
    format!("ebb-{install}_ssh")
}

/// The SSH key of an installation.
pub fn ssh_key_name(install: &str) -> String {
    format!("ebb-{install}")
}

/// Selects everything of an installation.
pub fn install_selector(install: &str) -> String {
    format!("{LABEL_INSTALL}=={install}")
}

/// Selects what of an installation lets SSH in.
pub fn ssh_selector(install: &str) -> String {
    format!("{},{LABEL_SSH}=={SSH_OPEN}", install_selector(install))
}

/// Selects everything of a workspace, of whatever generation.
pub fn workspace_selector(install: &str, workspace: &WorkspaceId) -> String {
    format!("{LABEL_INSTALL}=={install},{LABEL_WORKSPACE}=={workspace}")
}

/// Selects one machine's resources.
pub fn machine_selector(install: &str, workspace: &WorkspaceId, generation: Generation) -> String {
    format!("{},{LABEL_GENERATION}=={generation}", workspace_selector(install, workspace))
}

/// The comment of a machine's DNS records.
pub fn record_comment(install: &str, workspace: &WorkspaceId, generation: Generation) -> String {
    format!("ebbtide {install} {workspace} g{generation}")
}

/// How the comments of all records of an installation start.
pub fn install_comment_prefix(install: &str) -> String {
    format!("ebbtide {install} ")
}

/// Reads [`record_comment`] back; `None` for everybody else's records.
pub fn parse_comment(comment: &str) -> Option<RecordOwner> {
    let mut words = comment.split(' ');
    let (product, install, workspace, generation) =
        (words.next()?, words.next()?, words.next()?, words.next()?);
    if product != "ebbtide" || install.is_empty() || words.next().is_some() {
        return None;
    }
    Some(RecordOwner {
        install: install.to_owned(),
        workspace: workspace.parse().ok()?,
        generation: parse_generation(generation.strip_prefix('g')?)?,
    })
}

/// Host name of a workspace: `{name}-{id}.{zone}`.
pub fn workspace_host(name: &str, workspace: &WorkspaceId, zone: &str) -> String {
    format!("{name}-{workspace}.{zone}")
}

/// Host name of a port: `{port}.{name}-{id}.{zone}`.
pub fn port_host(port: u16, name: &str, workspace: &WorkspaceId, zone: &str) -> String {
    port_host_of(port, &workspace_host(name, workspace, zone))
}

/// Host name of a port of the workspace with this name. CloudCLI has the workspace's own, the terminal a word.
pub fn port_host_of(port: u16, workspace_host: &str) -> String {
    match port {
        CLOUDCLI_PORT => workspace_host.to_owned(),
        TERMINAL_PORT => format!("{TERMINAL_LABEL}.{workspace_host}"),
        port => format!("{port}.{workspace_host}"),
    }
}

/// [`port_host`] with `{port}` left for the machine to replace.
pub fn port_host_template(name: &str, workspace: &WorkspaceId, zone: &str) -> String {
    format!("{{port}}.{}", workspace_host(name, workspace, zone))
}

/// Whether a text can be an installation's id: it is part of labels, comments and keys.
pub fn is_install_id(text: &str) -> bool {
    let inside = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=32).contains(&text.len())
        && text.bytes().all(inside)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// A generation as we write it: no sign, no leading zero.
fn parse_generation(text: &str) -> Option<Generation> {
    let number: u32 = text.parse().ok()?;
    (number.to_string() == text).then_some(Generation(number))
}

#[cfg(test)]
mod tests;
