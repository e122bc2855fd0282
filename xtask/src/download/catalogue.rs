//! The data sets: their files, shapes, checksums and mirrors.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::workspace;

/// A data set that can be downloaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Name {
    /// Handwritten digits, 60,000 + 10,000 (LeCun, Cortes and Burges)
    Mnist,
    /// Articles of clothing in the same format (Xiao, Rasul and Vollgraf 2017)
    FashionMnist,
}

impl Name {
    /// As in `--dataset`, and the name of its folder.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Mnist => "mnist",
            Self::FashionMnist => "fashion-mnist",
        }
    }

    /// Where it lies, or belongs: `data_dir` if that holds some of the files itself, else the folder of this
    /// name in `data_dir`, `$CATVAE_DATA_DIR`, or `data` at the workspace's root.
    pub(crate) fn folder(self, data_dir: Option<&Path>) -> Result<PathBuf> {
        let holds_files = |dir: &&Path| {
            let mut files = self.dataset().files.into_iter();
            files.any(|file| dir.join(file.name).is_file() || dir.join(file.gz_name()).is_file())
        };
        if let Some(dir) = data_dir.filter(holds_files) {
            return Ok(dir.to_path_buf());
        }
        let from_environment = std::env::var_os("CATVAE_DATA_DIR").filter(|dir| !dir.is_empty());
        Ok(data_folder(data_dir, from_environment, &workspace::root()?).join(self.as_str()))
    }

    pub(super) fn dataset(self) -> Dataset {
        match self {
            Self::Mnist => Dataset {
                mirrors: [
                    "https://ossci-datasets.s3.amazonaws.com/mnist",
                    "https://storage.googleapis.com/cvdf-datasets/mnist",
                ],
                // Mirrors have packed these anew, so what is inside decides.
                files: files([
                    Checksum::Content(
                        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
                    ),
                    Checksum::Content(
                        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
                    ),
                    Checksum::Content(
                        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
                    ),
                    Checksum::Content(
                        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
                    ),
                ]),
            },
            Self::FashionMnist => Dataset {
                mirrors: [
                    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
                    "https://storage.googleapis.com/tensorflow/tf-keras-datasets",
                ],
                files: files([
                    Checksum::Gzip(
                        "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
                    ),
                    Checksum::Gzip(
                        "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
                    ),
                    Checksum::Gzip(
                        "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
                    ),
                    Checksum::Gzip(
                        "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
                    ),
                ]),
            },
        }
    }
}

/// Four files and where to get them.
#[derive(Debug, Clone)]
pub(super) struct Dataset {
    pub(super) mirrors: [&'static str; 2],
    pub(super) files: Vec<DataFile>,
}

/// One IDX file of unsigned bytes.
#[derive(Debug, Clone)]
pub(super) struct DataFile {
    /// Without `.gz`.
    pub(super) name: &'static str,
    /// The header's dimensions.
    pub(super) dims: &'static [u32],
    pub(super) checksum: Checksum,
}

/// SHA-256, as hexadecimal digits.
#[derive(Debug, Clone, Copy)]
pub(super) enum Checksum {
    /// Of the unpacked bytes.
    Content(&'static str),
    /// Of the `.gz` as its authors publish it.
    Gzip(&'static str),
}

impl DataFile {
    pub(super) fn gz_name(&self) -> String {
        format!("{}.gz", self.name)
    }

    /// The header that the unpacked file begins with: two zeros, the type (8, unsigned bytes), the rank, the dimensions.
    pub(super) fn header(&self) -> Vec<u8> {
        let mut header = vec![0, 0, 8, self.dims.len() as u8];
        header.extend(self.dims.iter().flat_map(|dim| dim.to_be_bytes()));
        header
    }

    /// Length of the unpacked file.
    pub(super) fn unpacked_bytes(&self) -> u64 {
        let items: u64 = self.dims.iter().map(|&dim| u64::from(dim)).product();
        items + 4 + 4 * self.dims.len() as u64
    }

    /// More than any packing of the file takes; whoever sends more sends something else.
    pub(super) fn most_gz_bytes(&self) -> u64 {
        self.unpacked_bytes() + self.unpacked_bytes() / 100 + 4096
    }
}

/// The four files in the order in which the checksums are listed.
fn files([train_images, train_labels, test_images, test_labels]: [Checksum; 4]) -> Vec<DataFile> {
    let file = |name, dims, checksum| DataFile { name, dims, checksum };
    vec![
        file("train-images-idx3-ubyte", &[60_000, 28, 28], train_images),
        file("train-labels-idx1-ubyte", &[60_000], train_labels),
        file("t10k-images-idx3-ubyte", &[10_000, 28, 28], test_images),
        file("t10k-labels-idx1-ubyte", &[10_000], test_labels),
    ]
}

fn data_folder(
    data_dir: Option<&Path>,
    from_environment: Option<OsString>,
    root: &Path,
) -> PathBuf {
    match (data_dir, from_environment) {
        (Some(given), _) => given.to_path_buf(),
        (None, Some(dir)) => PathBuf::from(dir),
        (None, None) => root.join("data"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_checksum_is_a_sha256_and_none_is_listed_twice() {
        let mut seen = std::collections::HashSet::new();
        for name in [Name::Mnist, Name::FashionMnist] {
            for file in name.dataset().files {
                let (Checksum::Content(sum) | Checksum::Gzip(sum)) = file.checksum;
                assert!(
                    sum.len() == 64 && sum.bytes().all(|b| b"0123456789abcdef".contains(&b)),
                    "{sum}"
                );
                assert!(seen.insert(sum), "{sum} is listed twice");
            }
        }
    }

    #[test]
    fn header_and_length_are_those_of_the_published_files() {
        let files = Name::Mnist.dataset().files;
        assert_eq!(files[0].header(), [0, 0, 8, 3, 0, 0, 0xEA, 0x60, 0, 0, 0, 28, 0, 0, 0, 28]);
        assert_eq!(files[0].unpacked_bytes(), 47_040_016);
        assert_eq!(files[3].header(), [0, 0, 8, 1, 0, 0, 0x27, 0x10]);
        assert_eq!(files[3].unpacked_bytes(), 10_008);
    }

    #[test]
    fn a_folder_of_data_sets_and_the_folder_of_one_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let folder = || Name::FashionMnist.folder(Some(dir.path())).unwrap();
        assert_eq!(folder(), dir.path().join("fashion-mnist"));
        std::fs::write(dir.path().join("t10k-labels-idx1-ubyte.gz"), b"").unwrap();
        assert_eq!(folder(), dir.path());
    }

    #[test]
    fn the_flag_wins_over_the_environment_and_the_environment_over_the_default() {
        let root = Path::new("root");
        let environment = || Some(OsString::from("env"));
        assert_eq!(data_folder(Some(Path::new("flag")), environment(), root), Path::new("flag"));
        assert_eq!(data_folder(None, environment(), root), Path::new("env"));
        assert_eq!(data_folder(None, None, root), Path::new("root/data"));
    }
}
