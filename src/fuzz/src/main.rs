//! `cairn-fuzz DIR`: writes the seeds of each target into `DIR/TARGET/`, where a fuzzer finds them.

use std::path::PathBuf;
use std::{env, fs, io};

use cairn_fuzz::TARGETS;

fn main() -> io::Result<()> {
    let Some(folder) = env::args_os().nth(1).map(PathBuf::from) else {
        return Err(io::Error::other("usage: cairn-fuzz DIR"));
    };
    for target in TARGETS {
        let folder = folder.join(target.name);
        fs::create_dir_all(&folder)?;
        for (number, seed) in (target.seeds)().into_iter().enumerate() {
            fs::write(folder.join(format!("seed-{number}")), seed)?;
        }
    }
    Ok(())
}
