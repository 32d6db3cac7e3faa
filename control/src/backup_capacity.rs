//! Whether the backup at a machine's end would fit: into the quota, into the time that a drain is given, and, once it is
//! restored, into a lifetime.
//!
//! Pure. Told while there are hours left to do something about it, once for each kind, and once when it fits again. Ends
//! nothing and delays nothing: an estimate is no reason to act on a machine.

use crate::policy::Policy;
use crate::record::BackupLimit;
use ebbtide_api::Duration;
use ebbtide_api::why::BackupEstimate;

/// A bound is exceeded from so many percent of it on.
const ENTER_PERCENT: u64 = 100;
/// It is over only well below, so that a size that sways is told once.
const LEAVE_PERCENT: u64 = 85;
/// A drain or a restore that would need more than this part of its time is told: estimates err.
const TIME_PERCENT: u64 = 75;

/// Judges an estimate; `was` is what was found before.
pub fn exceeded(
    estimate: &BackupEstimate,
    stored_bytes: u64,
    lifetime: Duration,
    policy: &Policy,
    was: Option<BackupLimit>,
) -> Option<BackupLimit> {
    let over = |kind: BackupLimit, needed: u64, bound: u64| {
        let percent = if was == Some(kind) { LEAVE_PERCENT } else { ENTER_PERCENT };
        u128::from(needed) * 100 > u128::from(bound) * u128::from(percent)
    };
    let needed = stored_bytes.saturating_add(estimate.new_bytes);
    let part = |of: Duration| of.as_secs().saturating_mul(TIME_PERCENT) / 100;
    let time = part(policy.drain_ceiling);
    if over(BackupLimit::Quota, needed, policy.repository_quota_bytes) {
        Some(BackupLimit::Quota)
    } else if over(BackupLimit::Time, estimate.secs, time) {
        Some(BackupLimit::Time)
    } else if over(BackupLimit::Restore, estimate.restore_secs.unwrap_or(0), part(lifetime)) {
        Some(BackupLimit::Restore)
    } else {
        None
    }
}

/// The warning for its owner, with what to do.
pub fn warning(
    limit: BackupLimit,
    estimate: &BackupEstimate,
    stored_bytes: u64,
    lifetime: Duration,
    policy: &Policy,
) -> String {
    match limit {
        BackupLimit::Quota => format!(
            "the next backup may not fit: {} in files are new, and {} of the quota of {} are left; leave something \
             out by an .ebbignore file (`ebb snapshot --dry-run` shows what is large), or forget old snapshots",
            gigabytes(estimate.new_bytes),
            gigabytes(policy.repository_quota_bytes.saturating_sub(stored_bytes)),
            gigabytes(policy.repository_quota_bytes),
        ),
        BackupLimit::Time => format!(
            "a backup now would take about {}, and a machine is given {} for its last one; take one while it runs \
             (`ebb snapshot`), or leave something out by an .ebbignore file",
            Duration::from_mins(estimate.secs.div_ceil(60)),
            policy.drain_ceiling,
        ),
        BackupLimit::Restore => format!(
            "a wake would take about {} to restore {}, and its machine's lifetime is {lifetime}; choose a longer one, or \
             leave something out by an .ebbignore file",
            Duration::from_mins(estimate.restore_secs.unwrap_or(0).div_ceil(60)),
            gigabytes(estimate.bytes),
        ),
    }
}

