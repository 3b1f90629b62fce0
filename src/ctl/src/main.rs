//! The binary `cairnctl`.

use std::process::ExitCode;

fn main() -> ExitCode {
    cairn_ctl::main_with_args(std::env::args_os())
}
