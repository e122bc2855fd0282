//! `cargo xtask ci`: every check but the tests (`cargo test --workspace`), those that fail quickly first.

mod features;
mod tidy;

use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use crate::process::{self, cargo};
use crate::workspace;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Run this step alone; may be repeated
    #[arg(long, value_name = "STEP")]
    only: Vec<Step>,
}

/// The steps, in the order in which they run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Step {
    /// Rules of this repository that no other tool checks
    Tidy,
    /// Formatting
    Fmt,
    /// Misspelt words, by typos, where it is installed
    Spelling,
    /// Licences, sources and duplicate versions, by cargo-deny, where it is installed
    Deny,
    /// Lints of all targets, with the Hugging Face hub
    Clippy,
    /// Documentation builds without a warning
    Docs,
    /// Every package by itself, with each feature that needs no toolkit; unused dependencies
    Features,
    /// The fuzz targets compile
    Fuzz,
    /// The tests of the data crate with the Hugging Face hub
    Hub,
    /// The CUDA build compiles, where its toolkit is installed
    Cuda,
}

/// Runs the steps up to the first that fails.
///
/// # Errors
/// When a step fails.
pub(crate) fn run(args: &Args) -> Result<()> {
    std::env::set_current_dir(workspace::root()).context("cannot go to the workspace's root")?;
    let steps = if args.only.is_empty() { Step::value_variants() } else { &args.only };
    let mut summary = String::new();
    let mut failed = None;
    for step in steps {
        let name = step.to_possible_value().map_or_else(String::new, |it| it.get_name().to_owned());
        eprintln!("\n=== {name} ===");
        let started = Instant::now();
        let outcome = match step.run() {
            Ok(None) => "passed".to_owned(),
            Ok(Some(reason)) => format!("SKIPPED: {reason}"),
            Err(error) => {
                failed = Some(name.clone());
                format!("FAILED: {error:#}")
            }
        };
        summary
            .push_str(&format!("{name:<9}{:>7.1} s  {outcome}\n", started.elapsed().as_secs_f64()));
        if failed.is_some() {
            break;
        }
    }
    print!("\n=== summary ===\n{summary}");
    match failed {
        Some(name) => bail!("{name} failed"),
        None => Ok(()),
    }
}

impl Step {
    /// `None` when the step passed, a reason when it cannot run here.
    fn run(self) -> Result<Option<&'static str>> {
        match self {
            Self::Tidy => match tidy::check()? {
                complaints if complaints.is_empty() => {}
                complaints => bail!("{} complaints:\n{}", complaints.len(), complaints.join("\n")),
            },
            Self::Fmt => run_cargo("fmt --all --check")?,
            Self::Spelling => {
                if !starts("typos") {
                    return Ok(Some("no typos on the PATH (cargo install --locked typos-cli)"));
                }
                process::run(&mut Command::new("typos"))?;
            }
            Self::Deny => {
                if !starts("cargo-deny") {
                    return Ok(Some("no cargo-deny (cargo install --locked cargo-deny)"));
                }
                // Licences of all that a feature may bring, second versions in what is built by default.
                run_cargo("deny --offline --all-features check licenses sources")?;
                run_cargo("deny --offline check -D unnecessary-skip bans")?;
            }
            // The hub's lines are compiled by nothing else; without them the packages are linted in `features`.
            Self::Clippy => run_cargo(
                "clippy --workspace --all-targets --features catvae-data/hub -- -D warnings",
            )?,
            Self::Docs => {
                let doc = "doc --workspace --no-deps --features catvae-data/hub";
                process::run(cargo().args(doc.split(' ')).env("RUSTDOCFLAGS", "-D warnings"))?;
            }
            Self::Features => features::check()?,
            // Without libFuzzer, which needs a C++ compiler. In the workspace's own target folder, for the sake of
            // the dependencies that were checked before.
            Self::Fuzz => run_cargo(
                "check --manifest-path fuzz/Cargo.toml --no-default-features --target-dir target",
            )?,
            Self::Hub => run_cargo("test -p catvae-data --features hub --test hub")?,
            Self::Cuda => {
                if !starts("nvcc") {
                    return Ok(Some("no nvcc on the PATH; candle's kernels need the CUDA toolkit"));
                }
                run_cargo("check -p catvae-cli --features cuda")?;
            }
        }
        Ok(None)
    }
}

/// Runs cargo with the words of a line.
fn run_cargo(line: &str) -> Result<()> {
    process::run(cargo().args(line.split(' ')))
}

/// Whether a program of this name can be started.
fn starts(program: &str) -> bool {
    let mut command = Command::new(program);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_program_that_is_there_starts() {
        assert!(starts("cargo"));
        assert!(!starts("no-such-program-here"));
    }
}
