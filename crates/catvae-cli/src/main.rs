//! The `catvae` program: train, evaluate and use a categorical VAE.
//!
//! Progress and warnings go to stderr, results to stdout. Exit codes: 0 done, 1 failed, 2 wrong
//! usage, 128 and the signal's number after a signal with the checkpoint saved.

mod args;
mod commands;
mod data;
mod device;
mod download;
mod explorer;
mod flags;
mod grid;
mod memory;
mod onnx;
mod pictures;
mod plot;
mod progress;
mod protobuf;
#[cfg(test)]
mod readme_tests;
mod run;
mod runs;
mod signals;
mod sweep;
mod tensorboard;
mod threads;
mod tune;

use std::num::NonZeroUsize;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches};

use crate::args::{Cli, Command, numbers_in_words};
use crate::progress::{print_line, printing_failed, warn};

/// Keeps large blocks for the next tensor of their size; the system's allocator gives them back and
/// has every page faulted in anew.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let matches = numbers_in_words(Cli::command()).try_get_matches();
    let cli = matches.and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = cli.unwrap_or_else(|error| with_tip(error).exit());
    signals::survive_file_size_limit();
    let done = threads::start(cli.threads).and_then(|()| obey(&cli.command, cli.threads));
    let code = done.unwrap_or_else(|error| {
        warn(&format!("error: {}{}", shown(&error), hint(&error)));
        if is_wrong_usage(&cli.command, &error) { ExitCode::from(2) } else { ExitCode::FAILURE }
    });
    match printing_failed(matches!(cli.command, Command::Train(_))) {
        Some(error) => {
            warn(&format!("error: cannot write to stdout: {error}"));
            ExitCode::FAILURE
        }
        None => code,
    }
}

fn obey(command: &Command, threads: Option<NonZeroUsize>) -> anyhow::Result<ExitCode> {
    match command {
        Command::Train(args) => commands::train::train(args),
        Command::Evaluate(args) => commands::evaluate::evaluate(args),
        Command::Sample(args) => commands::sample::sample(args),
        Command::Reconstruct(args) => commands::reconstruct::reconstruct(args),
        Command::Encode(args) => commands::encode::encode(args),
        Command::Decode(args) => commands::decode::decode(args),
        Command::Latents(args) => commands::latents::latents(args),
        Command::Explore(args) => commands::explore::explore(args),
        Command::Export(args) => commands::export::export(args),
        Command::Download(args) => download::download(args),
        Command::Import(args) => commands::import::import(args),
        Command::Temperature(args) => commands::temperature::temperature(args),
        Command::Estimators(args) => commands::estimators::estimators(args),
        Command::Sweep(args) => commands::sweep::sweep(args, threads),
        Command::Tune(args) => commands::tune::tune(args, threads),
        Command::List(args) => commands::list::list(args),
        Command::Show(args) => commands::show::show(args),
        Command::Compare(args) => commands::compare::compare(args),
        Command::Man { out } => commands::man::man(out),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "catvae", &mut script);
            print_line(String::from_utf8_lossy(&script).trim_end());
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Whether the configuration that a command was given is wrong, and not what it found.
fn is_wrong_usage(command: &Command, error: &anyhow::Error) -> bool {
    use catvae_train::Error;
    let configures = match command {
        Command::Train(train) => !train.args.resumes(),
        Command::Sweep(sweep) => sweep.merge.is_none(),
        Command::Tune(_) | Command::Import(_) => true,
        _ => false,
    };
    let is_of_settings = |cause: &Error| {
        matches!(
            cause,
            Error::ConfigFile { .. }
                | Error::Setting { .. }
                | Error::EstimatorOfCode { .. }
                | Error::TooManyCodes { .. }
                | Error::Model(catvae_model::Error::SubsetSize { .. })
        )
    };
    configures && error.downcast_ref::<Error>().is_some_and(is_of_settings)
}

/// A second width after a space is no flag's value.
fn with_tip(mut error: clap::Error) -> clap::Error {
    use clap::error::{ContextKind, ContextValue};
    let is_width = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(word)) => word.bytes().all(|byte| byte.is_ascii_digit()),
        _ => false,
    };
    let has_widths = std::env::args().any(|word| word == "--hidden");
    if is_width && has_widths && error.kind() == ErrorKind::UnknownArgument {
        let tip = "several widths are one word: --hidden 512,256".into();
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip]));
    }
    error
}

/// The flags that mend a library's error, which knows none.
fn hint(error: &anyhow::Error) -> String {
    use catvae_train::{Error, Setting};
    let flags = match error.downcast_ref::<Error>() {
        Some(Error::RunExists { .. }) => "--resume, --out",
        Some(Error::Locked { .. }) => "--out",
        Some(Error::NotFinite { .. }) => "--lr, --temperature, --clip-gradient-norm",
        Some(Error::TooManyCodes { .. }) => "--latents, --categories, --estimator",
        Some(Error::FewerEpochs { .. }) => "--epochs",
        Some(Error::ConfigurationDiffers { .. }) => "--out",
        Some(Error::Setting { field, .. }) => match Setting::named(field).and_then(|s| s.flag) {
            Some((flag, _)) => return format!(" (--{flag})"),
            None => return String::new(),
        },
        _ => return String::new(),
    };
    format!(" ({flags})")
}

/// The error and what caused it; many of ours quote their cause already.
fn shown(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_told_once() {
        let cause = anyhow::anyhow!("no space");
        assert_eq!(shown(&cause), "no space");
        let error = cause.context("cannot write a").context("cannot write a: no space");
        assert_eq!(shown(&error), "cannot write a: no space");
        assert_eq!(shown(&anyhow::anyhow!("b").context("a")), "a: b");
    }
}
