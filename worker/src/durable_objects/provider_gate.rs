//! The Durable Object `ProviderGate`, addressed as `project`: the one count of what the providers' limits still allow.
//!
//! It answers one call (POST: a report of what was sent, and what is asked for). The count is in memory; a row is written
//! only while it is far from a full bucket or the provider has asked us to pause, because then forgetting it would be
//! wrong. No alarm, no timer: whoever asks brings the time. Decisions are in `ebbtide_control::rate_limit`.

use super::rate_limit::{Ask, Reply};
use crate::clock;
use crate::log::{self, Level};
use ebbtide_control::rate_limit::RateLimiter;
use serde::Deserialize;
use std::cell::{Cell, RefCell};
use worker::{DurableObject, Env, Request, Response, Result, SqlStorage, State, durable_object};

/// The object.
#[durable_object]
pub struct ProviderGate {
    sql: SqlStorage,
    gate: RefCell<Option<RateLimiter>>,
    is_kept: Cell<bool>,
}

#[derive(Deserialize)]
struct Row {
    json: String,
}

impl DurableObject for ProviderGate {
    fn new(state: State, _env: Env) -> Self {
        Self { sql: state.storage().sql(), gate: RefCell::new(None), is_kept: Cell::new(false) }
    }

    async fn fetch(&self, mut request: Request) -> Result<Response> {
        let Ask { need, report } = request.json().await?;
        let now = clock::now();
        let mut gate = self.gate.borrow().clone().map_or_else(|| self.load(), Ok)?;
        for (provider, seen) in [("machines", &report.machines), ("names", &report.names)] {
            if seen.refused {
                let pause = seen.retry_after_secs.map_or_else(String::new, |seconds| seconds.to_string());
                let fields = [("provider", provider), ("retry_after_secs", pause.as_str())];
                log::write(Level::Warn, "a provider refused calls for its rate limit", &fields);
            }
        }
        gate.report(&report, now);
        let verdict = need.map(|need| gate.ask(need, now));
        let reply = Reply { verdict, levels: gate.levels(now) };
        self.keep(&gate, gate.is_worth_keeping(now))?;
        *self.gate.borrow_mut() = Some(gate);
        Response::from_json(&reply)
    }
}

impl ProviderGate {
    fn load(&self) -> Result<RateLimiter> {
        let table =
            "CREATE TABLE IF NOT EXISTS gate (id INTEGER PRIMARY KEY CHECK (id = 1), json TEXT NOT NULL)";
        self.sql.exec(table, None)?;
        let rows: Vec<Row> = self.sql.exec("SELECT json FROM gate", None)?.to_array()?;
        self.is_kept.set(!rows.is_empty());
        // A row of another build that is not understood is forgotten: the next answer's headers tell.
        let kept = rows.first().and_then(|row| serde_json::from_str(&row.json).ok());
        Ok(kept.unwrap_or_else(|| RateLimiter::new(clock::now())))
    }

    fn keep(&self, gate: &RateLimiter, is_worth_it: bool) -> Result<()> {
        if is_worth_it {
            let json = serde_json::to_string(gate)?;
            self.sql.exec("INSERT OR REPLACE INTO gate (id, json) VALUES (1, ?)", Some(vec![json.into()]))?;
        } else if self.is_kept.get() {
            self.sql.exec("DELETE FROM gate", None)?;
        }
        self.is_kept.set(is_worth_it);
        Ok(())
    }
}
