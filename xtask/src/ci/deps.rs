//! The dependencies, as `cargo metadata` tells them without a network: licences that may be used, no
//! second version without a reason, and none that no file mentions.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::process::{cargo, stdout_of};

/// Licences that ask for no more than to be named.
const LICENCES: [&str; 14] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    // Data only: the certificate authorities that the download trusts.
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    // Data only: tables of characters.
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Crates of which there is more than one version, and why.
const DUPLICATES: [(&str, &str); 12] = [
    ("base64", "0.13 for candle's tokenizers, the other for ureq"),
    ("getrandom", "0.2 for ring, 0.3 for candle's rand, 0.4 for tempfile"),
    ("hashbrown", "0.16 for safetensors, the other for indexmap"),
    ("itertools", "0.13 for criterion, the other for candle's tokenizers"),
    ("miniz_oxide", "0.8 for png, the other for flate2"),
    ("r-efi", "of the getrandoms, on UEFI only"),
    ("rand", "0.9 for candle and so for us, 0.10 for proptest"),
    ("rand_core", "of the rands"),
    ("syn", "2 and 3 for derive macros, when compiling only"),
    ("thiserror", "1 for candle's sysctl, the other for everyone else"),
    ("thiserror-impl", "of the thiserrors"),
    ("windows-sys", "0.52 for ring, on Windows only"),
];

/// All complaints about the dependencies of the workspace at `root`.
///
/// # Errors
/// When cargo cannot tell them, or a file cannot be read.
pub(super) fn check(root: &Path) -> Result<Vec<String>> {
    let text = stdout_of(cargo().args(["metadata", "--format-version", "1", "--offline"]))?;
    let metadata: Value = serde_json::from_str(&text).context("cargo metadata is no JSON")?;
    let packages: Vec<Package> =
        array(&metadata, "packages").iter().map(Package::from_metadata).collect();
    let mut complaints: Vec<_> = packages.iter().filter_map(refused_licence).collect();
    complaints.extend(duplicates(&packages, &DUPLICATES));
    for package in packages.iter().filter(|package| package.is_ours) {
        let folder = root.join(&package.folder);
        complaints.extend(unused(package, &Mentions::read(&folder)?));
    }
    Ok(complaints)
}

#[derive(Debug, Default)]
struct Package {
    name: String,
    version: String,
    licence: Option<String>,
    is_ours: bool,
    folder: String,
    dependencies: Vec<Dependency>,
}

#[derive(Debug)]
struct Dependency {
    /// As it is written in the code.
    ident: String,
    is_for_tests: bool,
}

impl Package {
    fn from_metadata(value: &Value) -> Self {
        let manifest = Path::new(value["manifest_path"].as_str().unwrap_or_default());
        let dependencies = array(value, "dependencies").iter().map(|dependency| {
            let name = dependency["rename"].as_str().or(dependency["name"].as_str());
            Dependency {
                ident: name.unwrap_or_default().replace('-', "_"),
                is_for_tests: dependency["kind"].as_str() == Some("dev"),
            }
        });
        Self {
            name: value["name"].as_str().unwrap_or_default().to_owned(),
            version: value["version"].as_str().unwrap_or_default().to_owned(),
            licence: value["license"].as_str().map(str::to_owned),
            is_ours: value["source"].is_null(),
            folder: manifest.parent().map(|p| p.display().to_string()).unwrap_or_default(),
            dependencies: dependencies.collect(),
        }
    }
}

fn array<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn refused_licence(package: &Package) -> Option<String> {
    let Package { name, version, .. } = package;
    match &package.licence {
        None => Some(format!("{name} {version} names no licence")),
        Some(licence) if !may_be_used(licence) => {
            Some(format!("{name} {version} is under {licence}, which is not on the list"))
        }
        Some(_) => None,
    }
}

/// Whether the licences on the list fulfil an SPDX expression. `/` is an old way to write OR.
fn may_be_used(expression: &str) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = words.as_slice();
    any_of(&mut rest) && rest.is_empty()
}

fn any_of(words: &mut &[&str]) -> bool {
    let mut fulfilled = all_of(words);
    while let ["OR", rest @ ..] = words {
        *words = rest;
        fulfilled |= all_of(words);
    }
    fulfilled
}

fn all_of(words: &mut &[&str]) -> bool {
    let mut fulfilled = one(words);
    while let ["AND", rest @ ..] = words {
        *words = rest;
        fulfilled &= one(words);
    }
    fulfilled
}

fn one(words: &mut &[&str]) -> bool {
    match words {
        ["(", rest @ ..] => {
            *words = rest;
            let fulfilled = any_of(words);
            if let [")", rest @ ..] = words {
                *words = rest;
            }
            fulfilled
        }
        [licence, "WITH", exception, rest @ ..] => {
            let licence = format!("{licence} WITH {exception}");
            *words = rest;
            LICENCES.contains(&licence.as_str())
        }
        [licence, rest @ ..] => {
            *words = rest;
            LICENCES.contains(licence)
        }
        [] => false,
    }
}

