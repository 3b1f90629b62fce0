//! Man page and shell completions, generated from the command line's own description.

use std::fs;
use std::io;
use std::path::Path;

use clap_complete::Shell;

/// Writes `man/cairnd.1` and `completions/{bash,zsh,fish}/…` below `out`.
///
/// # Errors
/// Where a folder or file cannot be written.
pub(crate) fn generate(out: &Path) -> io::Result<()> {
    const NAME: &str = "cairnd";
    let man = out.join("man");
    fs::create_dir_all(&man)?;
    let mut page = Vec::new();
    clap_mangen::Man::new(super::command().version(crate::VERSION)).render(&mut page)?;
    fs::write(man.join("cairnd.1"), page)?;
    for (shell, folder) in [(Shell::Bash, "bash"), (Shell::Zsh, "zsh"), (Shell::Fish, "fish")] {
        let folder = out.join("completions").join(folder);
        fs::create_dir_all(&folder)?;
        clap_complete::generate_to(shell, &mut super::command(), NAME, &folder)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_man_page_names_every_flag_that_works_and_no_other() {
        let out = tempfile::tempdir().unwrap();
        super::generate(out.path()).unwrap();
        let page = std::fs::read_to_string(out.path().join("man/cairnd.1")).unwrap().replace("\\-", "-");
        for flag in crate::config::flags::FLAGS {
            let works = flag.support == crate::config::flags::Support::Works;
            assert_eq!(page.contains(&format!("--{}\\fR", flag.name)), works, "{}", flag.name);
        }
        for file in ["bash/cairnd.bash", "zsh/_cairnd", "fish/cairnd.fish"] {
            assert!(out.path().join("completions").join(file).exists(), "{file}");
        }
    }
}
