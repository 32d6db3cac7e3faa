//! One provider's limit as a token bucket with floors below which the less urgent may not take.
//!
//! Two counts, of which the lower holds: our own, which every grant lowers, and the provider's, as its headers last said
//! it, which others who use the same project lower too. Both refill by the clock that is given, forwards only.

use super::{Seen, Urgency};
use ebbtide_api::text::duration;
use ebbtide_api::{Duration, Timestamp};
use serde::{Deserialize, Serialize};

/// Calls an hour that the provider of machines documents, as a bucket that refills one a second.
const MACHINES_LIMIT: u32 = 3_600;
const MACHINES_WINDOW_MS: u64 = 3_600_000;
/// Calls in five minutes that the provider of names documents, counted in windows.
const NAMES_LIMIT: u32 = 1_200;
const NAMES_WINDOW_MS: u64 = 300_000;
/// This part of our own count is kept for ends, the same again from looks: 20 of 3 600 calls, with which seven machines
/// are deleted at once; beyond that ends take every call that is refilled.
const KEPT_FOR_ENDS: u32 = 180;
/// Kept at least, for tiny limits: one whole deletion.
const KEPT_MIN: f64 = 4.0;
/// And of the provider's count.
const REPORTED_FLOOR: f64 = 2.0;
/// Longest pause after a refusal that is believed; the documented windows are an hour at most, and refill evenly.
const PAUSE_MAX_MS: i64 = 15 * 60_000;
/// Those who wait are given turns one after another, no further ahead than this.
const QUEUE_MAX_MS: i64 = 60_000;
/// A longer window is learnt from a reset only where so many calls are spent: it comes in whole seconds.
const LEARN_FROM: u32 = 5;
/// Windows that are believed.
const WINDOWS_MS: std::ops::RangeInclusive<u64> = 1_000..=86_400_000;

/// How a provider counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Counting {
    /// Evenly refilled: what is in the bucket may be spent at once.
    Evenly,
    /// In windows whose start we do not know: half the limit at once and half refilled stay within any window.
    Windows,
}

/// One limit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Bucket {
    counting: Counting,
    limit: u32,
    window_ms: u64,
    /// Calls that may be made by our own count.
    own: f64,
    /// By the provider's, as last reported.
    #[serde(rename = "told")]
    reported: f64,
    #[serde(rename = "told_at_ms")]
    reported_at_ms: i64,
    at_ms: i64,
    /// The provider has refused: nothing before this.
    paused_until_ms: i64,
    /// The last turn that was given to somebody who waits.
    turn_ms: i64,
}

/// What is left of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Level {
    /// Calls that the limit allows in a window.
    pub limit: u32,
    /// Length of the window in seconds.
    pub window_secs: u64,
    /// Calls that may be made at once, by what is most urgent.
    pub left: u32,
    /// How long the provider has asked us to pause.
    pub paused_secs: u64,
}

impl Bucket {
    pub(super) fn machines(now: Timestamp) -> Self {
        Self::full(Counting::Evenly, MACHINES_LIMIT, MACHINES_WINDOW_MS, now)
    }

    pub(super) fn names(now: Timestamp) -> Self {
        Self::full(Counting::Windows, NAMES_LIMIT, NAMES_WINDOW_MS, now)
    }

    fn full(counting: Counting, limit: u32, window_ms: u64, now: Timestamp) -> Self {
        let at_ms = now.as_millisecond();
        let mut bucket = Self {
            counting,
            limit,
            window_ms,
            own: 0.0,
            reported: 0.0,
            reported_at_ms: 0,
            at_ms,
            paused_until_ms: 0,
            turn_ms: 0,
        };
        bucket.own = bucket.capacity();
        bucket.reported = bucket.capacity();
        bucket
    }

    fn capacity(&self) -> f64 {
        match self.counting {
            Counting::Evenly => f64::from(self.limit.max(1)),
            Counting::Windows => f64::from((self.limit / 2).max(1)),
        }
    }

    /// Calls refilled in a millisecond.
    fn rate(&self) -> f64 {
        #[allow(clippy::cast_precision_loss)] // a day at most
        let window_ms = self.window_ms as f64;
        self.capacity() / window_ms
    }

    /// Calls that may be made.
    fn left(&self) -> f64 {
        self.own.min(self.reported)
    }

