//! Randomness, from the runtime.

use crate::error::{ApiError, ApiResult};

/// Fresh random bytes.
///
/// # Errors
/// The runtime has none, which it never says in practice.
pub fn random<const N: usize>() -> ApiResult<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(ApiError::internal)?;
    Ok(bytes)
}
