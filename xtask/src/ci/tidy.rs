//! Rules of this repository that no other tool checks. Each returns its complaints, with the file's name.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::process;

/// All complaints about the files in the current folder that git does not ignore.
///
/// # Errors
/// When git does not list them, or one cannot be read.
pub(super) fn check() -> Result<Vec<String>> {
    let mut complaints = Vec::new();
    let here = std::env::current_dir().context("the current folder cannot be read")?;
    let local_paths = local_paths([Some(here), std::env::home_dir()]);
    let arguments = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    let listed = process::stdout_of(Command::new("git").args(arguments))?;
    // What was deleted may still be in git's index.
    for name in listed.split_terminator('\0').filter(|name| Path::new(name).is_file()) {
        let bytes = fs::read(name).with_context(|| format!("cannot read {name}"))?;
        let text = String::from_utf8_lossy(&bytes);
        complaints.extend(holds_local_path(name, &text, &local_paths));
        match Path::new(name).extension().and_then(|extension| extension.to_str()) {
            Some("rs") => {
                complaints.extend(opens_without_doc(name, &text));
                complaints.extend(lifts_unsafe(name, &text));
            }
            Some("md") => complaints.extend(dead_links(Path::new(""), name, &text)),
            _ => {}
        }
    }
    Ok(complaints)
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

/// Beginnings of paths that mean something on one machine only.
fn local_paths(here: [Option<PathBuf>; 2]) -> Vec<String> {
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
    let here = here.into_iter().flatten().filter(|path| path.components().count() > 2);
    paths.extend(here.map(|path| path.display().to_string()));
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
            !root.join(folder).join(target).exists()
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
    fn a_path_of_one_machine_is_found_and_an_address_is_not() {
        let home = format!("/{}/someone", "home");
        let paths = local_paths([Some(PathBuf::from("/srv/people/me")), None]);
        let lines = |text: &str| holds_local_path("f", text, &paths).len();
        assert!(lines(&format!("first\nsee {home}/data")) >= 1);
        assert_eq!(lines("let dir = \"/srv/people/me/data\";"), 1);
        assert_eq!(lines(&format!("https://example.com{home}")), 0);
        assert_eq!(lines("/dev/full /proc/self /usr/bin/env data/mnist"), 0);
        assert!(holds_local_path("f", &format!("a\nb {home}"), &paths)[0].starts_with("f:2:"));
    }

    #[test]
    fn a_short_folder_is_not_searched_for() {
        assert!(!local_paths([Some(PathBuf::from("/me")), None]).contains(&"/me".to_owned()));
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
}
