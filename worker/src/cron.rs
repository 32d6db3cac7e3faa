//! The sweep's shell: takes the lease, gives each part its turn, does what `ebbtide_control::sweep` decides, and stores
//! how far it came.
//!
//! Parts are isolated: one that fails stops no other and carries its error into the report. Nothing ends without the
//! lease, in a turn whose listing is not believed, or before its own id was read again. Calls stay within 28 an
//! invocation. Where the index does not answer, `without_d1` enforces what labels say and nothing else runs.

mod end;
mod images;
mod listing;
pub mod lost;
mod machines;
mod names;
mod objects;
mod overdue;
mod servers;
mod turn;
mod without_d1;

use crate::app::App;
use crate::d1::StoredSweep;
use crate::durable_objects::rate_limit;
use crate::error::ApiResult;
use crate::log::{self, Level};
use crate::r2::bucket::PROJECT;
use crate::r2::kept_policy;
use crate::random::random;
use crate::subrequests::Calls;
use ebbtide_api::ErrorCode;
use ebbtide_api::sweep::{SweepMode, SweepPart, SweepReport};
use ebbtide_control::executor::{Project, Seen};
use ebbtide_control::lifecycle::OTHER_PROJECT;
use ebbtide_control::rate_limit::CallCost;
use ebbtide_control::sweep::state::{PartState, SweepState};
use ebbtide_control::sweep::turn::{order, turn_ends_at};
use turn::{Ended, Sweeper, Trouble};
use worker::Env;

pub use without_d1::keep_switch;

/// Calls that are kept for storing what was done and for telling the provider gate.
const KEPT: u32 = 2;
/// A part does not begin a turn with fewer: a page, its rows, a question, and what it takes to end one thing.
const TURN_MIN: u32 = 8;
/// A run that has made more calls before the index fell silent leaves labels to the next one.
const BLIND_MAX: u32 = 10;
/// What a run may ask of the providers at most.
const LOOKS: (u32, u32) = (30, 15);

/// What the cron looks after: a slice, and a note that it ran.
pub async fn scheduled(env: &Env) {
    let request_id =
        random::<8>().map_or_else(|_| "cron".to_owned(), |id| format!("cron-{}", hex::encode(id)));
    let calls = Calls::default();
    kept_policy::prepare(env, &calls).await;
    let app = match App::open(env, request_id, calls) {
        Ok(app) => app,
        Err(error) => return error.log(Level::Error, "the cron did not run", &[]),
    };
    let fields = [("request.id", app.request_id.as_str())];
    if let Err(error) = note_cron(&app).await {
        error.log(Level::Error, "the cron's run was not noted", &fields);
    }
    run(&app, "cron").await;
    rate_limit::tell(&app.env, &app.calls).await;
    let [request] = fields;
    log::write(Level::Debug, "the cron has run", &[request, ("calls", &app.calls.to_string())]);
}

async fn note_cron(app: &App) -> ApiResult<()> {
    app.d1()?.note_cron(app.now()).await
}

/// Runs one slice, for the audit log asked for from there. What goes wrong is in the report and in the log.
pub async fn run(app: &App, from: &str) {
    crate::workspaces::reservation::mend(app).await;
    if let Err(error) = slice(app, from).await {
        error.log(Level::Error, "the sweep did not run", &[("request.id", app.request_id.as_str())]);
        if error.code() == ErrorCode::StorageUnavailable && app.calls.total() < BLIND_MAX {
            without_d1::run(app, from).await;
        }
    }
}

/// What the sweep has done lately.
///
/// # Errors
/// The index does not answer.
pub async fn report(app: &App) -> ApiResult<SweepReport> {
    let StoredSweep { asked, state } = app.d1()?.sweep().await?;
    let config = &app.config;
    Ok(state.report(config.sweep, asked, config.policy.sweep_limit))
}

async fn slice(app: &App, from: &str) -> ApiResult<()> {
    let index = app.d1()?;
    let lease = &app.request_id;
    let Some(StoredSweep { asked, mut state }) = index.claim_sweep(lease, app.now()).await? else {
        log::write(Level::Info, "the sweep is running already", &[("request.id", lease)]);
        return Ok(());
    };
    without_d1::renew_switch(app, asked).await;
    keep_policy(app).await;
    let mode = app.config.sweep.max(asked);
    let mut sweeper = Sweeper::new(app, mode, from);
    turns(&mut sweeper, &mut state).await;
    state.last_run_at = Some(sweeper.now);
    state.limit_left = sweeper.limit_left;
    state.calls = app.calls.total().saturating_add(KEPT);
    index.save_sweep(lease, &state, &sweeper.notes()).await
}

