//! Plays scenes on machines of one stack, several at once, and stores what their idle-agents recorded.
//! Must never ask the engine for its opinion: a trace is stored because its scene was played to the end.

use super::stage::Stage;
use super::{Pace, Scene, all, programs};
use anyhow::{Context, Result, bail, ensure};
use ebbtide_api::workspace::State;
use ebbtide_idle_agent::idle::trace::{Header, Source, is_held_out};
use ebbtide_system_tests::agents::Agents;
use ebbtide_system_tests::api::Discard;
use ebbtide_system_tests::{Machines, Options, Stack, machine};
use serde_json::json;
use std::collections::{BTreeMap, VecDeque};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// What to record.
#[derive(Debug, Clone)]
pub struct Wishes {
    /// Scenes whose name has one of these parts; all where there is none.
    pub only: Vec<String>,
    /// How many at once.
    pub at_once: usize,
    /// Where traces go.
    pub into: PathBuf,
    /// Leaves out those that are there.
    pub missing: bool,
    /// How fast.
    pub pace: Pace,
    /// The idle-agent that records; the newest built where not given.
    pub agent: Option<PathBuf>,
}

/// Records; says which scenes failed.
///
/// # Errors
/// The stack does not come up, or a scene failed.
pub fn record(wishes: &Wishes) -> Result<()> {
    let wanted = |scene: &Scene| {
        let named =
            wishes.only.is_empty() || wishes.only.iter().any(|part| scene.name.contains(part.as_str()));
        named && !(wishes.missing && path(&wishes.into, scene).exists())
    };
    let scenes: VecDeque<Scene> = all(wishes.pace).filter(wanted).collect();
    ensure!(!scenes.is_empty(), "no scene is called so, or all are there");
    std::fs::create_dir_all(&wishes.into)?;
    let repositories = tempfile::Builder::new().prefix("ebbtide-repositories-").tempdir()?;
    machine::serve_this_repository(repositories.path())?;
    let stack = Stack::start(Options {
        name: match wishes.pace {
            Pace::Scaled { .. } => "record".into(),
            Pace::FullLength { .. } => "record-full-length".into(),
        },
        machines: Machines::Process,
        policy: wishes.pace.policy(),
        repositories: Some(repositories.path().to_owned()),
        programs: Some(programs::directory()?),
        cron_every: Duration::from_secs(60),
        ..Options::default()
    })?;
    if let Some(agent) = &wishes.agent {
        stack.api.publish_agent(agent)?;
    }
    let (scenes, failed) = (Mutex::new(scenes), Mutex::new(Vec::new()));
    std::thread::scope(|threads| {
        for _ in 0..wishes.at_once.max(1) {
            threads.spawn(|| {
                loop {
                    let next = scenes.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                    let Some(scene) = next else { return };
                    eprintln!("record: {}", scene.name);
                    match one(&stack, &scene, wishes) {
                        Ok(bytes) => eprintln!("record: {} done, {bytes} bytes", scene.name),
                        Err(error) => {
                            eprintln!("record: {} failed: {error:#}", scene.name);
                            failed.lock().unwrap_or_else(PoisonError::into_inner).push(scene.name);
                        }
                    }
                }
            });
        }
    });
    stack.stop()?;
    let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    if failed.is_empty() { Ok(()) } else { bail!("failed: {}", failed.join(", ")) }
}

fn path(into: &Path, scene: &Scene) -> PathBuf {
    into.join(format!("{}.jsonl.gz", scene.name))
}

fn one(stack: &Stack, scene: &Scene, wishes: &Wishes) -> Result<usize> {
    let request = json!({ "repo": "http://git.ebbtide.test/ebbtide.git" });
    let id = stack.api.create(&request)?.id.to_string();
    let stored =
        on_machine(stack, &id, scene, wishes.pace).and_then(|text| store(&path(&wishes.into, scene), &text));
    let ended = stack.api.delete(&id, Discard::Work);
    let bytes = stored?;
    ended?;
    Ok(bytes)
}

fn on_machine(stack: &Stack, id: &str, scene: &Scene, pace: Pace) -> Result<String> {
    stack.api.wait_for(id, State::Running, Duration::from_secs(180))?;
    let machine = stack.machine_of(id)?;
    let agents = Agents::prepare(machine.clone())?;
    let stage = Stage { stack, id: id.to_owned(), machine, pace };
    programs::install(&stage, scene.programs)?;
    let version = |program: &&str| ((*program).to_owned(), programs::version(&stage, program));
    let versions: BTreeMap<String, String> = scene.programs.iter().map(version).collect();
    stage.root("ebb trace start")?;
    (scene.play)(&stage).with_context(|| agents.last_words())?;
    stage.mark("unlabelled")?;
    stage.root("ebb trace stop")?;
    let trace = stage.root("ebb trace save -")?;
    let header = Header {
        format: 1,
        name: scene.name.to_owned(),
        argument: scene.argument.to_owned(),
        source: Source::Recorded,
        programs: versions,
        held_out: is_held_out(scene.name),
    };
    Ok(format!("{}\n{trace}\n", serde_json::to_string(&header)?))
}

/// Writes it compressed, without a name or a time in it: the same trace is the same file.
fn store(path: &Path, text: &str) -> Result<usize> {
    let file = std::fs::File::create(path)?;
    let mut gzip = Command::new("gzip").arg("-9n").stdin(Stdio::piped()).stdout(file).spawn()?;
    gzip.stdin.take().context("gzip without an input")?.write_all(text.as_bytes())?;
    ensure!(gzip.wait()?.success(), "gzip failed");
    Ok(usize::try_from(std::fs::metadata(path)?.len())?)
}
