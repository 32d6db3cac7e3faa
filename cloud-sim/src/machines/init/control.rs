//! What `systemctl`, `reboot` and their like say to the machine's init, and what it answers.
//!
//! The client is a program that root runs in the machine; the socket is root's alone. Verbs that machines have no use
//! for are refused by name rather than accepted and ignored.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use super::services::{ServiceError, Services, UNIT_DIR, unit_path};

pub const SOCKET: &str = "/run/machine-init.sock";

#[derive(Debug, Serialize, Deserialize)]
pub struct Order {
    /// The name that the client was called by.
    pub program: String,
    pub arguments: Vec<String>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Reply {
    pub code: u8,
    pub output: String,
    pub errors: String,
}

/// What is to be done about an order.
pub enum Outcome {
    Reply(Reply),
    /// Reply when these units have settled; the starts among them must have succeeded.
    WhenSettled {
        units: Vec<String>,
        expect_active: bool,
    },
    ShutDown {
        reboot: bool,
    },
}

/// The client's side: `machine-init client PROGRAM ARGUMENTS…`.
pub fn client(program: String, arguments: Vec<String>) -> ExitCode {
    match ask(&Order { program, arguments }) {
        Ok(reply) => {
            print!("{}", reply.output);
            eprint!("{}", reply.errors);
            ExitCode::from(reply.code)
        }
        Err(error) => {
            eprintln!("the machine's init does not answer: {error}");
            ExitCode::FAILURE
        }
    }
}

fn ask(order: &Order) -> io::Result<Reply> {
    let mut stream = UnixStream::connect(SOCKET)?;
    let mut line = serde_json::to_vec(order)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply)?;
    Ok(serde_json::from_slice(&reply)?)
}

pub fn read_order(stream: &UnixStream) -> io::Result<Order> {
    const LONGEST: u64 = 64 * 1024;
    let mut line = String::new();
    BufReader::new(stream.take(LONGEST)).read_line(&mut line)?;
    Ok(serde_json::from_str(&line)?)
}

pub fn send_reply(stream: &mut UnixStream, reply: &Reply) {
    // A client that left needs no reply.
    let _ = serde_json::to_vec(reply).map(|text| stream.write_all(&text));
}

impl Reply {
    fn code(code: u8) -> Outcome {
        Outcome::Reply(Self { code, ..Self::default() })
    }

    fn said(code: u8, output: String) -> Outcome {
        Outcome::Reply(Self { code, output, errors: String::new() })
    }

    fn refused(errors: String) -> Outcome {
        Outcome::Reply(Self { code: 1, output: String::new(), errors: errors + "\n" })
    }
}

/// The options of systemctl that mean something here.
#[derive(Default)]
struct Options {
    now: bool,
    quiet: bool,
    no_block: bool,
    value_only: bool,
    properties: Vec<String>,
    signal: Option<String>,
}

pub fn handle(services: &mut Services, order: &Order, now: Instant) -> Outcome {
    match order.program.as_str() {
        "reboot" => return Outcome::ShutDown { reboot: true },
        "poweroff" | "halt" => return Outcome::ShutDown { reboot: false },
        "shutdown" => {
            return Outcome::ShutDown {
                reboot: order.arguments.iter().any(|word| word == "-r" || word == "--reboot"),
            };
        }
        _ => {}
    }
    let (words, options) = match parse_options(&order.arguments) {
        Ok(parsed) => parsed,
        Err(option) => {
            return Reply::refused(format!("systemctl: {option} is not known to this machine's init"));
        }
    };
    let Some((verb, names)) = words.split_first() else { return Reply::code(0) };
    let units: Vec<String> = names.iter().map(|name| unit_name(name)).collect();
    match carry_out(services, verb, &units, &options, now) {
        Ok(Outcome::WhenSettled { .. }) if options.no_block => Reply::code(0),
        Ok(outcome) => outcome,
        Err(error) => Reply::refused(error),
    }
}

