//! `GET /metrics`: figures of the installation in Prometheus' text format 0.0.4.
//!
//! Four database calls and one to the provider gate, whatever there is to count. Labels are states, parts, providers
//! and periods: never a workspace, never a name. A part that does not answer is told as such, and the rest is shown all
//! the same.

mod page;

use crate::actor::Actor;
use crate::cron;
use crate::d1::StateFigures;
use crate::durable_objects::rate_limit;
use crate::error::{ApiError, ApiResult};
use crate::http::request::Incoming;
use crate::workspaces::usage;
use ebbtide_api::Timestamp;
use ebbtide_api::sweep::{SweepMode, SweepPartReport, SweepReport};
use ebbtide_api::usage::UsageCaps;
use ebbtide_api::workspace::State;
use ebbtide_control::rate_limit::{Level, Levels};
use page::{Kind, Page, Sample};
use worker::{Response, ResponseBuilder};

/// What Prometheus expects of a text.
const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What was found out.
#[derive(Debug, Default)]
struct Figures {
    states: Option<Vec<StateFigures>>,
    cron_at: Option<Timestamp>,
    sweep: Option<SweepReport>,
    spending: Option<UsageCaps>,
    levels: Option<Levels>,
}

/// Answers with the figures of the caller's tenant and the installation.
///
/// # Errors
/// None but what building an answer has.
pub async fn get(incoming: &Incoming, actor: &Actor) -> ApiResult<Response> {
    let app = &incoming.app;
    let is_left_out = |what| move |error: &ApiError| error.log_left_out(what, &app.request_id);
    let index = app.d1().inspect_err(is_left_out("figures from the database are")).ok();
    let (states, cron_at) = match &index {
        Some(index) => (
            index.figures(&actor.tenant).await.inspect_err(is_left_out("figures of workspaces are")).ok(),
            index.cron_at().await.inspect_err(is_left_out("the time of the cron is")).ok().flatten(),
        ),
        None => (None, None),
    };
    let levels = rate_limit::levels(&app.env, &app.calls).await;
    let figures = Figures {
        states,
        cron_at,
        sweep: cron::report(app).await.inspect_err(is_left_out("figures of the sweep are")).ok(),
        spending: usage::caps(app, actor).await.inspect_err(is_left_out("figures of money are")).ok(),
        levels: levels.inspect_err(is_left_out("figures of the rate limits are")).ok(),
    };
    let text = render(&figures, app.now());
    let builder = ResponseBuilder::new().with_header("content-type", CONTENT_TYPE);
    Ok(builder.map_err(ApiError::internal)?.fixed(text.into_bytes()))
}

fn render(figures: &Figures, now: Timestamp) -> String {
    let mut page = Page::default();
    let version = vec![("version", env!("CARGO_PKG_VERSION"))];
    page.gauge("build_info", "The Worker that answers.", &[(version, "1".to_owned())]);
    let parts = [("index", figures.states.is_some()), ("gate", figures.levels.is_some())];
    let up = parts.map(|(part, is_up)| (vec![("part", part)], u8::from(is_up).to_string()));
    page.gauge("part_up", "Whether a part of the control plane answered just now.", &up);
    if let Some(states) = &figures.states {
        workspaces(&mut page, states, now);
    }
    if let Some(spending) = &figures.spending {
        money(&mut page, spending);
    }
    let cron = figures.cron_at.map(|at| seconds_since(at, now));
    page.one("cron_age_seconds", "Time since the cron last ran; it should every five minutes.", cron);
    if let Some(report) = &figures.sweep {
        swept(&mut page, report, now);
    }
    if let Some(levels) = &figures.levels {
        provider(&mut page, levels);
    }
    page.into_text()
}

fn workspaces(page: &mut Page, states: &[StateFigures], now: Timestamp) {
    let count = |state: State| {
        states.iter().find(|figures| figures.state == state).map_or(0, |figures| figures.workspaces)
    };
    let by_state: Vec<Sample<'_>> =
        State::ALL.iter().map(|state| (vec![("state", state.as_str())], count(*state).to_string())).collect();
    page.gauge("workspaces", "Workspaces by state.", &by_state);
    let machines =
        State::ALL.iter().filter(|state| state.may_have_machine()).map(|state| count(*state)).sum();
    page.one("machines", "Workspaces whose machine exists, or may exist, at the provider.", Some(machines));
    let images = states.iter().map(|figures| figures.rescue_images).sum();
    page.one(
        "rescue_images",
        "Workspaces with a rescue image, which bills until it is deleted.",
        Some(images),
    );
    let asleep = [State::Asleep, State::Failed];
    let awake = states.iter().filter(|figures| !asleep.contains(&figures.state));
    let deadline = awake.filter_map(|figures| figures.deadline).min();
    page.one(
        "deadline_overdue_seconds",
        "How long ago the oldest deadline passed that nobody has acted on; 0 where none has.",
        Some(deadline.map_or(0, |at| seconds_since(at, now))),
    );
    let works = [State::Running, State::Silent, State::Draining, State::Rescuing];
    let at_work = states.iter().filter(|figures| works.contains(&figures.state));
    page.one(
        "backup_age_seconds",
        "Longest time since a machine with work on it had its last verified backup, or became ready.",
        at_work.filter_map(|figures| figures.backed_up_at).min().map(|at| seconds_since(at, now)),
    );
}

