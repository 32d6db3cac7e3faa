//! Every duration and limit that the control plane works by, as one value.
//!
//! The defaults are production's and pinned by a test; an installation overrides fields through the `POLICY`
//! variable (a demo and the system tests set seconds). Code never writes a duration of its own.

use crate::amount::Amount;
use ebbtide_api::Duration;
use ebbtide_api::backups::Retention;
use serde::{Deserialize, Serialize};

/// Durations and limits; see each field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// Idle timeout where the request names none.
    pub idle_timeout: Duration,
    /// Shortest idle timeout that is accepted.
    pub idle_timeout_min: Duration,
    /// Lifetime of a machine where the request names none.
    pub lifetime: Duration,
    /// Longest lifetime that is accepted, extensions included.
    pub lifetime_ceiling: Duration,
    /// How long before the end of the lifetime the owner is warned, longest first.
    pub lifetime_warnings: [Duration; 3],
    /// How long after the end of the lifetime a drain may still take.
    pub drain_ceiling: Duration,
    /// How long a drain may take at least after a time in which the control plane did not act.
    pub drain_grace: Duration,
    /// How long a rescue may take.
    pub rescue_ceiling: Duration,
    /// How long provisioning may be retried before the workspace fails.
    pub provision_budget: Duration,
    /// How long a boot may show no progress.
    pub boot_stall: Duration,
    /// How long a boot may take in all.
    pub boot_cap: Duration,
    /// How long a machine may say nothing before the workspace is `silent`.
    pub silence_after: Duration,
    /// How often the provider is asked about a silent machine.
    pub silence_question: Duration,
    /// How long a machine may take to come back from the one reboot that silence allows.
    pub reboot_grace: Duration,
    /// How long silence is borne at least, within the hard end.
    pub silence_budget: Duration,
    /// An alarm this much late restarts the clocks of silence: the fault is ours.
    pub alarm_lateness: Duration,
    /// How long after the last attempt to create a not-found is believed.
    pub gone_after_create: Duration,
    /// How long one effect may be in flight before it counts as lost.
    pub effect_timeout: Duration,
    /// First pause after a failed effect; doubles with every failure.
    pub retry_base: Duration,
    /// Longest pause after a failed effect.
    pub retry_cap: Duration,
    /// How often an accepted deletion or a running provider action is looked at.
    pub poll: Duration,
    /// How long a deletion can be undone.
    pub undo: Duration,
    /// How long a rescue image is kept.
    pub rescue_image_keep: Duration,
    /// How long before a rescue image is deleted the owner is warned.
    pub rescue_image_warning: Duration,
    /// Longest pause before the deletion of an image is tried again.
    pub image_retry_cap: Duration,
    /// How often the owner of a machine that is held past its end is told so, and its label moved on.
    pub hold_reminder: Duration,
    /// Workspaces that fell silent within so long of one another fell silent together.
    pub silent_together_within: Duration,
    /// So many others silent together, and half of all at least, and the fault is ours.
    pub silent_together: u32,
    /// Time to live of an enrolment token.
    pub enrolment_token: Duration,
    /// Time to live of a VM token.
    pub vm_token: Duration,
    /// How often a machine sends a heartbeat.
    pub heartbeat: Duration,
    /// How long an unreadable signal keeps a machine awake.
    pub unknown_grace: Duration,
    /// How long an agent may wait for a person.
    pub waiting_for_human: Duration,
    /// How long an agent in a turn may show nothing but an open connection or a running tool.
    pub agent_silence: Duration,
    /// How long work that an agent left in the background may show nothing.
    pub background: Duration,
    /// How often a snapshot is taken while something changes.
    pub snapshot_every: Duration,
    /// From how many stored objects of a kind on the owner is warned: 36 000 can be listed.
    pub crowded_objects: u32,
    /// How many packs one delivery of a receipt names: what 1 MiB, the largest body, has room for twice.
    pub receipt_packs: u32,
    /// How many bytes a workspace's repository may hold.
    pub repository_quota_bytes: u64,
    /// How long the right to change a repository lasts after its last use.
    pub grant_idle: Duration,
    /// Which verified snapshots are kept where the owner chose nothing else.
    pub retention: Retention,
    /// So many snapshots that are due are removed at the next wake, whenever the last were.
    pub tidy_least: u32,
    /// How long fewer of them may wait.
    pub tidy_every: Duration,
    /// How long a removal that did not end well is left before another is tried.
    pub tidy_again: Duration,
    /// How long their removal may delay a wake.
    pub tidy_limit: Duration,
    /// How old a resource has to be before the sweep touches it.
    pub sweep_min_age: Duration,
    /// How long after the end on its label a machine is left to its workspace.
    pub sweep_label_grace: Duration,
    /// How long a workspace may be overdue before the sweep pokes it.
    pub sweep_overdue: Duration,
    /// How old stored objects of a workspace that nobody knows have to be before they are deleted.
    pub sweep_leftover_age: Duration,
    /// How many things one run of the sweep may end.
    pub sweep_limit: u32,
    /// How many workspaces a tenant may have, asleep ones included; `null` for no cap.
    pub max_workspaces: Option<u64>,
    /// How many machines of a tenant may exist at a time; `null` for no cap.
    pub max_machines: Option<u64>,
    /// What a tenant's machines may cost on a day in UTC, in the provider's currency; `null` for no cap.
    pub spend_per_day: Option<Amount>,
    /// What they may cost in a calendar month in UTC; `null` for no cap.
    pub spend_per_month: Option<Amount>,
    /// From how many percent of a cap on the owner is warned.
    pub spend_warning_percent: u8,
    /// How often a running machine looks at what its owner has spent.
    pub spend_check: Duration,
    /// Whether an idle machine is kept while the hour that has started is paid anyway.
    pub use_paid_hour: bool,
    /// How long before the end of a paid hour an idle machine is gone at the latest.
    pub paid_hour_margin: Duration,
    /// How long a reservation may stand without a workspace that knows of it.
    pub reservation_grace: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            idle_timeout: Duration::from_mins(30),
            idle_timeout_min: Duration::from_secs(10),
            lifetime: Duration::from_hours(24),
            lifetime_ceiling: Duration::from_hours(7 * 24),
            lifetime_warnings: [Duration::from_mins(60), Duration::from_mins(15), Duration::from_mins(5)],
            drain_ceiling: Duration::from_hours(2),
            drain_grace: Duration::from_mins(20),
            rescue_ceiling: Duration::from_mins(30),
            provision_budget: Duration::from_mins(15),
            boot_stall: Duration::from_mins(10),
            boot_cap: Duration::from_hours(2),
            silence_after: Duration::from_secs(120),
            silence_question: Duration::from_mins(3),
            reboot_grace: Duration::from_mins(10),
            silence_budget: Duration::from_hours(2),
            alarm_lateness: Duration::from_mins(2),
            gone_after_create: Duration::from_mins(2),
            effect_timeout: Duration::from_secs(60),
            retry_base: Duration::from_secs(2),
            retry_cap: Duration::from_secs(60),
            poll: Duration::from_secs(3),
            undo: Duration::from_hours(7 * 24),
            rescue_image_keep: Duration::from_hours(7 * 24),
            rescue_image_warning: Duration::from_hours(24),
            image_retry_cap: Duration::from_hours(1),
            hold_reminder: Duration::from_hours(24),
            silent_together_within: Duration::from_mins(5),
            silent_together: 2,
            enrolment_token: Duration::from_mins(15),
            vm_token: Duration::from_mins(5),
            heartbeat: Duration::from_secs(15),
            unknown_grace: Duration::from_mins(10),
            waiting_for_human: Duration::from_hours(2),
            agent_silence: Duration::from_mins(30),
            background: Duration::from_hours(2),
            snapshot_every: Duration::from_mins(15),
            crowded_objects: 20_000,
            receipt_packs: 4_000,
            repository_quota_bytes: 200_000_000_000,
            grant_idle: Duration::from_mins(10),
            retention: Retention::default(),
            tidy_least: 20,
            tidy_every: Duration::from_hours(7 * 24),
            tidy_again: Duration::from_hours(24),
            tidy_limit: Duration::from_mins(3),
            sweep_min_age: Duration::from_mins(15),
            sweep_label_grace: Duration::from_mins(10),
            sweep_overdue: Duration::from_mins(10),
            sweep_leftover_age: Duration::from_hours(7 * 24),
            sweep_limit: 5,
            // As many as fit on the Free plan, awake all the time; and its ceiling of workspaces.
            max_workspaces: Some(20),
            max_machines: Some(8),
            spend_per_day: Some(Amount::whole(10)),
            spend_per_month: Some(Amount::whole(100)),
            spend_warning_percent: 85,
            spend_check: Duration::from_hours(1),
            use_paid_hour: true,
            paid_hour_margin: Duration::from_mins(5),
            reservation_grace: Duration::from_mins(10),
        }
    }
}

