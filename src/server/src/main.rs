//! The program `cairnd`; see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    cairn_server::main(std::env::args_os().collect())
}
