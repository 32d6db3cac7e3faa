//! The stage of a scene: one machine, its terminal windows, its model, and the marks that become labels.
//! Looks from outside wherever it can: whatever a scene starts in the machine is recorded as well.

use super::Pace;
use anyhow::Result;
use ebbtide_system_tests::machine::Machine;
use ebbtide_system_tests::{Stack, wait};
use std::time::Duration;

/// Where people work.
pub const DIRECTORY: &str = "/workspaces/ebbtide";
/// A machine on which a scene is played.
#[derive(Debug)]
pub struct Stage<'a> {
    pub stack: &'a Stack,
    pub id: String,
    pub machine: Machine,
    pub pace: Pace,
}

impl Stage<'_> {
    /// Runs something as the workspace's user.
    pub fn shell(&self, text: &str) -> Result<String> {
        self.machine.shell("ebb", text)
    }

    /// Runs something as root.
    pub fn root(&self, text: &str) -> Result<String> {
        self.machine.shell("root", text)
    }

    /// Puts a file of the user's in place.
    pub fn file(&self, path: &str, text: &str) -> Result<()> {
        let folder = path.rsplit_once('/').map_or("~", |(folder, _)| folder);
        self.shell(&format!("mkdir -p {folder} && cat > {path} <<'END-OF-FILE'\n{text}\nEND-OF-FILE\n"))
            .map(drop)
    }

    /// Runs a program in a terminal window of that name.
    pub fn window(&self, name: &str, program: &str) -> Result<()> {
        self.file(&format!("~/{name}.sh"), &format!("cd {DIRECTORY}\n. ~/agents.env\n{program}"))?;
        self.shell(&format!("tmux new-window -d -n {name} 'exec bash ~/{name}.sh'")).map(drop)
    }

    /// A person types a line into a window.
    pub fn types(&self, window: &str, line: &str) -> Result<()> {
        self.shell(&format!("tmux send-keys -t :{window} -l '{line}'"))?;
        // What comes all at once is taken for pasted text.
        self.lasts(1);
        self.presses(window, "Enter")
    }

    /// A person presses a key in a window.
    pub fn presses(&self, window: &str, key: &str) -> Result<()> {
        self.shell(&format!("tmux send-keys -t :{window} {key}")).map(drop)
    }

    /// From now on work goes on.
    pub fn must_stay(&self) -> Result<()> {
        self.mark("must_stay")
    }

    /// From now on nothing goes on; watches for as long as that takes to show.
    pub fn must_sleep(&self) -> Result<()> {
        self.mark("must_sleep")?;
        self.lasts(self.pace.rest_secs());
        Ok(())
    }

    /// Says where the scene is.
    pub fn mark(&self, name: &str) -> Result<()> {
        self.root(&format!("ebb trace mark {name}")).map(drop)
    }

    /// Lets time pass.
    #[expect(clippy::unused_self, reason = "a scene reads as what happens on its stage")]
    pub fn lasts(&self, secs: u64) {
        std::thread::sleep(Duration::from_secs(secs));
    }

    /// Lets so many idle timeouts pass.
    pub fn lasts_timeouts(&self, timeouts: f64) {
        self.lasts(self.times(timeouts));
    }

    /// So many idle timeouts, in seconds.
    pub fn times(&self, timeouts: f64) -> u64 {
        self.pace.times(timeouts)
    }

    /// Waits until the model has been asked so often in all.
    pub fn asked(&self, times: usize) -> Result<()> {
        self.noted("asked", times)
    }

    /// Waits until so many turns in all have ended with the model's last word.
    pub fn finished(&self, turns: usize) -> Result<()> {
        self.noted("finished", turns)
    }

    fn noted(&self, word: &str, times: usize) -> Result<()> {
        self.until(&format!("the model's note \"{word}\", {times} times"), || {
            // Read from outside: a look of ours would be one more process to record.
            let notes = std::fs::read_to_string(self.machine.path("/home/ebb/model.log")).unwrap_or_default();
            Ok(notes.lines().filter(|line| line.contains(word)).count() >= times)
        })
    }

    /// Waits until a window shows a text.
    pub fn shows(&self, window: &str, text: &str) -> Result<()> {
        self.until(&format!("\"{text}\" in the window {window}"), || {
            Ok(self.shell(&format!("tmux capture-pane -p -t :{window}"))?.contains(text))
        })
    }

    /// Waits until something in the machine listens.
    pub fn listens(&self, port: u16) -> Result<()> {
        self.until(&format!("port {port}"), || Ok(self.machine.listens(port)))
    }

    /// Waits until a job has made the file that says so.
    pub fn ended(&self) -> Result<()> {
        self.until("the job's end", || Ok(self.machine.path("/home/ebb/ended").exists()))
    }

    /// Waits until a shell condition holds.
    pub fn holds(&self, condition: &str) -> Result<()> {
        self.until(condition, || Ok(self.shell(&format!("if {condition}; then echo yes; fi"))? == "yes"))
    }

    fn until(&self, what: &str, is_so: impl Fn() -> Result<bool>) -> Result<()> {
        wait::until(what, self.pace.limit(), || match is_so() {
            Ok(true) => Ok(()),
            Ok(false) => Err("not yet".to_owned()),
            Err(error) => Err(format!("{error:#}")),
        })
    }
}
