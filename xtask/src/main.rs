//! `cargo xtask`: downloads, training runs, goldens, benchmarks and checks of this workspace.
//!
//! It shells out to cargo, to the `catvae` program and to Python, and never links candle. Results go to stdout,
//! everything else to stderr.
#![allow(clippy::print_stdout, reason = "a program's results belong on stdout")]

mod bench;
mod ci;
mod download;
mod golden;
mod process;
mod reproduce;
mod train;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about = "Tasks of this workspace")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Every check but the tests that has to pass before a change lands
    Ci(ci::Args),
    /// Downloads a data set and verifies it
    Download(download::Args),
    /// The default run on MNIST: download, train, evaluate, sample, reconstruct
    Train(train::Args),
    /// A published table: trains its runs, and shows ours beside the published numbers
    Reproduce(reproduce::Args),
    /// Regenerates (or checks) the values that the tests compare with, by PyTorch
    Golden(golden::Args),
    /// Benchmarks; with --peers also PyTorch, side by side
    Bench(bench::Args),
}

fn main() -> ExitCode {
    let result = match Cli::parse().task {
        Task::Ci(args) => ci::run(&args),
        Task::Download(args) => download::run(&args),
        Task::Train(args) => train::run(&args),
        Task::Reproduce(args) => reproduce::run(&args),
        Task::Golden(args) => golden::run(&args),
        Task::Bench(args) => bench::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    /// Those of `catvae` itself are parsed in catvae-cli.
    #[test]
    fn the_commands_of_the_readme_exist() {
        let blocks = include_str!("../../README.md").split("```").skip(1).step_by(2);
        let mut n_ours = 0;
        for line in blocks.filter_map(|block| block.strip_prefix("sh\n")).flat_map(str::lines) {
            let words: Vec<_> = line.split_whitespace().collect();
            if words.starts_with(&["cargo", "xtask"]) {
                n_ours += 1;
                assert!(Cli::try_parse_from(&words[1..]).is_ok(), "README.md: {line}");
            }
            let value_of = |flag| words.iter().skip_while(|word| **word != flag).nth(1);
            let package = workspace::root().join("crates").join(value_of("-p").unwrap_or(&""));
            assert!(package.is_dir(), "README.md: {line}");
            if let Some(example) = value_of("--example") {
                let file = package.join("examples").join(example).with_extension("rs");
                assert!(file.is_file(), "README.md: {line}");
            }
        }
        assert!(n_ours > 2, "README.md shows only {n_ours} commands of ours");
    }
}
