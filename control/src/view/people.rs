//! What a record looks like to a person. Derives, never decides.

use crate::lifecycle::Context;
use crate::names::port_host_of;
use crate::record::{DesiredState, Dns, MachineMoney, Phase, Record};
use crate::restore_note::restore_note;
use ebbtide_api::Timestamp;
use ebbtide_api::ports::Port;
use ebbtide_api::text::time;
use ebbtide_api::vm::Heartbeat;
use ebbtide_api::why::Why;
use ebbtide_api::workspace::{Machine, RescueImage, Workspace, WorkspaceSummary};

/// Shows a workspace: the record, and the last heartbeat of its machine where one was heard.
pub fn workspace(
    record: &Record,
    heartbeat: Option<&Heartbeat>,
    context: &Context<'_>,
    port_url: &str,
) -> Workspace {
    let live = matches!(
        record.phase,
        Phase::Booting { .. }
            | Phase::Running
            | Phase::Silent { .. }
            | Phase::Draining { .. }
            | Phase::Rescuing { .. }
    );
    let live_heartbeat = heartbeat.filter(|_| live);
    // The boot steps of a machine that failed are what its owner wants to read.
    let boot =
        heartbeat.filter(|_| live || matches!(record.phase, Phase::Failed { .. } | Phase::Destroying { .. }));
    let why = live_heartbeat
        .and_then(|heartbeat| heartbeat.why.clone())
        .map(|why| kept(why, &record.money, context.now));
    let awake = why.as_ref().filter(|_| matches!(record.phase, Phase::Running));
    Workspace {
        id: record.id.clone(),
        name: record.name.clone(),
        state: record.state(),
        since: record.since,
        because: record.because.clone(),
        line: awake.map_or_else(|| record.because.clone(), Why::line),
        waiting_for: waiting_for(record, context.now),
        failure: match &record.phase {
            Phase::Failed { failure } | Phase::Destroying { failure: Some(failure), .. } => {
                Some(failure.clone())
            }
            _ => None,
        },
        generation: record.generation,
        repo: record.spec.repo.clone(),
        branch: record.spec.branch.clone(),
        size: record.spec.placement.size.clone(),
        location: record.spec.placement.location.clone(),
        agents: record.spec.agents.clone(),
        docker: record.spec.docker,
        idle_timeout: record.spec.idle_timeout,
        lifetime: record.spec.lifetime,
        persistence: record.spec.persistence,
        secrets: record.spec.secrets.clone(),
        ssh: record.spec.ssh,
        created_at: record.created_at,
        lifetime_ends_at: record.phase.may_have_machine().then(|| record.lifetime_ends_at()),
        hard_end_at: record.phase.may_have_machine().then(|| record.hard_end_at(context.policy)),
        worst_case: record.worst_case.clone(),
        machine: record.server.as_ref().map(|server| Machine {
            server_id: server.id,
            ipv4: server.ipv4.clone(),
            host: record.host.clone(),
        }),
        boot: boot.map(|heartbeat| heartbeat.boot.clone()).unwrap_or_default(),
        ports: live_heartbeat.map(|heartbeat| ports(record, heartbeat, port_url)).unwrap_or_default(),
        why,
        heard_secs_ago: live
            .then_some(context.last_seen_at)
            .flatten()
            .map(|at| u64::try_from(context.now.duration_since(at).as_secs()).unwrap_or(0)),
        backup: live_heartbeat.and_then(|heartbeat| heartbeat.backup.clone()),
        last_backup: record.snapshots.first().cloned(),
        restore_note: restore_note(record),
        rescue_image: record.rescue_image.map(|id| RescueImage {
            id,
            expires_at: record.rescue_image_expires_at,
            price_per_gb_month: record.money.image_price(),
        }),
        holds: record.holds.clone(),
        links: record.links.iter().filter(|link| link.expires_at > context.now).cloned().collect(),
    }
}

fn ports(record: &Record, heartbeat: &Heartbeat, port_url: &str) -> Vec<Port> {
    let url = |port: u16| port_url.replace("{host}", &port_host_of(port, &record.host));
    heartbeat.ports.iter().map(|port| Port { url: Some(url(port.port)), ..port.clone() }).collect()
}

/// What the index holds of a workspace.
pub fn summary(record: &Record) -> WorkspaceSummary {
    WorkspaceSummary {
        id: record.id.clone(),
        name: record.name.clone(),
        state: record.state(),
        because: record.because.clone(),
        line: record.line(),
        repo: record.spec.repo.clone(),
        size: record.spec.placement.size.clone(),
        created_at: record.created_at,
        since: record.since,
    }
}

fn waiting_for(record: &Record, now: Timestamp) -> Option<String> {
    if let Some(pause) = &record.pause {
        return Some(pause.waiting_for.clone());
    }
    match &record.phase {
        Phase::Draining { trouble, .. } => {
            let obstacle = trouble.as_ref().or(record.receipt_problem.as_ref());
            let obstacle = obstacle.map_or("the backup", String::as_str);
            let then = if record.may_thaw(now) {
                "; wake the workspace to mend that, or delete it with discard"
            } else {
                ""
            };
            Some(format!("{obstacle}{then}"))
        }
        Phase::Silent { .. } => Some("a sign of life from the machine".to_owned()),
        Phase::Provisioning { .. } => Some("the provider to create the server".to_owned()),
        Phase::Rescuing { .. } => Some("the rescue image".to_owned()),
        Phase::Destroying { server_gone: true, late_image: Some(_), .. } if record.dns == Dns::Absent => {
            Some("the rescue image, which may yet be complete".to_owned())
        }
        Phase::Destroying { .. } => Some("the provider to delete the server and its names".to_owned()),
        Phase::Asleep | Phase::Failed { .. } if record.desired == DesiredState::Awake => {
            record.lock.as_ref().map(|lock| format!("{} to finish work on the backups", lock.by))
        }
        _ => None,
    }
}

/// Says that a machine is kept within its paid hour, where its own reasons are shown.
fn kept(mut why: Why, money: &MachineMoney, now: Timestamp) -> Why {
    if let Some(warm) = &money.warm {
        let (since, until) = (time(warm.since), time(warm.until));
        let text = format!("idle since {since}; kept until {until} because the hour is paid");
        why.because.insert(0, text);
        why.sleeps_in_secs = Some(u64::try_from(warm.until.duration_since(now).as_secs()).unwrap_or(0));
    }
    why
}
