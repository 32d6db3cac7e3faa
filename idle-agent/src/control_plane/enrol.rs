//! Enrolment: the first one, and the one after a reboot. It is retried for ever while the control plane is away,
//! at a bounded rate, and given up only when the control plane says no.

use crate::config::{Config, Places};
use crate::control_plane::api_client::{ApiClient, CallError};
use crate::os::atomic_file;
use backon::{BackoffBuilder, ExponentialBuilder};
use ebbtide_api::error::ErrorCode;
use ebbtide_api::vm::{Enrolled, UserSettings};
use ebbtide_api::{Generation, WorkspaceId};
use std::path::PathBuf;
use std::time::Duration;

/// What enrolment gave us, kept in memory-backed storage so that a restarted agent goes on at once.
#[derive(serde::Serialize, serde::Deserialize)]
struct Kept {
    workspace: WorkspaceId,
    generation: Generation,
    enrolled: Enrolled,
}

/// Waits between attempts: from a quarter of a second up to 20 s, jittered so that a fleet does not return as one.
pub fn backoff() -> impl Iterator<Item = Duration> {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(250))
        .with_max_delay(Duration::from_secs(20))
        .with_jitter()
        .without_max_times()
        .build()
}

/// Enrols, however long it takes, or goes on with what an earlier life of the agent got since the machine started.
///
/// # Errors
/// Only [`CallError::Fenced`] and a refusal in the control plane's own words.
pub fn enrol(config: &mut Config, places: &Places, api_client: &ApiClient) -> Result<Enrolled, CallError> {
    if let Some(kept) = atomic_file::read_json::<Kept>(&kept_file(places))
        .filter(|kept| kept.workspace == config.workspace && kept.generation == config.generation)
    {
        tracing::info!("going on with the enrolment of this start");
        // What time it was is not what time it is.
        return Ok(Enrolled { control_time_secs: None, ..kept.enrolled });
    }
    let mut waits = backoff();
    loop {
        match api_client.enrol() {
            Ok(enrolled) => {
                keep(config, places, api_client, &enrolled);
                tracing::info!(workspace = %config.workspace, generation = config.generation.0, "enrolled");
                return Ok(enrolled);
            }
            // Anything but a clear no may be a control plane that is being put right.
            Err(error) if !is_no(&error) => {
                let wait = waits.next().unwrap_or(Duration::from_secs(20));
                tracing::warn!(%error, wait_ms = u64::try_from(wait.as_millis()).unwrap_or(0), "enrolling again");
                std::thread::sleep(wait);
            }
            Err(error) => return Err(error),
        }
    }
}

/// Whether the control plane will never enrol this key for this generation.
fn is_no(error: &CallError) -> bool {
    matches!(error, CallError::Fenced | CallError::Refused { code: Some(ErrorCode::EnrolmentRefused), .. })
}

/// Whether the control plane takes a machine back that was told to stop: asks once, and where the answer is yes forgets
/// that, and what was kept of an earlier enrolment.
pub fn is_taken_back(places: &Places, api_client: &ApiClient) -> bool {
    let asked = api_client.ask_again().map_err(|error| error.to_string());
    let forget = |enrolled: Enrolled| {
        drop(enrolled);
        match std::fs::remove_file(kept_file(places)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => api_client.unpark(),
        }
    };
    match asked.and_then(|enrolled| forget(enrolled).map_err(|error| error.to_string())) {
        Ok(()) => true,
        Err(reason) => {
            tracing::info!(%reason, "still parked");
            false
        }
    }
}

fn kept_file(places: &Places) -> PathBuf {
    places.run.join("enrolled.json")
}

/// Stores what enrolment gave; each secret in a file that only root reads.
fn keep(config: &mut Config, places: &Places, api_client: &ApiClient, enrolled: &Enrolled) {
    api_client.put_token(&enrolled.vm_token);
    let kept = Kept {
        workspace: config.workspace.clone(),
        generation: config.generation,
        enrolled: enrolled.clone(),
    };
    let stored =
        atomic_file::write(&places.repository_password(), enrolled.repository.password.as_bytes(), 0o600)
            .and_then(|()| atomic_file::write_json(&kept_file(places), &kept, 0o600))
            .and_then(|()| config.forget_enrolment_token(&places.config));
    if let Err(error) = stored {
        tracing::error!(%error, "cannot store what enrolment gave");
    }
}

/// Keeps settings in the place of those that enrolment gave: a daemon that is restarted must not bring back a secret that
/// is gone.
///
/// # Errors
/// What the file system says.
pub fn keep_settings(places: &Places, settings: &UserSettings) -> std::io::Result<()> {
    let file = kept_file(places);
    let Some(mut kept) = atomic_file::read_json_or_error::<Kept>(&file)? else { return Ok(()) };
    let UserSettings { revision, variables, files, ssh_keys, git_author, ssh } = settings.clone();
    kept.enrolled = Enrolled {
        settings_revision: revision,
        secrets: variables,
        files,
        ssh_keys,
        git_author,
        ssh,
        ..kept.enrolled
    };
    atomic_file::write_json(&file, &kept, 0o600)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_never_ends_and_its_rate_is_bounded() {
        let waits: Vec<_> = backoff().take(200).collect();
        assert_eq!(waits.len(), 200);
        assert!(waits.iter().all(|wait| *wait <= Duration::from_secs(45)), "{waits:?}");
        assert!(waits.iter().skip(20).all(|wait| *wait >= Duration::from_secs(20)), "{waits:?}");
    }
}
