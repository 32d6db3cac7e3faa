//! `ebb-agent`, also called `ebb`: the one program on a machine. Everything is in the library; see `cli`.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    ebbtide_idle_agent::cli::main()
}
