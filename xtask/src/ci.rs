//! `cargo xtask ci`: every check that has to pass before a change lands, cheapest first.

mod deps;
mod features;
mod readme;
mod spelling;
mod tidy;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
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
    /// Misspelt words in documentation, comments and names
    Spelling,
    /// Formatting
    Fmt,
    /// Licences, duplicate versions and unused dependencies, offline
    Deps,
    /// Lints of all targets
    Clippy,
    /// Unit, integration and documentation tests
    Test,
    /// Documentation builds without a warning
    Docs,
    /// Lints and tests of the data crate with the Hugging Face hub
    Hub,
    /// Every package compiles by itself, with each feature that needs no toolkit
    Features,
    /// The commands in README.md exist, with their flags
    Readme,
    /// The CUDA build compiles, where its toolkit is installed
    Cuda,
}

/// How a step ended.
#[derive(Debug)]
enum Outcome {
    Passed,
    Failed(anyhow::Error),
    Skipped(&'static str),
}

/// Runs the steps up to the first that fails.
///
/// # Errors
/// When a step fails.
pub(crate) fn run(args: &Args) -> Result<()> {
    let steps =
        if args.only.is_empty() { Step::value_variants().to_vec() } else { args.only.clone() };
    let started = Instant::now();
    let mut ended = Vec::new();
    for &step in &steps {
        eprintln!("\n=== {} ===", step.name());
        let step_started = Instant::now();
        let outcome = match step.run() {
            Ok(None) => Outcome::Passed,
            Ok(Some(reason)) => Outcome::Skipped(reason),
            Err(error) => Outcome::Failed(error),
        };
        let failed = matches!(outcome, Outcome::Failed(_));
        ended.push((step, outcome, step_started.elapsed()));
        if failed {
            break;
        }
    }
    print!("{}", summary(&steps, &ended, started.elapsed()));
    match ended.last() {
        Some((step, Outcome::Failed(_), _)) => bail!("{} failed", step.name()),
        _ => Ok(()),
    }
}

impl Step {
    fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// `None` when the step passed, a reason when it cannot run here.
    fn run(self) -> Result<Option<&'static str>> {
        let root = workspace::root()?;
        match self {
            Self::Tidy => complain(&tidy::check(&root)?)?,
            Self::Spelling => complain(&spelling::check(&root)?)?,
            Self::Fmt => process::run(cargo().args(["fmt", "--all", "--check"]))?,
            Self::Deps => complain(&deps::check(&root)?)?,
            Self::Clippy => {
                process::run(cargo().args([
                    "clippy",
                    "--workspace",
                    "--all-targets",
                    "--",
                    "-D",
                    "warnings",
                ]))?;
            }
            Self::Features => features::check(&root)?,
            Self::Test => process::run(cargo().args(["test", "--workspace"]))?,
            Self::Docs => {
                let mut command = cargo();
                command
                    .args(["doc", "--workspace", "--no-deps"])
                    .env("RUSTDOCFLAGS", "-D warnings");
                process::run(&mut command)?;
            }
            Self::Hub => {
                let hub = ["-p", "catvae-data", "--features", "hub"];
                process::run(cargo().arg("clippy").args(hub).args([
                    "--all-targets",
                    "--",
                    "-D",
                    "warnings",
                ]))?;
                process::run(cargo().arg("test").args(hub))?;
            }
            Self::Readme => complain(&readme::check(&root)?)?,
            Self::Cuda => {
                if !starts("nvcc") {
                    return Ok(Some(
                        "no nvcc on the PATH; candle's CUDA kernels need the CUDA toolkit to compile",
                    ));
                }
                process::run(cargo().args(["check", "-p", "catvae-cli", "--features", "cuda"]))?;
            }
        }
        Ok(None)
    }
}

/// An error when there are complaints, after printing each.
fn complain(complaints: &[String]) -> Result<()> {
    for complaint in complaints {
        eprintln!("{complaint}");
    }
    match complaints.len() {
        0 => Ok(()),
        n_complaints => bail!("{n_complaints} complaints, listed above"),
    }
}

/// Whether a program of this name can be started.
fn starts(program: &str) -> bool {
    Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

fn summary(steps: &[Step], ended: &[(Step, Outcome, Duration)], total: Duration) -> String {
    let mut text = String::from("\n=== summary ===\n");
    for &step in steps {
        let line = match ended.iter().find(|(done, _, _)| *done == step) {
            Some((_, Outcome::Passed, time)) => format!("passed   {:>7.1} s", time.as_secs_f64()),
            Some((_, Outcome::Failed(error), time)) => {
                format!("FAILED   {:>7.1} s  {error:#}", time.as_secs_f64())
            }
            Some((_, Outcome::Skipped(reason), _)) => format!("skipped             {reason}"),
            None => "not run".to_owned(),
        };
        text.push_str(&format!("{:<10}{line}\n", step.name()));
    }
    text.push_str(&format!("{:<10}{:>16.1} s\n", "total", total.as_secs_f64()));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_names_every_step_and_why_one_failed() {
        let steps = [Step::Tidy, Step::Cuda, Step::Fmt, Step::Test];
        let ended = [
            (Step::Tidy, Outcome::Passed, Duration::from_millis(1500)),
            (Step::Cuda, Outcome::Skipped("no toolkit"), Duration::ZERO),
            (Step::Fmt, Outcome::Failed(anyhow::anyhow!("2 files differ")), Duration::from_secs(2)),
        ];
        let text = summary(&steps, &ended, Duration::from_secs(4));
        let lines: Vec<_> = text.lines().filter(|line| !line.is_empty()).collect();
        assert_eq!(
            lines,
            [
                "=== summary ===",
                "tidy      passed       1.5 s",
                "cuda      skipped             no toolkit",
                "fmt       FAILED       2.0 s  2 files differ",
                "test      not run",
                "total                  4.0 s",
            ]
        );
    }

    #[test]
    fn complaints_fail_a_step() {
        assert!(complain(&[]).is_ok());
        assert_eq!(
            complain(&["a".to_owned()]).unwrap_err().to_string(),
            "1 complaints, listed above"
        );
    }

    #[test]
    fn only_a_program_that_is_there_starts() {
        assert!(starts("cargo"));
        assert!(!starts("no-such-program-here"));
    }
}
