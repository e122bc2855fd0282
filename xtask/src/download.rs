//! `cargo xtask download`: `catvae download`, with the workspace's `data` as the folder.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::train::build_catvae;
use crate::{process, workspace};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What `catvae download` takes: a name and flags
    #[arg(
        value_name = "NAME",
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    rest: Vec<OsString>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    process::run(&mut command(&build_catvae()?, None, &args.rest))
}

/// Makes sure that MNIST is there, and says in which folder.
///
/// # Errors
/// When it is not there and cannot be had.
pub(crate) fn mnist(catvae: &Path, data_dir: Option<&Path>) -> Result<PathBuf> {
    let folder = process::stdout_of(&mut command(catvae, data_dir, &["mnist".into()]))?;
    Ok(PathBuf::from(folder.trim_end()))
}

/// The download of what `rest` says.
fn command(catvae: &Path, data_dir: Option<&Path>, rest: &[OsString]) -> Command {
    let mut command = Command::new(catvae);
    command.arg("download").args(rest);
    if !rest.iter().any(|word| word.to_string_lossy().starts_with("--data-dir")) {
        command.arg("--data-dir").arg(data_folder(data_dir));
    }
    command
}

/// The folder of all data sets.
pub(crate) fn data_folder(data_dir: Option<&Path>) -> PathBuf {
    let variable = std::env::var_os("CATVAE_DATA_DIR").filter(|dir| !dir.is_empty());
    let given = data_dir.map(Path::to_owned).or(variable.map(PathBuf::from));
    given.unwrap_or_else(|| workspace::root().join("data"))
}
