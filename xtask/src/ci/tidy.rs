//! Rules of this repository that no other tool checks. Each returns its complaints, with the file's name.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

/// All complaints about the files of the working tree that git does not ignore.
///
/// # Errors
/// When a file cannot be read.
pub(super) fn check(root: &Path) -> Result<Vec<String>> {
    let mut complaints = missing_licences(root);
    let local_paths = local_paths(root, std::env::home_dir().as_deref());
    for name in files(root)? {
        let path = root.join(&name);
        let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let text = String::from_utf8_lossy(&bytes);
        complaints.extend(holds_local_path(&name, &text, &local_paths));
        complaints.extend(
            match Path::new(&name).extension().and_then(|extension| extension.to_str()) {
                Some("rs") => [opens_without_doc(&name, &text), lifts_unsafe(&name, &text)]
                    .into_iter()
                    .flatten()
                    .collect(),
                Some("toml") => lacks_licence(&name, &text).into_iter().collect(),
                Some("md") => dead_links(root, &name, &text),
                _ => Vec::new(),
            },
        );
    }
    Ok(complaints)
}

/// Names relative to the root, with `/`. What git does not ignore; without git, all but the usual outputs.
pub(super) fn files(root: &Path) -> Result<Vec<String>> {
    let listed = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .stderr(Stdio::null())
        .output();
    let mut names = match listed {
        Ok(output) if output.status.success() => String::from_utf8(output.stdout)
            .context("a file's name is not UTF-8")?
            .split_terminator('\0')
            .map(str::to_owned)
            // Deleted, but not yet from git's index.
            .filter(|name| root.join(name).is_file())
            .collect(),
        _ => {
            let mut names = Vec::new();
            walk(root, "", &mut names)?;
            names
        }
    };
    names.sort();
    names.dedup();
    Ok(names)
}

fn walk(root: &Path, folder: &str, names: &mut Vec<String>) -> Result<()> {
    let path = root.join(folder);
    for entry in fs::read_dir(&path).with_context(|| format!("cannot list {}", path.display()))? {
        let entry = entry?;
        let base = entry.file_name().into_string().ok().context("a file's name is not UTF-8")?;
        let name = if folder.is_empty() { base } else { format!("{folder}/{base}") };
        if entry.file_type()?.is_file() {
            names.push(name);
        } else if entry.file_type()?.is_dir()
            && !matches!(name.as_str(), ".git" | "target" | "data" | "runs")
            && !name.ends_with("__pycache__")
        {
            walk(root, &name, names)?;
        }
    }
    Ok(())
}

fn opens_without_doc(name: &str, text: &str) -> Option<String> {
    let documented = text
        .lines()
        .next()
        .is_some_and(|line| line.len() > "//! ".len() && line.starts_with("//! "));
    (!documented).then(|| format!("{name}: its first line is no `//!` saying what the file is"))
}

/// `unsafe_code` is denied everywhere; only the kernels may lift that.
fn lifts_unsafe(name: &str, text: &str) -> Option<String> {
    let lifts =
        ["allow(", "expect("].iter().any(|lint| text.contains(&format!("{lint}unsafe_code")));
    (lifts && !name.starts_with("crates/gumbel-kernels/"))
        .then(|| format!("{name}: lifts `unsafe_code`; unsafe code belongs into gumbel-kernels"))
}

fn missing_licences(root: &Path) -> Vec<String> {
    ["LICENSE-MIT", "LICENSE-APACHE"]
        .iter()
        .filter(|name| !root.join(name).is_file())
        .map(|name| format!("{name}: missing"))
        .collect()
}

fn lacks_licence(name: &str, text: &str) -> Option<String> {
    let is_package =
        name.ends_with("Cargo.toml") && text.lines().any(|line| line.trim() == "[package]");
    let has_licence = text.lines().any(|line| {
        let line: String = line.split_whitespace().collect();
        line == "license.workspace=true" || line.starts_with("license=\"")
    });
    (is_package && !has_licence).then(|| format!("{name}: the package names no licence"))
}