/// Crates with a second version that has no reason, and reasons that are needed no more.
fn duplicates(packages: &[Package], reasons: &[(&str, &str)]) -> Vec<String> {
    let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for package in packages {
        versions.entry(&package.name).or_default().insert(&package.version);
    }
    versions.retain(|_, versions| versions.len() > 1);
    let is_known = |name: &str| reasons.iter().any(|(known, _)| *known == name);
    let mut complaints: Vec<String> = versions
        .iter()
        .filter(|(name, _)| !is_known(name))
        .map(|(name, versions)| {
            let versions: Vec<_> = versions.iter().copied().collect();
            format!("{name} comes in the versions {}: agree on one", versions.join(", "))
        })
        .collect();
    complaints.extend(
        reasons
            .iter()
            .filter(|(name, _)| !versions.contains_key(name))
            .map(|(name, _)| format!("{name} has one version only: take it off the list")),
    );
    complaints
}

/// The text of a package's code and of its tests.
#[derive(Debug, Default)]
struct Mentions {
    code: String,
    tests: String,
}

impl Mentions {
    fn read(folder: &Path) -> Result<Self> {
        let mut mentions = Self::default();
        append(&folder.join("src"), &mut mentions.code)?;
        append(&folder.join("build.rs"), &mut mentions.code)?;
        for part in ["tests", "examples", "benches"] {
            append(&folder.join(part), &mut mentions.tests)?;
        }
        Ok(mentions)
    }
}

/// Appends the text of a source file, or of all below a folder.
fn append(path: &Path, text: &mut String) -> Result<()> {
    if path.is_dir() {
        for entry in
            fs::read_dir(path).with_context(|| format!("cannot list {}", path.display()))?
        {
            append(&entry?.path(), text)?;
        }
    } else if path.extension().is_some_and(|extension| extension == "rs") && path.is_file() {
        text.push_str(
            &fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?,
        );
    }
    Ok(())
}

fn unused(package: &Package, mentions: &Mentions) -> Vec<String> {
    let complaint = |dependency: &Dependency| {
        let in_code = mentions_word(&mentions.code, &dependency.ident);
        let in_tests = in_code || mentions_word(&mentions.tests, &dependency.ident);
        let Dependency { ident, is_for_tests } = dependency;
        match (is_for_tests, in_code, in_tests) {
            (_, _, false) => Some(format!("{}: {ident} is not used", package.name)),
            (false, false, true) => {
                Some(format!("{}: {ident} is used by tests only", package.name))
            }
            _ => None,
        }
    };
    package.dependencies.iter().filter_map(complaint).collect()
}

fn mentions_word(text: &str, word: &str) -> bool {
    let is_part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    text.match_indices(word).any(|(at, _)| {
        !is_part(text[..at].chars().next_back()) && !is_part(text[at + word.len()..].chars().next())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn licences_are_judged_as_expressions() {
        for fine in [
            "MIT",
            "MIT OR Apache-2.0",
            "MIT/Apache-2.0",
            "Apache-2.0 / MIT",
            "MIT OR LGPL-2.1-or-later",
            "(MIT OR GPL-3.0-only) AND Unicode-3.0",
            "Apache-2.0 WITH LLVM-exception OR GPL-2.0-only",
        ] {
            assert!(may_be_used(fine), "{fine}");
        }
        for refused in [
            "GPL-3.0-only",
            "MIT AND GPL-3.0-only",
            "(MIT OR Apache-2.0) AND MPL-2.0",
            "MIT WITH some-exception",
            "MIT Apache-2.0",
            "",
        ] {
            assert!(!may_be_used(refused), "{refused}");
        }
        let nameless = Package { name: "a".to_owned(), ..Package::default() };
        assert!(refused_licence(&nameless).unwrap().contains("names no licence"));
    }

    #[test]
    fn a_second_version_needs_a_reason_and_a_reason_a_second_version() {
        let package = |name: &str, version: &str| Package {
            name: name.to_owned(),
            version: version.to_owned(),
            ..Package::default()
        };
        let packages = [
            package("a", "1.0.0"),
            package("a", "2.0.0"),
            package("b", "1.0.0"),
            package("c", "1.0.0"),
            package("c", "1.1.0"),
        ];
        assert_eq!(
            duplicates(&packages, &[("a", "known"), ("b", "past")]),
            [
                "c comes in the versions 1.0.0, 1.1.0: agree on one",
                "b has one version only: take it off the list",
            ]
        );
    }

    #[test]
    fn a_dependency_that_no_file_mentions_is_named() {
        let dependency =
            |ident: &str, is_for_tests| Dependency { ident: ident.to_owned(), is_for_tests };
        let package = Package {
            name: "ours".to_owned(),
            dependencies: vec![
                dependency("used", false),
                dependency("only_tests", false),
                dependency("tested", true),
                dependency("forgotten", false),
                dependency("forgotten_too", true),
            ],
            ..Package::default()
        };
        let mentions = Mentions {
            code: "use used::Thing; // unused, forgotten_not".to_owned(),
            tests: "only_tests::run(); tested::check()".to_owned(),
        };
        assert_eq!(
            unused(&package, &mentions),
            [
                "ours: only_tests is used by tests only",
                "ours: forgotten is not used",
                "ours: forgotten_too is not used",
            ]
        );
    }
}
