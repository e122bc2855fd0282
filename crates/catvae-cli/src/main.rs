//! The `catvae` program: train, evaluate and use a categorical VAE.
//!
//! Progress and warnings go to stderr, results to stdout. Exit codes: 0 done, 1 failed, 2 wrong
//! usage, 130 or 143 after a signal with the checkpoint saved.

mod args;
mod commands;
mod data;
mod device;
mod grid;
mod pictures;
mod plot;
mod progress;
mod run;
mod signals;

use std::process::ExitCode;

use clap::Parser;

use crate::args::{Cli, Command};

/// Keeps large blocks for the next tensor of their size; the system's allocator gives them back and
/// has every page faulted in anew.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match &cli.command {
        Command::Train(args) => commands::train::train(args),
        Command::Evaluate(args) => commands::evaluate::evaluate(args),
        Command::Sample(args) => commands::sample::sample(args),
        Command::Reconstruct(args) => commands::reconstruct::reconstruct(args),
        Command::Encode(args) => commands::encode::encode(args),
        Command::Decode(args) => commands::decode::decode(args),
        Command::Temperature(args) => commands::temperature::temperature(args),
        Command::Estimators(args) => commands::estimators::estimators(args),
    };
    done.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
