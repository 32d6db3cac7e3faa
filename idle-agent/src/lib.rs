//! The idle-agent: the daemon on a machine, and the `ebb` command that talks to it.
//!
//! It boots the machine by the boot plan (`boot`), finds its ports and says who may reach them (`ports`, `access`,
//! `caddy`), says why it is awake (`idle`), and backs it up before it goes (`snapshot`, `drain`, `freeze`, `child`,
//! `backup`). `session` and `link` talk to the control plane, `conductor` is the one loop that decides with the pure
//! parts. It must never delete anything of the workspace, hold a provider's credential, or believe one signal alone.

mod access;
pub mod backup;
mod boot;
pub mod cli;
mod cloudcli;
mod config;
mod control_plane;
mod control_socket;
mod daemon;
mod event_loop;
pub mod idle;
pub mod os;
mod ports;
mod sleep;
