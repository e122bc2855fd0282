//! The commands in README.md exist: `cargo xtask …` is parsed as if it were typed, the flags of `catvae …` are
//! looked up in its own help, packages, examples and scripts are looked for on the disk. Nothing is run.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use clap::CommandFactory;

use crate::process::{cargo, stdout_of};

/// All complaints about README.md.
///
/// # Errors
/// When it cannot be read, or `catvae` cannot be built.
pub(super) fn check(root: &Path) -> Result<Vec<String>> {
    let path = root.join("README.md");
    let text =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut helps = HashMap::new();
    let mut complaints = Vec::new();
    for command in commands(&text) {
        let complaint = match judge(&command, root) {
            Judged::Fine => None,
            Judged::Wrong(reason) => Some(reason),
            Judged::Catvae { subcommand, flags } => {
                if !helps.contains_key(&subcommand) {
                    helps.insert(subcommand.clone(), catvae_help(&subcommand)?);
                }
                unknown_flag(&helps[&subcommand], &subcommand, &flags)
            }
        };
        complaints.extend(
            complaint.map(|reason| format!("README.md: `{}`: {reason}", command.join(" "))),
        );
    }
    Ok(complaints)
}

/// The words of each command in the shell blocks.
fn commands(text: &str) -> Vec<Vec<String>> {
    let mut commands = Vec::new();
    let mut in_shell = false;
    let mut pending = String::new();
    for line in text.lines() {
        if let Some(language) = line.trim_start().strip_prefix("```") {
            in_shell = !in_shell && matches!(language.trim(), "sh" | "bash" | "console" | "shell");
            continue;
        }
        if !in_shell {
            continue;
        }
        let line = line.trim().trim_start_matches("$ ");
        if let Some(start) = line.strip_suffix('\\') {
            pending.push_str(start);
            continue;
        }
        let whole = std::mem::take(&mut pending) + line;
        for command in whole.split("&&") {
            let words: Vec<_> = command
                .split_whitespace()
                .take_while(|word| !word.starts_with('#'))
                // `NAME=value` in front sets the environment.
                .skip_while(|word| word.split_once('=').is_some_and(|(name, _)| is_variable(name)))
                .map(str::to_owned)
                .collect();
            if !words.is_empty() {
                commands.push(words);
            }
        }
    }
    commands
}

fn is_variable(name: &str) -> bool {
    !name.is_empty()
        && name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
}

#[derive(Debug, PartialEq, Eq)]
enum Judged {
    Fine,
    Wrong(String),
    /// To be looked up in the program's help.
    Catvae {
        subcommand: String,
        flags: Vec<String>,
    },
}

fn judge(words: &[String], root: &Path) -> Judged {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    if let Some(missing) = missing_part(&words, root) {
        return Judged::Wrong(missing);
    }
    match words.as_slice() {
        ["cargo", "xtask", ..] => match crate::Cli::command().try_get_matches_from(&words[1..]) {
            Err(error) if error.use_stderr() => {
                Judged::Wrong(error.to_string().lines().next().unwrap_or_default().to_owned())
            }
            _ => Judged::Fine,
        },
        ["cargo", "run", rest @ ..] if rest.contains(&"catvae-cli") || rest.contains(&"catvae") => {
            let after =
                rest.iter().skip_while(|word| **word != "--").skip(1).copied().collect::<Vec<_>>();
            catvae(&after)
        }
        [program, rest @ ..]
            if Path::new(program).file_name().is_some_and(|name| name == "catvae") =>
        {
            catvae(rest)
        }
        _ => Judged::Fine,
    }
}

fn catvae(words: &[&str]) -> Judged {
    let (subcommand, rest) = match words {
        [first, rest @ ..] if !first.starts_with('-') => ((*first).to_owned(), rest),
        rest => (String::new(), rest),
    };
    let flags = rest.iter().filter(|word| word.starts_with("--"));
    let flags = flags.map(|flag| flag.split('=').next().unwrap_or_default().to_owned()).collect();
    Judged::Catvae { subcommand, flags }
}

