//! `GET /health`: whether requests are served, and what is wrong. Open to anybody.
//!
//! It names parts and codes, never a value, an address or a number. The parts are looked at every ten seconds at most
//! in an isolate, with five calls, so that asking costs no more than the request itself; whoever comes meanwhile gets
//! the last result. A part that does not answer within three seconds counts as not answering.

use crate::app::App;
use crate::clock;
use crate::d1::CronTraces;
use crate::durable_objects::rate_limit;
use crate::error::ApiResult;
use crate::http::limits;
use ebbtide_api::health::{Health, HealthPart, HealthStatus};
use ebbtide_api::{TenantId, Timestamp};
use futures_util::future::{Either, join, join3, select};
use std::cell::RefCell;
use std::pin::pin;
use std::time::Duration;
use worker::Delay;

/// How long a result stands, in milliseconds.
const FRESH_MS: i64 = 10_000;
/// How long one look may take, in milliseconds; whoever waits for another's look waits no longer.
const PATIENCE_MS: i64 = 3_000;
/// Pause between looks at whether another's look is done.
const PAUSE: Duration = Duration::from_millis(50);
/// The cron runs every five minutes: two may be lost.
const CRON_SECS: i64 = 15 * 60;

#[derive(Default)]
struct Memory {
    last: Option<(Timestamp, Vec<HealthPart>)>,
    looking_since: Option<Timestamp>,
}

thread_local! {
    static MEMORY: RefCell<Memory> = RefCell::default();
}

/// How an installation is that is configured.
pub async fn health(app: &App) -> Health {
    let started = clock::now();
    loop {
        let now = clock::now();
        if let Some(parts) = MEMORY.with_borrow(|memory| memory.fresh(now)) {
            return whole(parts);
        }
        let is_looked_at = MEMORY
            .with_borrow(|memory| memory.looking_since.is_some_and(|at| !is_older(at, now, PATIENCE_MS)));
        if !is_looked_at || is_older(started, now, PATIENCE_MS) {
            break;
        }
        Delay::from(PAUSE).await;
    }
    MEMORY.with_borrow_mut(|memory| memory.looking_since = Some(clock::now()));
    let parts = look(app).await;
    MEMORY.set(Memory { last: Some((clock::now(), parts.clone())), looking_since: None });
    whole(parts)
}

impl Memory {
    fn fresh(&self, now: Timestamp) -> Option<Vec<HealthPart>> {
        let last = self.last.as_ref().filter(|(at, _)| !is_older(*at, now, FRESH_MS));
        last.map(|(_, parts)| parts.clone())
    }
}

fn is_older(at: Timestamp, now: Timestamp, millis: i64) -> bool {
    now.as_millisecond().saturating_sub(at.as_millisecond()) >= millis
}

async fn look(app: &App) -> Vec<HealthPart> {
    let index = in_time(traces(app));
    let storage = join(in_time(agent(app)), in_time(opens(app)));
    let object = in_time(rate_limit::levels(&app.env, &app.calls));
    let (cron, (agent, opens), levels) = join3(index, storage, object).await;
    judge(&Looked {
        now: app.now(),
        cron,
        has_agent: agent,
        opens_keys: opens,
        gate: levels.map(|_| ()),
        is_limited: limits::is_bound(&app.env),
    })
}

async fn in_time<T>(look: impl Future<Output = ApiResult<T>>) -> Option<T> {
    let limit = Duration::from_millis(PATIENCE_MS.unsigned_abs());
    match select(pin!(look), pin!(Delay::from(limit))).await {
        Either::Left((looked, _)) => looked.ok(),
        Either::Right(_) => None,
    }
}

async fn traces(app: &App) -> ApiResult<CronTraces> {
    app.d1()?.traces().await
}

async fn agent(app: &App) -> ApiResult<bool> {
    Ok(app.r2()?.current_agent().await?.is_some())
}

async fn opens(app: &App) -> ApiResult<bool> {
    app.keychain()?.opens(&TenantId::owner()).await
}

/// What was found; `None` where a part did not answer.
struct Looked {
    now: Timestamp,
    cron: Option<CronTraces>,
    has_agent: Option<bool>,
    opens_keys: Option<bool>,
    gate: Option<()>,
    /// Whether open routes have a rate limit.
    is_limited: bool,
}