impl Policy {
    /// Reads the overrides of the `POLICY` variable.
    ///
    /// # Errors
    /// The parser's words, where the text is no JSON object, names an unknown field or an unusable duration.
    pub fn parse(json: &str) -> Result<Self, String> {
        if json.trim().is_empty() {
            return Ok(Self::default());
        }
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    /// The pause before attempt number `attempt` (from 1) of an effect that failed.
    pub fn backoff(&self, attempt: u32) -> Duration {
        let doubled = self.retry_base.as_secs().saturating_mul(1 << attempt.saturating_sub(1).min(16));
        Duration::from_secs(doubled.min(self.retry_cap.as_secs()))
    }

    /// What is added to a lifetime until the machine is gone at the latest: draining, rescuing, and the time in which
    /// a lost effect is noticed and repeated.
    pub fn enforcement_latency(&self) -> Duration {
        self.drain_ceiling.plus(self.rescue_ceiling).plus(self.effect_timeout).plus(self.retry_cap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn production_defaults_are_pinned_because_bills_follow_from_them() {
        let json = serde_json::to_string_pretty(&Policy::default()).unwrap();
        insta::assert_snapshot!(json);
    }

    #[test]
    fn overrides_change_what_they_name_and_nothing_else() {
        let policy = Policy::parse(r#"{"idle_timeout":"10s"}"#).unwrap();
        assert_eq!(policy, Policy { idle_timeout: Duration::from_secs(10), ..Policy::default() });
        assert_eq!(Policy::parse("").unwrap(), Policy::default());
    }

    #[test]
    fn unusable_overrides_are_refused_by_name() {
        assert!(Policy::parse(r#"{"idle_timout":"10s"}"#).unwrap_err().contains("idle_timout"));
        assert!(Policy::parse(r#"{"idle_timeout":"soon"}"#).unwrap_err().contains("soon"));
    }

    #[test]
    fn pauses_double_up_to_the_cap() {
        let policy = Policy::default();
        let pauses: Vec<u64> = (1..=8).map(|attempt| policy.backoff(attempt).as_secs()).collect();
        assert_eq!(pauses, [2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(policy.backoff(u32::MAX).as_secs(), 60);
    }
}
