//! What a machine is told: user-data at its birth, the answer to its enrolment, and the answer to each heartbeat. Pure;
//! secrets are passed through.

use crate::lifecycle::Context;
use crate::policy::Policy;
use crate::record::{DrainReason, Phase, Record};
use crate::secret::SecretText;
use crate::tokens::{EnrolmentClaims, TokenError, TokenKeys, VmClaims};
use ebbtide_api::Timestamp;
use ebbtide_api::programs::ProgramList;
use ebbtide_api::vm::{
    AccessPlan, BootPlan, DesiredMachineState, Enrolled, IngressPlan, Instruction, Repository, StepAction,
    UserSettings, VmHold, VmPolicy,
};
use ebbtide_vm_init::{BootSpec, Disk, EnrolmentToken, MachineSpec, UserDataError};
use std::collections::BTreeMap;

/// What an installation tells every machine.
#[derive(Debug, Clone, Copy)]
pub struct Site<'a> {
    /// Where the control plane answers, without a trailing slash.
    pub control_url: &'a str,
    /// How a browser reaches a workspace's host, with `{host}` to replace.
    pub port_url_template: &'a str,
    /// On which port machines serve.
    pub ingress_port: u16,
    /// Who signs tokens.
    pub tokens: &'a TokenKeys,
    /// Durations.
    pub policy: &'a Policy,
}

