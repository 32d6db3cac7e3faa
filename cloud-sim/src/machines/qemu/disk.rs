//! Disks of virtual machines and images: files under the data directory, made and copied by `qemu-img`.
//!
//! A machine's disk holds what it wrote, over the image that it began with. An image that was saved stands alone, so that
//! what it was saved from may go.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

use super::command::Files;

/// Where the files of machines and images are.
#[derive(Debug, Clone)]
pub struct Disks {
    data_dir: PathBuf,
}

impl Disks {
    /// Takes the directory into use; nobody else may look into what machines hold.
    pub fn open(data_dir: PathBuf) -> io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt;
        for part in ["machines", "images"] {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(data_dir.join(part))?;
        }
        Ok(Self { data_dir })
    }

    pub fn files(&self, server_id: u64) -> Files {
        Files::new(self.data_dir.join("machines").join(server_id.to_string()))
    }

    fn image(&self, image_id: u64) -> PathBuf {
        self.data_dir.join("images").join(format!("{image_id}.qcow2"))
    }

    /// Makes the machine's disk unless it has one: a copy of the image with that id, else what lies over `first`.
    pub async fn prepare(&self, files: &Files, disk_from: Option<u64>, first: &Path) -> io::Result<()> {
        let disk = files.disk();
        if disk.exists() {
            return Ok(());
        }
        std::fs::create_dir_all(files.directory())?;
        let unfinished = disk.with_extension("new");
        match disk_from {
            // A copy, because the image may be deleted while the machine lives.
            Some(image_id) => copy(&self.image(image_id), &unfinished).await?,
            None => {
                let backing = first.canonicalize()?;
                let arguments = ["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b"].map(Path::new);
                qemu_img(arguments.into_iter().chain([backing.as_path(), &unfinished])).await?;
            }
        }
        std::fs::rename(unfinished, disk)
    }

    /// Copies a machine's disk into an image. `false` where there is no disk.
    pub async fn save(&self, server_id: u64, image_id: u64) -> io::Result<bool> {
        let (disk, image) = (self.files(server_id).disk(), self.image(image_id));
        if !disk.exists() {
            return Ok(false);
        }
        let unfinished = image.with_extension("new");
        copy(&disk, &unfinished).await?;
        std::fs::rename(unfinished, image)?;
        Ok(true)
    }

    pub fn delete_image(&self, image_id: u64) -> io::Result<()> {
        gone(std::fs::remove_file(self.image(image_id)))
    }

    pub fn destroy(&self, server_id: u64) -> io::Result<()> {
        gone(std::fs::remove_dir_all(self.files(server_id).directory()))
    }
}

/// What is not there has been removed.
fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Copies a disk and all that it lies over. Shared, because QEMU holds a lock while a machine is on; it is paused then, and
/// has written all that it was given.
async fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let arguments = ["convert", "-q", "--force-share", "-O", "qcow2"].map(Path::new);
    qemu_img(arguments.into_iter().chain([from, to])).await
}

async fn qemu_img(arguments: impl Iterator<Item = &Path>) -> io::Result<()> {
    let mut command = Command::new("qemu-img");
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    let output = command.output().await?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!("qemu-img: {}", String::from_utf8_lossy(&output.stderr).trim())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_never_there_is_gone() {
        let directory = tempfile::tempdir().unwrap();
        let disks = Disks::open(directory.path().join("data")).unwrap();
        disks.destroy(1).unwrap();
        disks.delete_image(1).unwrap();
        assert!(!disks.save(1, 2).await.unwrap());
    }
}
