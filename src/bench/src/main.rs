//! `cairn-bench`: see `cairn_bench`.

fn main() -> std::process::ExitCode {
    cairn_bench::main_with_args(std::env::args_os())
}
