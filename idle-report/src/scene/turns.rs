//! What Claude Code does in a turn, as it mostly goes.

use super::Scene;
use ebbtide_idle_agent::idle::facts::SessionStatus;
use ebbtide_idle_agent::idle::read::hook::{Happened, Left};

impl Scene {
    /// Somebody gives Claude Code something to do.
    pub fn prompt(&mut self, claude: u32) {
        self.type_keys();
        self.report(claude, Happened::Prompted);
        self.says(claude, SessionStatus::Busy);
        self.call(claude, 0);
    }

    /// Claude Code's turn is over, and this goes on.
    pub fn stop(&mut self, claude: u32, left: Left) {
        self.answered(claude);
        self.writes(claude, false);
        self.load(claude, 12);
        self.report(claude, Happened::Stopped(left));
        self.says(claude, if left.shells > 0 { SessionStatus::Shell } else { SessionStatus::Idle });
    }

    /// A turn as it mostly goes, for so long: thinking, answers, commands.
    pub fn work(&mut self, claude: u32, secs: u64) {
        let until = self.at + secs * 1000;
        while self.at < until {
            self.call(claude, 0);
            self.pass(20);
            self.call(claude, 900);
            self.writes(claude, true);
            self.load(claude, 60);
            self.pass(20);
            self.answered(claude);
            self.report(claude, Happened::Went);
            let command = self.spawn(claude, "bash");
            let build = self.spawn(command, "rustc");
            self.load(build, 700);
            self.files(true);
            self.pass(20);
            self.files(false);
            self.end(command);
            self.writes(claude, false);
            self.load(claude, 12);
            self.report(claude, Happened::Went);
        }
    }
}
