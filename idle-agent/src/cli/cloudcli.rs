//! `ebb cloudcli`: where CloudCLI answers, and how to sign in.

use super::print;
use crate::cloudcli::account;
use crate::control_socket::{Reply, Request, ask};
use ebbtide_api::vm::CLOUDCLI_PORT;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Says how to sign in to CloudCLI. Who calls it reads their own file: nobody is told who could not.
pub fn run(socket: &Path, json: bool) -> ExitCode {
    let ports = match ask(socket, &Request::Ports) {
        Ok(Reply::Ports(ports)) => ports,
        other => return print(other, json),
    };
    let found = ports.into_iter().find(|port| port.port == CLOUDCLI_PORT);
    let Some(url) = found.and_then(|port| port.url) else {
        eprintln!("ebb: CloudCLI does not run here");
        return ExitCode::FAILURE;
    };
    let file = PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(account::PASSWORD);
    let password = match std::fs::read_to_string(&file) {
        Ok(password) => password.trim().to_owned(),
        Err(error) => {
            eprintln!("ebb: {url} answers, but {}: {error}", file.display());
            return ExitCode::FAILURE;
        }
    };
    let user = account::USER;
    if json {
        println!("{}", serde_json::json!({ "url": url, "user": user, "password": password }));
    } else {
        println!("{url}, opened from the dashboard\nuser {user}, password {password}");
    }
    ExitCode::SUCCESS
}