fn parse_options(arguments: &[String]) -> Result<(Vec<String>, Options), String> {
    let mut options = Options::default();
    let mut words = Vec::new();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let (name, mut value) = match argument.split_once('=') {
            Some((name, value)) if name.starts_with("--") => (name, Some(value.to_owned())),
            _ => (argument.as_str(), None),
        };
        match name {
            "--now" => options.now = true,
            "-q" | "--quiet" => options.quiet = true,
            "--no-block" => options.no_block = true,
            "--value" => options.value_only = true,
            "--no-pager" | "--system" | "--force" | "-f" | "--full" | "-l" | "--all" | "-a"
            | "--no-legend" | "--no-ask-password" | "--plain" => {}
            "-p" | "--property" => {
                value = value.or_else(|| rest.next().cloned());
                options.properties.extend(value.iter().flat_map(|value| value.split(',')).map(str::to_owned));
            }
            "-s" | "--signal" => options.signal = value.or_else(|| rest.next().cloned()),
            "-n" | "--lines" | "-t" | "--type" | "--state" | "-o" | "--output" | "--kill-who"
            | "--kill-whom" => {
                if value.is_none() {
                    rest.next();
                }
            }
            option if option.starts_with('-') => return Err(option.to_owned()),
            _ => words.push(argument.clone()),
        }
    }
    Ok((words, options))
}

/// A name without a kind is a service.
fn unit_name(name: &str) -> String {
    let name = name.rsplit('/').next().unwrap_or(name);
    if name.contains('.') { name.to_owned() } else { format!("{name}.service") }
}

fn carry_out(
    services: &mut Services,
    verb: &str,
    units: &[String],
    options: &Options,
    now: Instant,
) -> Result<Outcome, String> {
    let text = |error: ServiceError| error.to_string();
    let settled = |expect_active| Outcome::WhenSettled { units: units.to_vec(), expect_active };
    Ok(match verb {
        "daemon-reload" | "daemon-reexec" => {
            services.reload();
            Reply::code(0)
        }
        "start" => {
            units.iter().try_for_each(|unit| services.start(unit, now)).map_err(text)?;
            settled(true)
        }
        "restart" | "reload-or-restart" | "try-restart" | "condrestart" => {
            for unit in units {
                if verb.contains("try") || verb.contains("cond") {
                    services.find(unit).map_err(text)?;
                    if services.states(unit).0 == "inactive" {
                        continue;
                    }
                }
                services.restart(unit, now).map_err(text)?;
            }
            settled(true)
        }
        "stop" => {
            units.iter().for_each(|unit| services.stop(unit, now));
            settled(false)
        }
        "kill" => {
            let signal =
                options.signal.as_deref().map_or(Some(Signal::TERM), signal).ok_or("unknown signal")?;
            units.iter().for_each(|unit| services.signal(unit, signal));
            Reply::code(0)
        }
        "enable" | "reenable" => {
            for unit in units {
                services.find(unit).map_err(text)?;
                enable(services, unit).map_err(|error| format!("{unit}: {error}"))?;
            }
            if options.now {
                units.iter().try_for_each(|unit| services.start(unit, now)).map_err(text)?;
                settled(true)
            } else {
                Reply::code(0)
            }
        }
        "disable" => {
            for unit in units {
                disable(unit).map_err(|error| format!("{unit}: {error}"))?;
                if options.now {
                    services.stop(unit, now);
                }
            }
            settled(false)
        }
        "reset-failed" => {
            let all = services.names();
            let units = if units.is_empty() { &all } else { units };
            units.iter().for_each(|unit| services.reset_failed(unit));
            Reply::code(0)
        }
        "is-active" | "is-failed" => {
            let wanted = verb.trim_start_matches("is-");
            let states: Vec<_> = units.iter().map(|unit| services.states(unit).0).collect();
            let code = if states.contains(&wanted) { 0 } else { 3 };
            let output = states.iter().map(|state| format!("{state}\n")).collect();
            Reply::said(code, if options.quiet { String::new() } else { output })
        }
        "is-enabled" => {
            let states: Vec<_> = units.iter().map(|unit| file_state(unit)).collect();
            let code = u8::from(!states.contains(&"enabled"));
            let output = states.iter().map(|state| format!("{state}\n")).collect();
            Reply::said(code, if options.quiet { String::new() } else { output })
        }
        "is-system-running" => Reply::said(0, "running\n".to_owned()),
        "status" => status(services, units),
        "show" => Reply::said(0, units.iter().map(|unit| show(services, unit, options)).collect()),
        "cat" => {
            let read = |unit: &String| fs::read_to_string(unit_path(unit));
            Reply::said(0, units.iter().map(read).collect::<io::Result<String>>().map_err(|e| e.to_string())?)
        }
        "list-units" => {
            let line = |unit: &String| {
                let (active, sub) = services.states(unit);
                format!("{unit} loaded {active} {sub}\n")
            };
            Reply::said(0, services.names().iter().map(line).collect())
        }
        "reboot" | "kexec" => Outcome::ShutDown { reboot: true },
        "poweroff" | "halt" => Outcome::ShutDown { reboot: false },
        other => return Err(format!("Unknown command verb {other}.")),
    })
}

