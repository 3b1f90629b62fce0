//! Man page and shell completions of a program, made by the program itself from its own command line.
//!
//! Contract: each of our programs has the hidden subcommand [`SUBCOMMAND`]; `cairn-release package` runs it, so that what
//! is packaged cannot disagree with what the program accepts, and the release tool need not link the programs.

use std::path::{Path, PathBuf};
use std::{fs, io};

use clap::{Arg, ArgMatches, Command};
use clap_complete::Shell;

/// The name of the hidden subcommand.
pub const SUBCOMMAND: &str = "generate-docs";

/// The hidden subcommand: `generate-docs --out DIR`.
#[must_use]
pub fn subcommand() -> Command {
    let out = Arg::new("out").long("out").value_name("DIR").required(true).value_parser(clap::value_parser!(PathBuf));
    Command::new(SUBCOMMAND).hide(true).about("Writes the man page and the completions into a folder").arg(out)
}

/// Does what the subcommand was asked for.
///
/// # Errors
/// Where a file cannot be written.
pub fn run(command: Command, matches: &ArgMatches) -> io::Result<()> {
    let out = matches.get_one::<PathBuf>("out").expect("the argument is required");
    generate(command, out)
}

/// Writes `man/NAME.1` and `completions/{bash,fish,zsh}/…` below `out`, where NAME is the command's.
///
/// # Errors
/// Where a folder or file cannot be written.
pub fn generate(mut command: Command, out: &Path) -> io::Result<()> {
    let name = command.get_name().to_owned();
    let man = out.join("man");
    fs::create_dir_all(&man)?;
    let mut page = Vec::new();
    // A program without a flag for its version has a subcommand; its page names the version all the same.
    let version = command.get_version().unwrap_or(env!("CARGO_PKG_VERSION")).to_owned();
    clap_mangen::Man::new(command.clone()).source(format!("{name} {version}")).render(&mut page)?;
    fs::write(man.join(format!("{name}.1")), page)?;
    for shell in [Shell::Bash, Shell::Fish, Shell::Zsh] {
        let folder = out.join("completions").join(shell.to_string());
        fs::create_dir_all(&folder)?;
        clap_complete::generate_to(shell, &mut command, &name, folder)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_names_the_version_of_a_program_that_has_no_flag_for_it() {
        let out = tempfile::tempdir().unwrap();
        generate(Command::new("tool"), out.path()).unwrap();
        let page = fs::read_to_string(out.path().join("man/tool.1")).unwrap();
        let version = env!("CARGO_PKG_VERSION");
        assert!(page.contains(&format!("tool {version}")), "{page}");
    }

    #[test]
    fn a_program_gets_a_page_and_a_completion_for_each_shell() {
        let out = tempfile::tempdir().unwrap();
        let command = Command::new("tool").version("1").arg(Arg::new("flag").long("flag")).subcommand(subcommand());
        generate(command, out.path()).unwrap();
        let page = fs::read_to_string(out.path().join("man/tool.1")).unwrap();
        assert!(page.contains("flag") && !page.contains(SUBCOMMAND), "{page}");
        for file in ["bash/tool.bash", "fish/tool.fish", "zsh/_tool"] {
            assert!(out.path().join("completions").join(file).exists(), "{file}");
        }
    }
}
