//! `catvae man`.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::CommandFactory;

use crate::args::Cli;
use crate::progress::print_line;

/// One page for the program, `catvae.1`, and one a command, `catvae-train.1`.
pub(crate) fn man(out: &Path) -> Result<ExitCode> {
    let told = || format!("cannot write the manual pages into {}", out.display());
    fs::create_dir_all(out).with_context(told)?;
    clap_mangen::generate_to(Cli::command(), out).with_context(told)?;
    print_line(&format!("manual pages in {}", out.display()));
    Ok(ExitCode::SUCCESS)
}
