//! Where images come from. A new kind of source is one file here, its `mod` line and its place in [`SOURCES`].

mod digits;
mod hub;
mod idx_folder;
mod image_folder;

use std::path::{Path, PathBuf};

pub use self::digits::{digits, digits_with};
#[cfg(feature = "hub")]
pub use self::hub::{fashion_mnist, mnist};
pub use self::idx_folder::{load_folder, write_folder};
use crate::random::Purpose;
use crate::{Dataset, Error, ImageSet, Result};

/// Every kind of source. The first that knows a name or reads a path wins.
const SOURCES: &[&dyn Source] =
    &[&digits::Digits, &hub::Hub, &idx_folder::IdxFolder, &image_folder::ImageFolder];

/// A kind of source: of images that have a name, or of images in files.
trait Source: Sync {
    /// What to write to get images from here, for people.
    fn usage(&self) -> &'static str;

    /// The images called `name`; `None` where the name is not of this source.
    fn by_name(&self, _name: &str, _at_most: AtMost) -> Option<Result<Images>> {
        None
    }

    /// The images in the file or folder; `None` where it holds nothing for this source.
    fn at_path(&self, _path: &Path) -> Option<Result<Images>> {
        None
    }
}

/// How many images are wanted. A source that draws its images draws no more; all others may ignore it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AtMost {
    /// Training images; `None` for all.
    pub n_train: Option<usize>,
    /// Test images; `None` for all.
    pub n_test: Option<usize>,
}

/// What lies at a path.
#[derive(Clone, Debug)]
pub enum Images {
    /// Training and test images.
    Split {
        /// The images to train on.
        train: ImageSet,
        /// The images held out.
        test: ImageSet,
    },
    /// Images that nobody has divided.
    Whole(ImageSet),
}

/// The environment variable that names the folder of all datasets.
pub const DATA_DIR_VARIABLE: &str = "CATVAE_DATA_DIR";

/// The dataset `name`: `digits`, `hub:mnist`, the name of a folder (`mnist`, …), or a path.
///
/// Where `data_dir` is given, the images lie in `data_dir` itself or in `data_dir/<name>`, and
/// nowhere else. Otherwise a name is looked for among the named sources, then as
/// `$CATVAE_DATA_DIR/<name>`, `data/<name>` and `<name>` below the working directory. A name with a
/// path's separators is that path only.
///
/// Images that are not divided are divided here: a seventh of them, drawn with a fixed seed, are the
/// test images. The dataset is called by the last part of `name`.
///
/// # Errors
/// [`Error::DatasetNotFound`] lists the places; otherwise what is wrong with the images.
pub fn load(name: &str, data_dir: Option<&Path>, at_most: AtMost) -> Result<Dataset> {
    let named = || SOURCES.iter().find_map(|source| source.by_name(name, at_most));
    let images = match data_dir.is_none().then(named).flatten() {
        Some(images) => images?,
        None => {
            let variable = std::env::var_os(DATA_DIR_VARIABLE).filter(|value| !value.is_empty());
            let variable = variable.as_deref().map(Path::new);
            let places = places(name, data_dir, variable, Path::new("data"));
            first_of(name, places)?
        }
    };
    let last = Path::new(name).file_name();
    let short = last.map_or("images".into(), |last| last.to_string_lossy());
    images.into_dataset(short.trim_start_matches("hub:"))
}

/// The images of a file or a folder, divided or not.
///
/// # Errors
/// As [`load`].
pub fn load_images(path: &Path) -> Result<Images> {
    first_of(&path.to_string_lossy(), vec![path.to_owned()])
}

fn first_of(name: &str, places: Vec<PathBuf>) -> Result<Images> {
    let found = places.iter().find_map(|place| SOURCES.iter().find_map(|s| s.at_path(place)));
    found.unwrap_or_else(|| {
        let known = SOURCES.iter().map(|source| source.usage()).collect();
        Err(Error::DatasetNotFound { name: name.to_owned(), places, known })
    })
}

fn places(
    name: &str,
    data_dir: Option<&Path>,
    variable_dir: Option<&Path>,
    default_dir: &Path,
) -> Vec<PathBuf> {
    let is_path = Path::new(name).components().count() != 1 || name.contains(['.', '/']);
    match data_dir {
        Some(dir) if is_path => vec![dir.to_owned()],
        Some(dir) => vec![dir.to_owned(), dir.join(name)],
        None if is_path => vec![name.into()],
        None => {
            let dirs = [variable_dir, Some(default_dir)].into_iter().flatten();
            dirs.map(|dir| dir.join(name)).chain([name.into()]).collect()
        }
    }
}

impl Images {
    fn into_dataset(self, name: &str) -> Result<Dataset> {
        let (train, test) = match self {
            Self::Split { train, test } => (train, test),
            Self::Whole(set) => split(&set, name)?,
        };
        if (train.rows(), train.cols()) != (test.rows(), test.cols()) {
            return Err(Error::SizeMismatch {
                dataset: name.to_owned(),
                train_rows: train.rows(),
                train_cols: train.cols(),
                test_rows: test.rows(),
                test_cols: test.cols(),
            });
        }
        Ok(Dataset { name: name.to_owned(), train, validation: None, test })
    }
}

/// MNIST's own proportion: 60,000 of 70,000 images are for training.
const TEST_SHARE: usize = 7;

