//! The Worker itself: its size and start-up as `wrangler` sees them, and what each kind of invocation called.

use super::Bench;
use super::lives::Lives;
use super::log::{Calls, Log};
use super::report::{Section, Spread, verdict};
use crate::paths;
use crate::process::run;
use anyhow::{Context, Result};

/// What one invocation may call; the plan allows 50.
const CALLS_MOST: u32 = 40;
/// How often the start-up is timed.
const STARTS: usize = 15;
/// Instantiates the module with imports that do nothing, in a process of its own each time.
const START: &str = r#"
const bytes = require("node:fs").readFileSync(process.argv[1]);
let at = performance.now();
const module = new WebAssembly.Module(bytes);
const compiled = performance.now() - at;
const imports = {};
for (const { module: from, name, kind } of WebAssembly.Module.imports(module)) {
  (imports[from] ??= {})[name] = kind === "function" ? () => 0 : new WebAssembly.Tag({ parameters: ["externref"] });
}
at = performance.now();
const instance = new WebAssembly.Instance(module, imports);
try { instance.exports.__wbindgen_start?.(); } catch { /* wants the real imports; the time was taken all the same */ }
console.log(compiled, performance.now() - at);
"#;
/// The message with which an object logs the calls of one of its invocations.
const OBJECT: &str = "effects ran";
/// How many kinds of invocations are listed.
const LISTED: usize = 14;

/// Size and start-up: what `wrangler` would upload, and how long its WebAssembly takes to be there.
#[derive(Debug)]
pub struct Program {
    size: String,
    wasm: u64,
    compiled: Spread,
    /// Milliseconds for an instance of the compiled module.
    pub start: Spread,
}

/// Looks at the built Worker.
///
/// # Errors
/// Where `wrangler` or Node fails, or says it in other words than these.
pub fn program() -> Result<Program> {
    let directory = tempfile::tempdir()?;
    let module = paths::root().join("worker/build/index_bg.wasm");
    let wasm = std::fs::metadata(&module).context("the built Worker")?.len();
    let said = run(paths::wrangler()?, |command| {
        command
            .current_dir(paths::root())
            .env("PATH", paths::path_with_node())
            .envs([("CI", "1"), ("NO_COLOR", "1"), ("WRANGLER_SEND_METRICS", "false")])
            .env("XDG_CONFIG_HOME", directory.path())
            .env("WRANGLER_LOG_PATH", directory.path())
            .args(["check", "startup", "--config", "wrangler.toml", "--outfile"])
            .arg(directory.path().join("profile"))
    })?;
    let after = |word: &str| {
        let rest = said.split_once(word).map(|(_, rest)| rest.lines().next().unwrap_or_default());
        rest.map(|rest| rest.trim().to_owned()).with_context(|| format!("no {word:?} in:\n{said}"))
    };
    let (mut compiled, mut started) = (Vec::new(), Vec::new());
    for _ in 0..STARTS {
        let node = paths::root().join("node_modules/.bin/node");
        let line = run(node, |command| command.args(["-e", START]).arg(&module))?;
        let (compile, start) = line.split_once(' ').context("two figures")?;
        compiled.push(compile.parse()?);
        started.push(start.parse()?);
    }
    Ok(Program {
        size: after("Bundle: ")?,
        wasm,
        compiled: Spread::of(&compiled),
        start: Spread::of(&started),
    })
}

impl Program {
    /// The table.
    pub fn section(&self) -> Section {
        let mut section = Section::new(
            "Worker: size and start-up",
            "Release build, without `wasm-opt`.",
            &["what", "figure"],
        );
        section.row(["what is uploaded".into(), self.size.clone()]);
        section.row(["of it WebAssembly".into(), format!("{:.2} KiB", self.wasm as f64 / 1024.0)]);
        let figure = |Spread { median, min, max, count }: Spread| {
            format!("{median:.1} ms (median of {count}; {min:.1} to {max:.1})")
        };
        section.row(["start-up: an instance of the compiled module".into(), figure(self.start)]);
        section.row(["compilation, before that".into(), figure(self.compiled)]);
        section.remark(
            "The platform allows 64 MiB uncompressed and one second of start-up. The size is `wrangler check startup`'s, which also \
             runs offline but samples the start-up too coarsely for a figure. Instance and compilation are timed in Node 22, whose \
             engine is the platform's, with imports that do nothing.",
        );
        section
    }
}

/// Asks for the two answers that are held open as long as any; says how often the stream looked into the object.
///
/// # Errors
/// Where no answer comes.
pub fn hold_open(bench: &Bench, id: &str) -> Result<u32> {
    (bench.say)("answers that are held open");
    let path = format!("/v1/workspaces/{id}?wait=asleep&timeout=25s");
    bench.stack.api.call("GET", &path, None)?.expect(200)?;
    let headers = [("accept", "text/event-stream")];
    let path = format!("/v1/workspaces/{id}/events");
    let stream = bench.stack.api.raw("GET", &path, &headers, None)?.expect(200)?;
    // The first look tells the history, each later one that there is nothing new.
    Ok(1 + u32::try_from(stream.text().matches(": nothing new").count())?)
}

/// The calls of each kind of invocation in the whole run; `looks` are those of a stream, which go on after its log line.
pub fn calls(log: &Log, lives: &Lives, looks: u32) -> Section {
    let mut section = Section::new(
        "Worker: calls of one invocation",
        "The largest of each kind in this run, from the Worker's own count at its bindings; ids left out.",
        &["invocation", "seen", "provider", "D1", "R2", "object", "all"],
    );
    let mut kinds = log.invocations();
    if let Some((seen, calls)) = kinds.get("GET /v1/workspaces/{id}/events").copied() {
        let calls = Calls { object: calls.object.saturating_sub(1) + looks, ..calls };
        kinds.insert("GET /v1/workspaces/{id}/events".into(), (seen, calls));
    }
    let mut sorted: Vec<_> = kinds.iter().collect();
    sorted.sort_by_key(|(name, (_, calls))| (std::cmp::Reverse(calls.total()), (*name).clone()));
    for (name, (seen, calls)) in sorted.iter().take(LISTED) {
        section.row([
            format!("`{name}`"),
            seen.to_string(),
            calls.fetch.to_string(),
            calls.d1.to_string(),
            calls.r2.to_string(),
            calls.object.to_string(),
            calls.total().to_string(),
        ]);
    }
    let most = sorted.first().map_or(0, |(_, (_, calls))| calls.total());
    let more = sorted.len().saturating_sub(LISTED);
    section.remark(format!(
        "Target for every one {}. {more} more kinds make no more than the last one listed.",
        verdict(f64::from(most), f64::from(CALLS_MOST), "calls")
    ));
    let vendors: Vec<String> = lives.vendor_calls().map(|(name, calls)| format!("{name} {calls}")).collect();
    let (chains, largest) = kinds.get(OBJECT).copied().unwrap_or_default();
    section.remark(format!(
        "`{OBJECT}` is what an object does by itself, after an alarm or a call: {chains} chains of effects were logged, the largest \
         with {} calls, the index's row of each change not among them. The vendors' journal bounds them from outside, all \
         invocations of a phase together: {}. A chain begins no further effect after 20 calls, a slice of a receipt asks R2 for 15 \
         objects. The cron pokes 15 overdue workspaces at most, two calls each. The dashboard's pages are \
         not visited.",
        largest.total(),
        vendors.join(", ")
    ));
    section
}
