//! Man page and shell completions, generated from the command line's own description.

use std::io;
use std::path::Path;

/// Writes `man/cairnd.1` and `completions/{bash,zsh,fish}/…` below `out`.
///
/// # Errors
/// Where a folder or file cannot be written.
pub(crate) fn generate(out: &Path) -> io::Result<()> {
    cairn_manual::generate(super::command().version(crate::VERSION), out)
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
