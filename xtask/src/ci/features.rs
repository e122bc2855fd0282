//! Every package by itself. In a build of the whole workspace each crate has the features that any
//! other asks for, tests included, so that one it forgot to ask for itself goes unnoticed.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::process::{self, cargo, stdout_of};

/// Features that need a toolkit or a system of their own to compile.
const NEED_TOOLKIT: [&str; 2] = ["cuda", "metal"];

/// Checks each package of the workspace without and with each of its features.
///
/// # Errors
/// When one does not compile.
pub(super) fn check(root: &Path) -> Result<()> {
    let mut command = cargo();
    command.args(["metadata", "--format-version=1", "--no-deps", "--offline"]).current_dir(root);
    let metadata: Value =
        serde_json::from_str(&stdout_of(&mut command)?).context("cargo metadata is no JSON")?;
    for arguments in selections(&metadata) {
        process::run(cargo().arg("check").args(arguments))?;
    }
    Ok(())
}

/// The arguments of each check.
fn selections(metadata: &Value) -> Vec<Vec<String>> {
    let mut selections = Vec::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let Some(name) = package["name"].as_str() else { continue };
        let package_only = ["-p", name, "--no-default-features"].map(str::to_owned);
        selections.push(package_only.to_vec());
        let features = package["features"].as_object().into_iter().flatten();
        for (feature, _) in features {
            if !NEED_TOOLKIT.contains(&feature.as_str()) {
                let with_feature = ["--features".to_owned(), feature.clone()];
                selections.push([&package_only[..], &with_feature].concat());
            }
        }
    }
    selections
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_package_is_checked_without_and_with_each_feature_but_those_of_toolkits() {
        let metadata = serde_json::json!({ "packages": [
            { "name": "plain", "features": {} },
            { "name": "rich", "features": { "default": [], "hub": ["dep:x"], "cuda": [] } },
        ]});
        let lines: Vec<_> = selections(&metadata).iter().map(|words| words.join(" ")).collect();
        assert_eq!(
            lines,
            [
                "-p plain --no-default-features",
                "-p rich --no-default-features",
                "-p rich --no-default-features --features default",
                "-p rich --no-default-features --features hub",
            ]
        );
    }
}
