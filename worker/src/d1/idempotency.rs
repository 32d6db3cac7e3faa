//! Idempotency keys: the first request with a key claims it, runs, and leaves its answer for the next.
//!
//! A claim carries the id of what is being made. Whoever takes over a claim that was abandoned (the Worker died, an
//! answer was lost) goes on with that id, so that no second workspace comes of it.

use super::{Index, millis, moment, number, text};
use crate::error::ApiResult;
use ebbtide_api::{Duration, TenantId, Timestamp};
use serde::Deserialize;
use wasm_bindgen::JsValue;

/// After this long a claim without an answer counts as abandoned: no request runs that long.
const ABANDONED_AFTER: Duration = Duration::from_secs(60);

/// A request that wants a key.
pub struct Claim<'a> {
    /// Whose key.
    pub tenant: &'a TenantId,
    /// The key as sent.
    pub key: &'a str,
    /// SHA-256 of the request, hex.
    pub digest: &'a str,
    /// Id of what will be made.
    pub subject: &'a str,
    /// When.
    pub now: Timestamp,
}

/// What became of a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claimed {
    /// The key is ours: run, with this subject.
    Run {
        /// Ours, or that of the claim that was taken over.
        subject: String,
    },
    /// The request was answered before: answer the same.
    Replay(StoredAnswer),
    /// The key belongs to another request.
    OtherRequest,
    /// The first request still runs.
    InProgress,
}

/// An answer as it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredAnswer {
    /// HTTP status.
    pub status: u16,
    /// JSON.
    pub body: String,
    /// What it is about.
    pub subject: String,
}

#[derive(Deserialize)]
struct Row {
    digest: String,
    subject: String,
    status: Option<f64>,
    answer: Option<String>,
    claimed_at: f64,
}

impl Index {
    /// Claims a key. Of two at once, one wins.
    ///
    /// # Errors
    /// The index does not answer.
    pub async fn claim(&self, claim: &Claim<'_>) -> ApiResult<Claimed> {
        let (tenant, key) = (text(claim.tenant.as_str()), text(claim.key));
        let insert = "INSERT OR IGNORE INTO idempotency (tenant, key, digest, subject, claimed_at, created_at) \
            VALUES (?1, ?2, ?3, ?4, ?5, ?5)";
        let values =
            [tenant.clone(), key.clone(), text(claim.digest), text(claim.subject), millis(claim.now)];
        if self.run(insert, &values).await? > 0 {
            return Ok(Claimed::Run { subject: claim.subject.to_owned() });
        }
        let select = "SELECT digest, subject, status, answer, claimed_at FROM idempotency WHERE tenant = ?1 AND key = ?2";
        let Some(row) = self.row::<Row>(select, &[tenant.clone(), key.clone()]).await? else {
            return Ok(Claimed::InProgress); // released between the two statements
        };
        match judge(claim, &row) {
            Judged::Settled(claimed) => Ok(claimed),
            Judged::Abandoned => {
                let take = "UPDATE idempotency SET claimed_at = ?3 WHERE tenant = ?1 AND key = ?2 AND claimed_at = ?4";
                let values = [tenant, key, millis(claim.now), JsValue::from_f64(row.claimed_at)];
                match self.run(take, &values).await? {
                    0 => Ok(Claimed::InProgress),
                    _ => Ok(Claimed::Run { subject: row.subject }),
                }
            }
        }
    }

    /// Leaves the answer for the next request with this key.
    ///
    /// # Errors
    /// The index does not answer.
    pub async fn answered(&self, claim: &Claim<'_>, status: u16, body: &str) -> ApiResult<()> {
        let sql = "UPDATE idempotency SET status = ?3, answer = ?4 WHERE tenant = ?1 AND key = ?2";
        let values = [text(claim.tenant.as_str()), text(claim.key), number(status.into()), text(body)];
        self.run(sql, &values).await.map(|_| ())
    }

    /// Gives a key back after a refusal that changed nothing.
    ///
    /// # Errors
    /// The index does not answer.
    pub async fn release(&self, claim: &Claim<'_>) -> ApiResult<()> {
        let sql = "DELETE FROM idempotency WHERE tenant = ?1 AND key = ?2 AND status IS NULL";
        self.run(sql, &[text(claim.tenant.as_str()), text(claim.key)]).await.map(|_| ())
    }

    /// Lets the next request with this key go on where this one stopped, with the same subject.
    ///
    /// # Errors
    /// The index does not answer.
    pub async fn abandon(&self, claim: &Claim<'_>) -> ApiResult<()> {
        let sql = "UPDATE idempotency SET claimed_at = 0 WHERE tenant = ?1 AND key = ?2 AND status IS NULL";
        self.run(sql, &[text(claim.tenant.as_str()), text(claim.key)]).await.map(|_| ())
    }

    /// Forgets keys that were used before `before`.
    ///
    /// # Errors
    /// The index does not answer.
    pub async fn forget_keys(&self, before: Timestamp) -> ApiResult<u64> {
        self.run("DELETE FROM idempotency WHERE created_at < ?1", &[millis(before)]).await
    }
}

enum Judged {
    Settled(Claimed),
    Abandoned,
}

fn judge(claim: &Claim<'_>, row: &Row) -> Judged {
    if row.digest != claim.digest {
        return Judged::Settled(Claimed::OtherRequest);
    }
    if let (Some(status), Some(answer)) = (row.status, &row.answer) {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        // written from a u16; `as` saturates
        let status = status as u16;
        let answer = StoredAnswer { status, body: answer.clone(), subject: row.subject.clone() };
        return Judged::Settled(Claimed::Replay(answer));
    }
    let age = claim.now.duration_since(moment(row.claimed_at));
    if age > ABANDONED_AFTER.into() { Judged::Abandoned } else { Judged::Settled(Claimed::InProgress) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(digest: &str, status: Option<f64>, claimed_secs_ago: i64, wanted: Option<Claimed>) {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let tenant = TenantId::owner();
        let claim = Claim { tenant: &tenant, key: "k", digest: "d1", subject: "new", now };
        let row = Row {
            digest: digest.into(),
            subject: "old".into(),
            status,
            answer: status.map(|_| "{}".into()),
            claimed_at: ((1_800_000_000 - claimed_secs_ago) * 1000) as f64,
        };
        match (judge(&claim, &row), wanted) {
            (Judged::Settled(claimed), Some(wanted)) => assert_eq!(claimed, wanted),
            (Judged::Abandoned, None) => {}
            (Judged::Settled(claimed), None) => panic!("not abandoned: {claimed:?}"),
            (Judged::Abandoned, Some(wanted)) => panic!("abandoned instead of {wanted:?}"),
        }
    }

    #[test]
    fn a_key_answers_replays_refuses_or_is_taken_over() {
        let replay = StoredAnswer { status: 202, body: "{}".into(), subject: "old".into() };
        check("d1", Some(202.0), 5, Some(Claimed::Replay(replay.clone())));
        check("d1", Some(202.0), 5_000, Some(Claimed::Replay(replay)));
        check("d2", Some(202.0), 5, Some(Claimed::OtherRequest));
        check("d2", None, 5_000, Some(Claimed::OtherRequest));
        check("d1", None, 5, Some(Claimed::InProgress));
        check("d1", None, 61, None);
        check("d1", None, 1_800_000_000, None);
    }
}
