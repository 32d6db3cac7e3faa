//! Which directories are doors to something that is not on this machine: network and FUSE file systems, and the kernel's
//! own. They are known by the kernel's list of mounts and never looked at: root may not look into another's FUSE mount, and
//! one whose server is stopped answers never.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

/// Where the kernel lists the mounts.
pub const LIST: &str = "/proc/self/mountinfo";
/// File systems whose files are elsewhere, or nowhere; those that begin with `fuse` besides.
const FOREIGN: [&str; 31] = [
    "9p",
    "afs",
    "autofs",
    "beegfs",
    "binfmt_misc",
    "bpf",
    "ceph",
    "cgroup",
    "cgroup2",
    "cifs",
    "configfs",
    "debugfs",
    "devpts",
    "devtmpfs",
    "efivarfs",
    "fusectl",
    "gfs2",
    "glusterfs",
    "lustre",
    "mqueue",
    "nfs",
    "nfs4",
    "overlay",
    "proc",
    "pstore",
    "rpc_pipefs",
    "smb3",
    "smbfs",
    "sysfs",
    "tracefs",
    "virtiofs",
];

/// The mounts of one moment.
#[derive(Debug, Default)]
pub struct Mounts {
    foreign: BTreeMap<PathBuf, String>,
}

impl Mounts {
    /// Reads them. Where there is no list nothing is left out.
    pub fn read(list: &Path) -> Self {
        Self::parse(&std::fs::read(list).unwrap_or_default())
    }

    /// Of a line such as `36 35 0:51 / /home/ebb/mnt rw,nosuid - fuse.sshfs host: rw`.
    fn parse(list: &[u8]) -> Self {
        let mut mounts = Self::default();
        for line in list.split(|byte| *byte == b'\n') {
            let mut fields = line.split(|byte| *byte == b' ');
            let Some(at) = fields.nth(4) else { continue };
            let Some(kind) = fields.skip_while(|field| *field != b"-").nth(1) else { continue };
            let (at, kind) = (unescaped(at), String::from_utf8_lossy(kind).into_owned());
            // Of several at one place the last covers the others.
            // `fuseblk` is a disk of this machine's, such as one with NTFS.
            if (kind.starts_with("fuse") && kind != "fuseblk") || FOREIGN.contains(&kind.as_str()) {
                mounts.foreign.insert(at, kind);
            } else {
                mounts.foreign.remove(&at);
            }
        }
        mounts
    }

    /// Places below a path whose files are not this machine's.
    pub fn below(&self, path: &Path) -> Vec<PathBuf> {
        self.foreign.keys().filter(|at| at.starts_with(path)).cloned().collect()
    }

    /// What is mounted at a path, where its files are not this machine's.
    pub fn foreign(&self, path: &Path) -> Option<&str> {
        self.foreign.get(path).map(String::as_str)
    }
}

/// Spaces and the like stand as three octal digits.
fn unescaped(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, more)) = rest.split_first() {
        let digits =
            more.get(..3).filter(|_| *first == b'\\').and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = more.get(3..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = more;
            }
        }
    }
    OsString::from_vec(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_elsewhere_is_known_by_its_kind_whatever_its_name() {
        let mounts = Mounts::parse(
            b"22 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
              36 22 0:51 / /home/ebb/my\\040mnt rw,nosuid shared:7 - fuse.sshfs h: rw\n\
              37 22 0:52 / /home/ebb/nas rw - nfs4 nas:/x rw\n\
              38 22 8:2 / /workspaces/disk rw - ext4 /dev/sdb1 rw\n\
              39 22 0:53 / /workspaces/back rw - fuse.rclone r: rw\n\
              40 39 8:2 / /workspaces/back rw - ext4 /dev/sdb1 rw\n\
              torn",
        );
        let found = |path: &str| mounts.foreign(Path::new(path)).map(str::to_owned);
        assert_eq!(found("/home/ebb/my mnt").as_deref(), Some("fuse.sshfs"));
        assert_eq!(found("/home/ebb/nas").as_deref(), Some("nfs4"));
        for path in ["/", "/workspaces/disk", "/workspaces/back", "/home/ebb/my"] {
            assert_eq!(found(path), None, "{path}");
        }
    }
}

#[cfg(test)]
mod fuzz {
    use super::*;
    use ebbtide_fuzz_inputs::bytes_like;
    use proptest::prelude::*;

    const MOUNTS: &[&str] = &[
        "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n36 22 0:51 / /home/ebb/my\\040mnt rw,nosuid shared:7 - fuse.sshfs h: rw\n",
        "39 22 0:53 / /workspaces/back\\134\\011 rw - fuse.rclone r: rw\n40 39 8:2 / /w rw - xfs /dev/sdb1 rw\n",
    ];

    proptest! {
        #[test]
        fn a_list_of_any_kind_names_places(list in bytes_like(MOUNTS)) {
            let mounts = Mounts::parse(&list);
            prop_assert_eq!(mounts.below(Path::new("")).len(), mounts.foreign.len());
        }
    }
}
