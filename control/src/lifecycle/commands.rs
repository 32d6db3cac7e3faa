//! What the owner, or a request of a machine, asks for: it changes what is wanted, or is refused with a sentence.
//! Nothing here moves a phase on.

use super::draft::{Context, Draft};
use super::input::Command;
use super::{reboot, repository_lock};
use crate::record::{DesiredState, DrainReason, Phase, Wish};
use ebbtide_api::backups::{Persistence, Retention};
use ebbtide_api::money::Cost;
use ebbtide_api::ports::{LinkSummary, PortAccess};
use ebbtide_api::secrets::SecretChoice;
use ebbtide_api::text::time;
use ebbtide_api::workspace::Hold;
use ebbtide_api::{Duration, ErrorCode, EventCode};
use std::collections::BTreeSet;

/// Holds that a workspace may have: every decision parses them.
const MOST_HOLDS: usize = 32;
/// Ports that may be open to anybody at once, for the same reason.
const MOST_PORTS: usize = 64;
/// Links that may be in force at once.
const MOST_LINKS: usize = 64;

/// Takes in what somebody asks for.
pub(super) fn ask(draft: &mut Draft, command: Command, context: &Context<'_>) {
    match command {
        Command::Sleep => sleep(draft),
        Command::Wake { snapshot } => wake(draft, snapshot),
        Command::Retry => retry(draft),
        // Never taken back here: they may be due for a server whose creation is under way.
        Command::Relabel => draft.record.labels_stale |= draft.record.server.is_some(),
        Command::Next(next) => next.keep(&mut draft.record),
        Command::Prefer(wish) => prefer(draft, wish),
        Command::SetEnv { names } => set_env(draft, names),
        Command::ChooseSecrets(choice) => choose_secrets(draft, choice),
        Command::SetSsh { open } => set_ssh(draft, open),
        Command::SettingsChanged => settings_changed(draft),
        Command::SetAgents { agents } => set_agents(draft, agents),
        Command::SetDocker { wanted } => set_docker(draft, wanted),
        Command::Delete => delete(draft),
        Command::Discard => draft.record.desired = DesiredState::Discarded,
        Command::Undelete => undelete(draft, context),
        Command::Change { idle_timeout, lifetime, worst_case } => {
            change(draft, idle_timeout, lifetime, worst_case, context);
        }
        Command::TakeHold(hold) => take_hold(draft, hold),
        Command::ReleaseHold { id } => release_hold(draft, &id),
        Command::Snapshot => snapshot(draft),
        Command::Reboot => reboot::ask(draft, context),
        Command::Retain(rule) => retain(draft, rule, context),
        Command::BeginPrune { generation, orphans } => {
            repository_lock::begin_prune(draft, generation, orphans, context);
        }
        Command::EndPrune { generation, report } => {
            repository_lock::end_prune(draft, generation, &report, context);
        }
        Command::TakeLock { by } => repository_lock::take(draft, by, context),
        Command::ReleaseLock { by } => repository_lock::end(draft, &by),
        Command::ObjectsCounted { objects, most } => {
            repository_lock::object_count(draft, objects, most, context);
        }
        Command::Forget { snapshot } => repository_lock::forget(draft, &snapshot),
        Command::Unforget { snapshot } => repository_lock::unforget(draft, &snapshot, context),
        Command::SetPublic { port, access } => set_public(draft, port, access),
        Command::GiveLink(link) => give_link(draft, link, context),
        Command::EndLink { id } => end_link(draft, &id),
    }
    draft.record.holds.retain(|hold| hold.ends_at > context.now);
    draft.record.links.retain(|link| link.expires_at > context.now);
}

fn sleep(draft: &mut Draft) {
    let state = draft.record.state();
    if matches!(draft.record.phase, Phase::Failed { .. } | Phase::Deleted { .. }) {
        let message = format!("a workspace that is {state} has no machine to put to sleep");
        return draft.refuse(ErrorCode::WrongState, message);
    }
    match draft.record.desired {
        DesiredState::Deleted | DesiredState::Discarded => {
            draft.refuse(ErrorCode::WrongState, "the workspace is being deleted; undo that first");
        }
        DesiredState::Awake | DesiredState::Asleep => draft.record.desired = DesiredState::Asleep,
    }
}

