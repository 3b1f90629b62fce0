//! Gate that runs a program on an emulated old processor: it must get along with the declared baseline.
//!
//! qemu's user mode refuses, with the signal for an illegal instruction, what the emulated processor does not have. A
//! run shows only the paths that it takes; the caller chooses arguments that reach the code which matters.

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::process;

/// Longest time that the emulated program may take; emulation is about ten times slower than the processor.
pub const EMULATED_LIMIT: Duration = Duration::from_secs(300);

/// Most bytes of the program's standard error that a sentence cites.
const MAX_CITED_BYTES: u64 = 400;

/// Number of the signal for an illegal instruction, on every machine that we build for.
const SIGILL: i32 = 4;

/// Runs the program on the emulated processor until it ends; anything but success is a violation.
///
/// `emulator` is the file of qemu's user mode for the program's machine and `cpu` a name of its list. The program runs
/// in an empty folder of its own, with an environment as in [`process::clean_command`].
///
/// # Errors
///
/// The program is not there, or the emulator cannot be started.
pub fn run_on_old_cpu(program: &Path, args: &[&str], emulator: &Path, cpu: &str) -> Result<Vec<String>> {
    let path = program.canonicalize().with_context(|| format!("cannot find the program {}", program.display()))?;
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    // Of a program that dies, qemu leaves a core file where it ran.
    let folder = tempfile::tempdir()?;
    let stderr = tempfile::tempfile()?;
    let mut command = process::clean_command(emulator);
    command.arg("-cpu").arg(cpu).arg(path).args(args).current_dir(folder.path());
    command.stdout(std::process::Stdio::null()).stderr(stderr.try_clone()?);
    let mut child = process::start(&mut command)?;
    let Some(status) = process::wait_for(&mut child, EMULATED_LIMIT)? else {
        child.kill()?;
        child.wait()?;
        return Ok(vec![format!("{name}: did not end within {} s on {cpu}", EMULATED_LIMIT.as_secs())]);
    };
    if status.success() {
        return Ok(Vec::new());
    }
    let how = match status.signal() {
        Some(SIGILL) => format!("died of signal {SIGILL} on {cpu}: it uses an instruction which that processor lacks"),
        Some(signal) => format!("died of signal {signal} on {cpu}"),
        None => format!("failed ({status}) on {cpu}"),
    };
    Ok(vec![format!("{name}: {how}; it said {:?}", cited(stderr)?)])
}

fn cited(mut file: File) -> Result<String> {
    file.rewind()?;
    let mut bytes = Vec::new();
    file.take(MAX_CITED_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
}
