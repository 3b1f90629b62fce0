//! Programs that the pipeline runs: with a clean environment, a deadline and an error that says what happened.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};

/// Longest time that a short-lived program may take.
pub const RUN_LIMIT: Duration = Duration::from_secs(60);

/// Pause between two looks at a condition.
pub const POLL: Duration = Duration::from_millis(20);

/// Most bytes of a program's output that are read.
const MAX_OUTPUT_BYTES: u64 = 1 << 20;

/// Most attempts to start a program whose file still counts as open for writing.
const MAX_BUSY_ATTEMPTS: u32 = 100;

/// A command that sees of our environment only what it needs to start: settings of ours must not change the result.
#[must_use]
pub fn clean_command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("LC_ALL", "C").env("TZ", "UTC").stdin(Stdio::null());
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    command
}

/// Starts a command.
///
/// A program that was written a moment ago counts as busy while a process that another thread forks meanwhile still
/// holds the file; that passes by itself, so the start is tried again.
///
/// # Errors
///
/// The program cannot be started.
pub fn start(command: &mut Command) -> Result<Child> {
    let mut attempts = 0;
    loop {
        match command.spawn() {
            Err(e) if e.kind() == io::ErrorKind::ExecutableFileBusy && attempts < MAX_BUSY_ATTEMPTS => {
                attempts += 1;
                thread::sleep(POLL);
            }
            result => return result.with_context(|| format!("cannot start {}", shown(command))),
        }
    }
}

/// Starts a command as the head of a process group, to which belongs what it starts in turn.
///
/// A terminal's keys do not reach the group.
///
/// # Errors
///
/// As [`start`].
pub fn start_group(command: &mut Command) -> Result<Child> {
    start(command.process_group(0))
}

/// Kills a child of [`start_group`], and all that it has started and that is in its group still.
///
/// # Errors
///
/// It cannot be killed or waited for.
pub fn kill_group(child: &mut Child) -> Result<()> {
    kill_process_group(Pid::from_child(child), Signal::KILL)?;
    child.wait()?;
    Ok(())
}

/// Runs a command to its end and returns what it printed on standard output.
///
/// # Errors
///
/// It cannot be started, fails, prints no text or takes longer than [`RUN_LIMIT`]; then it is killed.
pub fn output(command: &mut Command) -> Result<String> {
    let (stdout, stderr) = (tempfile::tempfile()?, tempfile::tempfile()?);
    let mut child = start(command.stdout(stdout.try_clone()?).stderr(stderr.try_clone()?))?;
    let Some(status) = wait_for(&mut child, RUN_LIMIT)? else {
        child.kill()?;
        child.wait()?;
        bail!("{} did not end within {} s", shown(command), RUN_LIMIT.as_secs());
    };
    if !status.success() {
        let said = read_back(stderr).unwrap_or_default();
        bail!("{} failed ({status}): {}", shown(command), said.trim());
    }
    read_back(stdout).with_context(|| format!("the output of {} is no text", shown(command)))
}

/// Waits until a child has ended; none if it has not within the limit.
///
/// # Errors
///
/// The child cannot be waited for.
pub fn wait_for(child: &mut Child, limit: Duration) -> io::Result<Option<ExitStatus>> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        thread::sleep(POLL);
    }
}

/// Finds a program in the folders of `PATH`.
#[must_use]
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|candidate| candidate.is_file())
}

fn read_back(mut file: File) -> Result<String> {
    file.rewind()?;
    let mut text = String::new();
    file.take(MAX_OUTPUT_BYTES).read_to_string(&mut text)?;
    Ok(text)
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};

    use super::*;

    #[test]
    fn a_group_is_killed_with_what_its_head_has_started() {
        let mut command = clean_command(Path::new("sh"));
        let mut child = start_group(command.args(["-c", "sleep 600 & echo; wait"]).stdout(Stdio::piped())).unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        said.read_line(&mut String::new()).unwrap();
        kill_group(&mut child).unwrap();
        // The pipe ends when nobody has it any more: neither the shell nor what it has started.
        let (sender, ended) = std::sync::mpsc::channel();
        thread::spawn(move || sender.send(said.read_line(&mut String::new()).unwrap()));
        assert_eq!(ended.recv_timeout(RUN_LIMIT), Ok(0));
    }
}
