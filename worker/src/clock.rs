//! The control plane's clock: nothing else reads the time.

use ebbtide_api::Timestamp;

/// The control plane's clock.
pub fn now() -> Timestamp {
    i64::try_from(worker::Date::now().as_millis())
        .ok()
        .and_then(|millis| Timestamp::from_millisecond(millis).ok())
        .unwrap_or(Timestamp::UNIX_EPOCH)
}