/// `TERM`, `SIGTERM` or `15`.
fn signal(name: &str) -> Option<Signal> {
    Some(match name.trim_start_matches("SIG") {
        "TERM" | "15" => Signal::TERM,
        "KILL" | "9" => Signal::KILL,
        "HUP" | "1" => Signal::HUP,
        "INT" | "2" => Signal::INT,
        "QUIT" | "3" => Signal::QUIT,
        "USR1" | "10" => Signal::USR1,
        "USR2" | "12" => Signal::USR2,
        "STOP" | "19" => Signal::STOP,
        "CONT" | "18" => Signal::CONT,
        _ => return None,
    })
}

fn enable(services: &Services, unit: &str) -> io::Result<()> {
    let targets = services.unit(unit).map(|loaded| loaded.wanted_by.clone()).unwrap_or_default();
    for target in targets {
        let wants = format!("{UNIT_DIR}/{target}.wants");
        fs::create_dir_all(&wants)?;
        let link = format!("{wants}/{unit}");
        if fs::symlink_metadata(&link).is_err() {
            symlink(unit_path(unit), &link)?;
        }
    }
    Ok(())
}

fn disable(unit: &str) -> io::Result<()> {
    wants_links(unit).try_for_each(fs::remove_file)
}

fn wants_links(unit: &str) -> impl Iterator<Item = std::path::PathBuf> {
    wants_dirs().into_iter().map(move |dir| dir.join(unit)).filter(|link| fs::symlink_metadata(link).is_ok())
}

fn wants_dirs() -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(UNIT_DIR).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|end| end == "wants"))
        .collect()
}

/// The units that start at every boot, in the order of their names.
pub fn enabled_units() -> Vec<String> {
    let dirs = wants_dirs();
    let mut units: Vec<String> = dirs
        .iter()
        .flat_map(|dir| fs::read_dir(dir).into_iter().flatten().flatten())
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.ends_with(".service"))
        .collect();
    units.sort();
    units.dedup();
    units
}

fn file_state(unit: &str) -> &'static str {
    if wants_links(unit).next().is_some() {
        "enabled"
    } else if Path::new(&unit_path(unit)).exists() {
        "disabled"
    } else {
        "not-found"
    }
}

fn status(services: &mut Services, units: &[String]) -> Outcome {
    let (mut output, mut code) = (String::new(), 0);
    for unit in units {
        if let Err(error) = services.find(unit) {
            return Outcome::Reply(Reply { code: 4, output, errors: format!("{error}\n") });
        }
        let (active, sub) = services.states(unit);
        let description = services.unit(unit).map(|unit| unit.description.clone()).unwrap_or_default();
        let why = services.why_failed(unit).map(|why| format!(": {why}")).unwrap_or_default();
        output += &format!(
            "● {unit} - {description}\n     Loaded: loaded ({}; {})\n     Active: {active} ({sub}){why}\n   Main PID: {}\n        Log: /var/log/{unit}.log\n",
            unit_path(unit),
            file_state(unit),
            services.main_pid(unit),
        );
        if active != "active" {
            code = 3;
        }
    }
    Reply::said(code, output)
}

fn show(services: &mut Services, unit: &str, options: &Options) -> String {
    let loaded = services.find(unit).is_ok();
    let (active, sub) = services.states(unit);
    let all = [
        ("Id", unit.to_owned()),
        ("LoadState", if loaded { "loaded" } else { "not-found" }.to_owned()),
        ("ActiveState", active.to_owned()),
        ("SubState", sub.to_owned()),
        ("MainPID", services.main_pid(unit).to_string()),
        ("NRestarts", services.restarts(unit).to_string()),
        ("UnitFileState", file_state(unit).to_owned()),
        ("Result", if active == "failed" { "exit-code" } else { "success" }.to_owned()),
    ];
    all.iter()
        .filter(|(name, _)| {
            options.properties.is_empty() || options.properties.iter().any(|wanted| wanted == name)
        })
        .map(
            |(name, value)| {
                if options.value_only { format!("{value}\n") } else { format!("{name}={value}\n") }
            },
        )
        .collect()
}

/// The reply once the units of a [`Outcome::WhenSettled`] have settled.
pub fn settled_reply(services: &Services, units: &[String], expect_active: bool) -> Reply {
    let failed = units.iter().filter(|unit| expect_active && services.why_failed(unit).is_some());
    let errors: String = failed
        .map(|unit| format!("Job for {unit} failed: {}\n", services.why_failed(unit).unwrap_or_default()))
        .collect();
    Reply { code: u8::from(!errors.is_empty()), output: String::new(), errors }
}