    /// What the urgency must leave of the provider's count: just enough that what ends a machine, which needs less, is
    /// served first. A refusal may be a mistake, or over, and only the next call finds out.
    fn reported_floor(urgency: Urgency) -> f64 {
        match urgency {
            Urgency::End => 0.0,
            Urgency::Begin => REPORTED_FLOOR,
            Urgency::Look => REPORTED_FLOOR * 2.0,
        }
    }

    /// What the urgency must leave of our own count.
    fn floor(&self, urgency: Urgency) -> f64 {
        let kept = (self.capacity() / f64::from(KEPT_FOR_ENDS)).max(KEPT_MIN).min(self.capacity() / 4.0);
        match urgency {
            Urgency::End => 0.0,
            Urgency::Begin => kept,
            Urgency::Look => kept * 2.0,
        }
    }

    fn refill(&mut self, now: Timestamp) {
        let now_ms = now.as_millisecond();
        #[allow(clippy::cast_precision_loss)] // any span that matters is far below 2^53 ms
        let elapsed = now_ms.saturating_sub(self.at_ms).max(0) as f64;
        // A clock that steps back refills nothing, and does not stop the refilling either.
        self.at_ms = now_ms;
        self.own = (self.own + elapsed * self.rate()).min(self.capacity());
        self.reported = (self.reported + elapsed * self.rate()).min(self.capacity());
        self.paused_until_ms = self.paused_until_ms.min(now_ms.saturating_add(PAUSE_MAX_MS));
        self.turn_ms = self.turn_ms.min(now_ms.saturating_add(QUEUE_MAX_MS));
    }

    /// `None` where so many calls may be made now, else when they may at the earliest.
    pub(super) fn fits(&mut self, calls: u32, urgency: Urgency, now: Timestamp) -> Option<Timestamp> {
        self.refill(now);
        if calls == 0 {
            return None;
        }
        let now_ms = now.as_millisecond();
        // More than the bucket can ever hold above the floor is granted when it is full.
        let missing = |left: f64, floor: f64| (f64::from(calls) + floor).min(self.capacity()) - left;
        let of_own = missing(self.own, self.floor(urgency));
        let missing = missing(self.reported, Self::reported_floor(urgency)).max(of_own).max(0.0);
        #[allow(clippy::cast_possible_truncation)] // bounded by the window
        let refilled_ms = now_ms.saturating_add((missing / self.rate()).ceil() as i64);
        let free_ms = refilled_ms.max(self.paused_until_ms);
        (free_ms > now_ms).then(|| moment(free_ms))
    }

    pub(super) fn take(&mut self, calls: u32) {
        self.own = (self.own - f64::from(calls)).max(0.0);
        self.reported = (self.reported - f64::from(calls)).max(0.0);
    }

    /// Gives turns to those who wait for our own count, one after another, so that they do not all come back at once. Ends
    /// queue for nothing: nobody else may take what they wait for. Where only the provider's count is low, the first who
    /// comes back may find that it is not any more.
    pub(super) fn promise(
        &mut self,
        free: Timestamp,
        calls: u32,
        urgency: Urgency,
        now: Timestamp,
    ) -> Timestamp {
        if urgency == Urgency::End || self.own >= f64::from(calls) + self.floor(urgency) {
            return free;
        }
        #[allow(clippy::cast_possible_truncation)] // bounded by the window
        let share_ms = (f64::from(calls) / self.rate()).ceil() as i64;
        let latest_ms = free.as_millisecond().saturating_add(QUEUE_MAX_MS);
        let after_others_ms = self.turn_ms.max(now.as_millisecond()).saturating_add(share_ms).min(latest_ms);
        self.turn_ms = free.as_millisecond().max(after_others_ms);
        moment(self.turn_ms)
    }

    /// Why somebody waits, for a person.
    pub(super) fn words(&self, provider: &str, until: Timestamp, now: Timestamp) -> String {
        let again = until.duration_since(now).as_secs().max(1);
        let again = duration(Duration::from_secs(u64::try_from(again).unwrap_or(1)));
        if self.paused_until_ms > now.as_millisecond() {
            return format!("the {provider} provider, which asked us to pause; again in {again}");
        }
        let used = self.limit.saturating_sub(whole(self.left()));
        let limit = self.limit;
        // A learnt window is a little longer than the provider's.
        let window = match self.window_ms / 1_000 {
            3_500..3_700 => "this hour".to_owned(),
            seconds @ 60.. => format!("in {}m", (seconds + 20) / 60),
            seconds => format!("in {seconds}s"),
        };
        format!(
            "the {provider} provider's rate limit: {used} of {limit} calls {window} are used or kept for deletions; again in {again}"
        )
    }