fn judge(looked: &Looked) -> Vec<HealthPart> {
    let part = |name: &str, status, code: &str| HealthPart { name: name.into(), status, code: code.into() };
    let up = |name: &str, is_up: bool| {
        if is_up {
            part(name, HealthStatus::Ok, "ok")
        } else {
            part(name, HealthStatus::Failing, "no_answer")
        }
    };
    let mut parts = vec![
        part("configuration", HealthStatus::Ok, "ok"),
        up("index", looked.cron.is_some()),
        up("storage", looked.has_agent.is_some()),
        up("objects", looked.gate.is_some()),
    ];
    if let Some(cron) = looked.cron {
        parts.push(match cron.at {
            Some(at) if looked.now.duration_since(at).as_secs() <= CRON_SECS => {
                part("cron", HealthStatus::Ok, "ok")
            }
            Some(_) => part("cron", HealthStatus::Degraded, "overdue"),
            None => part("cron", HealthStatus::Degraded, "never_ran"),
        });
        parts.push(if cron.sees_other_project {
            part("project", HealthStatus::Degraded, "other_project")
        } else {
            part("project", HealthStatus::Ok, "ok")
        });
    }
    if let Some(has_agent) = looked.has_agent {
        parts.push(if has_agent {
            part("idle_agent", HealthStatus::Ok, "ok")
        } else {
            part("idle_agent", HealthStatus::Degraded, "not_published")
        });
    }
    match looked.opens_keys {
        Some(true) => parts.push(part("keys", HealthStatus::Ok, "ok")),
        Some(false) => parts.push(part("keys", HealthStatus::Failing, "master_key_does_not_open")),
        None => parts.push(part("keys", HealthStatus::Failing, "no_answer")),
    }
    parts.push(if looked.is_limited {
        part("open_limit", HealthStatus::Ok, "ok")
    } else {
        part("open_limit", HealthStatus::Degraded, "not_bound")
    });
    parts
}

fn whole(parts: Vec<HealthPart>) -> Health {
    let status = parts.iter().map(|part| part.status).max().unwrap_or(HealthStatus::Ok);
    let problems = parts
        .iter()
        .filter(|part| part.status != HealthStatus::Ok)
        .map(|part| format!("{}: {}", part.name, part.code))
        .collect();
    let version = env!("CARGO_PKG_VERSION").to_owned();
    Health { ok: status != HealthStatus::Failing, status, version, problems, parts }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        Timestamp::from_second(1_763_700_000).unwrap()
    }

    fn well() -> Looked {
        let at = now().checked_sub(jiff::SignedDuration::from_secs(60)).ok();
        Looked {
            now: now(),
            cron: Some(CronTraces { at, sees_other_project: false }),
            has_agent: Some(true),
            opens_keys: Some(true),
            gate: Some(()),
            is_limited: true,
        }
    }

    fn check(looked: &Looked, status: HealthStatus, problems: &[&str]) {
        let health = whole(judge(looked));
        assert_eq!(health.status, status, "{health:?}");
        assert_eq!(health.problems, problems);
        assert_eq!(health.ok, status != HealthStatus::Failing);
    }

    #[test]
    fn what_is_wrong_is_named_by_part_and_code() {
        use HealthStatus::{Degraded, Failing};
        let long_ago = now().checked_sub(jiff::SignedDuration::from_mins(16)).ok();
        check(&well(), HealthStatus::Ok, &[]);
        let cron = |at, sees_other_project| {
            let cron = Some(CronTraces { at, sees_other_project });
            Looked { cron, ..well() }
        };
        check(&cron(long_ago, false), Degraded, &["cron: overdue"]);
        check(&cron(None, false), Degraded, &["cron: never_ran"]);
        check(&cron(Some(now()), true), Degraded, &["project: other_project"]);
        check(&Looked { has_agent: Some(false), ..well() }, Degraded, &["idle_agent: not_published"]);
        check(&Looked { is_limited: false, ..well() }, Degraded, &["open_limit: not_bound"]);
        check(&Looked { cron: None, ..well() }, Failing, &["index: no_answer"]);
        check(&Looked { gate: None, ..well() }, Failing, &["objects: no_answer"]);
        check(&Looked { opens_keys: Some(false), ..well() }, Failing, &["keys: master_key_does_not_open"]);
        let storage = Looked { has_agent: None, opens_keys: None, ..well() };
        check(&storage, Failing, &["storage: no_answer", "keys: no_answer"]);
    }
}
