//! `cairnutl`: see `cairn_utl`.

fn main() -> std::process::ExitCode {
    cairn_utl::main_with_args(std::env::args_os())
}
