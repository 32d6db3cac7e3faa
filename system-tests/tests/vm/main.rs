//! Whole lives on virtual machines: the built Worker, the local cloud, and a Debian with its own kernel, systemd and
//! cloud-init, which gets our user-data verbatim through Hetzner's data source.
//!
//! Run by `scripts/test-vm`, one life at a time. A life is a list of steps; one that fails is told, and those after it
//! are tried all the same. No time is asserted: everything here is emulated, and limits are ten times what it takes.

mod debian_12;
mod docker;
mod first_boot;
mod life;
mod older_generation;
mod quick;
mod rescue;
mod restart;
mod ssh;
mod steps;
mod timeline;
