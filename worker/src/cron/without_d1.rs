//! The sweep where the index does not answer: the ends on servers' labels are enforced, and nothing else is.
//!
//! There is no lease, no row and no place to go on from, so every run begins with the first page; the limit holds for a
//! run. The switch as it was last set is read from the bucket, and the stricter of it and the variable holds: where the
//! bucket does not answer either, nothing runs. What is done is in the log alone, since the audit log is in the index.

use super::end::{self, Outcome, server_subject};
use super::listing::{FOR_THE_REST, Stretch, read};
use super::turn::{Sweeper, Trouble};
use crate::app::App;
use crate::durable_objects::rpc::Call;
use crate::error::ApiResult;
use crate::log::{self, Level};
use ebbtide_api::sweep::SweepMode;
use ebbtide_control::hetzner::Server;
use ebbtide_control::names;
use ebbtide_control::rate_limit::CallCost;
use ebbtide_control::sweep::server::{judge_by_label, judge_by_label_alone};
use ebbtide_control::sweep::turn::CALLS_MAX;
use ebbtide_control::sweep::walk::Walk;
use ebbtide_control::sweep::{Asked, Judged, Verdict};

/// Where the switch is kept beside the index. Pinned: a later version must find it.
const SWITCH: &str = "sweep/mode";

/// Keeps what the switch was set to where it is found without the index.
///
/// # Errors
/// The bucket does not answer.
pub async fn keep_switch(app: &App, mode: SweepMode) -> ApiResult<()> {
    app.r2()?.replace(SWITCH, mode.as_str().to_owned()).await
}

/// Brings it in line with the index, at every run that has one: a switch that was set before it was kept here, or was
/// kept only half, holds the next time the index is away.
pub async fn renew_switch(app: &App, asked: SweepMode) {
    let renewed = match read_switch(app).await {
        Ok(Some(kept)) if kept == asked => return,
        Ok(_) => keep_switch(app, asked).await,
        Err(error) => Err(error),
    };
    if let Err(error) = renewed {
        let fields = [("request.id", app.request_id.as_str())];
        error.log(Level::Warn, "the sweep's switch is not kept beside the index", &fields);
    }
}

/// What is kept; one that cannot be read is the strictest.
async fn read_switch(app: &App) -> ApiResult<Option<SweepMode>> {
    let kept = app.r2()?.text(SWITCH).await?;
    Ok(kept.map(|text| SweepMode::parse(text.trim()).unwrap_or(SweepMode::Off)))
}

/// Enforces what labels say.
pub async fn run(app: &App, from: &str) {
    if let Err(Trouble(error)) = enforce(app, from).await {
        let fields = [("request.id", app.request_id.as_str()), ("error", &error)];
        log::write(Level::Error, "labels were not enforced", &fields);
    }
}

async fn enforce(app: &App, from: &str) -> Result<(), Trouble> {
    // Before an ordinary run has kept it, nobody knows what was said: it is told what would end.
    let asked = read_switch(app).await?.unwrap_or(SweepMode::DryRun);
    let mode = app.config.sweep.max(asked);
    if mode == SweepMode::Off {
        return Ok(());
    }
    let mut sweeper = Sweeper::new(app, mode, from);
    let pass = app.pass(CallCost::looks(super::LOOKS.0, 0)).await;
    sweeper.open(pass.map_err(|wait| Trouble(wait.waiting_for))?);
    sweeper.turn_ends_at(CALLS_MAX.saturating_sub(super::KEPT));
    let selector = names::install_selector(&app.config.install_id);
    let (mut walk, mut next) = (Walk::default(), None);
    while sweeper.has(FOR_THE_REST.saturating_add(1)) {
        let fetch = async |page| sweeper.hetzner.list_servers(&selector, page).await;
        let Stretch { items, is_last } =
            read(&sweeper, &mut walk, &mut next, |server: &Server| server.id.0, fetch).await?;
        for (page, server) in items {
            if !one(&mut sweeper, &server).await {
                return Ok(());
            }
            walk.passed(server.id.0, page);
        }
        if is_last {
            return Ok(());
        }
    }
    Ok(())
}

/// Deals with one server; `false` where calls or the limit are used up.
async fn one(sweeper: &mut Sweeper<'_>, server: &Server) -> bool {
    let site = sweeper.site(true);
    let mut judged = judge_by_label(server, &Asked::NotYet, &site);
    if judged.verdict == Verdict::Fine {
        return true;
    }
    if !sweeper.has(1 + end::CALLS) {
        return false;
    }
    let subject = server_subject(server.id, &server.labels);
    if let (Verdict::Ask, Some(workspace)) = (judged.verdict, subject.workspace.clone()) {
        judged = match sweeper.ask(&workspace).await {
            Ok(asked) => judge_by_label(server, &asked, &site),
            Err(silence) => judge_by_label_alone(server, &silence.to_string(), &site),
        };
    }
    let done = match (judged.verdict, &subject.tenant, &subject.workspace) {
        (Verdict::Nudge, Some(tenant), Some(workspace)) => sweeper.tell(tenant, workspace, Call::Nudge).await,
        (Verdict::Relabel, Some(tenant), Some(workspace)) => {
            sweeper.tell(tenant, workspace, Call::relabel()).await
        }
        (Verdict::End(first), ..) => {
            match end::server(sweeper, server, first, &judged.because, &subject).await {
                Ok(Outcome::Full) => return false,
                Ok(Outcome::Ended) => "ended".to_owned(),
                Ok(Outcome::Gone) => "it is gone".to_owned(),
                Ok(Outcome::Stays(why)) => why,
                Err(Trouble(error)) => format!("it could not be ended: {error}"),
            }
        }
        (Verdict::Nudge | Verdict::Relabel | Verdict::Fine | Verdict::Leave | Verdict::Ask, ..) => {
            "it stays".to_owned()
        }
    };
    log_outcome(sweeper, &subject.what, &judged, &done);
    true
}

fn log_outcome(sweeper: &Sweeper<'_>, what: &str, judged: &Judged, done: &str) {
    let fields = [
        ("request.id", sweeper.app.request_id.as_str()),
        ("subject", what),
        ("because", &judged.because),
        ("done", done),
    ];
    log::write(Level::Warn, "a label was looked at without the index", &fields);
}
