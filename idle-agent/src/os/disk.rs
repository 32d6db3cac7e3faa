//! How full a file system is.

use std::path::Path;

/// Parts of a file system that nobody but root can still use, in percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Of its bytes.
    pub space_percent: u8,
    /// Of its inodes; 0 where it makes them as they are needed.
    pub files_percent: u8,
}

/// How full the file system is that holds a path, where it can be seen.
pub fn usage(path: &Path) -> Option<Usage> {
    let found = rustix::fs::statvfs(path).ok()?;
    let used_blocks = found.f_blocks.saturating_sub(found.f_bfree);
    let used_files = found.f_files.saturating_sub(found.f_ffree);
    Some(Usage {
        space_percent: percent(used_blocks, found.f_bavail),
        files_percent: percent(used_files, found.f_favail),
    })
}

/// What is used, of that and what can still be had: rounded up, so that only what is all used is 100 and none.
fn percent(used: u64, left: u64) -> u8 {
    let whole = used.saturating_add(left).max(1);
    let percent = u128::from(used).saturating_mul(100).div_ceil(u128::from(whole));
    u8::try_from(percent).unwrap_or(100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_counts_of_what_there_is_for_people() {
        assert_eq!((percent(0, 0), percent(0, 5), percent(5, 0)), (0, 0, 100));
        assert_eq!((percent(89, 11), percent(90, 10), percent(901, 99)), (89, 90, 91));
        assert_eq!(percent(u64::MAX, u64::MAX), 100);
        assert!(usage(Path::new("/")).is_some() && usage(Path::new("/no/such/place")).is_none());
    }
}
