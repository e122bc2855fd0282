//! Where a dataset's files lie.

use std::path::{Path, PathBuf};

use crate::folder::holds_any_file;
use crate::{Error, Result};

/// The environment variable that names the folder of all datasets.
pub const DATA_DIR_VARIABLE: &str = "CATVAE_DATA_DIR";

/// The folder that holds the dataset `name` (`mnist`, `fashion-mnist`, …).
///
/// Looked in, in this order: `data_dir` itself, `data_dir/<name>`, `$CATVAE_DATA_DIR/<name>`,
/// `data/<name>` below the working directory. The first that holds one of MNIST's four files
/// wins; should another be missing there, [`load_folder`](crate::load_folder) says which.
///
/// # Errors
/// [`Error::DatasetNotFound`] lists the folders and the command that downloads the dataset.
pub fn locate(name: &str, data_dir: Option<&Path>) -> Result<PathBuf> {
    let variable = std::env::var_os(DATA_DIR_VARIABLE).filter(|value| !value.is_empty());
    locate_in(name, data_dir, variable.as_deref().map(Path::new), Path::new("data"))
}

fn locate_in(
    name: &str,
    data_dir: Option<&Path>,
    variable_dir: Option<&Path>,
    default_dir: &Path,
) -> Result<PathBuf> {
    let mut places = Vec::new();
    if let Some(dir) = data_dir {
        places.push(dir.to_owned());
        places.push(dir.join(name));
    }
    places.extend(variable_dir.map(|dir| dir.join(name)));
    places.push(default_dir.join(name));
    match places.iter().find(|place| holds_any_file(place)) {
        Some(place) => Ok(place.clone()),
        None => Err(Error::DatasetNotFound { name: name.to_owned(), places }),
    }
}
