//! The clock and the dice: the only places where time and randomness enter. Everything else is passed them.

use crate::error::{ApiError, ApiResult};
use ebbtide_api::Timestamp;

/// The control plane's clock.
pub fn now() -> Timestamp {
    i64::try_from(worker::Date::now().as_millis())
        .ok()
        .and_then(|millis| Timestamp::from_millisecond(millis).ok())
        .unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Fresh random bytes.
///
/// # Errors
/// The runtime has none, which it never says in practice.
pub fn random<const N: usize>() -> ApiResult<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(ApiError::internal)?;
    Ok(bytes)
}
