//! Where a dataset's files lie.

use std::path::{Path, PathBuf};

use crate::folder::holds_any_file;
use crate::{Error, Result};

/// The environment variable that names the folder of all datasets.
pub const DATA_DIR_VARIABLE: &str = "CATVAE_DATA_DIR";

/// The folder that holds the dataset `name` (`mnist`, `fashion-mnist`, …).
///
/// Where `data_dir` is given it is `data_dir` itself or `data_dir/<name>`, and nowhere else; otherwise
/// `$CATVAE_DATA_DIR/<name>` or `data/<name>` below the working directory. The first that holds one of
/// MNIST's four files wins; should another be missing there, [`load_folder`](crate::load_folder) says which.
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
    let places = match data_dir {
        Some(dir) => vec![dir.to_owned(), dir.join(name)],
        None => {
            [variable_dir, Some(default_dir)].into_iter().flatten().map(|d| d.join(name)).collect()
        }
    };
    match places.iter().find(|place| holds_any_file(place)) {
        Some(place) => Ok(place.clone()),
        None => Err(Error::DatasetNotFound { name: name.to_owned(), places }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{digits_with, write_folder};

    /// A temporary folder with a tiny dataset in each of the sub-folders.
    fn with_datasets(folders: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for folder in folders {
            write_folder(&root.path().join(folder), &digits_with(0, 1, 1)).unwrap();
        }
        root
    }

    #[test]
    fn places_are_searched_in_their_order() {
        let all = ["given", "given/mnist", "variable/mnist", "data/mnist"];
        for (n_missing, expected) in all.iter().enumerate() {
            let root = with_datasets(&all[n_missing..]);
            // The folder itself comes first, so it must hold no files for the later places.
            let path = |name| root.path().join(name);
            let given = (n_missing < 2).then(|| path("given"));
            let found =
                locate_in("mnist", given.as_deref(), Some(&path("variable")), &path("data"));
            assert_eq!(found.unwrap(), path(expected));
        }
    }

    #[test]
    fn a_folder_that_was_named_is_not_passed_over_for_another() {
        let root = with_datasets(&["variable/mnist", "data/mnist"]);
        let path = |name| root.path().join(name);
        let error = locate_in("mnist", Some(&path("dta")), Some(&path("variable")), &path("data"));
        let error = error.unwrap_err();
        assert!(
            matches!(&error, Error::DatasetNotFound { places, .. }
                if *places == [path("dta"), path("dta/mnist")]),
            "{error}"
        );
    }

    #[test]
    fn a_single_one_of_the_files_is_enough_to_be_found() {
        let root = with_datasets(&["data/mnist"]);
        let dir = root.path().join("data/mnist");
        for name in ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte"]
        {
            std::fs::remove_file(dir.join(name)).unwrap();
        }
        let found = locate_in("mnist", None, None, &root.path().join("data")).unwrap();
        assert_eq!(found, dir);
        assert!(matches!(crate::load_folder(&found), Err(Error::MissingFile { .. })));
    }

    #[test]
    fn nothing_found_names_every_place_and_the_download() {
        let place = Path::new("nowhere");
        let error = locate_in("fashion-mnist", None, Some(Path::new("all")), place);
        let message = error.unwrap_err().to_string();
        for part in ["all/fashion-mnist", "nowhere/fashion-mnist"] {
            assert!(message.contains(part), "{message}");
        }
        assert!(message.contains("`cargo xtask download fashion-mnist`"), "{message}");
    }
}
