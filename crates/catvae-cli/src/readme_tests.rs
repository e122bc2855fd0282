//! The `catvae` commands in README.md are parsed as if they were typed. Nothing is run.

use clap::Parser;
use clap::error::ErrorKind;

use crate::args::Cli;

/// Every command that README.md gives, as the words after `catvae`: in a shell block, or between backticks.
fn commands(readme: &str) -> Vec<Vec<&str>> {
    let mut commands = Vec::new();
    for (block, text) in readme.split("```").enumerate() {
        let pieces: Vec<_> = match (block % 2, text.strip_prefix("sh\n")) {
            (0, _) => text.split('`').skip(1).step_by(2).collect(),
            (_, Some(shell)) => shell.lines().collect(),
            (_, None) => continue,
        };
        let words = pieces.iter().map(|piece| piece.split_whitespace().collect::<Vec<_>>());
        commands.extend(words.filter_map(|words| catvae(&words)));
    }
    commands
}

/// The words after `catvae`, however it is started.
fn catvae<'a>(words: &[&'a str]) -> Option<Vec<&'a str>> {
    let after_dashes = || words.iter().skip_while(|word| **word != "--").skip(1).copied();
    match words {
        // A word alone is the program's name.
        ["catvae", _, ..] => Some(words[1..].to_vec()),
        ["cargo", "run", options @ ..] if options.contains(&"catvae-cli") => {
            Some(after_dashes().collect())
        }
        ["cargo", "xtask", "train", ..] => {
            Some(std::iter::once("train").chain(after_dashes()).collect())
        }
        _ => None,
    }
}

#[test]
fn the_commands_of_the_readme_exist_with_their_flags() {
    let commands = commands(include_str!("../../../README.md"));
    assert!(commands.len() > 10, "README.md shows {commands:?} only");
    for mut words in commands {
        if words[0] == "COMMAND" {
            words[0] = "train";
        }
        let parsed = Cli::try_parse_from(std::iter::once("catvae").chain(words.iter().copied()));
        let Some(error) = parsed.err().filter(clap::Error::use_stderr) else { continue };
        // A command without flags may be a mention of it.
        let is_mention = words.len() == 1 && error.kind() == ErrorKind::MissingRequiredArgument;
        assert!(is_mention, "README.md: catvae {}\n{error}", words.join(" "));
    }
}

#[test]
fn commands_are_found_however_they_are_written() {
    let readme = "`catvae` is\n```sh\ncargo run -p catvae-cli -- train --epochs 1\ncargo xtask train -- --seed 1\n\
                  cargo test\n```\nor `catvae train --out RUN`\n```rust\ncatvae nonsense\n```\n";
    assert_eq!(
        commands(readme),
        [
            vec!["train", "--epochs", "1"],
            vec!["train", "--seed", "1"],
            vec!["train", "--out", "RUN"]
        ]
    );
}
