//! Which part has its turn when, and how many calls it may make: fair, and within one invocation's bound.

use super::state::SweepState;
use ebbtide_api::sweep::SweepPart;

/// Calls that one invocation may make. The Free plan allows 50, and 10 ms of processor time: a call costs 0.3 to 0.4 ms of
/// it, measured in workerd (`docs/evidence/plan-budgets.md`), so that the time ends before the calls do.
pub const CALLS_MAX: u32 = 28;

/// The parts in the order of their turns: overdue workspaces first, because their machines bill; then whichever has not
/// been through everything for the longest time. A large part so has the large share of every run until its round is
/// done, and then comes last.
pub fn order(state: &SweepState) -> Vec<SweepPart> {
    let mut parts = SweepPart::ALL.to_vec();
    parts.sort_by_key(|part| {
        let last_round_at = state.parts.get(part).and_then(|part| part.last_round_at);
        (*part != SweepPart::Overdue, last_round_at)
    });
    parts
}

/// The number of calls at which a part's turn ends, when `made` were made and `kept` have to be left in the end. While
/// others wait behind it, a part takes three quarters of what is left: small parts use three, so that all have a turn in
/// every run of a small installation, and large ones follow one another.
pub fn turn_ends_at(made: u32, kept: u32, others_wait: bool) -> u32 {
    let end = CALLS_MAX.saturating_sub(kept);
    let left = end.saturating_sub(made);
    let share = if others_wait { left.saturating_mul(3).div_ceil(4) } else { left };
    made.saturating_add(share).min(end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sweep::state::PartState;
    use jiff::Timestamp;

    #[test]
    fn whoever_is_behind_comes_first_and_overdue_workspaces_before_all() {
        let mut state = SweepState::default();
        assert_eq!(order(&state), SweepPart::ALL);
        for (part, second) in [(SweepPart::Overdue, 9), (SweepPart::Servers, 8), (SweepPart::Names, 2)] {
            let last_round_at = Some(Timestamp::from_second(second).unwrap());
            state.parts.insert(part, PartState { last_round_at, ..PartState::default() });
        }
        let order = order(&state);
        assert_eq!(order[0], SweepPart::Overdue);
        assert_eq!(order[1], SweepPart::Machines);
        assert_eq!(order[7..], [SweepPart::Names, SweepPart::Servers]);
    }

    #[test]
    fn no_turn_goes_beyond_the_invocations_bound() {
        for made in 0..=60 {
            for others in [true, false] {
                let end = turn_ends_at(made, 1, others);
                assert!(end <= CALLS_MAX.max(made), "{made} {end}");
                assert!(end < CALLS_MAX || end == made.min(CALLS_MAX - 1), "{made} {end}");
            }
        }
        assert_eq!(turn_ends_at(1, 1, true), 21);
        assert_eq!(turn_ends_at(20, 1, false), 27);
    }
}
