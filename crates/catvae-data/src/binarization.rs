//! From grey bytes to the pixel values that the model sees.

use std::fmt;
use std::str::FromStr;

use rand_chacha::rand_core::RngCore;
use serde::{Deserialize, Serialize};

use crate::random::{self, Purpose};

/// How the bytes of an image become values in [0, 1].
///
/// Written as `grey`, `threshold`, `static:SEED` or `dynamic:SEED`, on a command line as in a
/// configuration file; the seed is 0 where `:SEED` is left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Binarization {
    /// The grey level as it is, byte / 255.
    #[default]
    Grey,
    /// 1 where byte / 255 is at least 0.5, else 0.
    Threshold,
    /// Each pixel is 1 with probability byte / 255, drawn once and the same in every epoch.
    Static {
        /// Of the draws.
        seed: u64,
    },
    /// Each pixel is 1 with probability byte / 255, drawn anew in every epoch
    /// (Salakhutdinov and Murray 2008).
    Dynamic {
        /// Of the draws.
        seed: u64,
    },
}

impl Binarization {
    /// Appends the values of one image. Draws depend on the seed, the epoch (dynamic only), the
    /// image's index and the pixel's place, and on nothing else.
    pub(crate) fn extend(self, out: &mut Vec<f32>, pixels: &[u8], epoch: u64, index: u32) {
        match self {
            Self::Grey => out.extend(pixels.iter().map(|&byte| f32::from(byte) / 255.0)),
            Self::Threshold => out.extend(pixels.iter().map(|&byte| f32::from(byte >= 128))),
            Self::Static { seed } => {
                extend_bernoulli(out, pixels, seed, Purpose::StaticBinarization, 0, index);
            }
            Self::Dynamic { seed } => {
                extend_bernoulli(out, pixels, seed, Purpose::DynamicBinarization, epoch, index);
            }
        }
    }
}

/// One random word per pixel, at the position that the image's index fixes.
fn extend_bernoulli(
    out: &mut Vec<f32>,
    pixels: &[u8],
    seed: u64,
    purpose: Purpose,
    stream: u64,
    index: u32,
) {
    let mut rng = random::stream(seed, purpose, stream);
    rng.set_word_pos(u128::from(index) * pixels.len() as u128);
    out.extend(pixels.iter().map(|&byte| {
        // word / 2^32 < byte / 255 in whole numbers: exact, never for 0 and always for 255.
        let is_on = u64::from(rng.next_u32()) * 255 < u64::from(byte) << 32;
        f32::from(u8::from(is_on))
    }));
}

/// A text that names no binarisation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown binarisation `{0}`; one of: grey, threshold, static[:SEED], dynamic[:SEED]")]
pub struct ParseBinarizationError(String);

impl FromStr for Binarization {
    type Err = ParseBinarizationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParseBinarizationError(text.to_owned());
        let (name, seed) = match text.split_once(':') {
            Some((name, seed)) => (name, Some(seed.parse::<u64>().map_err(|_| error())?)),
            None => (text, None),
        };
        match (name, seed) {
            ("grey", None) => Ok(Self::Grey),
            ("threshold", None) => Ok(Self::Threshold),
            ("static", seed) => Ok(Self::Static { seed: seed.unwrap_or(0) }),
            ("dynamic", seed) => Ok(Self::Dynamic { seed: seed.unwrap_or(0) }),
            _ => Err(error()),
        }
    }
}

impl fmt::Display for Binarization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Grey => f.write_str("grey"),
            Self::Threshold => f.write_str("threshold"),
            Self::Static { seed } => write!(f, "static:{seed}"),
            Self::Dynamic { seed } => write!(f, "dynamic:{seed}"),
        }
    }
}

impl TryFrom<String> for Binarization {
    type Error = ParseBinarizationError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Binarization> for String {
    fn from(binarization: Binarization) -> Self {
        binarization.to_string()
    }
}
