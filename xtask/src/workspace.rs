//! Where the workspace lies.

use std::path::Path;

/// The workspace's root: the folder that this package's own lies in.
pub(crate) fn root() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;
    use crate::process::{cargo, stdout_of};

    type Arrows = BTreeSet<(String, String)>;

    /// Lines such as `a -> b, c` after the mark in docs/architecture.md.
    fn drawn() -> Arrows {
        let page = std::fs::read_to_string(root().join("docs/architecture.md")).unwrap();
        let (_, picture) = page.split_once("<!-- arrows -->\n```\n").unwrap();
        let (picture, _) = picture.split_once("```").unwrap();
        let arrows = picture.lines().flat_map(|line| {
            let (used, by) = line.split_once("->").unwrap();
            by.split(',').map(|by| (used.trim().to_owned(), by.trim().to_owned()))
        });
        arrows.collect()
    }

    /// Dependencies between packages of the workspace, without those of tests.
    fn real() -> Arrows {
        let mut metadata = cargo();
        metadata.args(["metadata", "--format-version=1", "--no-deps", "--offline"]);
        let metadata: Value = serde_json::from_str(&stdout_of(&mut metadata).unwrap()).unwrap();
        let mut arrows = Arrows::new();
        for package in metadata["packages"].as_array().unwrap() {
            for dependency in package["dependencies"].as_array().unwrap() {
                // A path marks a package of the workspace; the kind of an ordinary dependency is null.
                if dependency["path"].is_string() && dependency["kind"].is_null() {
                    let name = |value: &Value| value["name"].as_str().unwrap().to_owned();
                    arrows.insert((name(dependency), name(package)));
                }
            }
        }
        arrows
    }

    #[test]
    fn the_arrows_of_the_architecture_page_are_those_of_the_manifests() {
        assert_eq!(drawn(), real());
    }
}