/// Why user-data cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum BirthError {
    /// The enrolment token could not be signed.
    #[error("the enrolment token cannot be signed")]
    Token(#[from] TokenError),
    /// A field is unusable, or the whole is too large.
    #[error(transparent)]
    UserData(#[from] UserDataError),
}

/// The user-data of a record's machine, with a fresh enrolment token.
///
/// # Errors
/// Says which field is unusable.
pub fn user_data(
    record: &Record,
    agent_sha256: &str,
    site: &Site<'_>,
    now: Timestamp,
) -> Result<SecretText, BirthError> {
    let claims = EnrolmentClaims {
        workspace: record.id.clone(),
        generation: record.generation,
        tenant: record.tenant.clone(),
    };
    let issued = site.tokens.issue_enrolment(&claims, now, site.policy.enrolment_token.into())?;
    let spec = MachineSpec {
        workspace: record.id.clone(),
        generation: record.generation,
        name: record.name.clone(),
        control_url: site.control_url.to_owned(),
        agent_sha256: agent_sha256.to_owned(),
        enrolment_token: EnrolmentToken::new(issued.token.expose().as_str()),
        disk: if record.salvage_image_id.is_some() { Disk::Rescued } else { Disk::Fresh },
    };
    Ok(ebbtide_vm_init::user_data(&spec)?.into())
}

fn access_plan(
    record: &Record,
    keys: std::collections::BTreeMap<String, String>,
    now: ebbtide_api::Timestamp,
) -> AccessPlan {
    let in_force = || record.links.iter().filter(|link| link.expires_at > now);
    AccessPlan {
        keys,
        links: in_force().map(|link| link.id.clone()).collect(),
        link_ports: in_force().map(|link| (link.id.clone(), link.port)).collect(),
    }
}

/// The steps of a record's machine: its snapshot where it has one to restore, its repository otherwise; almost none where
/// it is there to be backed up.
pub fn boot_plan(record: &Record, policy: &Policy, programs: &ProgramList) -> BootPlan {
    if record.salvage_image_id.is_some() {
        return ebbtide_vm_init::salvage_plan();
    }
    let mut plan = ebbtide_vm_init::boot_plan(&BootSpec {
        repo: record.spec.repo.as_deref(),
        branch: record.spec.branch.as_deref(),
        snapshot: record.restore.as_deref(),
        prune_secs: record.prune.as_ref().map(|_| policy.tidy_limit.as_secs()),
        agents: &record.spec.agents,
        programs,
        docker: record.spec.docker,
    });
    if may_hold_work(&record.phase) {
        // Whatever the machine remembers of its first start: it is never told to put an older state over newer work.
        plan.steps.retain(|step| !is_done_once(&step.action));
    }
    plan
}

/// Whether somebody may have worked on the machine: it was ready once.
fn may_hold_work(phase: &Phase) -> bool {
    match phase {
        Phase::Requested | Phase::Provisioning { .. } | Phase::Booting { .. } => false,
        Phase::Running
        | Phase::Silent { .. }
        | Phase::Draining { .. }
        | Phase::Rescuing { .. }
        | Phase::Destroying { .. }
        | Phase::Asleep
        | Phase::Failed { .. }
        | Phase::Deleted { .. } => true,
    }
}

/// Whether a step writes or removes what a person may have changed since, or what backups hold; or left its result on the
/// disk. A machine that was ready once may run the daemon of the version before, which knows no newer step than these.
fn is_done_once(action: &StepAction) -> bool {
    match action {
        StepAction::Prune { .. }
        | StepAction::Restore { .. }
        | StepAction::Clone { .. }
        | StepAction::InstallBundles { .. }
        | StepAction::InstallPackages { .. }
        | StepAction::InstallDocker { .. }
        | StepAction::RunSetup { .. } => true,
        StepAction::EnsureUser { .. }
        | StepAction::EnsurePrograms { .. }
        | StepAction::StartTerminal { .. }
        | StepAction::StartCloudCli { .. }
        | StepAction::StartCaddy
        | StepAction::Unknown => false,
    }
}

/// A VM token for a record's machine.
///
/// # Errors
/// It cannot be signed.
pub fn vm_token(record: &Record, site: &Site<'_>, now: Timestamp) -> Result<SecretText, TokenError> {
    let claims = VmClaims {
        workspace: record.id.clone(),
        generation: record.generation,
        tenant: record.tenant.clone(),
    };
    Ok(site.tokens.issue_vm(&claims, now, site.policy.vm_token.into())?.token)
}

/// The answer to an enrolment.
///
/// # Errors
/// The token cannot be signed.
pub fn enrolled(
    record: &Record,
    password: &SecretText,
    settings: UserSettings,
    programs: &ProgramList,
    site: &Site<'_>,
    now: Timestamp,
) -> Result<Enrolled, TokenError> {
    let port_host_template = format!("{{port}}.{}", record.host);
    // Nothing of the workspace's runs on a machine that salvages: it needs no environment.
    let settings = if record.salvage_image_id.is_some() { UserSettings::default() } else { settings };
    let UserSettings { revision: settings_revision, variables: secrets, files, ssh_keys, git_author, ssh } =
        settings;
    Ok(Enrolled {
        vm_token: vm_token(record, site, now)?.expose().clone(),
        vm_token_expires_in_secs: site.policy.vm_token.as_secs(),
        name: record.name.clone(),
        boot_plan: boot_plan(record, site.policy, programs),
        repository: Repository {
            path: "/v1/vm/backup/".to_owned(),
            password: password.expose().clone(),
            host: record.name.clone(),
            receipt_packs: site.policy.receipt_packs,
        },
        secrets,
        files,
        ssh_keys,
        git_author,
        ssh,
        settings_revision,
        policy: vm_policy(record, site.policy),
        persistence: record.spec.persistence,
        ingress: IngressPlan {
            host: record.host.clone(),
            port_url_template: site.port_url_template.replace("{host}", &port_host_template),
            port_host_template,
            listen_port: site.ingress_port,
            access_keys: site.tokens.public_keys(),
        },
        control_time_secs: u64::try_from(now.as_second()).ok(),
    })
}

/// What the machine is told in answer to a heartbeat.
pub fn instruction(
    record: &Record,
    context: &Context<'_>,
    access_keys: BTreeMap<String, String>,
) -> Instruction {
    let secs_until = |at: Timestamp| u64::try_from(at.duration_since(context.now).as_secs()).unwrap_or(0);
    Instruction {
        desired: match &record.phase {
            _ if record.thaw_requested => DesiredMachineState::Run,
            // Silence does not take a drain back: a machine that reconnects goes on where it was.
            Phase::Draining { reason, .. } | Phase::Silent { draining: Some(reason), .. } => match reason {
                DrainReason::Idle => DesiredMachineState::Drain,
                DrainReason::Asked | DrainReason::Lifetime | DrainReason::Salvage => {
                    DesiredMachineState::DrainNow
                }
            },
            _ => DesiredMachineState::Run,
        },
        vm_token: None,
        // Nobody works on a machine that only salvages.
        open: matches!(record.phase, Phase::Running | Phase::Silent { .. } | Phase::Draining { .. })
            && record.salvage_image_id.is_none(),
        policy: Some(vm_policy(record, context.policy)),
        holds: record
            .holds
            .iter()
            .filter(|hold| hold.ends_at > context.now)
            .map(|hold| VmHold {
                id: hold.id.clone(),
                reason: hold.reason.clone(),
                expires_in_secs: secs_until(hold.ends_at),
            })
            .collect(),
        public_ports: record.public_ports.clone(),
        snapshots_wanted: record.snapshots_wanted,
        lifetime_ends_in_secs: Some(secs_until(record.lifetime_ends_at())),
        control_time_secs: u64::try_from(context.now.as_second()).ok(),
        access: Some(access_plan(record, access_keys, context.now)),
        settings_revision: Some(record.settings_revision).filter(|_| record.salvage_image_id.is_none()),
    }
}

/// Durations that the machine works by.
pub fn vm_policy(record: &Record, policy: &Policy) -> VmPolicy {
    VmPolicy {
        heartbeat_secs: policy.heartbeat.as_secs(),
        idle_timeout_secs: record.spec.idle_timeout.as_secs(),
        unknown_grace_secs: policy.unknown_grace.as_secs(),
        waiting_for_human_secs: policy.waiting_for_human.as_secs(),
        agent_silence_secs: policy.agent_silence.as_secs(),
        background_secs: policy.background.as_secs(),
        snapshot_every_secs: policy.snapshot_every.as_secs(),
    }
}