fn money(page: &mut Page, spending: &UsageCaps) {
    // Before the first machine nobody knows the currency, and nothing was spent.
    let Some(currency) = spending.currency.as_deref() else { return };
    let periods = [("day", &spending.day), ("month", &spending.month)];
    let labels = |period| vec![("period", period), ("currency", currency)];
    let spent = periods.map(|(period, sums)| (labels(period), sums.spent.clone()));
    page.gauge("spent", "Machines' hours that have started in the period, with taxes.", &spent);
    let reserved = periods.map(|(period, sums)| (labels(period), sums.reserved.clone()));
    page.gauge("spending_reserved", "What running and requested machines may cost beyond that.", &reserved);
    let caps: Vec<Sample<'_>> =
        periods.into_iter().filter_map(|(period, sums)| Some((labels(period), sums.cap.clone()?))).collect();
    page.gauge("spending_cap", "What both together may not exceed.", &caps);
}

fn swept(page: &mut Page, report: &SweepReport, now: Timestamp) {
    let may_end = u64::from(report.mode == SweepMode::On);
    page.one("sweep_on", "Whether the sweep may end what it finds: neither off nor dry run.", Some(may_end));
    let age = report.last_run_at.map(|at| seconds_since(at, now));
    page.one("sweep_age_seconds", "Time since the sweep last ran.", age);
    let by_part = |value: &dyn Fn(&SweepPartReport) -> Option<u64>| -> Vec<Sample<'static>> {
        let sample =
            |part: &SweepPartReport| Some((vec![("part", part.part.as_str())], value(part)?.to_string()));
        report.parts.iter().filter_map(sample).collect()
    };
    let round = by_part(&|part| part.last_round_at.map(|at| seconds_since(at, now)));
    page.gauge("sweep_round_age_seconds", "Time since a part of the sweep had looked at everything.", &round);
    let failing = by_part(&|part| Some(part.error.is_some().into()));
    page.gauge("sweep_failing", "Whether something stopped the part's last turn.", &failing);
    let findings = by_part(&|part| u64::try_from(part.findings.len()).ok());
    page.gauge("sweep_findings", "Findings that the report lists at the moment.", &findings);
    let ended = by_part(&|part| Some(part.ended));
    page.metric(Kind::Counter, "sweep_ended_total", "Things that a part of the sweep has ended.", &ended);
}

fn provider(page: &mut Page, levels: &Levels) {
    let by_provider = |value: &dyn Fn(&Level) -> u64| {
        [("machines", &levels.machines), ("names", &levels.names)]
            .map(|(provider, level)| (vec![("provider", provider)], value(level).to_string()))
    };
    let limit = by_provider(&|level| level.limit.into());
    page.gauge("provider_calls_limit", "Calls that the provider allows in a window.", &limit);
    let window = by_provider(&|level| level.window_secs);
    page.gauge("provider_window_seconds", "Length of that window.", &window);
    let left = by_provider(&|level| level.left.into());
    let help = "Calls that may be made now, by our own count and the provider's.";
    page.gauge("provider_calls_left", help, &left);
    let pause = by_provider(&|level| level.paused_secs);
    page.gauge("provider_pause_seconds", "How long the provider has asked us to pause.", &pause);
}

fn seconds_since(at: Timestamp, now: Timestamp) -> u64 {
    u64::try_from(now.duration_since(at).as_secs()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ebbtide_api::sweep::SweepPart;
    use ebbtide_api::usage::{UsageCount, UsageSpending};
    use ebbtide_control::rate_limit::RateLimiter;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_second(1_763_700_000 + secs).unwrap()
    }

    fn figures(state: State, workspaces: u64, deadline: Option<i64>, backup: i64) -> StateFigures {
        StateFigures {
            state,
            workspaces,
            rescue_images: u64::from(state == State::Failed),
            deadline: deadline.map(at),
            backed_up_at: Some(at(backup)),
        }
    }

    #[test]
    fn the_page_has_help_type_and_unit_for_every_figure() {
        let states = vec![
            figures(State::Running, 2, Some(100), -600),
            figures(State::Destroying, 1, Some(-40), -9_000),
            figures(State::Failed, 3, Some(-5_000), -90_000),
        ];
        let levels = RateLimiter::new(at(0)).levels(at(0));
        let sums = |spent: &str| UsageSpending {
            spent: spent.to_owned(),
            reserved: "0.50".to_owned(),
            cap: (spent != "0.00").then(|| "100.00".to_owned()),
        };
        let count = UsageCount { used: 1, cap: Some(8) };
        let spending = UsageCaps {
            workspaces: count.clone(),
            machines: count,
            day: sums("0.00"),
            month: sums("12.006664"),
            currency: Some("EUR".to_owned()),
        };
        let part = SweepPartReport {
            part: SweepPart::Servers,
            last_run_at: Some(at(-20)),
            last_round_at: Some(at(-320)),
            rounds: 4,
            position: None,
            seen: 12,
            ended: 2,
            error: None,
            findings: Vec::new(),
        };
        let sweep = SweepReport {
            mode: SweepMode::DryRun,
            configured: SweepMode::On,
            asked: SweepMode::DryRun,
            last_run_at: Some(at(-20)),
            calls: 17,
            limit: 5,
            limit_left: 5,
            parts: vec![part],
        };
        let figures = Figures {
            states: Some(states),
            cron_at: Some(at(-30)),
            sweep: Some(sweep),
            spending: Some(spending),
            levels: Some(levels),
        };
        let page = render(&figures, at(0));
        insta::assert_snapshot!(page);
    }

    #[test]
    fn what_does_not_answer_is_told_and_the_rest_is_shown() {
        let page = render(&Figures::default(), at(0));
        assert!(
            page.contains("ebbtide_part_up{part=\"index\"} 0\nebbtide_part_up{part=\"gate\"} 0\n"),
            "{page}"
        );
        assert!(!page.contains("ebbtide_workspaces"), "{page}");
    }
}