fn retry(draft: &mut Draft) {
    let state = draft.record.state();
    if !matches!(draft.record.phase, Phase::Failed { .. }) {
        let message = format!("only a failed workspace is retried; this one is {state}");
        return draft.refuse(ErrorCode::WrongState, message);
    }
    draft.record.desired = DesiredState::Awake;
    draft.may_begin = true;
}

fn delete(draft: &mut Draft) {
    // A discard is a recorded decision: a later deletion does not bring its backup back.
    if draft.record.desired != DesiredState::Discarded {
        draft.record.desired = DesiredState::Deleted;
    }
}

fn release_hold(draft: &mut Draft, id: &str) {
    let before = draft.record.holds.len();
    draft.record.holds.retain(|hold| hold.id != id);
    if draft.record.holds.len() == before {
        draft.refuse(ErrorCode::NotFound, "there is no such hold");
    }
}

fn snapshot(draft: &mut Draft) {
    let state = draft.record.state();
    if draft.record.spec.persistence == Persistence::None {
        let message = "this workspace is never backed up, as was chosen when it was created";
        return draft.refuse(ErrorCode::WrongState, message);
    }
    if draft.record.phase != Phase::Running {
        let message = format!("snapshots are taken while running; it is {state}");
        return draft.refuse(ErrorCode::WrongState, message);
    }
    draft.record.snapshots_wanted = draft.record.snapshots_wanted.saturating_add(1);
}

fn retain(draft: &mut Draft, rule: Retention, context: &Context<'_>) {
    crate::retention::keep_by(&mut draft.record, rule, context.policy, context.now);
    let expired = draft.record.expired.len();
    let sentence =
        format!("other snapshots are kept from now on; {expired} are due to be removed at a later wake");
    draft.note(EventCode::RetentionChanged, sentence);
}

fn prefer(draft: &mut Draft, wish: Wish) {
    let named = |wanted: &Option<String>| wanted.clone().unwrap_or_else(|| "any".to_owned());
    let sentence =
        format!("from its next start on: size {}, location {}", named(&wish.size), named(&wish.location));
    draft.record.spec.wish = Some(wish);
    draft.note(EventCode::PlacementWished, sentence);
}

/// Nothing is sealed for a workspace that goes: its keys are shredded once, and what came later would stay.
fn set_env(draft: &mut Draft, names: Vec<String>) {
    match draft.record.desired {
        DesiredState::Deleted | DesiredState::Discarded => {
            draft.refuse(ErrorCode::WrongState, "the workspace is being deleted; undo that first");
        }
        DesiredState::Awake | DesiredState::Asleep => {
            let shown = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            draft.record.spec.env = names;
            draft.note(EventCode::EnvChanged, format!("variables from now on: {shown}"));
        }
    }
}

fn choose_secrets(draft: &mut Draft, choice: SecretChoice) {
    match draft.record.desired {
        DesiredState::Deleted | DesiredState::Discarded => {
            draft.refuse(ErrorCode::WrongState, "the workspace is being deleted; undo that first");
        }
        DesiredState::Awake | DesiredState::Asleep => {
            let shown = match &choice {
                SecretChoice::Everywhere => "those that are marked everywhere".to_owned(),
                SecretChoice::Named(names) if names.is_empty() => "none".to_owned(),
                SecretChoice::Named(names) => names.join(", "),
            };
            draft.note(EventCode::SecretsChosen, format!("secrets from now on: {shown}"));
            draft.record.spec.secrets = choice;
            settings_changed(draft);
        }
    }
}

/// The provider's firewall goes by the machine's labels, the machine by its settings.
fn set_ssh(draft: &mut Draft, open: bool) {
    match draft.record.desired {
        DesiredState::Deleted | DesiredState::Discarded => {
            draft.refuse(ErrorCode::WrongState, "the workspace is being deleted; undo that first");
        }
        DesiredState::Awake | DesiredState::Asleep if draft.record.spec.ssh == open => {}
        DesiredState::Awake | DesiredState::Asleep => {
            draft.record.spec.ssh = open;
            // The server may exist and not be known yet.
            draft.record.labels_stale |= draft.record.phase.may_have_machine();
            let sentence = if open { "SSH is let in from now on" } else { "SSH is closed from now on" };
            draft.note(EventCode::SshChanged, sentence);
            settings_changed(draft);
        }
    }
}

