//! `cargo xtask golden`: has PyTorch write the values that the training tests compare with, or checks them.

use std::ffi::OsString;
use std::process::Command;

use anyhow::{Context, Result};

use crate::{process, workspace};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    python: Python,
    /// Compare with the files that are there instead of writing them
    #[arg(long)]
    check: bool,
}

/// Which Python to use.
#[derive(Debug, clap::Args)]
pub(crate) struct Python {
    /// A Python that has PyTorch [default: $PYTHON, or python3]
    #[arg(long = "python", value_name = "PATH")]
    path: Option<OsString>,
}

impl Python {
    /// A command for one of the checked-in scripts, once the modules that it needs can be imported.
    ///
    /// # Errors
    /// When they cannot; the error says how to install them.
    pub(crate) fn script(&self, script: &str, modules: &[&str]) -> Result<Command> {
        let path = chosen(self.path.as_ref(), std::env::var_os("PYTHON"));
        let import = format!("import {}", modules.join(", "));
        process::stdout_of(Command::new(&path).args(["-c", &import]))
            .with_context(|| how_to_install(script, modules))?;
        let mut command = Command::new(path);
        // Unbuffered, and without leaving compiled files in the tree.
        command.arg("-u").arg("-B").arg(workspace::root().join("scripts").join(script));
        Ok(command)
    }
}

/// Runs `scripts/goldens.py`.
pub(crate) fn run(args: &Args) -> Result<()> {
    let mut command = args.python.script("goldens.py", &["torch", "numpy", "safetensors"])?;
    if args.check {
        command.arg("--check");
    }
    process::run(&mut command)
}

fn chosen(flag: Option<&OsString>, from_environment: Option<OsString>) -> OsString {
    flag.cloned()
        .or_else(|| from_environment.filter(|path| !path.is_empty()))
        .unwrap_or_else(|| OsString::from("python3"))
}

fn how_to_install(script: &str, modules: &[&str]) -> String {
    let packages = modules.join(" ").replace("torch", "torch==2.15.0");
    format!(
        "scripts/{script} needs {}. Install them with\n  \
         python3 -m venv venv && venv/bin/pip install {packages}\n\
         and name the interpreter with --python venv/bin/python or $PYTHON",
        modules.join(", "),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flag_wins_over_the_environment_and_the_environment_over_the_default() {
        let flag = OsString::from("flag");
        let environment = || Some(OsString::from("env"));
        assert_eq!(chosen(Some(&flag), environment()), "flag");
        assert_eq!(chosen(None, environment()), "env");
        assert_eq!(chosen(None, Some(OsString::new())), "python3");
        assert_eq!(chosen(None, None), "python3");
    }

    #[test]
    fn a_python_without_pytorch_is_told_how_to_get_it() {
        let python = Python { path: Some(OsString::from("no-such-python")) };
        let error = format!("{:#}", python.script("goldens.py", &["torch", "numpy"]).unwrap_err());
        assert!(
            error.contains("pip install torch==2.15.0 numpy") && error.contains("no-such-python"),
            "{error}"
        );
    }
}