    /// Learns from what was sent and answered.
    pub(super) fn report(&mut self, seen: &Seen, now: Timestamp) {
        self.refill(now);
        self.learn_limit(seen);
        let unused = f64::from(seen.granted) - f64::from(seen.sent);
        self.own = (self.own + unused).clamp(0.0, self.capacity());
        self.reported = (self.reported + unused).clamp(0.0, self.capacity());
        let Some(at) = seen.at else { return };
        if let Some(remaining) = seen.remaining {
            #[allow(clippy::cast_precision_loss)] // seconds to minutes
            let since_ms = now.as_millisecond().saturating_sub(at.as_millisecond()).max(0) as f64;
            let reported = (f64::from(remaining) + since_ms * self.rate()).min(self.capacity());
            // What was reported before what we know already can only be worse news.
            let is_news = at.as_millisecond() >= self.reported_at_ms;
            self.reported = if is_news { reported } else { self.reported.min(reported) };
            self.reported_at_ms = self.reported_at_ms.max(at.as_millisecond());
        }
        if seen.refused {
            // The provider's reset is when its bucket is full again; the pause is what it asks for, or one call's refill.
            self.reported = 0.0;
            let pause_ms = match seen.retry_after_secs {
                Some(seconds) => i64::try_from(seconds.saturating_mul(1_000)).unwrap_or(PAUSE_MAX_MS),
                #[allow(clippy::cast_possible_truncation)] // bounded by the window
                None => (1.0 / self.rate()).ceil() as i64,
            };
            let until_ms = at.as_millisecond().saturating_add(pause_ms.min(PAUSE_MAX_MS));
            self.paused_until_ms = self.paused_until_ms.max(until_ms);
        }
    }

    fn learn_limit(&mut self, seen: &Seen) {
        if let Some(limit) = seen.limit.filter(|limit| *limit > 0) {
            self.limit = limit;
        }
        let (Counting::Evenly, false, Some(remaining), Some(reset), Some(at)) =
            (self.counting, seen.refused, seen.remaining, seen.reset, seen.at)
        else {
            return;
        };
        let spent = self.limit.saturating_sub(remaining);
        let full_in_ms = reset.as_millisecond().saturating_sub(at.as_millisecond());
        let Ok(full_in_ms) = u64::try_from(full_in_ms) else { return };
        // A second more than it says: rounding may have taken it away, and slower is safer.
        let at_most_ms = full_in_ms
            .saturating_add(1_000)
            .saturating_mul(self.limit.into())
            .checked_div(spent.into())
            .map(|window_ms| window_ms.clamp(*WINDOWS_MS.start(), *WINDOWS_MS.end()));
        if let Some(at_most_ms) = at_most_ms
            && (spent >= LEARN_FROM || at_most_ms < self.window_ms)
        {
            self.window_ms = at_most_ms;
        }
    }

    pub(super) fn level(&self, now: Timestamp) -> Level {
        let mut bucket = self.clone();
        bucket.refill(now);
        let paused_ms = bucket.paused_until_ms.saturating_sub(now.as_millisecond()).max(0);
        Level {
            limit: bucket.limit,
            window_secs: bucket.window_ms / 1_000,
            left: whole(bucket.left()),
            paused_secs: u64::try_from(paused_ms).unwrap_or(0).div_ceil(1_000),
        }
    }

    /// Whether it differs from a full bucket by enough to matter.
    pub(super) fn is_worth_keeping(&self, now: Timestamp) -> bool {
        let level = self.level(now);
        let documented = match self.counting {
            Counting::Evenly => MACHINES_LIMIT,
            Counting::Windows => NAMES_LIMIT,
        };
        level.paused_secs > 0 || level.limit < documented || f64::from(level.left) < self.capacity() * 0.75
    }
}

/// Whole calls.
fn whole(left: f64) -> u32 {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // between zero and a u32
    let whole = (left + 1e-6).floor().max(0.0) as u32;
    whole
}

fn moment(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(millis).unwrap_or(Timestamp::MAX)
}