/// A package, example, bench or script that the command names and the tree does not have.
fn missing_part(words: &[&str], root: &Path) -> Option<String> {
    for pair in words.windows(2).take_while(|pair| pair[0] != "--") {
        let (flag, name) = (pair[0], pair[1]);
        let there = match flag {
            "-p" | "--package" => {
                name == "xtask" || root.join("crates").join(name).join("Cargo.toml").is_file()
            }
            "--example" => in_some_crate(root, &format!("examples/{name}.rs")),
            "--bench" => in_some_crate(root, &format!("benches/{name}.rs")),
            "--path" => root.join(name).join("Cargo.toml").is_file(),
            _ => true,
        };
        if words[0] == "cargo" && words.get(1) != Some(&"xtask") && !there {
            return Some(format!("there is no {name} for {flag}"));
        }
    }
    words
        .iter()
        .find(|word| word.starts_with("scripts/") && !root.join(word).exists())
        .map(|word| format!("there is no {word}"))
}

fn in_some_crate(root: &Path, file: &str) -> bool {
    let Ok(crates) = fs::read_dir(root.join("crates")) else { return false };
    crates.flatten().any(|entry| entry.path().join(file).is_file())
}

fn catvae_help(subcommand: &str) -> Result<String> {
    let mut command = cargo();
    command.args(["run", "--quiet", "-p", "catvae-cli", "--"]);
    if !subcommand.is_empty() {
        command.arg(subcommand);
    }
    stdout_of(command.arg("--help"))
        .with_context(|| format!("README.md names `catvae {subcommand}`"))
}

fn unknown_flag(help: &str, subcommand: &str, flags: &[String]) -> Option<String> {
    let known = |flag: &str| {
        help.match_indices(flag).any(|(at, _)| {
            let after = help[at + flag.len()..].chars().next();
            !after.is_some_and(|c| c.is_alphanumeric() || c == '-')
        })
    };
    let unknown = flags.iter().find(|flag| !known(flag))?;
    Some(format!("`catvae {subcommand} --help` does not know {unknown}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace;

    fn words(command: &str) -> Vec<String> {
        command.split_whitespace().map(str::to_owned).collect()
    }

    fn judged(command: &str) -> Judged {
        judge(&words(command), &workspace::root().unwrap())
    }

    #[test]
    fn shell_blocks_are_read_and_others_are_not() {
        let text = "```sh\n$ cargo build --release && cargo xtask ci  # all of it\nA_B=1 cargo run \\\n  -- train\n# only this\n```\n\
                    ```rust\ncargo nonsense\n```\ncargo prose\n```sh\ncargo test\n```\n";
        let found: Vec<_> = commands(text).iter().map(|words| words.join(" ")).collect();
        assert_eq!(
            found,
            ["cargo build --release", "cargo xtask ci", "cargo run -- train", "cargo test"]
        );
    }

    #[test]
    fn xtask_commands_are_parsed_in_full() {
        assert_eq!(judged("cargo xtask ci"), Judged::Fine);
        assert_eq!(judged("cargo xtask download fashion-mnist --data-dir data"), Judged::Fine);
        assert!(matches!(judged("cargo xtask download cifar"), Judged::Wrong(_)));
        assert!(matches!(judged("cargo xtask dance"), Judged::Wrong(_)));
        assert!(matches!(judged("cargo xtask bench --no-such-flag"), Judged::Wrong(_)));
    }

    #[test]
    fn catvae_is_recognised_however_it_is_started() {
        let expected =
            Judged::Catvae { subcommand: "train".to_owned(), flags: vec!["--out".to_owned()] };
        for command in [
            "cargo run --release -p catvae-cli -- train --out runs/a",
            "catvae train --out=runs/a",
            "./target/release/catvae train --out runs/a",
        ] {
            assert_eq!(judged(command), expected, "{command}");
        }
    }

    #[test]
    fn flags_are_looked_up_as_whole_words() {
        let help = "  --out <RUN>  where\n  --epochs <N>, --rows-total";
        let unknown = |flag: &str| unknown_flag(help, "train", &[flag.to_owned()]);
        assert_eq!(unknown("--out"), None);
        assert_eq!(unknown("--epochs"), None);
        assert!(unknown("--rows").unwrap().contains("--rows"));
        assert!(unknown("--nothing").is_some());
    }

    #[test]
    fn packages_and_scripts_that_are_not_there_are_named() {
        assert_eq!(judged("cargo test -p gumbel-core"), Judged::Fine);
        assert!(matches!(judged("cargo test -p gumbel-nothing"), Judged::Wrong(_)));
        assert!(matches!(judged("cargo run --example no_such_example"), Judged::Wrong(_)));
        assert_eq!(judged("python3 scripts/goldens.py"), Judged::Fine);
        assert!(matches!(judged("python3 scripts/nothing.py"), Judged::Wrong(_)));
        assert_eq!(judged("git clone somewhere"), Judged::Fine);
    }
}