/// Draws the test images, at least one, with a seed that is always the same; both parts keep the order of the set.
fn split(set: &ImageSet, name: &str) -> Result<(ImageSet, ImageSet)> {
    if set.len() < 2 {
        return Err(Error::TooFewToSplit { dataset: name.to_owned(), n_images: set.len() });
    }
    let (test, train) = set.divide((set.len() / TEST_SHARE).max(1), Purpose::Split);
    Ok((train, test))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::write_folder;

    /// A temporary folder with a tiny dataset in each of the sub-folders, of as many images as its place in the list.
    fn with_datasets(folders: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (place, folder) in folders.iter().enumerate() {
            write_folder(&root.path().join(folder), &digits_with(0, place + 1, 1)).unwrap();
        }
        root
    }

    fn n_train(images: Images) -> usize {
        images.into_dataset("some").unwrap().train.len()
    }

    #[test]
    fn places_are_searched_in_their_order() {
        let all = ["given", "given/mnist", "variable/mnist", "data/mnist"];
        let root = with_datasets(&all);
        for (n_missing, folder) in all.iter().enumerate() {
            let path = |name| root.path().join(name);
            let given = (n_missing < 2).then(|| path("given"));
            let places = places("mnist", given.as_deref(), Some(&path("variable")), &path("data"));
            assert_eq!(n_train(first_of("mnist", places).unwrap()), n_missing + 1);
            for file in std::fs::read_dir(path(folder)).unwrap().map(|entry| entry.unwrap().path())
            {
                drop(std::fs::remove_file(file));
            }
        }
    }

    #[test]
    fn a_folder_that_was_named_is_not_passed_over_for_another() {
        let root = with_datasets(&["variable/mnist", "data/mnist"]);
        let path = |name| root.path().join(name);
        let places = places("mnist", Some(&path("dta")), Some(&path("variable")), &path("data"));
        assert_eq!(places, [path("dta"), path("dta/mnist")]);
        assert!(matches!(first_of("mnist", places), Err(Error::DatasetNotFound { .. })));
    }

    #[test]
    fn a_path_is_that_path_and_nothing_else() {
        let (variable, data) = (Some(Path::new("all")), Path::new("data"));
        for path in ["/srv/images", "own/images", "./images", "../images", "images.idx", "."] {
            assert_eq!(places(path, None, variable, data), [Path::new(path)]);
            assert_eq!(places(path, Some(Path::new("dir")), variable, data), [Path::new("dir")]);
        }
        let found = places("own", None, variable, data);
        assert_eq!(found, ["all/own", "data/own", "own"].map(Path::new));
        let root = with_datasets(&["own"]);
        let dataset =
            load(root.path().join("own").to_str().unwrap(), None, AtMost::default()).unwrap();
        assert_eq!(dataset.name, "own");
    }

    #[test]
    fn a_single_one_of_the_files_is_enough_to_be_found() {
        let root = with_datasets(&["data/mnist"]);
        let dir = root.path().join("data/mnist");
        for name in ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte"]
        {
            std::fs::remove_file(dir.join(name)).unwrap();
        }
        assert!(matches!(first_of("mnist", vec![dir]), Err(Error::MissingFile { .. })));
    }

    #[test]
    fn nothing_found_names_every_place_and_every_source() {
        let places = places("mnits", None, Some(Path::new("all")), Path::new("nowhere"));
        let message = first_of("mnits", places).unwrap_err().to_string();
        for part in ["`mnits`", "all/mnits", "nowhere/mnits", "`digits`", "`hub:mnist`", "MNIST's"]
        {
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn digits_are_drawn_as_many_as_wanted_and_come_from_no_folder() {
        let at_most = AtMost { n_train: Some(20), n_test: Some(5) };
        let dataset = load("digits", None, at_most).unwrap();
        assert_eq!(dataset.name, "digits");
        let expected = digits_with(0, 20, 5);
        assert_eq!((dataset.train, dataset.test), (expected.train, expected.test));
        assert!(load("digits", Some(Path::new("nowhere")), at_most).is_err());
    }

    #[test]
    fn the_hub_names_what_it_has() {
        let message = load("hub:mnits", None, AtMost::default()).unwrap_err().to_string();
        assert!(message.contains("`mnits`") && message.contains("fashion-mnist"), "{message}");
        #[cfg(not(feature = "hub"))]
        {
            let error = load("hub:mnist", None, AtMost::default()).unwrap_err();
            assert!(matches!(error, Error::BuiltWithoutHub { dataset: "mnist" }));
        }
    }

    #[test]
    fn undivided_images_are_divided_into_parts_that_are_always_the_same() {
        let set = digits_with(0, 70, 0).train;
        let (train, test) = split(&set, "some").unwrap();
        assert_eq!((train.len(), test.len()), (60, 10));
        assert_eq!(split(&set, "some").unwrap(), (train.clone(), test.clone()));
        // Each part keeps the order of the whole, and together they are the whole.
        let (mut train, mut test) = (train, test);
        for index in 0..70 {
            let part = if !train.is_empty() && train.image(0) == set.image(index) {
                &mut train
            } else {
                &mut test
            };
            assert_eq!(part.image(0), set.image(index));
            *part = part.subset(&Vec::from_iter(1..part.len()));
        }
        assert!(train.is_empty() && test.is_empty());
        // Not the last ones: a folder is often sorted by class.
        let (_, test) = split(&set, "some").unwrap();
        assert_ne!(test.image(0), set.image(60));
        assert_eq!(split(&set.take(2), "some").unwrap().1.len(), 1);
        assert!(matches!(split(&set.take(1), "some"), Err(Error::TooFewToSplit { .. })));
    }
}
