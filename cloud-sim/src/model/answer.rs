//! How one call is answered: budget, token, fault, then the vendor.
//!
//! The order matters: what is refused before the vendor sees it lands nowhere and spends no fault.

use super::{
    Cloud,
    bucket::Level,
    cloudflare,
    faults::FaultKind,
    hetzner, mix,
    wire::{Call, Delivery, Provider, Request, Response},
};

impl Cloud {
    pub(super) fn answer(
        &mut self,
        request: &Request,
        provider: Provider,
        path: &str,
        now_ms: i64,
    ) -> Response {
        let level = self.count(provider, now_ms);
        let mut response = if level.allowed {
            self.answer_within_budget(request, provider, path, now_ms)
        } else {
            limited(provider, level.retry_after_secs)
        };
        push_budget_headers(&mut response, provider, level);
        response
    }

    fn answer_within_budget(
        &mut self,
        request: &Request,
        provider: Provider,
        path: &str,
        now_ms: i64,
    ) -> Response {
        if !self.is_authorized(request, provider) {
            return match provider {
                Provider::Hetzner => hetzner::unauthorized(),
                Provider::Cloudflare => cloudflare::unauthorized(request, path),
            };
        }
        let call = Call { method: &request.method, path, query: &request.query, body: &request.body, now_ms };
        let Some(fault) = self.strike(provider, &call) else {
            return self.dispatch(provider, &call);
        };
        self.version += 1;
        self.suffer(fault, provider, &call)
    }

    fn is_authorized(&self, request: &Request, provider: Provider) -> bool {
        let expected = match provider {
            Provider::Hetzner => &self.config.hetzner_token,
            Provider::Cloudflare => &self.config.cloudflare_token,
        };
        request.bearer_token() == Some(expected)
    }

    fn dispatch(&mut self, provider: Provider, call: &Call<'_>) -> Response {
        let response = match provider {
            Provider::Hetzner => self.hetzner(call),
            Provider::Cloudflare => self.cloudflare(call),
        };
        if call.method != "GET" && response.status < 300 {
            self.version += 1;
        }
        response
    }

    fn strike(&mut self, provider: Provider, call: &Call<'_>) -> Option<FaultKind> {
        if self.faults.is_empty() {
            return None;
        }
        let (seed, rolls) = (self.config.seed, &mut self.rolls);
        self.faults.strike(provider, call.method, call.path, || {
            *rolls += 1;
            (mix(seed ^ mix(*rolls)) % 1000) as u32
        })
    }

    fn suffer(&mut self, fault: FaultKind, provider: Provider, call: &Call<'_>) -> Response {
        match fault {
            FaultKind::Refuse { status, code, message } => refused(provider, status, &code, &message),
            FaultKind::Slow { ms } => {
                Response { delivery: Delivery::AfterMs(ms), ..self.dispatch(provider, call) }
            }
            FaultKind::RateLimited { retry_after_secs } => limited(provider, retry_after_secs),
            FaultKind::Capacity { shape } => hetzner::out_of_capacity(shape),
            FaultKind::LandedThenError { status } => {
                self.dispatch(provider, call);
                let (code, message) = ("server_error", "an internal error occurred");
                refused(provider, status, code, message)
            }
            FaultKind::Garbage => {
                self.dispatch(provider, call);
                let body = b"<html><body>Bad gateway</body></html>".to_vec();
                Response { status: 200, body, ..Response::default() }
            }
            FaultKind::Duplicate => {
                let first = self.dispatch(provider, call);
                self.dispatch(provider, call);
                first
            }
            FaultKind::LostResponse => Response { delivery: Delivery::Lost, ..self.dispatch(provider, call) },
            FaultKind::LostRequest => Response { delivery: Delivery::Lost, ..Response::default() },
            FaultKind::Machine { fault } => {
                self.arm_machine_fault(Some(fault));
                let response = self.dispatch(provider, call);
                self.arm_machine_fault(None);
                response
            }
        }
    }

    fn count(&mut self, provider: Provider, now_ms: i64) -> Level {
        match provider {
            Provider::Hetzner => self.hetzner_bucket.take(self.config.hetzner_budget, now_ms),
            Provider::Cloudflare => self.cloudflare_bucket.take(self.config.cloudflare_budget, now_ms),
        }
    }
}

fn refused(provider: Provider, status: u16, code: &str, message: &str) -> Response {
    match provider {
        Provider::Hetzner => hetzner::refused(status, code, message),
        Provider::Cloudflare => cloudflare::refused(status, code, message),
    }
}

fn limited(provider: Provider, retry_after_secs: u64) -> Response {
    let mut response = match provider {
        Provider::Hetzner => hetzner::rate_limited(),
        Provider::Cloudflare => cloudflare::rate_limited(),
    };
    response.headers.push(("retry-after", retry_after_secs.to_string()));
    response
}

fn push_budget_headers(response: &mut Response, provider: Provider, level: Level) {
    let names: [&'static str; 3] = match provider {
        Provider::Hetzner => ["ratelimit-limit", "ratelimit-remaining", "ratelimit-reset"],
        Provider::Cloudflare => ["x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"],
    };
    let remaining = if response.status == 429 { 0 } else { level.remaining };
    response.headers.push((names[0], level.limit.to_string()));
    response.headers.push((names[1], remaining.to_string()));
    response.headers.push((names[2], level.reset_secs.to_string()));
}
