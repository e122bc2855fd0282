//! Where the workspace lies.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The workspace's root: the nearest folder, from the current one upwards, that holds xtask's manifest.
pub(crate) fn root() -> Result<PathBuf> {
    let current = std::env::current_dir().context("the current folder cannot be read")?;
    enclosing_root(&current)
        .map(Path::to_path_buf)
        .with_context(|| format!("{} is not inside this workspace", current.display()))
}

fn enclosing_root(folder: &Path) -> Option<&Path> {
    folder.ancestors().find(|folder| {
        folder.join("Cargo.toml").is_file() && folder.join("xtask/Cargo.toml").is_file()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_is_found_from_a_folder_deep_inside() {
        let here = root().unwrap();
        assert_eq!(enclosing_root(&here.join("xtask/src")), Some(here.as_path()));
    }

    #[test]
    fn a_folder_outside_of_the_workspace_has_no_root() {
        let outside = tempfile::tempdir().unwrap();
        assert_eq!(enclosing_root(outside.path()), None);
    }
}
