//! Commands in workflows and Dockerfiles: which ones a workflow may call, and which ones fetch what nobody pinned.

/// Ways to call the tool; whatever a workflow does beyond them belongs into the tool, where it is tested.
const TOOL_CALLS: [&[&str]; 4] = [
    &["./dev"],
    &[".ci/run"],
    &["cairn-release"],
    &["cargo", "run", "--release", "--locked", "--package", "cairn-release", "--"],
];

/// What a step may do to get so far that the tool can run.
const SETUP_CALLS: [&[&str]; 3] = [&["git"], &["apt-get"], &["sudo", "apt-get"]];

/// Most commands of a step that are setup: more of them are a program in the wrong language.
const MAX_SETUP_CALLS: usize = 3;

/// What only a shell understands: with it, a step would be a program.
const SHELL_SYNTAX: [&str; 8] = ["|", ";", "&", ">", "<", "`", "$(", "!"];

/// Programs that run what they read.
const INTERPRETERS: [&str; 7] = ["bash", "dash", "node", "perl", "python", "python3", "sh"];

/// The commands of a step, one a line, with continued lines joined.
pub(super) fn lines(script: &str) -> Vec<String> {
    let joined = script.replace("\\\n", " ");
    let lines = joined.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

/// What a step does other than to call the tool.
pub(super) fn foreign(script: &str) -> Vec<String> {
    let lines = lines(script);
    let mut found = Vec::new();
    let mut setup = 0;
    for line in &lines {
        let words: Vec<_> = line.split(' ').collect();
        if SHELL_SYNTAX.iter().any(|mark| line.contains(mark)) {
            found.push(format!("{line:?} is a shell program; let ./dev or cairn-release do it"));
        } else if starts_with_any(&words, &SETUP_CALLS) {
            setup += 1;
        } else if !starts_with_any(&words, &TOOL_CALLS) {
            found.push(format!("{line:?} calls neither ./dev nor .ci/run nor cairn-release"));
        }
    }
    if setup > MAX_SETUP_CALLS {
        found.push(format!("it has {setup} commands of setup, more than {MAX_SETUP_CALLS}; let ./dev do it"));
    }
    found
}

fn starts_with_any(words: &[&str], calls: &[&[&str]]) -> bool {
    calls.iter().any(|call| words.starts_with(call))
}

/// What a script fetches without saying what exactly.
pub(super) fn unpinned(script: &str) -> Vec<String> {
    let script = script.replace("\\\n", " ");
    let mut found = Vec::new();
    let substituted = ["$(curl", "$(wget", "`curl", "`wget", "<(curl", "<(wget"];
    if substituted.iter().any(|start| script.contains(start)) {
        found.push("it runs what it downloads".to_owned());
    }
    for pipeline in script.replace("&&", "\n").replace("||", "\n").split([';', '\n']) {
        let commands: Vec<_> = pipeline.split('|').map(words).collect();
        let downloads = commands.iter().position(|words| is_download(words));
        let runs = downloads.is_some_and(|at| commands[at..].iter().any(|words| interprets(words)));
        if runs {
            found.push(format!("{:?} runs what it downloads", pipeline.trim()));
        }
        let loose = commands.iter().filter(|words| is_loose_install(words));
        found.extend(loose.map(|words| format!("{:?} installs a version that nobody pinned", words.join(" "))));
    }
    found
}

/// Whether a script downloads a file and compares it with no checksum.
pub(super) fn downloads_unchecked(script: &str) -> bool {
    let mut commands = script.split(['|', ';', '&', '\n']).map(words);
    commands.any(|words| is_download(&words)) && !script.contains("sha256sum")
}

/// The words of a command, without assignments and `sudo` before it and with its program's bare name.
fn words(command: &str) -> Vec<&str> {
    let is_prefix = |word: &&str| *word == "sudo" || *word == "exec" || (word.contains('=') && !word.starts_with('-'));
    let mut words: Vec<_> = command.split_whitespace().skip_while(is_prefix).collect();
    if let Some(program) = words.first_mut() {
        *program = program.trim_matches('"').rsplit('/').next().unwrap_or(program);
    }
    words
}

fn is_download(words: &[&str]) -> bool {
    matches!(words.first(), Some(&("curl" | "wget")))
}

fn interprets(words: &[&str]) -> bool {
    words.first().is_some_and(|program| INTERPRETERS.contains(program))
}

fn is_loose_install(words: &[&str]) -> bool {
    match words {
        ["pip" | "pip3" | "pipx", "install", rest @ ..]
        | ["python" | "python3", "-m", "pip", "install", rest @ ..]
        | ["uv", "pip" | "tool", "install", rest @ ..] => is_loose_pip(rest),
        ["npm", "install" | "i" | "add", rest @ ..] => {
            let global = rest.iter().any(|word| matches!(*word, "-g" | "--global"));
            global && packages(rest).any(|package| package.rfind('@').unwrap_or_default() == 0)
        }
        ["cargo", "install" | "binstall", rest @ ..] => is_loose_cargo(rest),
        _ => false,
    }
}

/// Anything whose hashes are not asked for: what an index has under a version may change. What lies here is no download.
fn is_loose_pip(words: &[&str]) -> bool {
    let listed = words.iter().any(|word| matches!(*word, "-r" | "--requirement"));
    let local = !listed && packages(words).all(|package| package.starts_with(['.', '/']));
    !local && !words.contains(&"--require-hashes")
}

fn is_loose_cargo(words: &[&str]) -> bool {
    let from_here = words.contains(&"--path");
    let versioned = words.iter().any(|word| word.starts_with("--version") || *word == "--vers")
        || packages(words).all(|package| package.contains('@'));
    !words.contains(&"--locked") || !(from_here || versioned)
}

/// The words that are no options. The value of an option counts as one, which may only refuse too much.
fn packages<'a>(words: &'a [&'a str]) -> impl Iterator<Item = &'a str> {
    words.iter().copied().filter(|word| !word.starts_with('-'))
}
