//! The idle-agent: the daemon on a machine, and the `ebb` command that talks to it.
//!
//! In the order in which they use one another: `os`; `describe`, which says what a repository is made of; `containers`,
//! which knows what Docker keeps; `control_plane`, which talks to it; `backup`, a process of its own; `sleep`, which backs
//! the machine up before it goes; `access` and `ports`, which say who may reach what listens; `terminal`, in the browser;
//! `user_settings`, what secrets become; `cloudcli`; `firewall`, which keeps the packet filter standing; `ssh`, the
//! machine's `sshd`; `boot`, which works through the boot plan; `idle`, which says why the machine is awake. `event_loop` is the one loop that decides with the
//! pure parts; `cli` and `control_socket` are the command on the machine. A test holds the order (`tests/layers.rs`). It
//! must never delete anything of the workspace, hold a provider's credential, or believe one signal alone.

mod access;
pub mod backup;
mod boot;
pub mod cli;
mod cloudcli;
mod config;
mod containers;
mod control_plane;
mod control_socket;
mod daemon;
mod describe;
mod event_loop;
pub mod firewall;
pub mod idle;
pub mod os;
mod ports;
#[cfg(test)]
#[path = "../tests/common/skip.rs"]
mod skip;
mod sleep;
mod ssh;
mod terminal;
mod user_settings;
