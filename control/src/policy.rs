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
    /// How long nothing may happen before a workspace sleeps, unless its owner chose another time.
    pub idle_timeout: Duration,
    /// Shortest idle timeout that is accepted.
    pub idle_timeout_min: Duration,
    /// How long after each wake a workspace is backed up and sleeps, however busy it is, unless its owner
    /// chose another time.
    pub lifetime: Duration,
    /// Longest lifetime that is accepted, extensions included.
    pub lifetime_ceiling: Duration,
    /// How long before the end of the lifetime the owner is warned, longest first.
    pub lifetime_warnings: [Duration; 3],
    /// How long the last backup may take after the end of the lifetime.
    pub drain_ceiling: Duration,
    /// How long the last backup may take at least after a time in which the control plane did not act.
    pub drain_grace: Duration,
    /// How long making a rescue image may take.
    pub rescue_ceiling: Duration,
    /// How long creating a server is tried before the workspace fails.
    pub provision_budget: Duration,
    /// How long after its creation, and again after it was switched on, the provider is asked about a machine that has not
    /// registered.
    pub start_question: Duration,
    /// How long a boot may show no progress.
    pub boot_stall: Duration,
    /// How long a boot may take beside the restoring of files. That may go on to the end of the lifetime, as long as it
    /// gets on.
    pub boot_cap: Duration,
    /// After how long without a word from its machine a workspace is `silent`.
    pub silence_after: Duration,
    /// How often the provider is asked about a silent machine.
    pub silence_question: Duration,
    /// How long a machine may take to come back from a reboot, and how long its owner's wish for one is tried. An owner
    /// may have three of them in three times as long.
    pub reboot_grace: Duration,
    /// How long a silent machine is kept at least, within its latest end.
    pub silence_budget: Duration,
    /// An alarm that is this late restarts the clocks of silence: the delay was ours, not the machine's.
    pub alarm_lateness: Duration,
    /// How long after the last attempt to create a server "not found" is not believed yet.
    pub gone_after_create: Duration,
    /// How long one call to the outside may be under way before it counts as lost and is repeated.
    pub effect_timeout: Duration,
    /// First pause after a call that failed; doubles with every failure.
    pub retry_base: Duration,
    /// Longest pause after a call that failed.
    pub retry_cap: Duration,
    /// How often an accepted deletion or a running action of the provider is looked at.
    pub poll: Duration,
    /// How long a deletion can be undone; then the keys are destroyed.
    pub undo: Duration,
    /// How long a rescue image is kept.
    pub rescue_image_keep: Duration,
    /// How long before a rescue image is deleted the owner is warned.
    pub rescue_image_warning: Duration,
    /// Longest pause before deleting an image is tried again.
    pub image_retry_cap: Duration,
    /// How often the owner of a machine that is kept past its end is told so; the end on its label moves on
    /// by as much.
    pub hold_reminder: Duration,
    /// Workspaces that fell silent within so long of one another fell silent together.
    pub silent_together_within: Duration,
    /// When so many others, and half of all at least, are silent together, the fault is taken to be ours.
    pub silent_together: u32,
    /// How long the token is good with which a new machine registers.
    pub enrolment_token: Duration,
    /// How long a machine's token is good before it is renewed.
    pub vm_token: Duration,
    /// How often a machine reports.
    pub heartbeat: Duration,
    /// How long a signal that cannot be read, or an unconfirmed report, keeps a workspace awake.
    pub unknown_grace: Duration,
    /// How long an agent's question keeps a workspace awake.
    pub waiting_for_human: Duration,
    /// How long an agent in a turn may show nothing but an open connection or a running tool.
    pub agent_silence: Duration,
    /// How long work that an agent left in the background may show nothing.
    pub background: Duration,
    /// How often a backup is made while something changes.
    pub snapshot_every: Duration,
    /// From how many stored objects of a kind on the owner is warned, or from half of what a list holds. About 270 000 can
    /// be listed.
    pub crowded_objects: u32,
    /// How many packs one part of a receipt names: what the Worker passes on within the Free plan's processor time.
    pub receipt_packs: u32,
    /// How many bytes the backups of one workspace may hold.
    pub repository_quota_bytes: u64,
    /// How many rows of storage one machine may make the control plane write in an hour, and at once.
    pub machine_rows_per_hour: u32,
    /// How many more its boot and its last backup may take together.
    pub machine_rows_reserve: u32,
    /// How long a wake waits after the last request of somebody who changes the backups.
    pub grant_idle: Duration,
    /// Which verified backups are kept, unless the owner of a workspace chose otherwise.
    pub retention: Retention,
    /// From how many due backups on the next wake removes them at once.
    pub tidy_least: u32,
    /// How long fewer due backups may wait.
    pub tidy_every: Duration,
    /// How long after a removal that did not end well another is tried.
    pub tidy_again: Duration,
    /// How long the removal of due backups may delay a wake.
    pub tidy_limit: Duration,
    /// How old a resource has to be before the sweep touches it.
    pub sweep_min_age: Duration,
    /// How long after the end on its label a machine is left to its workspace.
    pub sweep_label_grace: Duration,
    /// How long a workspace may be overdue before the sweep wakes its object.
    pub sweep_overdue: Duration,
    /// How old stored objects of an unknown workspace, without a backup in them, have to be before they are
    /// deleted.
    pub sweep_leftover_age: Duration,
    /// How many things one run of the sweep may end.
    pub sweep_limit: u32,
    /// How many workspaces may exist, asleep ones included; `null` for no cap.
    pub max_workspaces: Option<u64>,
    /// How many machines may exist at a time; `null` for no cap.
    pub max_machines: Option<u64>,
    /// The most that machines may cost on a day in UTC, in the provider's currency; `null` for no cap.
    pub spend_per_day: Option<Amount>,
    /// The most that machines may cost in a calendar month in UTC, in the provider's currency; `null` for no cap.
    pub spend_per_month: Option<Amount>,
    /// From how many percent of a spending cap on the owner is warned.
    pub spend_warning_percent: u8,
    /// How often a running machine compares the spending with the caps.
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
            start_question: Duration::from_secs(90),
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
            crowded_objects: 100_000,
            receipt_packs: 1_000,
            repository_quota_bytes: 200_000_000_000,
            machine_rows_per_hour: 2_000,
            machine_rows_reserve: 10_000,
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
    pub fn parse(json: &str) -> Result<Self, serde_json::Error> {
        if json.trim().is_empty() {
            return Ok(Self::default());
        }
        serde_json::from_str(json)
    }

    /// What holds where the installation's own cannot be read: the defaults, but for the caps, at which a machine would be
    /// drained that its owner allowed. Nothing is started meanwhile.
    pub fn unread() -> Self {
        Self { spend_per_day: None, spend_per_month: None, ..Self::default() }
    }

    /// The pause before attempt number `attempt` (from 1) of an effect that failed.
    pub fn backoff(&self, attempt: u32) -> Duration {
        let doubled = self.retry_base.as_secs().saturating_mul(1 << attempt.saturating_sub(1).min(16));
        Duration::from_secs(doubled.min(self.retry_cap.as_secs()))
    }

    /// From how many objects on a list that holds `most` is crowded.
    pub fn crowded_from(&self, most: u32) -> u32 {
        self.crowded_objects.min(most / 2)
    }

    /// What the label of a machine adds to its lifetime: the time to drain and to rescue.
    pub fn time_after_lifetime(&self) -> Duration {
        self.drain_ceiling.plus(self.rescue_ceiling)
    }

    /// What is added to a lifetime until the machine is gone at the latest: draining, rescuing, and the time in which
    /// a lost effect is noticed and repeated.
    pub fn enforcement_latency(&self) -> Duration {
        self.time_after_lifetime().plus(self.effect_timeout).plus(self.retry_cap)
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
        assert!(Policy::parse(r#"{"idle_timout":"10s"}"#).unwrap_err().to_string().contains("idle_timout"));
        assert!(Policy::parse(r#"{"idle_timeout":"soon"}"#).unwrap_err().to_string().contains("soon"));
    }

    #[test]
    fn pauses_double_up_to_the_cap() {
        let policy = Policy::default();
        let pauses: Vec<u64> = (1..=8).map(|attempt| policy.backoff(attempt).as_secs()).collect();
        assert_eq!(pauses, [2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(policy.backoff(u32::MAX).as_secs(), 60);
    }
}