fn settings_changed(draft: &mut Draft) {
    draft.record.settings_revision = draft.record.settings_revision.saturating_add(1);
}

fn set_agents(draft: &mut Draft, agents: Vec<String>) {
    let shown = if agents.is_empty() { "none".to_owned() } else { agents.join(", ") };
    draft.record.spec.agents = agents;
    draft.note(EventCode::AgentsChanged, format!("coding agents from its next start on: {shown}"));
}

fn set_docker(draft: &mut Draft, wanted: bool) {
    draft.record.spec.docker = wanted;
    let shown =
        if wanted { "with Docker from its next start on" } else { "without Docker from its next start on" };
    draft.note(EventCode::DockerChanged, shown);
}

fn set_public(draft: &mut Draft, port: u16, access: PortAccess) {
    let opens = access == PortAccess::Public && !draft.record.public_ports.contains(&port);
    if opens && draft.record.public_ports.len() >= MOST_PORTS {
        let message = format!("{MOST_PORTS} ports are open to anybody already; close one first");
        return draft.refuse(ErrorCode::CapReached, message);
    }
    draft.record.public_ports.retain(|public| *public != port);
    if access == PortAccess::Owner {
        // Who closes a port closes it to those who were let in before, too.
        end_links(draft, |link| link.port == port);
    } else {
        draft.record.public_ports.push(port);
        draft.note(EventCode::PortOpened, format!("port {port} is open to anybody"));
    }
}

fn give_link(draft: &mut Draft, link: LinkSummary, context: &Context<'_>) {
    draft.record.links.retain(|known| known.expires_at > context.now && known.id != link.id);
    if draft.record.links.len() >= MOST_LINKS {
        let message = format!("{MOST_LINKS} links are in force already; end one first");
        return draft.refuse(ErrorCode::CapReached, message);
    }
    draft.record.links.push(link);
}

fn end_link(draft: &mut Draft, id: &str) {
    if end_links(draft, |link| link.id == id) == 0 {
        draft.refuse(ErrorCode::NotFound, "there is no such link");
    }
}

/// Ends links, and tells of each port that had any.
fn end_links(draft: &mut Draft, ends: impl Fn(&LinkSummary) -> bool) -> usize {
    let (ended, kept): (Vec<_>, Vec<_>) = std::mem::take(&mut draft.record.links).into_iter().partition(ends);
    draft.record.links = kept;
    let ports: BTreeSet<u16> = ended.iter().map(|link| link.port).collect();
    for port in ports {
        let links = ended.iter().filter(|link| link.port == port).count();
        let sentence = if links == 1 {
            format!("a link to port {port} ended before its time")
        } else {
            format!("{links} links to port {port} ended before their time")
        };
        draft.note(EventCode::LinksEnded, sentence);
    }
    ended.len()
}

fn wake(draft: &mut Draft, snapshot: Option<String>) {
    if let Some(wanted) = &snapshot {
        let known = draft.record.snapshots.iter().find(|known| known.snapshot == *wanted);
        if known.is_none() {
            draft.refuse(ErrorCode::NotFound, format!("there is no verified snapshot {wanted}"));
            return;
        }
    }
    let is_being_deleted = matches!(draft.record.desired, DesiredState::Deleted | DesiredState::Discarded);
    match &draft.record.phase {
        Phase::Deleted { .. } => {
            draft.refuse(ErrorCode::WrongState, "it is deleted; undo the deletion first")
        }
        Phase::Destroying { failure: Some(_), .. } => {
            draft.refuse(
                ErrorCode::WrongState,
                "its machine is being removed after a failure; retry once it has failed",
            );
        }
        Phase::Asleep | Phase::Failed { .. } if !is_being_deleted => {
            draft.record.restore_snapshot_chosen = snapshot;
            draft.record.desired = DesiredState::Awake;
            draft.may_begin = true;
        }
        Phase::Requested
        | Phase::Provisioning { .. }
        | Phase::Booting { .. }
        | Phase::Running
        | Phase::Silent { .. }
        | Phase::Draining { .. }
        | Phase::Rescuing { .. }
        | Phase::Destroying { failure: None, .. }
        | Phase::Asleep
        | Phase::Failed { .. } => {
            if is_being_deleted {
                draft.refuse(ErrorCode::WrongState, "the workspace is being deleted; undo that first");
            } else if snapshot.is_some() {
                let message = "a snapshot is chosen while asleep; put it to sleep first";
                draft.refuse(ErrorCode::WrongState, message);
            } else {
                draft.record.desired = DesiredState::Awake;
            }
        }
    }
}

