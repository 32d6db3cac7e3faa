//! Looking after SSH while the machine runs: not before it is open to people, and not while it is frozen.

use super::steps::MachineTools;
use super::{Boot, Reporter, packages, workspace_of};
use crate::firewall::Ssh;
use crate::os::clock::Moment;
use crate::os::command::is_installed;
use crate::os::mutex::read;
use crate::os::users;
use crate::sleep::freezer;
use crate::ssh::{PROGRAM, SshServer};
use std::sync::Arc;
use std::time::Duration;

/// How long installing the program may take, where the image has none.
const INSTALL_WITHIN: Duration = Duration::from_secs(120);
/// After how long that is tried again.
const INSTALL_AGAIN: Duration = Duration::from_secs(600);

/// What opens the machine to SSH.
pub struct SignIn {
    /// The server.
    pub server: SshServer,
    /// When installing it may be tried again.
    install_at: Moment,
}

impl SignIn {
    /// Nothing is started yet.
    pub fn new(server: SshServer) -> Self {
        Self { server, install_at: Moment::now() }
    }

    /// What the packet filter has to let in.
    pub fn wanted_of_firewall(&self) -> Ssh {
        if self.server.is_open() { Ssh::Open } else { Ssh::Closed }
    }
}

impl Boot {
    /// Starts, changes or ends SSH as the settings say.
    pub(super) fn tend_ssh(&mut self) {
        let Some(user) = workspace_of(&self.plan).and_then(|(name, ..)| users::user(&self.places.etc, name))
        else {
            return;
        };
        let is_open = read(&self.access.door).open;
        let wanted = self.settings.ssh();
        let Some(sign_in) =
            self.sign_in.as_ref().filter(|_| is_open && !freezer::is_frozen(&self.places.run))
        else {
            return;
        };
        if wanted.is_some() && !is_installed(PROGRAM[0]) {
            if Moment::now() < sign_in.install_at {
                return;
            }
            let installed = self.install_sshd();
            if let Some(sign_in) = &mut self.sign_in {
                sign_in.install_at = Moment::now().plus(INSTALL_AGAIN);
            }
            if let Err(error) = installed {
                return self.status.log(&format!("SSH is not let in: {error}; trying again"));
            }
        }
        let news = self.sign_in.as_mut().and_then(|sign_in| sign_in.server.tend(wanted.as_ref(), &user));
        if let Some(news) = news {
            self.status.log(&news);
        }
    }

    /// The bootstrap has masked its unit: what the package starts by itself never runs.
    fn install_sshd(&self) -> Result<(), String> {
        let status = Arc::clone(&self.status);
        let reporter = Reporter { status: &status, place: usize::MAX, begun: Moment::now() };
        let end = Moment::now().plus(INSTALL_WITHIN);
        packages::install(&PROGRAM[1..], &mut MachineTools { status: &status, reporter: &reporter, end })
    }
}
