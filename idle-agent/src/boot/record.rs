//! How far the boot plan is, as told to people and kept on disk: pure, so that a restart at any moment can be tried.
//!
//! A step that was finished is never redone; one that was under way begins again; a failed boot stays failed.

use ebbtide_api::vm::BootPlan;
use ebbtide_api::workspace::{BootStep, StepState};
use serde::{Deserialize, Serialize};

/// The plan's steps with their state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// In the plan's order.
    pub steps: Vec<BootStep>,
}

impl Record {
    /// A record of nothing done.
    pub fn new(plan: &BootPlan) -> Self {
        let step = |planned: &ebbtide_api::vm::PlannedStep| BootStep {
            name: planned.name.clone(),
            title: planned.title.clone(),
            state: StepState::Pending,
            duration_ms: 0,
            percent: None,
            detail: None,
            warned: false,
        };
        Self { steps: plan.steps.iter().map(step).collect() }
    }

    /// The record to go on with: what is stored, as far as it is about this plan.
    pub fn resume(plan: &BootPlan, stored: Option<Self>) -> Self {
        let mut record = Self::new(plan);
        for step in &mut record.steps {
            let known = stored.iter().flat_map(|stored| &stored.steps).find(|known| known.name == step.name);
            match known.map(|known| known.state) {
                Some(StepState::Done | StepState::Skipped | StepState::Failed) => {
                    step.clone_from(known.unwrap_or(&step.clone()))
                }
                Some(StepState::Pending | StepState::Running) | None => {}
            }
        }
        record
    }

    /// Whether every step is through.
    pub fn is_ready(&self) -> bool {
        self.steps.iter().all(|step| matches!(step.state, StepState::Done | StepState::Skipped))
    }

    /// Why the boot has failed for good, if it has.
    pub fn failure(&self) -> Option<String> {
        let failed = self.steps.iter().find(|step| step.state == StepState::Failed)?;
        Some(format!("{}: {}", failed.title, failed.detail.as_deref().unwrap_or("failed")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ebbtide_api::vm::{PlannedStep, StepAction};

    fn plan(names: &[&str]) -> BootPlan {
        let step = |name: &&str| PlannedStep {
            name: (*name).into(),
            title: format!("Step {name}"),
            action: StepAction::StartCaddy,
            timeout_secs: 1,
            retries: 0,
        };
        BootPlan { steps: names.iter().map(step).collect() }
    }

    #[test]
    fn a_restart_keeps_what_is_done_and_begins_again_what_was_under_way() {
        let plan = plan(&["a", "b", "c"]);
        let mut record = Record::new(&plan);
        record.steps[0].state = StepState::Done;
        record.steps[0].duration_ms = 7;
        record.steps[1].state = StepState::Running;
        record.steps[1].percent = Some(50);
        let resumed = Record::resume(&plan, Some(record));
        assert_eq!(resumed.steps[0].duration_ms, 7);
        let states: Vec<_> = resumed.steps.iter().map(|step| step.state).collect();
        assert_eq!(states, [StepState::Done, StepState::Pending, StepState::Pending]);
        assert_eq!(resumed.steps[1].percent, None);
        assert!(!resumed.is_ready());
    }

    #[test]
    fn a_failed_boot_stays_failed_and_says_why() {
        let plan = plan(&["a", "b"]);
        let mut record = Record::new(&plan);
        record.steps[1].state = StepState::Failed;
        record.steps[1].detail = Some("no such repository".into());
        let resumed = Record::resume(&plan, Some(record));
        assert_eq!(resumed.failure().as_deref(), Some("Step b: no such repository"));
    }

    #[test]
    fn steps_of_another_plan_do_not_count() {
        let mut stored = Record::new(&plan(&["clone"]));
        stored.steps[0].state = StepState::Done;
        assert!(!Record::resume(&plan(&["restore"]), Some(stored)).is_ready());
        assert!(Record::resume(&plan(&[]), None).is_ready());
    }
}
