//! The list of published programs: one small object, changed by whoever saw its last version.

use crate::error::{ApiError, ApiResult};
use crate::r2::bucket::{PROGRAMS, Put, Storage};
use ebbtide_api::ErrorCode;
use ebbtide_api::programs::ProgramList;

/// How often a change is tried anew because somebody else was quicker.
const TRIES: u32 = 5;

/// What is published.
///
/// # Errors
/// Storage does not answer, or the list is damaged.
pub async fn published(storage: &Storage) -> ApiResult<ProgramList> {
    Ok(storage.json(PROGRAMS).await?.unwrap_or_default())
}

/// Changes the list, over what stands at that moment, and says what it is then.
///
/// # Errors
/// As [`published`], or others are quicker again and again.
pub async fn change(storage: &Storage, change: impl Fn(&mut ProgramList)) -> ApiResult<ProgramList> {
    for _ in 0..TRIES {
        let before = storage.head(PROGRAMS).await?.map(|object| object.etag());
        let mut list = published(storage).await?;
        change(&mut list);
        let is_stored = match before {
            Some(etag) => {
                let text = serde_json::to_string(&list).map_err(ApiError::internal)?;
                storage.replace_version(PROGRAMS, text, etag).await?
            }
            None => storage.create_json(PROGRAMS, &list).await? == Put::Stored,
        };
        if is_stored {
            return Ok(list);
        }
    }
    Err(ApiError::new(ErrorCode::StorageUnavailable, "others change the list of programs all the time"))
}
