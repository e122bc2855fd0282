//! Datasets of the Hugging Face hub by name, in builds with the feature `hub`.

#[cfg(feature = "hub")]
mod fetch;

#[cfg(feature = "hub")]
pub use self::fetch::{fashion_mnist, mnist};
use super::{AtMost, Images, Source};
use crate::{Dataset, Error, Result};

/// The datasets `hub:…`.
pub(super) struct Hub;

type Load = fn() -> Result<Dataset>;

#[cfg(feature = "hub")]
const DATASETS: [(&str, Load); 2] = [("mnist", mnist), ("fashion-mnist", fashion_mnist)];
#[cfg(not(feature = "hub"))]
const DATASETS: [(&str, Load); 2] = [
    ("mnist", || Err(Error::BuiltWithoutHub { dataset: "mnist" })),
    ("fashion-mnist", || Err(Error::BuiltWithoutHub { dataset: "fashion-mnist" })),
];

impl Source for Hub {
    fn usage(&self) -> &'static str {
        "`hub:mnist` or `hub:fashion-mnist` (from the Hugging Face hub, with the feature `hub`)"
    }

    fn by_name(&self, name: &str, _at_most: AtMost) -> Option<Result<Images>> {
        let name = name.strip_prefix("hub:")?;
        let load = DATASETS.iter().find_map(|&(known, load)| (known == name).then_some(load));
        let known = || DATASETS.iter().map(|&(known, _)| known).collect();
        Some(match load {
            None => Err(Error::UnknownHubDataset { name: name.to_owned(), known: known() }),
            Some(load) => load().map(|Dataset { train, test, .. }| Images::Split { train, test }),
        })
    }
}
