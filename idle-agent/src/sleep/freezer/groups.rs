//! Which control groups hold what could change the files that are kept: sessions of people, what the daemon started for
//! them, containers and their daemons, and the daemons that start jobs at a time.

use crate::os::cgroups::{State, Tree};
use std::io;

/// Where systemd puts the slice of the user's (`os::service::WORK_SLICE`).
const WORK: &str = "ebbtide.slice/ebbtide-work.slice";
/// The `sshd` of ours: no session begins while all others stand still.
const SSHD: &str = "ebbtide.slice/ebbtide-sshd.service";
/// Groups as a whole: sessions (SSH, consoles, `systemd --user`) whoever's they are, and machines and containers.
const WHOLE: [&str; 8] =
    ["user.slice", WORK, SSHD, "machine.slice", "docker", "libpod_parent", "kubepods.slice", "kubepods"];
/// Services: what runs jobs at a time, and what starts containers again.
const SERVICES: [&str; 11] = [
    "anacron.service",
    "atd.service",
    "containerd.service",
    "cron.service",
    "crond.service",
    "cronie.service",
    "crio.service",
    "docker.service",
    "fcron.service",
    "k3s.service",
    "podman.service",
];
/// How the groups of containers begin, and of what builds their images, each with what ends it.
const CONTAINERS: [&str; 5] = ["docker-", "buildkit-", "libpod-", "crio-", "cri-containerd-"];
/// How deep slices lie within slices where containers are looked for.
const DEEPEST: usize = 8;

/// The groups of this moment, those without a process left out. None holds this process.
///
/// # Errors
/// They cannot be looked at.
pub fn of_work(tree: &Tree) -> io::Result<Vec<String>> {
    let mut groups: Vec<String> = WHOLE.map(str::to_owned).into();
    add_below(tree, "", DEEPEST, &mut groups)?;
    let mut kept = Vec::new();
    for group in groups {
        if !tree.holds_us(&group) && tree.state(&group)? != State::Empty {
            kept.push(group);
        }
    }
    Ok(kept)
}

/// Adds services and containers, in whichever slice they are: the parent of a container's group is its owner's choice.
fn add_below(tree: &Tree, slice: &str, deeper: usize, groups: &mut Vec<String>) -> io::Result<()> {
    for name in tree.below(slice)? {
        let group = if slice.is_empty() { name.clone() } else { format!("{slice}/{name}") };
        if SERVICES.contains(&name.as_str()) || is_container(&name) {
            groups.push(group);
        } else if name.ends_with(".slice") && deeper > 0 && !groups.contains(&group) {
            add_below(tree, &group, deeper - 1, groups)?;
        }
    }
    Ok(())
}

fn is_container(group: &str) -> bool {
    (group.ends_with(".scope") || group.ends_with(".slice"))
        && CONTAINERS.iter().any(|start| group.starts_with(start))
}