/// Beginnings of paths that mean something on one machine only.
fn local_paths(root: &Path, home: Option<&Path>) -> Vec<String> {
    // In two parts, so that this file does not hold them itself.
    let usual = [
        ("/ho", "me/"),
        ("/ro", "ot/"),
        ("/Us", "ers/"),
        ("/op", "t/"),
        ("/wor", "k/"),
        (r"C:\Us", r"ers\"),
    ];
    let mut paths: Vec<_> = usual.iter().map(|(start, end)| format!("{start}{end}")).collect();
    let here = [Some(root), home].into_iter().flatten();
    paths.extend(
        here.filter(|path| path.components().count() > 2).map(|path| path.display().to_string()),
    );
    paths
}

fn holds_local_path(name: &str, text: &str, local_paths: &[String]) -> Vec<String> {
    let mut complaints = Vec::new();
    for (line_idx, line) in text.lines().enumerate() {
        for path in local_paths {
            // `example.com/home/x`, `network/` and `$HOME/work/` go on from something before.
            let begins_here = line.match_indices(path.as_str()).any(|(at, _)| {
                let before = line[..at].chars().next_back();
                !before.is_some_and(|c| c.is_alphanumeric() || "_-.~}*/".contains(c))
            });
            if begins_here {
                complaints
                    .push(format!("{name}:{}: holds a path of one machine, {path}", line_idx + 1));
            }
        }
    }
    complaints
}

/// Markdown links to files that are not there.
fn dead_links(root: &Path, name: &str, text: &str) -> Vec<String> {
    let folder = Path::new(name).parent().unwrap_or(Path::new(""));
    links(text)
        .into_iter()
        .filter(|link| {
            !link.contains("://") && !link.starts_with('#') && !link.starts_with("mailto:")
        })
        .filter(|link| {
            let target = link.split('#').next().unwrap_or_default();
            let target: PathBuf = root.join(folder).join(target);
            !target.exists()
        })
        .map(|link| format!("{name}: links to {link}, which is not there"))
        .collect()
}

/// Targets of `[text](target)` outside of code.
fn links(text: &str) -> Vec<&str> {
    let mut links = Vec::new();
    let mut in_code = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code {
            continue;
        }
        // Every other piece between backticks is code; formulas such as `f[i](x)` are no links.
        for prose in line.split('`').step_by(2) {
            for (at, _) in prose.match_indices("](") {
                let rest = &prose[at + 2..];
                if let Some(end) = rest.find([')', ' ']) {
                    links.push(&rest[..end]);
                }
            }
        }
    }
    links
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_heading_is_named() {
        assert_eq!(opens_without_doc("a.rs", "//! What it is.\nfn a() {}\n"), None);
        for text in ["", "fn a() {}\n", "\n//! Late.\n", "//!\n", "// Plain.\n"] {
            assert!(opens_without_doc("a.rs", text).unwrap().starts_with("a.rs:"), "{text:?}");
        }
    }

    #[test]
    fn only_the_kernels_may_lift_the_ban_on_unsafe() {
        let text = format!("#![{}(unsafe_code, reason = \"\")]", "allow");
        assert!(lifts_unsafe("crates/gumbel-core/src/lib.rs", &text).is_some());
        assert_eq!(lifts_unsafe("crates/gumbel-kernels/src/gemm.rs", &text), None);
        assert_eq!(lifts_unsafe("crates/gumbel-core/src/lib.rs", "fn a() {}"), None);
    }

    #[test]
    fn a_package_without_a_licence_is_named_and_a_virtual_manifest_is_not() {
        assert!(lacks_licence("a/Cargo.toml", "[package]\nname = \"a\"\n").is_some());
        assert_eq!(lacks_licence("a/Cargo.toml", "[package]\nlicense.workspace = true\n"), None);
        assert_eq!(lacks_licence("a/Cargo.toml", "[package]\nlicense = \"MIT\"\n"), None);
        assert_eq!(lacks_licence("Cargo.toml", "[workspace]\nmembers = []\n"), None);
        assert_eq!(lacks_licence("rustfmt.toml", "[package]\n"), None);
    }

    #[test]
    fn a_path_of_one_machine_is_found_and_an_address_is_not() {
        let home = format!("/{}/someone", "home");
        let paths = local_paths(Path::new("/srv/checkout/here"), Some(Path::new(&home)));
        let lines = |text: &str| holds_local_path("f", text, &paths).len();
        assert!(lines(&format!("first\nsee {home}/data")) >= 1);
        assert_eq!(lines("let dir = \"/srv/checkout/here/data\";"), 1);
        assert_eq!(lines(&format!("https://example.com{home}")), 0);
        assert_eq!(lines("/dev/full /proc/self /usr/bin/env data/mnist"), 0);
        assert!(holds_local_path("f", &format!("a\nb {home}"), &paths)[0].starts_with("f:2:"));
    }

    #[test]
    fn a_short_root_is_not_searched_for() {
        assert!(!local_paths(Path::new("/src"), None).contains(&"/src".to_owned()));
    }

    #[test]
    fn links_to_missing_files_are_named_and_code_is_not_read() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("docs")).unwrap();
        fs::write(root.path().join("docs/there.md"), "").unwrap();
        let text = "[a](there.md#part) [b](gone.md) [c](https://x.y/z) [d](#here) `f[i](x)`\n```\n[e](code)\n```\n![f](../g.png)";
        assert_eq!(
            dead_links(root.path(), "docs/page.md", text),
            [
                "docs/page.md: links to gone.md, which is not there",
                "docs/page.md: links to ../g.png, which is not there",
            ]
        );
    }

    #[test]
    fn without_git_the_folders_are_walked_and_outputs_left_out() {
        let root = tempfile::tempdir().unwrap();
        for folder in ["src", "target", "data"] {
            fs::create_dir(root.path().join(folder)).unwrap();
            fs::write(root.path().join(folder).join("a.rs"), "").unwrap();
        }
        let mut names = Vec::new();
        walk(root.path(), "", &mut names).unwrap();
        assert_eq!(names, ["src/a.rs"]);
    }

    #[test]
    fn a_tree_with_every_defect_gets_every_complaint() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("a.rs"), format!("// see /{}/me/x\n", "home")).unwrap();
        fs::write(root.path().join("Cargo.toml"), "[package]\nname = \"a\"\n").unwrap();
        fs::write(root.path().join("README.md"), "[gone](gone.md)").unwrap();
        let complaints = check(root.path()).unwrap().join("\n");
        for words in
            ["LICENSE-MIT", "LICENSE-APACHE", "`//!`", "one machine", "no licence", "gone.md"]
        {
            assert!(complaints.contains(words), "{words} is missing in\n{complaints}");
        }
    }
}
