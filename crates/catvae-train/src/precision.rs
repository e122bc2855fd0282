//! The numbers that the products of a training step are computed in.

use gumbel_kernels::bf16_gain;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// From this gain in registers on, a step in bf16 is faster: rounding and packing cost a part of it, and the rest of the
/// step stays as it is.
const WORTH_IT: f64 = 1.5;

/// The factors of the training step's products. Their sums are f32, and so are weights, moments, samples, KL and
/// likelihood. Evaluation is f32 throughout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 24 significant bits.
    #[default]
    F32,
    /// 8 significant bits (Kalamkar et al. 2019, mixed precision), for networks of linear layers on the CPU.
    Bf16,
}

impl Precision {
    /// Whether this processor computes in it no slower than in f32. The first call measures for some milliseconds.
    ///
    /// # Errors
    /// [`Error::NoBf16`].
    pub fn check_processor(self) -> Result<()> {
        let gain = if self == Self::F32 { WORTH_IT } else { bf16_gain() };
        if gain >= WORTH_IT {
            return Ok(());
        }
        let reason = match gain {
            0.0 => "this processor has no AVX512-BF16".to_owned(),
            _ => format!("this processor multiplies only {gain:.2} times as fast in bf16"),
        };
        Err(Error::NoBf16 { reason })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bf16_is_refused_by_name_where_it_gains_nothing() {
        Precision::F32.check_processor().unwrap();
        match (bf16_gain(), Precision::Bf16.check_processor()) {
            (gain, Ok(())) => assert!(gain >= WORTH_IT),
            (gain, Err(error)) => {
                assert!(gain < WORTH_IT && error.to_string().contains("training.precision"));
            }
        }
    }
}
