//! The disks of machines and images: directories under the data directory that overlayfs lays over the host's files.
//!
//! A disk holds what the machine changed, and what hides the host's private files from it. Hiding follows one rule:
//! only the system's own directories are shown, and of those nothing that an ordinary user of the host cannot read.
//! Whatever is in a disk was written by a machine: no symbolic link in it is ever followed here.

use std::fs::{self, DirBuilder, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{CWD, FileType, Mode, XattrFlags, lsetxattr, mknodat};

use super::step::{During, StepError};

/// The host's user and group ids that machines' ids are mapped to: 0..65536 inside is `ID_BASE`.. outside.
pub const ID_BASE: u32 = 100_000;
pub const ID_COUNT: u32 = 65_536;
const NOBODY: u32 = 65_534;

/// Top-level directories of which a machine sees the host's files.
const SHOWN: [&str; 9] = ["bin", "etc", "lib", "lib32", "lib64", "libx32", "sbin", "usr", "var"];
/// Top-level directories that every machine has, empty at first, with their modes.
const OWN: [(&str, u32); 12] = [
    ("boot", 0o755),
    ("dev", 0o755),
    ("home", 0o755),
    ("media", 0o755),
    ("mnt", 0o755),
    ("opt", 0o755),
    ("proc", 0o555),
    ("root", 0o700),
    ("run", 0o755),
    ("srv", 0o755),
    ("sys", 0o555),
    ("tmp", 0o1777),
];
/// The parts of /var/lib that belong to the system rather than to a service with data of its own.
const SHOWN_IN_VAR_LIB: [&str; 7] = ["apt", "dpkg", "misc", "pam", "python", "systemd", "ucf"];
/// Directories and files in /etc that speak of the host alone, readable or not.
const OWN_IN_ETC: [&str; 3] = ["systemd/system", "systemd/user", "gitconfig"];

/// Where disks and images are.
#[derive(Debug, Clone)]
pub struct Disks {
    data_dir: PathBuf,
}

impl Disks {
    /// Takes the directory into use; it must not be one that machines see.
    pub fn open(data_dir: &Path) -> Result<Self, StepError> {
        fs::create_dir_all(data_dir).during(format!("creating {}", data_dir.display()))?;
        let data_dir = data_dir.canonicalize().during(format!("resolving {}", data_dir.display()))?;
        let shown =
            data_dir.components().nth(1).is_some_and(|top| SHOWN.iter().any(|name| top.as_os_str() == *name));
        if shown && !data_dir.starts_with("/var") {
            return Err(io::Error::other(
                "machines see the host's files there; choose another data directory",
            ))
            .during(data_dir.display().to_string());
        }
        for part in ["machines", "images"] {
            let path = data_dir.join(part);
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&path)
                .during(format!("creating {}", path.display()))?;
        }
        Ok(Self { data_dir })
    }

    /// The directory of a machine; holds `upper`, `work`, `lower`, `root` and `console.log`.
    pub fn machine(&self, server_id: u64) -> PathBuf {
        self.data_dir.join("machines").join(server_id.to_string())
    }

    fn image(&self, image_id: u64) -> PathBuf {
        self.data_dir.join("images").join(image_id.to_string())
    }

    /// Makes the machine's disk, unless it has one, and hides from it what the host has become since.
    pub fn prepare(&self, server_id: u64, disk_from: Option<u64>) -> Result<PathBuf, StepError> {
        let machine = self.machine(server_id);
        let upper = machine.join("upper");
        if fs::symlink_metadata(&upper).is_err() {
            let unfinished = machine.join("upper.new");
            remove_tree(&unfinished).during("removing an unfinished disk")?;
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&machine)
                .during("creating the machine's directory")?;
            match disk_from {
                Some(image_id) => copy_tree(&self.image(image_id), &unfinished)
                    .during(format!("copying the disk of image {image_id}"))?,
                None => {
                    fs::create_dir(&unfinished).during("creating the disk")?;
                    own(&unfinished, 0o755, 0, 0).during("giving the disk to the machine")?;
                }
            }
            fs::rename(&unfinished, &upper).during("naming the disk")?;
        }
        for part in ["work", "lower", "root"] {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(machine.join(part))
                .during(format!("creating {part}"))?;
        }
        empty(&upper.join("tmp")).during("emptying /tmp")?;
        hide(&upper).during("hiding the host's private files")?;
        Ok(machine)
    }

    pub fn destroy(&self, server_id: u64) -> Result<(), StepError> {
        remove_tree(&self.machine(server_id)).during(format!("removing the disk of server {server_id}"))
    }

    /// Copies the disk to the image, in place of an earlier copy. Answers whether there was a disk.
    pub fn save_image(&self, server_id: u64, image_id: u64) -> Result<bool, StepError> {
        let upper = self.machine(server_id).join("upper");
        if fs::symlink_metadata(&upper).is_err() {
            return Ok(false);
        }
        let image = self.image(image_id);
        let unfinished = image.with_extension("new");
        remove_tree(&unfinished).during("removing an unfinished image")?;
        copy_tree(&upper, &unfinished).during(format!("copying the disk of server {server_id}"))?;
        remove_tree(&image).during("removing the earlier image")?;
        fs::rename(&unfinished, &image).during("naming the image")?;
        Ok(true)
    }

    pub fn delete_image(&self, image_id: u64) -> Result<(), StepError> {
        remove_tree(&self.image(image_id)).during(format!("removing image {image_id}"))
    }
}

