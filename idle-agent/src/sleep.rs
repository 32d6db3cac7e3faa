//! How a machine comes to its end with everything saved: when snapshots are taken (`snapshot_schedule`), what the next
//! would cost (`backup_estimate`), the process that takes them (`backup_process`), and the way to the last one (`drain`,
//! `freezer`, `countdown`, `terminals`). `drain`, `countdown`, the schedule and the estimator are pure.

pub mod backup_estimate;
pub mod backup_process;
pub mod countdown;
pub mod drain;
pub mod freezer;
pub mod snapshot_schedule;
pub mod terminals;
