//! `cargo xtask train`: the default run on MNIST, from the download to pictures, in one run folder.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::download;
use crate::process::{self, cargo};
use crate::workspace;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The folder that holds one folder per data set [default: $CATVAE_DATA_DIR, or data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The run folder [default: runs/mnist, or the first of runs/mnist-2, … that is free]
    #[arg(long, value_name = "RUN")]
    out: Option<PathBuf>,
    /// Further flags for `catvae train`, such as `-- --logits relu --seed 1`
    #[arg(last = true, value_name = "FLAGS")]
    flags: Vec<OsString>,
}

/// Downloads MNIST if needed, builds `catvae`, and runs each of its commands on one run folder.
pub(crate) fn run(args: &Args) -> Result<()> {
    let out = match &args.out {
        Some(out) => out.clone(),
        None => first_free(&workspace::root().join("runs"), "mnist"),
    };

    let catvae = build_catvae()?;
    let data = download::mnist(&catvae, args.data_dir.as_deref())?;
    for command in &mut commands(&catvae, &data, &out, &args.flags) {
        process::run(command)?;
    }
    let mut evaluate = Command::new(&catvae);
    evaluate.arg("evaluate").arg(&out).arg("--json");
    eprintln!("$ {}", process::shown(&evaluate));
    let evaluation = process::stdout_of(&mut evaluate)?;
    let evaluation_path = out.join("evaluation.json");
    fs::write(&evaluation_path, &evaluation)
        .with_context(|| format!("cannot write {}", evaluation_path.display()))?;

    print!("{}: {evaluation}", evaluation_path.display());
    println!("Pictures of this model: samples.png and reconstructions.png beside it");
    Ok(())
}

/// Train, sample, reconstruct.
fn commands(catvae: &Path, data: &Path, out: &Path, flags: &[OsString]) -> [Command; 3] {
    let mut train = Command::new(catvae);
    train
        .args(["train", "--dataset", "mnist", "--data-dir"])
        .arg(data)
        .arg("--out")
        .arg(out)
        .args(flags);
    let mut sample = Command::new(catvae);
    sample.arg("sample").arg(out).arg("--out").arg(out.join("samples.png"));
    let mut reconstruct = Command::new(catvae);
    reconstruct.arg("reconstruct").arg(out).arg("--out").arg(out.join("reconstructions.png"));
    [train, sample, reconstruct]
}

/// Builds the program optimised and says where it lies.
pub(crate) fn build_catvae() -> Result<PathBuf> {
    built_executable(&["--package", "catvae-cli", "--bin", "catvae"])
}

/// Builds a target with optimisation and returns the path of its program.
///
/// # Errors
/// When it does not build.
pub(crate) fn built_executable(target: &[&str]) -> Result<PathBuf> {
    let mut command = cargo();
    command
        .args(["build", "--release", "--message-format", "json-render-diagnostics"])
        .args(target);
    eprintln!("$ {}", process::shown(&command));
    let messages = process::stdout_of(&mut command)?;
    executable_in(&messages)
        .with_context(|| format!("{} built no program", process::shown(&command)))
}

/// The last program that cargo's messages, one JSON object a line, say was built.
fn executable_in(messages: &str) -> Option<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter_map(|message| message.get("executable")?.as_str().map(PathBuf::from))
        .next_back()
}

fn first_free(runs: &Path, name: &str) -> PathBuf {
    let candidates = (1_u32..).map(|number| match number {
        1 => runs.join(name),
        _ => runs.join(format!("{name}-{number}")),
    });
    candidates.into_iter().find(|path| !path.exists()).unwrap_or_else(|| runs.join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_earlier_run_is_never_written_over() {
        let runs = tempfile::tempdir().unwrap();
        assert_eq!(first_free(runs.path(), "mnist"), runs.path().join("mnist"));
        fs::create_dir(runs.path().join("mnist")).unwrap();
        fs::create_dir(runs.path().join("mnist-2")).unwrap();
        assert_eq!(first_free(runs.path(), "mnist"), runs.path().join("mnist-3"));
    }

    #[test]
    fn the_program_is_found_among_cargos_messages() {
        let messages = r#"{"reason":"compiler-artifact","executable":null}
{"reason":"compiler-artifact","executable":"target/release/catvae"}
{"reason":"build-finished","success":true}
"#;
        assert_eq!(executable_in(messages), Some(PathBuf::from("target/release/catvae")));
        assert_eq!(executable_in("not json\n"), None);
    }

    #[test]
    fn further_flags_reach_the_training_and_nothing_else() {
        let flags = [OsString::from("--logits"), OsString::from("relu")];
        let commands =
            commands(Path::new("catvae"), Path::new("data/mnist"), Path::new("runs/a"), &flags);
        let shown = commands.each_ref().map(process::shown);
        assert_eq!(
            shown[0],
            "catvae train --dataset mnist --data-dir data/mnist --out runs/a --logits relu"
        );
        assert!(shown[1..].iter().all(|command| !command.contains("relu")));
        assert!(shown[2].starts_with("catvae reconstruct runs/a --out runs/a"));
    }
}
