//! The names of a workspace, at the provider of names.

use super::{ControlStore, Executor, PutOff, put_off};
use crate::cloudflare::{self, EnsureRecord, RecordFilter, RecordSpec};
use crate::hetzner::{Lookup, ServerId};
use crate::http::{Http, Retry};
use crate::lifecycle::EffectOutcome;
use crate::names;
use crate::record::{Record, plus};
use std::net::Ipv4Addr;

/// How long a name may be cached: a workspace that wakes has a new address.
const DNS_TTL_SECS: u32 = 60;

impl<H: Http, V: ControlStore> Executor<'_, H, V> {
    pub(super) async fn ensure_dns(&self, record: &Record) -> Result<EffectOutcome, PutOff> {
        let Some(server) = &record.server else { return Err(put_off("the server's address".to_owned())) };
        let known = server.ipv4.as_deref().and_then(|ip| ip.parse::<Ipv4Addr>().ok());
        let ip = match known {
            Some(ip) => ip,
            None => match self.outcome(self.hetzner.server(ServerId(server.id)).await)? {
                Lookup::Found(found) => {
                    found.ipv4.ok_or_else(|| put_off("the server's address".to_owned()))?
                }
                Lookup::Gone => return Ok(EffectOutcome::Gone),
            },
        };
        let comment = names::record_comment(self.install, &record.id, record.generation);
        for name in [record.host.clone(), format!("*.{}", record.host)] {
            let spec = RecordSpec::a(&name, ip, DNS_TTL_SECS, &comment);
            let ensured = self.cloudflare.ensure_record(self.zone_id, &spec).await;
            if let EnsureRecord::Foreign(_) = ensured.map_err(|failure| self.dns_later(&failure))? {
                return Err(put_off(format!("somebody to remove the record {name}, which is not ours")));
            }
        }
        Ok(EffectOutcome::Done)
    }

    pub(super) async fn delete_dns(&self, record: &Record) -> Result<EffectOutcome, PutOff> {
        let comment = names::record_comment(self.install, &record.id, record.generation);
        let filter = RecordFilter::CommentPrefix(comment.clone());
        let found = self.cloudflare.list_records(self.zone_id, &filter).await;
        for dns in found.map_err(|failure| self.dns_later(&failure))? {
            // A prefix also finds g12 beside g1.
            if dns.comment.as_deref() == Some(comment.as_str()) {
                let deleted = self.cloudflare.delete_record(self.zone_id, &dns.id).await;
                deleted.map_err(|failure| self.dns_later(&failure))?;
            }
        }
        Ok(EffectOutcome::Done)
    }

    fn dns_later(&self, failure: &cloudflare::Failure) -> PutOff {
        let not_before = match failure.retry(self.now) {
            Retry::At(at) => Some(at.min(plus(self.now, self.policy.drain_ceiling))),
            Retry::Never | Retry::Backoff | Retry::Later => None,
        };
        let waiting_for = format!("the DNS provider: {failure}");
        EffectOutcome::Later { waiting_for, maybe_landed: true, not_before }.into()
    }
}
