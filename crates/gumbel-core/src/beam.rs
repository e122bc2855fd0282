//! Sequences without replacement from a model whose next step depends on what was drawn before.

use candle_core::{DType, Device, Tensor};
pub(crate) use gumbel_kernels::LogSum;

use crate::logits::Rows;
use crate::op::log_softmax;
use crate::structure::host::values;
use crate::{Error, Generator, Result, gumbel_noise};

/// The beginning of a sequence.
#[derive(Clone, Debug)]
pub(crate) struct Beam {
    pub(crate) code: Vec<u32>,
    pub(crate) log_prob: f64,
    /// Its log-probability with Gumbel noise: the largest of those of the sequences that begin with it.
    pub(crate) perturbed: f64,
}

impl Beam {
    /// The empty beginning. The noise of the whole may be any number: the order of the parts does not depend on it.
    pub(crate) fn start() -> Self {
        Self { code: Vec::new(), log_prob: 0.0, perturbed: 0.0 }
    }
}

/// Perturbed log-probabilities of the continuations, drawn given that their largest is that of the beginning (Kool et al. 2019, section 4.1 and
/// appendix B.3).
pub(crate) fn conditional_gumbels(largest: f64, log_probs: &[f64], noise: &[f64]) -> Vec<f64> {
    let free: Vec<f64> = log_probs.iter().zip(noise).map(|(p, g)| p + g).collect();
    let top = free.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let bound = |free: f64| {
        if free == f64::NEG_INFINITY {
            return free;
        }
        let v = largest - free + log_one_minus_exp(free - top);
        largest - v.max(0.0) - (-v.abs()).exp().ln_1p()
    };
    free.into_iter().map(bound).collect()
}

/// `ln(1 - eˣ)` for `x <= 0`.
fn log_one_minus_exp(x: f64) -> f64 {
    if x > -std::f64::consts::LN_2 { (-x.exp_m1()).ln() } else { (-x.exp()).ln_1p() }
}

/// Different sequences of each row, the largest perturbed log-probability first.
#[derive(Clone, Debug)]
pub struct BeamSamples {
    /// u32, `(batch, k, length)`.
    pub sequences: Tensor,
    /// f64, `(batch, k)`, in nats. No gradient.
    pub log_probs: Tensor,
    /// Log-probabilities with Gumbel noise, f64, `(batch, k)`, up to a constant of the row: the sequences are the `k` largest of all.
    pub perturbed: Tensor,
}

/// Draws `k` different sequences without replacement: exactly the Gumbel-top-k of all sequences, top-down, with `k` model calls a step
/// (stochastic beam search, Kool et al. 2019). Draws depend on the shapes alone for their number of random words.
///
/// The model is a function of the beginnings (u32, `(n, t)` at step `t`) and of the rows of the batch that they belong to (u32, `(n)`). It gives
/// the logits of what comes next, `(n, n_classes)`; `-inf` forbids a class.
///
/// # Shapes
/// - Output: see [`BeamSamples`].
/// # Gradient
/// None: compute the log-probabilities of the sequences again for one, as in [`rloo`](crate::estimators::rloo).
/// # Errors
/// [`Error::SubsetSize`] for a row with fewer than `k` sequences; [`Error::InvalidParameter`] for `k = 0`; [`Error::InvalidLogit`],
/// [`Error::AllMasked`], [`Error::ShapeMismatch`]; those of the model.
/// # Example
/// ```
/// use candle_core::{Device, Tensor};
/// use gumbel_core::{Generator, Result, stochastic_beam_search};
///
/// // Steps of which each prefers to repeat the one before.
/// let mut model = |prefixes: &Tensor, _: &Tensor| -> Result<Tensor> {
///     let (n, t) = prefixes.dims2()?;
///     if t == 0 {
///         return Ok(Tensor::zeros((n, 3), candle_core::DType::F32, &Device::Cpu)?);
///     }
///     let last = prefixes.narrow(1, t - 1, 1)?.squeeze(1)?;
///     Ok((gumbel_core::one_hot(&last, 3, candle_core::DType::F32)? * 2.0)?)
/// };
/// let drawn = stochastic_beam_search((2, 5, 4), &mut Generator::new(0), &mut model)?;
/// assert_eq!(drawn.sequences.dims(), &[2, 5, 4]);
/// # Ok::<(), gumbel_core::Error>(())
/// ```
pub fn stochastic_beam_search<E: From<Error>>(
    (batch, k, length): (usize, usize, usize),
    g: &mut Generator,
    model: &mut dyn FnMut(&Tensor, &Tensor) -> std::result::Result<Tensor, E>,
) -> std::result::Result<BeamSamples, E> {
    if k == 0 {
        return Err(Error::InvalidParameter { name: "k", value: 0.0, must: "at least 1" }.into());
    }
    let mut rows = vec![vec![Beam::start()]; batch];
    for t in 0..length {
        if batch == 0 {
            break;
        }
        let (prefixes, owners) = inputs(&rows, t)?;
        let logits = model(&prefixes, &owners)?;
        rows = extend(&rows, k, &logits, g)?;
    }
    Ok(finish(&rows, k, length)?)
}

