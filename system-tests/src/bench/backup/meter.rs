//! Runs programs to their end and says what they took: wall time, processor time, peak memory.
//!
//! Processor time is read from the kernel when a program has ended and is not waited for yet, so nothing is missing;
//! peak memory is the kernel's own high-water mark, looked at every few milliseconds while the program lives. Programs of
//! a pipe are added up. Must never hide what a program said when it failed.

use crate::bench::clock::pause;
use anyhow::{Context, Result, ensure};
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Kernel ticks in a second, as `/proc` counts them (`USER_HZ`, 100 on every Linux of today).
const TICKS: f64 = 100.0;
/// How often a program is looked at.
const EVERY: Duration = Duration::from_millis(4);
/// How the idle-agent says that its own writing is over and the fresh reader begins.
const VERIFIES: &str = r#""phase":"verify""#;
/// Lines of a failing program that are shown.
const LAST_LINES: usize = 5;

/// What programs took.
#[derive(Debug, Default, Clone)]
pub struct Taken {
    /// From the first one's start to the last one's end.
    pub wall: Duration,
    /// Processor seconds, user and system.
    pub cpu: f64,
    /// Bytes resident at most.
    pub peak: u64,
    /// When the reader began, where one did: wall time and processor seconds until then.
    pub proper: Option<(Duration, f64)>,
    /// The last line of standard output.
    pub said: String,
}

/// Runs a program, or several of which each reads what the one before writes.
///
/// # Errors
/// Where one cannot be started or fails, with what it said.
pub fn run(mut commands: Vec<Command>) -> Result<Taken> {
    let begun = Instant::now();
    let mut children: Vec<Child> = Vec::new();
    for command in &mut commands {
        let before = children.last_mut().and_then(|child| child.stdout.take());
        command.stdin(before.map_or_else(Stdio::null, Stdio::from));
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let name = command.get_program().to_string_lossy().into_owned();
        children.push(command.spawn().with_context(|| format!("starting {name}: is it installed?"))?);
    }
    std::thread::scope(|scope| {
        let last = children.last_mut().context("no program")?;
        let (pid, out) = (last.id(), last.stdout.take().context("no output")?);
        let reader = scope.spawn(move || {
            let (mut said, mut proper) = (String::new(), None);
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                if proper.is_none() && line.contains(VERIFIES) {
                    proper = cpu(pid).ok().map(|cpu| (begun.elapsed(), cpu));
                }
                said = line;
            }
            (said, proper)
        });
        let errors: Vec<_> = children
            .iter_mut()
            .filter_map(|child| child.stderr.take())
            .map(|mut err| {
                scope.spawn(move || {
                    let mut text = String::new();
                    let _ = err.read_to_string(&mut text);
                    text
                })
            })
            .collect();
        let (mut taken, mut failed) = (Taken::default(), None);
        let mut peaks = vec![0; children.len()];
        while !watch(&children, &mut peaks)? {
            crate::interrupt::check()?;
            pause(EVERY);
        }
        taken.wall = begun.elapsed();
        taken.peak = peaks.iter().sum();
        // Before anything is waited for: the reader may still look at a program that has ended.
        let (said, proper) = reader.join().unwrap_or_default();
        taken.said = said;
        // On a starved machine the line may be read only after the program was seen to have ended.
        taken.proper = proper.map(|(wall, cpu)| (wall.min(taken.wall), cpu));
        for (child, command) in children.iter_mut().zip(&commands) {
            taken.cpu += cpu(child.id())?;
            let status = child.wait().context("waiting for a program")?;
            if !status.success() {
                failed.get_or_insert(format!("{} ended with {status}", command.get_program().display()));
            }
        }
        let errors: Vec<String> = errors.into_iter().filter_map(|thread| thread.join().ok()).collect();
        let words = errors.join("\n");
        let words: Vec<&str> = words.lines().rev().take(LAST_LINES).collect();
        ensure!(failed.is_none(), "{}: {} {words:?}", failed.unwrap_or_default(), taken.said);
        Ok(taken)
    })
}

/// Looks at all of them; whether all have ended. One that has ended is still there: nobody has waited for it.
fn watch(children: &[Child], peaks: &mut [u64]) -> Result<bool> {
    let mut ended = true;
    for (child, peak) in children.iter().zip(peaks) {
        if fields(child.id())?.first().is_some_and(|state| state != "Z") {
            ended = false;
            let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
            let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let most = most.and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok());
            *peak = most.map_or(*peak, |kilobytes| (kilobytes * 1024).max(*peak));
        }
    }
    Ok(ended)
}

/// Processor seconds of a process and all of its threads so far.
fn cpu(pid: u32) -> Result<f64> {
    let fields = fields(pid)?;
    let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<f64>().ok()).unwrap_or_default();
    Ok((ticks(11) + ticks(12)) / TICKS)
}

/// What the kernel says of a process, from its state on.
fn fields(pid: u32) -> Result<Vec<String>> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).context("a program is gone")?;
    let rest = stat.rsplit_once(')').map(|(_, rest)| rest).unwrap_or_default();
    Ok(rest.split_whitespace().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(text: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", text]);
        command
    }

    #[test]
    fn a_pipe_is_one_measurement_and_its_last_line_is_kept() {
        let taken = run(vec![shell("printf 'a\\nb\\n'"), shell("cat")]).unwrap();
        assert_eq!(taken.said, "b");
        assert!(taken.proper.is_none());
    }

    #[test]
    fn what_fails_says_why() {
        let error = run(vec![shell("echo the reason >&2; exit 3"), shell("cat")]).unwrap_err();
        assert!(error.to_string().contains("the reason"), "{error}");
    }

    #[test]
    fn the_moment_at_which_the_reader_begins_is_noted() {
        let taken = run(vec![shell(r#"echo '{"event":"progress","phase":"verify"}'; echo end"#)]).unwrap();
        assert!(taken.proper.is_some_and(|(wall, _)| wall <= taken.wall));
    }
}