fn gigabytes(bytes: u64) -> String {
    format!("{}.{} GB", bytes / 1_000_000_000, bytes % 1_000_000_000 / 100_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GB: u64 = 1_000_000_000;

    /// A quota of 200 GB, a drain of two hours and a lifetime of a day.
    #[track_caller]
    fn check(new_gb: u64, stored_gb: u64, mins: u64, was: Option<BackupLimit>, expect: Option<BackupLimit>) {
        check_restore(new_gb, stored_gb, mins, None, was, expect);
    }

    #[track_caller]
    fn check_restore(
        new_gb: u64,
        stored_gb: u64,
        mins: u64,
        restore_mins: Option<u64>,
        was: Option<BackupLimit>,
        expect: Option<BackupLimit>,
    ) {
        let policy = Policy::default();
        assert_eq!((policy.repository_quota_bytes, policy.drain_ceiling.as_secs()), (200 * GB, 7200));
        let estimate = BackupEstimate {
            new_bytes: new_gb * GB,
            secs: mins * 60,
            restore_secs: restore_mins.map(|mins| mins * 60),
            ..BackupEstimate::default()
        };
        assert_eq!(exceeded(&estimate, stored_gb * GB, policy.lifetime, &policy, was), expect);
    }

    #[test]
    fn what_fits_is_no_strain() {
        check(0, 0, 0, None, None);
        check(100, 100, 90, None, None);
    }

    #[test]
    fn what_is_new_and_what_is_stored_count_together() {
        check(101, 100, 1, None, Some(BackupLimit::Quota));
        check(1, 200, 1, None, Some(BackupLimit::Quota));
        check(0, 201, 1, None, Some(BackupLimit::Quota));
    }

    #[test]
    fn a_long_backup_is_told_before_it_is_too_long() {
        check(1, 1, 91, None, Some(BackupLimit::Time));
        check(150, 100, 600, None, Some(BackupLimit::Quota));
    }

    #[test]
    fn what_no_lifetime_has_time_to_restore_is_told_while_it_is_backed_up() {
        let day = 24 * 60;
        check_restore(1, 1, 1, Some(day * 3 / 4), None, None);
        check_restore(1, 1, 1, Some(day * 3 / 4 + 1), None, Some(BackupLimit::Restore));
        check_restore(1, 1, 1, Some(day * 2 / 3), Some(BackupLimit::Restore), Some(BackupLimit::Restore));
        check_restore(1, 1, 1, Some(day / 2), Some(BackupLimit::Restore), None);
        // What is lost first is told first.
        check_restore(1, 1, 91, Some(2 * day), None, Some(BackupLimit::Time));
        check_restore(101, 100, 91, Some(2 * day), None, Some(BackupLimit::Quota));
    }

    #[test]
    fn it_is_over_only_well_below_its_bound() {
        check(80, 100, 1, Some(BackupLimit::Quota), Some(BackupLimit::Quota));
        check(60, 100, 1, Some(BackupLimit::Quota), None);
        check(1, 1, 80, Some(BackupLimit::Time), Some(BackupLimit::Time));
        check(1, 1, 70, Some(BackupLimit::Time), None);
        // One kind does not lower the bound of the other.
        check(80, 100, 1, Some(BackupLimit::Time), None);
    }

    #[test]
    fn numbers_beyond_all_bounds_are_judged_too() {
        let estimate = BackupEstimate {
            bytes: u64::MAX,
            new_bytes: u64::MAX,
            secs: u64::MAX,
            at_least: true,
            restore_secs: Some(u64::MAX),
        };
        let policy = Policy::default();
        assert_eq!(exceeded(&estimate, u64::MAX, policy.lifetime, &policy, None), Some(BackupLimit::Quota));
        assert!(warning(BackupLimit::Time, &estimate, 0, policy.lifetime, &policy).contains("ebb snapshot"));
        assert!(warning(BackupLimit::Restore, &estimate, 0, policy.lifetime, &policy).contains("longer"));
    }

    #[test]
    fn owners_read_what_to_do() {
        let estimate = BackupEstimate {
            bytes: 90 * GB,
            new_bytes: 12 * GB,
            secs: 7000,
            at_least: false,
            restore_secs: Some(70_000),
        };
        let policy = Policy::default();
        insta::assert_snapshot!(warning(BackupLimit::Quota, &estimate, 196_900_000_000, policy.lifetime, &policy), @"the next backup may not fit: 12.0 GB in files are new, and 3.1 GB of the quota of 200.0 GB are left; leave something out by an .ebbignore file (`ebb snapshot --dry-run` shows what is large), or forget old snapshots");
        insta::assert_snapshot!(warning(BackupLimit::Time, &estimate, 0, policy.lifetime, &policy), @"a backup now would take about 1h57m, and a machine is given 2h for its last one; take one while it runs (`ebb snapshot`), or leave something out by an .ebbignore file");
        insta::assert_snapshot!(warning(BackupLimit::Restore, &estimate, 0, policy.lifetime, &policy), @"a wake would take about 19h27m to restore 90.0 GB, and its machine's lifetime is 24h; choose a longer one, or leave something out by an .ebbignore file");
    }
}
