//! `cargo xtask`: downloads, training runs, goldens, benchmarks and checks of this workspace.
//!
//! It shells out to cargo, to the `catvae` program and to Python, and never links candle, so that it
//! builds in seconds. Results go to stdout, everything else to stderr.
#![allow(clippy::print_stdout, reason = "a program's results belong on stdout")]

mod bench;
mod ci;
mod download;
mod golden;
mod process;
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
    /// Every check that has to pass before a change lands
    Ci(ci::Args),
    /// Downloads a data set, resuming and verifying
    Download(download::Args),
    /// The article's run on MNIST: download, train, evaluate, sample, reconstruct
    Train(train::Args),
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
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