fn undelete(draft: &mut Draft, context: &Context<'_>) {
    match (&draft.record.phase, draft.record.desired) {
        (Phase::Deleted { purged: true, .. }, _) => {
            draft.refuse(ErrorCode::WrongState, "its keys are shredded; nothing can be undone");
        }
        // The shredding may have landed although nobody has heard so.
        (Phase::Deleted { purge_at, .. }, _) if *purge_at <= context.now => {
            draft.refuse(ErrorCode::WrongState, "the days to undo are over; its keys are being shredded");
        }
        (_, DesiredState::Deleted | DesiredState::Discarded) => {
            if let (Phase::Destroying { .. }, DesiredState::Discarded) =
                (&draft.record.phase, draft.record.desired)
            {
                let sentence = "the deletion is undone, but the machine was being deleted already: what was in no \
                                backup goes with it, as was asked for";
                draft.note(EventCode::UndeletedLate, sentence);
            }
            draft.record.desired = DesiredState::Asleep;
        }
        (_, DesiredState::Awake | DesiredState::Asleep) => {
            draft.refuse(ErrorCode::WrongState, "it is not deleted")
        }
    }
}

fn change(
    draft: &mut Draft,
    idle_timeout: Option<Duration>,
    lifetime: Option<Duration>,
    worst_case: Option<Cost>,
    context: &Context<'_>,
) {
    let is_over = matches!(
        draft.record.phase,
        Phase::Rescuing { .. } | Phase::Destroying { .. } | Phase::Deleted { .. }
    );
    if lifetime.is_some() && is_over {
        let state = draft.record.state();
        draft.refuse(ErrorCode::WrongState, format!("a workspace that is {state} has no lifetime to change"));
        return;
    }
    if let Some(timeout) = idle_timeout {
        draft.record.spec.idle_timeout = timeout;
    }
    if let Some(lifetime) = lifetime {
        // A lifetime that is over already ends now: the drain still gets its whole time.
        let awake = context.now.duration_since(draft.record.woke_at).as_secs();
        let live = draft.record.phase.may_have_machine();
        let least = Duration::from_secs(if live { u64::try_from(awake).unwrap_or(0) } else { 0 });
        let lifetime = lifetime.max(least);
        draft.record.spec.lifetime = lifetime;
        // The server may exist and not be known yet: it bears the end as it was when it was asked for (seed 600617118).
        draft.record.labels_stale = draft.record.phase.may_have_machine();
        draft.record.held_until = None;
        draft.record.warnings_given = 0;
        draft.record.worst_case = worst_case.or(draft.record.worst_case.take());
        draft.note(EventCode::LifetimeChanged, format!("the lifetime is now {lifetime}"));
    }
}

fn take_hold(draft: &mut Draft, hold: Hold) {
    if draft.record.salvage_image_id.is_some() {
        draft.refuse(ErrorCode::WrongState, "its rescue image is being salvaged; hold it once it is awake");
        return;
    }
    if draft.record.holds.len() >= MOST_HOLDS {
        draft
            .refuse(ErrorCode::CapReached, format!("it has {MOST_HOLDS} holds already; let go of one first"));
        return;
    }
    let state = draft.record.state();
    match draft.record.phase {
        Phase::Booting { .. } | Phase::Running | Phase::Silent { .. } | Phase::Draining { .. } => {
            let sentence = format!("held until {}: {}", time(hold.ends_at), hold.reason);
            draft.note(EventCode::Held, sentence);
            if matches!(draft.record.phase, Phase::Draining { reason: DrainReason::Idle, frozen: false, .. })
            {
                draft.record.desired = DesiredState::Awake;
            }
            draft.record.holds.push(hold);
        }
        Phase::Requested
        | Phase::Provisioning { .. }
        | Phase::Rescuing { .. }
        | Phase::Destroying { .. }
        | Phase::Asleep
        | Phase::Failed { .. }
        | Phase::Deleted { .. } => draft.refuse(
            ErrorCode::WrongState,
            format!("a workspace that is {state} has no machine to hold; wake it"),
        ),
    }
}
