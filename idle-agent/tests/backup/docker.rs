//! Docker's data-root as a whole: layers with what the overlay file system writes into them, and volumes.

use super::{Bench, ended};
use crate::skip::skip;
use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, chown};
use std::path::Path;
use std::process::Command;

const ROOT: &str = "/var/lib/docker";

/// A data-root with a layer in which `gone` was removed and `opaque` replaced, and a volume of user 999.
fn plant(root: &Path) -> bool {
    let layer = root.join("overlay2/upper/diff");
    fs::create_dir_all(layer.join("opaque")).unwrap();
    fs::create_dir_all(root.join("overlay2/upper/merged/etc")).unwrap();
    fs::create_dir_all(root.join("overlay2/upper/work/work")).unwrap();
    fs::create_dir_all(root.join("containers/c1/mounts/shm")).unwrap();
    fs::create_dir_all(root.join("volumes/db/_data")).unwrap();
    fs::set_permissions(
        root.join("overlay2/upper/work/work"),
        std::os::unix::fs::PermissionsExt::from_mode(0o000),
    )
    .unwrap();
    fs::write(root.join("containers/c1/config.v2.json"), "{}").unwrap();
    fs::write(root.join("volumes/db/_data/rows"), "precious\n").unwrap();
    chown(root.join("volumes/db/_data/rows"), Some(999), Some(4_000_000_000)).unwrap();
    let whiteout = Command::new("mknod").arg(layer.join("gone")).args(["c", "0", "0"]).output().unwrap();
    // The kernel links all whiteouts of a mount to one.
    whiteout.status.success()
        && fs::hard_link(layer.join("gone"), layer.join("gone-too")).is_ok()
        && xattr::set(layer.join("opaque"), "trusted.overlay.opaque", b"y").is_ok()
}

mod as_root {
    use super::*;

    #[test]
    fn layers_come_back_with_what_was_removed_in_them_and_volumes_with_their_owners() {
        let bench = Bench::planted();
        if !plant(&bench.root().join("var/lib/docker")) {
            skip("no device, or no attribute of the kernel's, can be made here");
            return;
        }
        let done = ended(bench.backup_command().args(["--optional", ROOT])).done();
        assert_eq!(done["partial"], false, "{done}");
        assert!(!done["skipped"].to_string().contains("docker"), "{done}");
        let target = bench.path("restored");
        let outcome =
            ended(bench.command("restore").args(["--include", ROOT, "--target"]).arg(&target)).done();
        assert_eq!(outcome["differs"].as_array().map(Vec::len), Some(0), "{outcome}");
        let docker = target.join("var/lib/docker");
        let layer = docker.join("overlay2/upper/diff");
        for name in ["gone", "gone-too"] {
            let whiteout = fs::symlink_metadata(layer.join(name)).unwrap();
            assert!(whiteout.file_type().is_char_device() && whiteout.rdev() == 0, "{name}");
        }
        let opaque = xattr::get(layer.join("opaque"), "trusted.overlay.opaque").unwrap();
        assert_eq!(opaque.as_deref(), Some(&b"y"[..]));
        let rows = fs::metadata(docker.join("volumes/db/_data/rows")).unwrap();
        assert_eq!((rows.uid(), rows.gid()), (999, 4_000_000_000));
        assert_eq!(fs::metadata(docker.join("overlay2/upper/work/work")).unwrap().mode() & 0o7777, 0);
        for view in ["overlay2/upper/merged", "containers/c1/mounts/shm"] {
            assert!(fs::symlink_metadata(docker.join(view)).is_err(), "{view}");
        }
    }
}