/// So that a policy that cannot be read one day is not the end of the one before it.
async fn keep_policy(app: &App) {
    let kept = match app.r2() {
        Ok(storage) => kept_policy::keep(&app.config, &storage).await,
        Err(error) => Err(error),
    };
    if let Err(error) = kept {
        error.log(Level::Warn, "the policy was not kept", &[("request.id", app.request_id.as_str())]);
    }
}

async fn turns(sweeper: &mut Sweeper<'_>, state: &mut SweepState) {
    let parts: Vec<SweepPart> = order(state)
        .into_iter()
        .filter(|part| sweeper.mode != SweepMode::Off || touches_no_provider(*part))
        .collect();
    let mut other_project = false;
    let shut = match sweeper.mode {
        SweepMode::Off => None,
        SweepMode::On | SweepMode::DryRun => {
            let (machines, names) = LOOKS;
            match sweeper.app.pass(CallCost::looks(machines, names)).await {
                Ok(pass) => {
                    sweeper.open(pass);
                    state.other_project = sees_other_project(sweeper).await.unwrap_or(state.other_project);
                    other_project = state.other_project;
                    other_project.then(|| format!("waiting for {OTHER_PROJECT}"))
                }
                Err(wait) => Some(format!("the providers' API budget: {}", wait.waiting_for)),
            }
        }
    };
    if other_project {
        // Whatever is ours there ends by its label; absence says nothing.
        without_d1::run(sweeper.app, "cron").await;
    }
    for (position, part) in parts.iter().enumerate() {
        let others_wait = parts.len() > position.saturating_add(1);
        let made = sweeper.app.calls.total();
        sweeper.turn_ends_at(turn_ends_at(made, KEPT, others_wait));
        if !sweeper.has(least(*part)) {
            continue;
        }
        let part_state = state.parts.entry(*part).or_default();
        let ended = match &shut {
            Some(why) if !touches_no_provider(*part) => Err(Trouble(why.clone())),
            Some(_) | None => turn(sweeper, *part, part_state).await,
        };
        part_state.last_run_at = Some(sweeper.now);
        part_state.error = None;
        match ended {
            Ok(Ended::Round) => part_state.finish_round(sweeper.now),
            Ok(Ended::Turn) => {}
            Err(Trouble(error)) => {
                let request_id = sweeper.app.request_id.as_str();
                let fields = [("request.id", request_id), ("part", part.as_str()), ("error", &error)];
                log::write(Level::Error, "a part of the sweep failed", &fields);
                part_state.error = Some(error);
            }
        }
    }
}

/// Whether the token sees another project than the one that this installation began in, where everything of ours would
/// seem gone; `None` where that cannot be seen, and then it counts as at the last look.
async fn sees_other_project(sweeper: &Sweeper<'_>) -> Option<bool> {
    let look = async {
        let Some(known) = sweeper.app.r2()?.json::<Project>(PROJECT).await? else { return Ok(Seen::Same) };
        Ok::<Seen, Trouble>(ebbtide_control::executor::look(&sweeper.hetzner, known.firewall).await?)
    };
    match look.await {
        Ok(seen) => Some(seen == Seen::Other),
        Err(Trouble(error)) => {
            let fields = [("request.id", sweeper.app.request_id.as_str()), ("error", &error)];
            log::write(Level::Warn, "the provider's project was not looked at", &fields);
            None
        }
    }
}

async fn turn(sweeper: &mut Sweeper<'_>, part: SweepPart, state: &mut PartState) -> Result<Ended, Trouble> {
    match part {
        SweepPart::Overdue => overdue::turn(sweeper, state).await,
        SweepPart::Servers => servers::turn(sweeper, state).await,
        SweepPart::Machines => machines::turn(sweeper, state).await,
        SweepPart::Names => names::turn(sweeper, state).await,
        SweepPart::Images => images::images(sweeper, state).await,
        SweepPart::Addresses => images::addresses(sweeper, state).await,
        SweepPart::Objects => objects::turn(sweeper, state).await,
        SweepPart::Trash => overdue::trash(sweeper, state).await,
        SweepPart::Keys => overdue::keys(sweeper, state).await,
    }
}

/// Whether a part goes on while the switch is off and while the providers' calls are used up: it ends nothing there.
fn touches_no_provider(part: SweepPart) -> bool {
    match part {
        SweepPart::Overdue | SweepPart::Keys => true,
        SweepPart::Servers
        | SweepPart::Machines
        | SweepPart::Names
        | SweepPart::Images
        | SweepPart::Addresses
        | SweepPart::Objects
        | SweepPart::Trash => false,
    }
}

fn least(part: SweepPart) -> u32 {
    if touches_no_provider(part) { 1 } else { TURN_MIN }
}
