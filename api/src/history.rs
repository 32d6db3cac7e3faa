//! The history of a workspace and the log of its machine, a page at a time.
//!
//! An event has a sentence for people and, beside it, a stable code for programs: the wording may change, the code not.

use crate::FailureCode;
use crate::workspace::State;
use crate::{Generation, Timestamp};
use serde::{Deserialize, Serialize};

stable_codes! {
    /// What a line of history tells of. The text form is stable; the sentence beside it is not.
    EventCode {
        Created = "created", "The workspace was created.";
        Woken = "woken", "A wake began, with a new machine number.";
        CreatingServer = "creating_server", "A server is being created at the provider.";
        SoldOut = "sold_out",
            "The provider has no such size at this location, or no room for it; the next choice is tried.";
        PlacementWished = "placement_wished", "Its owner chose a size or location for the next start.";
        AgentsChanged = "agents_changed", "Its owner chose other coding agents for the next start.";
        DockerChanged = "docker_changed", "Its owner chose whether the next start has Docker.";
        EnvChanged = "env_changed", "Its owner set other variables.";
        SecretsChosen = "secrets_chosen", "Its owner chose other secrets.";
        SshChanged = "ssh_changed", "Its owner let SSH in, or closed it.";
        PlacedAnew = "placed_anew", "It starts with another size, location or image than the last time.";
        ServerExists = "server_exists", "The server exists and boots.";
        Enrolled = "enrolled", "The machine registered with its key.";
        NamesResolve = "names_resolve", "The workspace's names lead to the machine.";
        BootWarning = "boot_warning", "A boot step left something out that was asked for; the boot went on.";
        Ready = "ready", "The boot plan is through; the workspace runs.";
        Waiting = "waiting",
            "A step failed several times in a row and is tried again; the sentence says what it waits for.";
        NotWanted = "not_wanted", "Its owner wanted it no longer before it was ready.";

        Idle = "idle", "Nothing has happened for the whole idle timeout, so it goes to sleep.";
        KeptForPaidHour = "kept_for_paid_hour", "It is idle, and is kept while the hour lasts that is paid.";
        PaidHourOver = "paid_hour_over", "It was idle, and the hour that is paid ends.";
        BusyAgain = "busy_again", "It is not idle any more.";
        SleepAsked = "sleep_asked", "Its owner puts it to sleep.";
        DeleteAsked = "delete_asked", "Its owner deletes it; it is backed up first.";
        Discarded = "discarded", "Its owner ends it without a backup of what is unsaved.";
        NotPersisted = "not_persisted", "It ends without a backup, as was chosen when it was created.";
        Held = "held", "Somebody or something keeps it awake until a time.";
        LifetimeChanged = "lifetime_changed", "Its owner changed the lifetime.";
        LifetimeEndsSoon = "lifetime_ends_soon",
            "The lifetime ends soon; the sentence says what happens then.";
        LifetimeOver = "lifetime_over", "The lifetime is over.";
        SpendingWarning = "spending_warning", "Most of a spending cap is used.";
        SpendingExceeded = "spending_exceeded", "A spending cap is exceeded, so the machine ends.";
        PortOpened = "port_opened", "A port is open to anybody.";
        LinksEnded = "links_ended", "Links to a port open it no longer.";

        DrainTakenBack = "drain_taken_back", "Something works again before anything was frozen: it goes on.";
        LastBackupIncomplete = "last_backup_incomplete",
            "The last backup was not whole, so the machine was given back.";
        DrainOverdue = "drain_overdue", "The last backup did not finish in time.";
        LastBackupVerified = "last_backup_verified",
            "The last backup is verified in storage, and the machine goes.";
        BackupVerified = "backup_verified", "A backup is verified in storage.";
        BackupPartial = "backup_partial", "Some paths could not be backed up.";
        ReceiptRefused = "receipt_refused",
            "A backup does not count: storage does not hold what it says of itself.";
        BackupTooLarge = "backup_too_large",
            "The next backup would not fit into the quota or the time for it.";
        BackupFitsAgain = "backup_fits_again", "The next backup fits again.";
        OutOfMemory = "out_of_memory", "The kernel ended a program for lack of memory.";
        Asleep = "asleep", "No server is left; the work is in storage.";

        ServerOff = "server_off", "The new server is off at the provider; it is switched on.";
        Silent = "silent", "The machine is not heard of.";
        HeardAgain = "heard_again", "The machine is heard again.";
        SilentTogether = "silent_together",
            "Other workspaces fell silent with it, so the machine is not to blame.";
        SilentServerDown = "silent_server_down",
            "The provider says that the silent server is off or does nothing.";
        SilentServerRuns = "silent_server_runs", "The provider says that the silent server works.";
        SilentServerUnclear = "silent_server_unclear",
            "The provider does not say whether the silent server runs.";
        SilentTooLong = "silent_too_long", "The machine was still silent when its time was over.";
        RebootAsked = "reboot_asked", "Its owner has it rebooted.";
        Rebooted = "rebooted", "The machine was rebooted.";
        RebootUnconfirmed = "reboot_unconfirmed",
            "The provider was told to reboot it and did not say whether it did.";
        RebootGivenUp = "reboot_given_up", "The reboot that its owner asked for could not be had in time.";

        SalvageReady = "salvage_ready",
            "A machine made from the rescue image is up, and what it holds is backed up.";
        KeptUnsaved = "kept_unsaved",
            "It is past its latest end with unsaved work and is kept, as its owner chose.";
        RescueImageAbandoned = "rescue_image_abandoned",
            "A rescue image that was not complete stays for a while.";
        RescueImagePassedOver = "rescue_image_passed_over",
            "A wake began from a snapshot, not from the rescue image.";
        RescueImageEndsSoon = "rescue_image_ends_soon",
            "The rescue image is deleted soon, with what only it holds.";
        RescueImageExpired = "rescue_image_expired",
            "The rescue image is deleted, and what only it held is lost.";
        RescueImageDeleted = "rescue_image_deleted", "A rescue image is deleted.";
        RescueImageNotDeleted = "rescue_image_not_deleted",
            "A rescue image is not deleted yet; it is tried again.";

        BackupsLocked = "backups_locked", "Somebody works on the backups; a wake waits.";
        BackupsUnlocked = "backups_unlocked", "The work on the backups is done; a wake may begin.";
        RetentionChanged = "retention_changed", "Another rule says which snapshots are kept.";
        RemovingOldBackups = "removing_old_backups", "The machine removes old backups before anything else.";
        OldBackupsRemoved = "old_backups_removed", "Old backups are removed.";
        OldBackupsLeft = "old_backups_left", "Old backups are left as they are.";
        OldBackupsNotRemoved = "old_backups_not_removed", "Old backups were not removed, or not all.";
        OldBackupsUnknown = "old_backups_unknown", "The machine did not say what became of old backups.";
        TooManyObjects = "too_many_objects",
            "The backups hold so many objects that they may soon not be listed any more.";
        SnapshotRemoved = "snapshot_removed", "A snapshot was removed from the backups.";
        SnapshotRecalled = "snapshot_recalled", "A snapshot is back among the backups.";
        RestoreNoted = "restore_noted",
            "A wake restores a backup that lacks something, or an older one than the newest.";
        SnapshotGone = "snapshot_gone", "The snapshot that was chosen was removed before the wake began.";

        Deleted = "deleted", "The workspace is deleted; that can be undone for some days.";
        Undeleted = "undeleted", "The deletion was undone.";
        UndeletedLate = "undeleted_late", "The deletion was undone when the machine was going already.";
        KeysShredded = "keys_shredded", "Its keys are shredded: nothing can be undone any more.";
        Mistake = "mistake", "A mistake of the control plane, told rather than hidden; nothing was changed.";

        // A workspace that fails tells it by the name of its failure.
        Capacity = "capacity",
            "The provider has no room for a server of this size in this location, nor where else it was tried.";
        Limit = "limit", "The provider's own limit of servers or addresses in this project is reached.";
        Refused = "refused", "The provider refuses to make such a server at all.";
        ProviderUnavailable = "provider_unavailable",
            "The provider made no server within the time for it, and gave no reason that would never pass.";
        CapReached = "cap_reached",
            "A spending cap or a limit of this installation was reached when the next machine was to begin.";
        NotReserved = "not_reserved",
            "The worst case of the next machine could not be reserved in time, so it was not made.";
        BootFailed = "boot_failed", "A step of the boot plan failed for good; the message names it.";
        StartFailed = "start_failed",
            "The provider made the server and could not start it, here and wherever else it was tried.";
        BootStalled = "boot_stalled", "The machine did not become ready within the time for it.";
        MachineGone = "machine_gone",
            "The server no longer exists at the provider, and Ebbtide did not delete it.";
        Rescued = "rescued",
            "The machine could not deliver its work; a rescue image at the provider holds it.";
        SalvageFailed = "salvage_failed", "The work in a rescue image could not be brought into the backups.";
        WorkLost = "work_lost", "Work since the last verified backup is lost; the message says why.";
        RecordLost = "record_lost", "The record of the workspace is lost; its backups are as they were.";
    }
}