/// The beginnings of all rows, and the rows.
fn inputs(rows: &[Vec<Beam>], t: usize) -> Result<(Tensor, Tensor)> {
    let codes: Vec<u32> = rows.iter().flatten().flat_map(|beam| beam.code.clone()).collect();
    let n = rows.iter().map(Vec::len).sum::<usize>();
    let owners = rows.iter().enumerate().flat_map(|(row, beams)| vec![row as u32; beams.len()]);
    let prefixes = Tensor::from_vec(codes, (n, t), &Device::Cpu)?;
    Ok((prefixes, Tensor::from_iter(owners, &Device::Cpu)?))
}

fn extend(
    rows: &[Vec<Beam>],
    k: usize,
    logits: &Tensor,
    g: &mut Generator,
) -> Result<Vec<Vec<Beam>>> {
    let n = rows.iter().map(Vec::len).sum::<usize>();
    let classes = match logits.dims() {
        [m, classes] if *m == n => *classes,
        dims => {
            let (what, expected) =
                ("the model's logits", vec![n, dims.last().copied().unwrap_or(1)]);
            return Err(Error::ShapeMismatch { what, got: dims.to_vec(), expected });
        }
    };
    let log_probs =
        values(&log_softmax(&Rows::new(&logits.detach(), 1)?.rows.to_dtype(DType::F64)?)?)?;
    let noise = values(&gumbel_noise((rows.len(), k, classes), DType::F64, &Device::Cpu, g)?)?;
    let mut log_probs = log_probs.chunks_exact(classes);
    let mut extended = Vec::with_capacity(rows.len());
    for (beams, noise) in rows.iter().zip(noise.chunks_exact(k * classes)) {
        let mut children = Vec::with_capacity(beams.len() * classes);
        for (beam, (log_probs, noise)) in
            beams.iter().zip(log_probs.by_ref().take(beams.len()).zip(noise.chunks_exact(classes)))
        {
            children.extend(beam.children(log_probs, noise));
        }
        children.sort_by(|a, b| b.perturbed.total_cmp(&a.perturbed));
        children.truncate(k);
        extended.push(children);
    }
    Ok(extended)
}

impl Beam {
    /// All continuations that are not forbidden.
    pub(crate) fn children(&self, log_probs: &[f64], noise: &[f64]) -> Vec<Self> {
        let log_probs: Vec<f64> = log_probs.iter().map(|p| self.log_prob + p).collect();
        let perturbed = conditional_gumbels(self.perturbed, &log_probs, noise);
        let all = log_probs.into_iter().zip(perturbed).enumerate();
        let allowed = all.filter(|(_, (log_prob, _))| *log_prob > f64::NEG_INFINITY);
        allowed
            .map(|(class, (log_prob, perturbed))| {
                let code = [self.code.as_slice(), &[class as u32]].concat();
                Self { code, log_prob, perturbed }
            })
            .collect()
    }
}

