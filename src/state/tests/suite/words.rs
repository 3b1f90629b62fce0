//! The syntax of scripts: steps, words and byte strings.
//!
//! A line `> command` begins a step; lines `| …` below it are its block, and what follows is the expected output. Empty
//! lines and lines that begin with `#` belong to the reader. In a word `\0`, `\xHH` and `\\` are bytes, `""` is the empty
//! string, and `4096*a` is 4,096 times `a`.

/// A command with everything up to the next one.
#[derive(Debug, Default)]
pub(crate) struct Step {
    /// Comments and empty lines in front of it.
    pub(crate) preface: Vec<String>,
    /// The line behind `> `.
    pub(crate) command: String,
    /// The lines behind `| `.
    pub(crate) block: Vec<String>,
}

/// The steps of a script, and the comments behind the last one.
pub(crate) fn parse(text: &str) -> (Vec<Step>, Vec<String>) {
    let mut steps: Vec<Step> = Vec::new();
    let mut preface = Vec::new();
    for line in text.lines() {
        if let Some(command) = line.strip_prefix("> ") {
            steps.push(Step { preface: std::mem::take(&mut preface), command: command.to_owned(), block: Vec::new() });
        } else if let Some(line) = line.strip_prefix("| ") {
            steps.last_mut().expect("a block has a command").block.push(line.to_owned());
        } else if line.is_empty() || line.starts_with('#') {
            preface.push(line.to_owned());
        }
    }
    (steps, preface)
}

/// The steps as text again, each with its output.
pub(crate) fn render(step: &Step, output: &str) -> String {
    let mut text = String::new();
    for line in &step.preface {
        text.push_str(&format!("{line}\n"));
    }
    text.push_str(&format!("> {}\n", step.command));
    for line in &step.block {
        text.push_str(&format!("| {line}\n"));
    }
    text + output
}

/// The bytes that a word stands for.
pub(crate) fn bytes(word: &str) -> Vec<u8> {
    if word == "\"\"" {
        return Vec::new();
    }
    if let Some((times, unit)) = word.split_once('*')
        && let Ok(times) = times.parse()
    {
        return bytes(unit).repeat(times);
    }
    let mut found = Vec::new();
    let mut rest = word.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            found.push(byte);
            continue;
        }
        match rest.next() {
            Some(b'0') => found.push(0),
            Some(b'x') => {
                let digits: String = rest.by_ref().take(2).map(char::from).collect();
                found.push(u8::from_str_radix(&digits, 16).expect("two hexadecimal digits"));
            }
            other => found.push(other.expect("something behind a backslash")),
        }
    }
    found
}

/// What follows `name=` in one of the words.
pub(crate) fn option<'a>(words: &[&'a str], name: &str) -> Option<&'a str> {
    words.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
}

/// The number behind `name=`, or 0.
pub(crate) fn number(words: &[&str], name: &str) -> i64 {
    option(words, name).map_or(0, |word| word.parse().expect("a number"))
}

/// Whether the word is there.
pub(crate) fn flag(words: &[&str], name: &str) -> bool {
    words.contains(&name)
}

/// The number at a position.
pub(crate) fn at<T: std::str::FromStr>(words: &[&str], position: usize) -> T {
    let word = words.get(position).unwrap_or_else(|| panic!("{words:?} is too short"));
    word.parse().unwrap_or_else(|_| panic!("{word} is not a number"))
}
