//! The table of defects. A line here is worth more than a percentage of coverage: it names a mistake that somebody
//! could make on a tired evening, and who would have told them.

use super::Catcher::{Test, Walks};
use super::Defect;

/// Every defect that must be caught.
pub const DEFECTS: &[Defect] = &[
    Defect {
        name: "a machine goes before every pack of its receipt is checked",
        file: "lifecycle/receipts.rs",
        old: "    if left > 0 {",
        new: "    if left > 1_000 {",
        caught_by: Test(
            "lifecycle::tests::nothing_is_deleted_before_every_pack_of_the_final_receipt_is_verified",
        ),
    },
    Defect {
        name: "a partial receipt counts as a whole one",
        file: "lifecycle/receipts.rs",
        old: "let partial = receipt.is_partial();",
        new: "let partial = false;",
        caught_by: Test("lifecycle::tests::a_partial_receipt_deletes_nothing_without_a_recorded_decision"),
    },
    Defect {
        name: "a pack of another size than its receipt says is taken",
        file: "executor.rs",
        old: "(Some(size), Some(wanted)) if size != wanted => {",
        new: "(Some(size), Some(wanted)) if size == 0 && size != wanted => {",
        caught_by: Walks("work is kept"),
    },
    Defect {
        name: "one not-found ends a deletion",
        file: "lifecycle/outcomes.rs",
        old: "if not_found_at.is_some() && now >= settled_at {",
        new: "if now >= settled_at {",
        caught_by: Test("lifecycle::tests::a_workspace_lives_sleeps_wakes_and_is_deleted"),
    },
    Defect {
        name: "a not-found is believed right after a create",
        file: "lifecycle/outcomes.rs",
        old: "map_or(now, |at| plus(at, context.policy.gone_after_create));",
        new: "map_or(now, |_| now);",
        caught_by: Test("lifecycle::tests::a_not_found_right_after_a_create_is_not_believed"),
    },
    Defect {
        name: "one not-found writes a living machine off",
        file: "lifecycle/outcomes.rs",
        old: "let Some(first) = draft.record.vanished_at else {",
        new: "let Some(first) = draft.record.vanished_at.or(Some(Timestamp::UNIX_EPOCH)) else {",
        caught_by: Test("lifecycle::tests::one_false_not_found_deletes_no_living_machine"),
    },
    Defect {
        name: "one not-found writes a rescue image off",
        file: "lifecycle/rescue_image.rs",
        old: "first < now && now >= plus(first, context.policy.poll)",
        new: "now >= first",
        caught_by: Test("lifecycle::tests::rescue::one_false_not_found_of_an_image_loses_nothing"),
    },
    Defect {
        name: "a wake that waited begins without a reservation",
        file: "lifecycle/phases.rs",
        old: "DesiredState::Awake if !draft.may_begin =>",
        new: "DesiredState::Awake if draft.record.attempts == u64::MAX =>",
        caught_by: Walks("caps are kept"),
    },
    Defect {
        name: "servers of another installation are found",
        file: "names.rs",
        old: "format!(\"{LABEL_INSTALL}=={install},{LABEL_WORKSPACE}=={workspace}\")",
        new: "format!(\"{LABEL_WORKSPACE}=={workspace}\").replace(install, install)",
        caught_by: Walks("others are left alone"),
    },
    Defect {
        name: "servers of other generations are found",
        file: "names.rs",
        old: "format!(\"{},{LABEL_GENERATION}=={generation}\", workspace_selector(install, workspace))",
        new: "format!(\"{}\", workspace_selector(install, workspace)).replace(&generation.to_string(), &generation.to_string())",
        caught_by: Test(
            "names::tests::names_labels_and_comments_are_pinned_because_running_machines_carry_them",
        ),
    },
    Defect {
        name: "a token is good for every workspace",
        file: "tokens.rs",
        old: "    if of != workspace {",
        new: "    if of != workspace && of.as_str().is_empty() {",
        caught_by: Test("tokens::tests::another_workspace_and_every_other_generation_are_refused"),
    },
    Defect {
        name: "a token outlives its generation",
        file: "tokens.rs",
        old: "    if claimed != live {",
        new: "    if claimed > live {",
        caught_by: Test("tokens::tests::another_workspace_and_every_other_generation_are_refused"),
    },
    Defect {
        name: "a second machine key enrols",
        file: "lifecycle/heartbeat.rs",
        old: "Some(bound) if *bound == machine_key => {}",
        new: "Some(bound) if !bound.is_empty() => draft.record.machine_key = Some(machine_key),",
        caught_by: Walks("one key enrols"),
    },
    Defect {
        name: "a late alarm restarts no clock",
        file: "lifecycle/deadlines.rs",
        old: "draft.record.clocks_restarted_at = Some(context.now);",
        new: "draft.record.clocks_restarted_at = None;",
        caught_by: Test("lifecycle::tests::an_alarm_that_fires_late_restarts_the_clocks_of_silence"),
    },
    Defect {
        name: "a drain is taken back after the freeze",
        file: "lifecycle/phases.rs",
        old: "            if !frozen && (reason",
        new: "            if (frozen || !frozen) && (reason",
        caught_by: Test("lifecycle::tests::wake_during_a_drain_takes_it_back_or_wakes_afterwards"),
    },
    Defect {
        name: "a freeze from before the drain was taken back counts for the next",
        file: "lifecycle/heartbeat.rs",
        old: "let is_frozen = says_frozen && !draft.record.thaw_requested;",
        new: "let is_frozen = says_frozen;",
        caught_by: Test(
            "lifecycle::tests::thawing::a_freeze_that_is_to_end_proves_nothing_for_the_next_sleep",
        ),
    },
    Defect {
        name: "a frozen machine is given back while its receipt is being checked",
        file: "record.rs",
        old: "self.receipt_problem.is_some() && self.pending.is_none()",
        new: "self.receipt_problem.is_some()",
        caught_by: Test("lifecycle::tests::thawing::a_receipt_that_is_being_checked_is_waited_for"),
    },
    Defect {
        name: "a final receipt outlives the drain that was taken back",
        file: "lifecycle/receipts.rs",
        old: "        pending.last = false;",
        new: "        pending.last = true;",
        caught_by: Test(
            "lifecycle::tests::a_final_receipt_of_a_drain_that_was_taken_back_ends_nothing_later",
        ),
    },
    Defect {
        name: "a last receipt from before the freeze ends a machine",
        file: "lifecycle/receipts.rs",
        old: "            Phase::Draining { frozen: false, .. } | Phase::Silent { draining: Some(_), .. }\n        )",
        new: "            Phase::Silent { draining: Some(_), .. }\n        )",
        caught_by: Test("lifecycle::tests::a_last_receipt_from_before_the_freeze_ends_nothing"),
    },
    Defect {
        name: "a final receipt outlives a reboot",
        file: "lifecycle/next_effect.rs",
        old: "Effect::Reboot => receipts::void_last_backup(record),",
        new: "Effect::Reboot => record.final_snapshot = None,",
        caught_by: Test("lifecycle::tests::a_final_receipt_from_before_a_reboot_ends_nothing_after_it"),
    },
    Defect {
        name: "an extension leaves the label's end as it was",
        file: "lifecycle/commands.rs",
        old: "draft.record.labels_stale = draft.record.phase.may_have_machine();",
        new: "draft.record.labels_stale = false;",
        caught_by: Test("lifecycle::tests::a_longer_lifetime_moves_the_end_and_rewrites_the_label"),
    },
    Defect {
        name: "the worst case is rounded down to whole hours",
        file: "money/quote.rs",
        old: "as_secs().div_ceil(3600)",
        new: "as_secs() / 3600",
        caught_by: Test(
            "money::quote::tests::the_dearest_place_and_every_started_hour_are_in_the_worst_case",
        ),
    },
    Defect {
        name: "keys are shredded while the deletion can be undone",
        file: "lifecycle/next_effect.rs",
        old: "(!purged && *purge_at <= context.now)",
        new: "(!purged && *purge_at >= context.now)",
        caught_by: Test("lifecycle::tests::a_workspace_lives_sleeps_wakes_and_is_deleted"),
    },
    Defect {
        name: "a rescue image is given over before its salvage is verified",
        file: "lifecycle/rescue_image.rs",
        old: "        draft.record.salvage_image_id = Some(image);",
        new: "        draft.record.salvage_image_id = Some(image);\n        give_over(draft, context.now);",
        caught_by: Test(
            "lifecycle::tests::rescue::an_image_is_passed_to_deletion_only_once_the_salvage_is_verified",
        ),
    },
    Defect {
        name: "a machine without CPU but with network counts as dead",
        file: "executor.rs",
        old: "if cpu < FLAT_CPU_PERCENT && network < FLAT_NETWORK =>",
        new: "if cpu < FLAT_CPU_PERCENT && network < FLAT_NETWORK * 1e9 =>",
        caught_by: Walks("the living are left"),
    },
    Defect {
        name: "an owner may reboot a machine without end",
        file: "lifecycle/reboot.rs",
        old: "(now < until).then_some(until)",
        new: "(now < until && now > until).then_some(until)",
        caught_by: Test(
            "lifecycle::tests::rebooting::a_fourth_reboot_in_half_an_hour_is_refused_with_the_time_of_the_next",
        ),
    },
    Defect {
        name: "a dead machine is rebooted again and again",
        file: "lifecycle/next_effect.rs",
        old: "} else if dead && rebooted_at.is_none() {",
        new: "} else if dead && (rebooted_at.is_none() || rebooted_at.is_some()) {",
        caught_by: Test(
            "lifecycle::tests::a_dead_machine_is_rebooted_once_and_then_rescued_within_the_budget",
        ),
    },
    Defect {
        name: "a living silent machine is kept no longer than its silence budget",
        file: "lifecycle/silence.rs",
        old: ".max(record.lifetime_ends_at()).min(",
        new: ".min(",
        caught_by: Walks("the living are left"),
    },
    Defect {
        name: "a heartbeat without progress counts as progress",
        file: "lifecycle/heartbeat.rs",
        old: "if heartbeat.boot_progress > *progress && context",
        new: "if heartbeat.boot_progress >= *progress && context",
        caught_by: Test(
            "lifecycle::tests::booting::a_boot_without_progress_fails_and_one_with_progress_does_not",
        ),
    },
    Defect {
        name: "an effect whose outcome was lost stays in flight",
        file: "lifecycle/outcomes.rs",
        old: "if context.now >= plus(flight.started_at, context.policy.effect_timeout) {",
        new: "if context.now >= plus(flight.started_at, context.policy.undo) {",
        caught_by: Test("lifecycle::tests::a_late_answer_of_an_attempt_that_was_given_up_changes_nothing"),
    },
    Defect {
        name: "the late answer to an attempt that was given up is taken",
        file: "lifecycle/outcomes.rs",
        old: "take_if(|flight| flight.attempt_id == attempt_id)",
        new: "take_if(|flight| flight.attempt_id >= attempt_id)",
        caught_by: Test("lifecycle::tests::a_late_answer_of_an_attempt_that_was_given_up_changes_nothing"),
    },
    Defect {
        name: "a wake restores the oldest backup",
        file: "lifecycle/rescue_image.rs",
        old: "draft.record.restore = draft.record.snapshots.first()",
        new: "draft.record.restore = draft.record.snapshots.last()",
        caught_by: Walks("the newest is restored"),
    },
    Defect {
        name: "a drain may take an hour longer than was promised",
        file: "record.rs",
        old: "let regular = plus(self.lifetime_ends_at(), policy.drain_ceiling);",
        new: "let regular = plus(self.lifetime_ends_at(), policy.drain_ceiling.plus(policy.drain_ceiling));",
        caught_by: Walks("nothing bills for ever"),
    },
    Defect {
        name: "a rule drops the newest backup",
        file: "retention.rs",
        old: "            place == 0\n                || Some(place) == newest_whole",
        new: "            Some(place) == newest_whole",
        caught_by: Test(
            "retention::tests::a_rule_keeps_the_newest_changes_nothing_twice_and_a_longer_one_keeps_all_that_a_shorter_keeps",
        ),
    },
    Defect {
        name: "a rule drops the newest whole backup",
        file: "retention.rs",
        old: "position(|snapshot| !snapshot.partial)",
        new: "position(|snapshot| snapshot.partial)",
        caught_by: Test(
            "retention::tests::the_newest_the_newest_whole_one_and_what_is_pinned_are_kept_under_every_rule",
        ),
    },
    Defect {
        name: "what a wake restores is removed before it",
        file: "retention.rs",
        old: "record.expired.iter().filter(safe)",
        new: "record.expired.iter().filter(|known| safe(known) || !safe(known))",
        caught_by: Test("lifecycle::tests::repository_lock::what_a_wake_restores_is_never_pruned"),
    },
    Defect {
        name: "a machine removes backups after it is ready",
        file: "record.rs",
        old: "let boots = matches!(self.phase, Phase::Provisioning { .. } | Phase::Booting { .. });",
        new: "let boots = self.phase.may_have_machine();",
        caught_by: Test(
            "lifecycle::tests::repository_lock::a_machine_prunes_once_before_it_is_ready_and_never_after",
        ),
    },
    Defect {
        name: "a prune has no end",
        file: "record.rs",
        old: "begun.is_some_and(|until| now < until)",
        new: "begun.is_some_and(|until| now < until || now >= until)",
        caught_by: Test("lifecycle::tests::repository_lock::a_prune_that_hangs_is_over_when_its_time_is"),
    },
    Defect {
        name: "what no call is left for is begun all the same",
        file: "lifecycle.rs",
        old: "(None, next_effect::waiting(&draft.record, context)),",
        new: "(None, next_effect::begin(&mut draft.record, context).map(|(_, effect)| effect)),",
        caught_by: Test(
            "driver::tests::what_no_call_is_left_for_is_not_begun_and_the_next_invocation_comes_at_once",
        ),
    },
    Defect {
        name: "an invocation wakes nobody for what it left",
        file: "lifecycle.rs",
        old: "let wake_at = if left.is_some() {",
        new: "let wake_at = if left.is_some() && left.is_none() {",
        caught_by: Test(
            "driver::tests::what_no_call_is_left_for_is_not_begun_and_the_next_invocation_comes_at_once",
        ),
    },
    Defect {
        name: "a label counts as written when its writing begins",
        file: "lifecycle/next_effect.rs",
        old: "        Effect::EnsureDns => record.dns = Dns::MayExist,",
        new: "        Effect::EnsureDns => record.dns = Dns::MayExist,\n        Effect::UpdateLabels => record.labels_stale = false,",
        caught_by: Walks("labels name the end"),
    },
    Defect {
        name: "an answer is believed although its attempt counts as lost",
        file: "lifecycle.rs",
        old: "    outcomes::expire_lost_effect(&mut draft, context);\n    take(&mut draft, input, context);",
        new: "    take(&mut draft, input, context);\n    outcomes::expire_lost_effect(&mut draft, context);",
        caught_by: Test(
            "lifecycle::tests::billing::a_reservation_that_is_heard_of_after_its_attempt_was_given_up_begins_no_machine",
        ),
    },
    Defect {
        name: "an effect that was given up is performed all the same",
        file: "driver.rs",
        old: "record.in_flight.as_ref().is_none_or(",
        new: "record.in_flight.as_ref().is_some_and(",
        caught_by: Test("driver::tests::an_effect_that_was_given_up_meanwhile_is_left_to_its_successor"),
    },
    Defect {
        name: "nobody counts the calls of an invocation",
        file: "driver.rs",
        old: "if outside.calls() < CALLS_BUDGET {",
        new: "if outside.calls() < u32::MAX {",
        caught_by: Test("driver::tests::a_label_that_has_to_wait_for_the_next_invocation_is_written_in_it"),
    },
    Defect {
        name: "an alarm that was lost is waited for",
        file: "driver.rs",
        old: "now.duration_since(at).as_secs() > LOST_ALARM_SECS",
        new: "now.duration_since(at).as_secs() > LOST_ALARM_SECS * 1_000",
        caught_by: Test(
            "driver::tests::an_alarm_that_is_long_overdue_is_lost_and_whoever_comes_by_sets_it_again",
        ),
    },
    Defect {
        name: "an answer that does not come in time counts as nothing landed",
        file: "driver.rs",
        old: "maybe_landed: true,",
        new: "maybe_landed: false,",
        caught_by: Test("driver::tests::an_answer_that_does_not_come_in_time_may_have_landed"),
    },
    Defect {
        name: "a start is what the last one was, whatever was chosen",
        file: "lifecycle/transitions.rs",
        old: "        spec.start_as(next);",
        new: "        drop(next);",
        caught_by: Test("lifecycle::tests::placing::a_wake_starts_as_it_was_chosen_and_says_what_is_new"),
    },
    Defect {
        name: "a rescue gives up where the project has no room for an image",
        file: "executor/images.rs",
        old: "Err(put_off(format!(\n                \"room for an image in the provider's project ({})\",\n                vendor_message(&error)\n            ))),",
        new: "Ok(EffectOutcome::ImageImpossible { message: vendor_message(&error) }),",
        caught_by: Test("executor::tests::a_project_without_room_for_an_image_is_waited_for"),
    },
    Defect {
        name: "an image that is late is not looked at again",
        file: "lifecycle/next_effect.rs",
        old: "late_image.map(|_| Effect::AwaitImage)",
        new: "late_image.filter(|_| false).map(|_| Effect::AwaitImage)",
        caught_by: Test(
            "lifecycle::tests::late_image::one_that_is_complete_after_its_time_is_the_work_and_nothing_is_lost",
        ),
    },
    Defect {
        name: "what another project does not have is believed gone",
        file: "executor.rs",
        old: "self.believe_gone().await.map(|()| EffectOutcome::Gone)",
        new: "Ok(EffectOutcome::Gone)",
        caught_by: Test(
            "executor::tests::a_token_of_another_project_makes_no_server_and_believes_no_server_gone",
        ),
    },
    Defect {
        name: "a rescue runs out of time while the token sees another project",
        file: "lifecycle/outcomes.rs",
        old: "            *started_at = context.now;",
        new: "            let _stays = started_at;",
        caught_by: Test(
            "lifecycle::tests::rescue::a_rescue_does_not_run_out_of_time_while_the_token_sees_another_project",
        ),
    },
    Defect {
        name: "the machine of a record that cannot be read bills for ever",
        file: "sweep/server.rs",
        old: "Asked::Unreadable => return judge_by_label_alone(server, UNREADABLE, site),",
        new: "Asked::Unreadable => return Judged::new(Verdict::Leave, UNREADABLE),",
        caught_by: Test(
            "sweep::tests::where_nobody_answers_a_machine_goes_only_beyond_every_deadline_and_an_image_is_tried",
        ),
    },
    Defect {
        name: "the machine of a lost record waits for its label",
        file: "sweep/server.rs",
        old: "Some(row) => lost::judge_server(owner, row, site),",
        new: "Some(_) => judge_unknown(overstayed, &Site { index_in_doubt: true, ..*site }),",
        caught_by: Test(
            "sweep::tests::lost::the_machine_of_a_lost_record_ends_with_its_lifetime_and_an_image_is_taken_in_the_time_to_drain",
        ),
    },
    Defect {
        name: "a lost record with a machine is asked about once a day",
        file: "sweep/lost.rs",
        old: "(row.may_have_machine() || hour % HOURS == spread % HOURS)",
        new: "(hour % HOURS == spread % HOURS)",
        caught_by: Test(
            "sweep::tests::lost::a_lost_one_is_found_within_a_round_where_it_may_bill_and_within_a_day_where_it_rests",
        ),
    },
    Defect {
        name: "backups of a lost record go as soon as it is deleted",
        file: "sweep/lost.rs",
        old: "    plus(deleted_at, site.policy.undo)",
        new: "    minus(deleted_at, site.policy.undo)",
        caught_by: Test(
            "sweep::tests::lost::names_and_backups_of_a_lost_record_go_at_its_owners_word_and_backups_no_sooner_than_any_others",
        ),
    },
    Defect {
        name: "a server that cannot be started is waited for",
        file: "lifecycle/start_check.rs",
        old: "(ServerStatus::Off, StartCheck::SwitchedOn { .. }) => return could_not_be_started(draft, context),",
        new: "(ServerStatus::Off, StartCheck::SwitchedOn { .. }) => StartCheck::Runs,",
        caught_by: Test(
            "lifecycle::tests::starting::a_server_that_was_not_started_is_switched_on_and_one_that_stays_off_is_tried_elsewhere",
        ),
    },
    Defect {
        name: "a server is made again where it could not be started",
        file: "lifecycle/transitions.rs",
        old: "    other_place::avoid(&mut draft.record);\n",
        new: "",
        caught_by: Test(
            "lifecycle::tests::starting::what_is_chosen_anew_avoids_the_place_that_could_not_start_it",
        ),
    },
    Defect {
        name: "a snapshot that a later one superseded stays while the packs that it alone needs go",
        file: "retention.rs",
        old: "        precedes_a_receipt(record, *by, *at_ms) && !is_listed(name)",
        new: "        *at_ms <= 20 && precedes_a_receipt(record, *by, *at_ms) && !is_listed(name)",
        caught_by: Test(
            "retention::tests::a_snapshot_of_a_machine_that_is_proved_and_in_no_list_goes_however_young_and_no_other_does",
        ),
    },
    Defect {
        name: "the deletion of a server that its own image locks is asked for ever more rarely",
        file: "lifecycle/outcomes.rs",
        old: "if effect == Effect::DeleteServer && locked_by_us { 4 } else { u32::MAX }",
        new: "if effect == Effect::DeleteServer && locked_by_us { 9 } else { u32::MAX }",
        caught_by: Test(
            "lifecycle::tests::late_image::a_server_that_its_own_image_locks_is_asked_about_at_pauses_that_stay_short",
        ),
    },
];