fn finish(rows: &[Vec<Beam>], k: usize, length: usize) -> Result<BeamSamples> {
    if let Some((row, beams)) = rows.iter().enumerate().find(|(_, beams)| beams.len() < k) {
        return Err(Error::SubsetSize { k, allowed: beams.len(), row });
    }
    let all = || rows.iter().flatten();
    let codes: Vec<u32> = all().flat_map(|beam| beam.code.clone()).collect();
    let of = |value: fn(&Beam) -> f64| {
        Tensor::from_vec(all().map(value).collect::<Vec<f64>>(), (rows.len(), k), &Device::Cpu)
    };
    Ok(BeamSamples {
        sequences: Tensor::from_vec(codes, (rows.len(), k, length), &Device::Cpu)?,
        log_probs: of(|beam| beam.log_prob)?,
        perturbed: of(|beam| beam.perturbed)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three classes, two steps; the second depends on the first.
    fn model(prefixes: &Tensor, _: &Tensor) -> Result<Tensor> {
        let (n, t) = prefixes.dims2()?;
        let first = [0.2, -0.7, 1.1];
        let second = [[0.5, 0.0, -1.0], [f64::NEG_INFINITY, 0.3, 0.9], [-2.0, 1.0, 0.1]];
        let rows: Vec<f64> = match t {
            0 => first.repeat(n),
            _ => prefixes
                .flatten_all()?
                .to_vec1::<u32>()?
                .iter()
                .flat_map(|&i| second[i as usize])
                .collect(),
        };
        Ok(Tensor::from_vec(rows, (n, 3), &Device::Cpu)?)
    }

    fn list(x: &Tensor) -> Vec<f64> {
        values(x).unwrap()
    }

    #[test]
    fn the_largest_continuation_has_the_value_of_its_beginning() {
        let noise = [0.3, -1.2, 2.5, 0.0];
        let log_probs = [-1.0, -0.5, f64::NEG_INFINITY, -700.0];
        for largest in [-3.0, 0.0, 40.0] {
            let perturbed = conditional_gumbels(largest, &log_probs, &noise);
            assert_eq!(perturbed[0], largest);
            assert!(perturbed[1] < largest && perturbed[3] < perturbed[1]);
            assert_eq!(perturbed[2], f64::NEG_INFINITY);
        }
    }

    /// χ² over ordered pairs of the 8 possible sequences: 55 degrees of freedom, 109 at α = 2e-5.
    #[test]
    fn pairs_of_sequences_have_the_law_of_draws_without_replacement() {
        let batch = 100_000;
        let drawn =
            stochastic_beam_search::<Error>((batch, 2, 2), &mut Generator::new(7), &mut model)
                .unwrap();
        let sequences = drawn.sequences.flatten_all().unwrap().to_vec1::<u32>().unwrap();
        let log_probs = list(&drawn.log_probs);
        let mut probs = std::collections::HashMap::new();
        let mut counts = std::collections::HashMap::new();
        for (pair, log_probs) in sequences.chunks(4).zip(log_probs.chunks(2)) {
            probs.insert([pair[0], pair[1]], log_probs[0].exp());
            *counts.entry([pair[0], pair[1], pair[2], pair[3]]).or_insert(0.0) += 1.0;
        }
        assert_eq!(probs.len(), 8);
        assert!((probs.values().sum::<f64>() - 1.0).abs() < 1e-14);
        let mut statistic = 0.0;
        for (a, p) in &probs {
            for (b, q) in probs.iter().filter(|(b, _)| *b != a) {
                let expected = batch as f64 * p * q / (1.0 - p);
                let count = counts.get(&[a[0], a[1], b[0], b[1]]).copied().unwrap_or(0.0);
                statistic += f64::powi(count - expected, 2) / expected;
            }
        }
        assert!(statistic < 109.0, "{statistic}");
        assert!(list(&drawn.perturbed).chunks(2).all(|p| p[0] == 0.0 && p[1] < 0.0));
    }

    #[test]
    fn too_few_sequences_and_other_shapes_are_refused_and_empty_batches_are_not() {
        let draw =
            |shape| stochastic_beam_search::<Error>(shape, &mut Generator::new(0), &mut model);
        assert!(matches!(draw((2, 9, 2)), Err(Error::SubsetSize { k: 9, allowed: 8, row: 0 })));
        assert!(draw((2, 8, 2)).is_ok());
        assert!(matches!(draw((2, 0, 2)), Err(Error::InvalidParameter { name: "k", .. })));
        assert_eq!(draw((0, 3, 2)).unwrap().sequences.dims(), [0, 3, 2]);
        let mut wrong =
            |_: &Tensor, _: &Tensor| Ok(Tensor::zeros((1, 3), DType::F32, &Device::Cpu)?);
        let error = stochastic_beam_search::<Error>((2, 2, 2), &mut Generator::new(0), &mut wrong);
        assert!(matches!(error, Err(Error::ShapeMismatch { .. })));
        let mut bad = |_: &Tensor, _: &Tensor| Ok(Tensor::new(&[[0.0, f64::NAN]], &Device::Cpu)?);
        let error = stochastic_beam_search::<Error>((1, 2, 2), &mut Generator::new(0), &mut bad);
        assert!(matches!(error, Err(Error::InvalidLogit { .. })));
    }
}
