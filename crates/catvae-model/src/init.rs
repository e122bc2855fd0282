//! Initial weights from our own generator, so that a seed fixes a run on every machine.

use candle_core::{DType, Device, Tensor};
use gumbel_core::{Generator, uniform};

use crate::Result;

/// Draws U(−bound, bound).
///
/// # Shapes
/// - output: `shape`, f32.
///
/// # Errors
/// Only what the device reports, such as no memory left.
pub fn uniform_within(
    bound: f64,
    shape: &[usize],
    device: &Device,
    generator: &mut Generator,
) -> Result<Tensor> {
    let unit = uniform(shape, DType::F32, device, generator)?;
    Ok(unit.affine(2.0 * bound, -bound)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_fill_the_interval_evenly() {
        let mut generator = Generator::new(7);
        let n = 100_000;
        let draws = uniform_within(1.0 / 16.0, &[n], &Device::Cpu, &mut generator).unwrap();
        let draws = draws.to_vec1::<f32>().unwrap();
        let bound = 1.0 / 16.0;
        assert!(draws.iter().all(|w| w.abs() <= bound));
        // A chi-square test on 20 cells, α = 0.001: the 0.999 quantile for 19 degrees is 43.8.
        let mut cells = [0_f64; 20];
        for w in &draws {
            cells[((w / bound + 1.0) * 10.0).min(19.0) as usize] += 1.0;
        }
        let expected = n as f64 / 20.0;
        let chi2: f64 = cells.iter().map(|c| (c - expected).powi(2) / expected).sum();
        assert!(chi2 < 43.8, "chi-square {chi2}");
    }
}
