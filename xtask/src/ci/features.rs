//! Every package by itself. In a build of the whole workspace each crate has the features that any other asks for,
//! tests included, so that one it forgot to ask for itself goes unnoticed; so does a dependency that only tests use.

use anyhow::{Context, Result};
use serde_json::Value;

use crate::process::{self, cargo};

/// Features that are not tried: two need a toolkit or a system of their own, and the hub's 350 crates are linted with
/// the whole workspace.
const LEFT_OUT: [&str; 3] = ["cuda", "metal", "hub"];

/// Lints each package of the workspace without and with each of its features.
///
/// # Errors
/// When one does not compile, or does not use one of its dependencies.
pub(super) fn check() -> Result<()> {
    let arguments = ["metadata", "--format-version=1", "--no-deps", "--offline"];
    let text = process::stdout_of(cargo().args(arguments))?;
    let metadata: Value = serde_json::from_str(&text).context("cargo metadata is no JSON")?;
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let name = package["name"].as_str().context("a package without a name")?;
        let features = package["features"].as_object().into_iter().flatten();
        let features = features.map(|(feature, _)| feature.as_str());
        for feature in std::iter::once("").chain(features.filter(|it| !LEFT_OUT.contains(it))) {
            let mut command = cargo();
            command.args(["clippy", "-p", name, "--no-default-features", "--features", feature]);
            command.args(["--", "-D", "warnings", "-D", "unused_crate_dependencies"]);
            process::run(&mut command)?;
        }
    }
    Ok(())
}
