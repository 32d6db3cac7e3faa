//! Input on terminals: the kernel marks a pty's inode as accessed when a program reads what somebody typed, and as
//! modified when it writes; only the first is a person. The marks have a grain of 8 seconds.

use crate::idle::facts::Marks;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Reads the marks of all terminals.
///
/// # Errors
/// The directory cannot be read.
pub fn read(pts: &Path) -> std::io::Result<Marks> {
    let mut marks = Marks::new();
    for entry in std::fs::read_dir(pts)?.filter_map(Result::ok) {
        let name = entry.file_name().to_string_lossy().into_owned();
        if let Some(metadata) =
            entry.metadata().ok().filter(|_| name.bytes().all(|byte| byte.is_ascii_digit()))
        {
            marks.insert(name, (metadata.atime(), metadata.atime_nsec()));
        }
    }
    Ok(marks)
}

/// A terminal that had input between two readings. One that was not there before had none yet that we know of.
pub fn typed_on<'a>(before: &Marks, after: &'a Marks) -> Option<&'a str> {
    after.iter().find_map(|(name, mark)| (before.get(name)? != mark).then_some(name.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_mark_is_input_and_a_new_or_closed_terminal_is_not() {
        let marks = |list: &[(&str, i64)]| {
            list.iter().map(|(name, at)| ((*name).to_owned(), (*at, 0))).collect::<Marks>()
        };
        let before = marks(&[("0", 1), ("1", 1)]);
        assert_eq!(typed_on(&before, &before), None);
        assert_eq!(typed_on(&before, &marks(&[("0", 1), ("1", 9)])), Some("1"));
        assert_eq!(typed_on(&before, &marks(&[("0", 1), ("2", 9)])), None);
        assert_eq!(typed_on(&before, &marks(&[("0", -5), ("1", 1)])), Some("0"), "a clock that was set back");
    }

    #[test]
    fn the_control_device_is_no_terminal() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["0", "ptmx"] {
            std::fs::write(directory.path().join(name), "").unwrap();
        }
        assert_eq!(read(directory.path()).unwrap().into_keys().collect::<Vec<_>>(), ["0"]);
        assert!(read(&directory.path().join("missing")).is_err());
    }
}