impl From<&FailureCode> for EventCode {
    fn from(code: &FailureCode) -> Self {
        Self::from(code.as_str().to_owned())
    }
}

/// One line of a workspace's history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Event {
    /// Rises by one with every event of the workspace.
    pub seq: u64,
    /// When.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub at: Timestamp,
    /// The state after it.
    pub state: State,
    /// The machine it is about.
    pub generation: Generation,
    /// What happened, for programs. Absent from lines that an earlier version wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub code: Option<EventCode>,
    /// What happened and why, a sentence. Its wording may change: match on `code`.
    pub because: String,
}

/// A page of history, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EventList {
    /// Oldest first.
    pub events: Vec<Event>,
    /// Whether there are more in the direction that was asked for: after the last of these, or before the first.
    #[serde(default)]
    pub more: bool,
}

/// A page of the boot and agent log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LogPage {
    /// Oldest first, as the machine sent them.
    pub lines: Vec<String>,
    /// Where there are older lines: `?before=` with this number shows them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn codes_are_pinned_because_histories_hold_them_and_scripts_match_on_them() {
        let codes: Vec<&str> = EventCode::ALL.iter().map(EventCode::as_str).collect();
        assert_eq!(codes.iter().collect::<BTreeSet<_>>().len(), codes.len());
        insta::assert_snapshot!(codes.join(" "));
        for code in EventCode::ALL {
            let text = serde_json::to_string(code).unwrap();
            assert_eq!(text, format!("\"{code}\""));
            assert_eq!(serde_json::from_str::<EventCode>(&text).unwrap(), *code);
            assert!(code.meaning().ends_with('.'), "{code}");
        }
    }

    #[test]
    fn every_failure_is_told_by_its_own_name() {
        for failure in FailureCode::ALL {
            let code = EventCode::from(failure);
            assert_eq!(code.as_str(), failure.as_str());
            assert!(EventCode::ALL.contains(&code), "{failure}");
        }
    }

    #[test]
    fn a_line_of_an_earlier_version_has_no_code_and_one_of_a_later_keeps_its_own() {
        let old =
            r#"{"seq":7,"at":"1970-01-01T00:00:00Z","state":"running","generation":1,"because":"ready"}"#;
        let event: Event = serde_json::from_str(old).unwrap();
        assert_eq!(event.code, None);
        assert_eq!(serde_json::to_string(&event).unwrap(), old);
        let new = r#"{"seq":7,"at":"1970-01-01T00:00:00Z","state":"running","generation":1,"code":"moved_to_the_moon","because":"ready"}"#;
        let event: Event = serde_json::from_str(new).unwrap();
        assert_eq!(event.code, Some(EventCode::Other("moved_to_the_moon".into())));
        assert_eq!(serde_json::to_string(&event).unwrap(), new);
    }
}
