//! `cli.md`: what `ebb --help` says, command by command.

use super::HEAD;
use clap::{Command, CommandFactory as _};
use ebbtide_idle_agent::cli::Cli;

/// The page.
pub fn page() -> String {
    let mut command = Cli::command().term_width(100);
    command.build();
    let mut text = format!(
        "{HEAD}# The command `ebb`\n\n\
         `ebb` is on every machine of Ebbtide and talks to the daemon there. You need no token: whoever may work \
         on the machine may ask. Most commands take `--json` for scripts.\n"
    );
    part(&mut command, "##", &mut text);
    text
}

fn part(command: &mut Command, mark: &str, text: &mut String) {
    let name = command.get_bin_name().unwrap_or_else(|| command.get_name()).to_owned();
    *text +=
        &format!("\n{mark} `{name}`\n\n```\n{}\n```\n", command.render_long_help().to_string().trim_end());
    for inner in command.get_subcommands_mut() {
        if !inner.is_hide_set() && inner.get_name() != "help" {
            part(inner, "##", text);
        }
    }
}