/// Gives a path in a disk to a user of the machine; `uid` and `gid` are the machine's.
pub fn own(path: &Path, mode: u32, uid: u32, gid: u32) -> io::Result<()> {
    // An id of the host beyond the mapped ones becomes `nobody`.
    let inside = |id: u32| Some(ID_BASE + if id < ID_COUNT { id } else { NOBODY });
    lchown(path, inside(uid), inside(gid))?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Copies owners, modes, devices and the overlay's own attributes too, which no standard library function does.
fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    let copied = Command::new("cp").arg("-a").arg("--reflink=auto").arg("--").args([from, to]).output()?;
    if copied.status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!("cp: {}", String::from_utf8_lossy(&copied.stderr).trim())))
}

fn empty(dir: &Path) -> io::Result<()> {
    if !is_real_dir(dir) {
        return Ok(());
    }
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?
        } else {
            fs::remove_file(entry.path())?
        }
    }
    Ok(())
}

fn is_real_dir(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.is_dir())
}

/// Writes into the disk what hides the host's files: whiteouts for things, opaque directories for places.
fn hide(upper: &Path) -> io::Result<()> {
    for (name, mode) in OWN {
        make_opaque(&upper.join(name), mode, (0, 0))?;
    }
    for entry in fs::read_dir("/")? {
        let name = entry?.file_name();
        let known = SHOWN.iter().chain(OWN.iter().map(|(own, _)| own)).any(|known| name == *known);
        if !known {
            cover(&upper.join(&name))?;
        }
    }
    if let Some(var) = merged(upper, Path::new("var"))? {
        hide_dirs_except(&var, Path::new("/var"), &["lib"])?;
        if let Some(lib) = merged(upper, Path::new("var/lib"))? {
            hide_dirs_except(&lib, Path::new("/var/lib"), &SHOWN_IN_VAR_LIB)?;
        }
    }
    for name in OWN_IN_ETC {
        let host = Path::new("/etc").join(name);
        let Ok(found) = fs::symlink_metadata(&host) else { continue };
        let parent = Path::new("etc").join(name).parent().map(Path::to_path_buf).unwrap_or_default();
        if let Some(parent) = merged(upper, &parent)? {
            hide_one(&parent.join(host.file_name().unwrap_or_default()), &found)?;
        }
    }
    for tree in ["etc", "usr/local", "var/lib/apt", "var/lib/systemd"] {
        hide_unreadable(upper, Path::new(tree))?;
    }
    Ok(())
}

/// The directory of the disk that is merged with the host's `/{path}`, made where it was missing;
/// `None` where the machine has put something else in its place, or the host has none.
fn merged(upper: &Path, path: &Path) -> io::Result<Option<PathBuf>> {
    let (mut ours, mut hosts) = (upper.to_path_buf(), PathBuf::from("/"));
    for part in path.components() {
        ours.push(part);
        hosts.push(part);
        let Ok(host) = fs::symlink_metadata(&hosts) else { return Ok(None) };
        if !host.is_dir() {
            return Ok(None);
        }
        match fs::symlink_metadata(&ours) {
            Err(_) => {
                fs::create_dir(&ours)?;
                own(&ours, host.mode() & 0o7777, host.uid(), host.gid())?;
            }
            Ok(found) if found.is_dir() => {}
            Ok(_) => return Ok(None),
        }
    }
    Ok(Some(ours))
}

fn hide_dirs_except(upper_dir: &Path, host_dir: &Path, shown: &[&str]) -> io::Result<()> {
    for entry in fs::read_dir(host_dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let found = entry.metadata()?;
        if !found.is_symlink() && !shown.iter().any(|shown| name == *shown) {
            hide_one(&upper_dir.join(name), &found)?;
        }
    }
    Ok(())
}

fn hide_unreadable(upper: &Path, tree: &Path) -> io::Result<()> {
    const OTHERS_READ: u32 = 0o004;
    const OTHERS_ENTER: u32 = 0o005;
    let host = Path::new("/").join(tree);
    if !is_real_dir(&host) {
        return Ok(());
    }
    for entry in fs::read_dir(&host)? {
        let entry = entry?;
        let found = entry.metadata()?;
        let path = tree.join(entry.file_name());
        let hidden = if found.is_dir() {
            found.mode() & OTHERS_ENTER != OTHERS_ENTER
        } else {
            !found.is_symlink() && found.mode() & OTHERS_READ == 0
        };
        if hidden {
            if let Some(parent) = merged(upper, tree)? {
                hide_one(&parent.join(entry.file_name()), &found)?;
            }
        } else if found.is_dir() {
            hide_unreadable(upper, &path)?;
        }
    }
    Ok(())
}

/// Hides one thing of the host: a directory stays, empty; anything else is not there at all.
fn hide_one(path: &Path, host: &Metadata) -> io::Result<()> {
    if host.is_dir() {
        make_opaque(path, host.mode() & 0o7777, (host.uid(), host.gid()))
    } else {
        cover(path)
    }
}

fn make_opaque(path: &Path, mode: u32, (uid, gid): (u32, u32)) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(_) => {
            fs::create_dir(path)?;
            own(path, mode, uid, gid)?;
        }
        Ok(found) if found.is_dir() => {}
        Ok(_) => return Ok(()),
    }
    Ok(lsetxattr(path, c"trusted.overlay.opaque", b"y", XattrFlags::empty())?)
}

/// A whiteout, unless the machine has something of its own there.
fn cover(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(_) => Ok(mknodat(CWD, path, FileType::CharacterDevice, Mode::empty(), 0)?),
        Ok(found) if found.is_dir() => make_opaque(path, 0o755, (0, 0)),
        Ok(_) => Ok(()),
    }
}
