//! Samples and their gradients on slices, for training loops that keep their own buffers.

use candle_core::{Device, Tensor};
use gumbel_kernels::{
    ConditionalDraws, SampleError, StraightThrough, gumbel_one_hot, gumbel_softmax, softmax_vjp,
    straight_through_vjp,
};

use super::Estimator;
use super::gapped_straight_through::check_gap;
use super::gumbel_rao::check_draws;
use crate::logits::Rows;
use crate::{Error, Generator, Result, Temperature};

/// The sample of an estimator that draws one and whose gradient goes through it, without tensors.
///
/// What [`Estimator::objective`] hands to the loss for f32 logits on the CPU, from the same noise, and the gradient
/// that its backward pass gives to the logits. Buffers are kept between draws.
///
/// # Example
/// ```
/// use gumbel_core::Generator;
/// use gumbel_core::estimators::{Estimator, SampledRows};
///
/// let logits = [0.5, -1.0, 2.0];
/// let mut sample = SampledRows::default();
/// sample.draw(Estimator::ReinMax, 1.0, 3, &logits, &mut Generator::new(0))?;
/// assert_eq!(sample.values().iter().sum::<f32>(), 1.0);
///
/// let d_values = [1.0, 0.0, -1.0]; // of some loss
/// let mut d_logits = [0.0; 3];
/// sample.backward(&logits, &d_values, &mut d_logits)?;
/// assert!(d_logits.iter().any(|&d| d != 0.0));
/// # Ok::<(), gumbel_core::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct SampledRows {
    n_classes: usize,
    values: Vec<f32>,
    /// Logits divided by a forward temperature.
    tempered: Vec<f32>,
    gradient: Option<Gradient>,
}

#[derive(Clone, Copy, Debug)]
enum Gradient {
    Relaxed { temperature: f32 },
    Exact(StraightThrough),
}

impl SampledRows {
    /// Draws a sample for each row, in place of the one drawn before.
    ///
    /// # Shapes
    /// - logits: rows of `n_classes`, one after the other.
    /// # Errors
    /// [`Error::NotPathwise`] for the estimators that are not [pathwise](Estimator::is_pathwise); those of
    /// [`Estimator::objective`].
    pub fn draw(
        &mut self,
        estimator: Estimator,
        tau: f64,
        n_classes: usize,
        logits: &[f32],
        g: &mut Generator,
    ) -> Result<()> {
        if estimator.has_temperature() {
            Temperature::new(tau)?;
        }
        let temperature = tau as f32;
        let (noise, position) = g.gumbel_stream();
        let n_values = logits.len();
        let draws = |count| ConditionalDraws {
            count,
            noise,
            position: position.wrapping_add(n_values as u64),
        };
        let gradient = match estimator {
            Estimator::GumbelSoftmax => Gradient::Relaxed { temperature },
            Estimator::StGumbelSoftmax => {
                Gradient::Exact(StraightThrough::GumbelSoftmax { temperature, noise, position })
            }
            Estimator::StraightThrough => Gradient::Exact(StraightThrough::Softmax { temperature }),
            Estimator::DecoupledStraightThrough { backward_tau } => {
                Temperature::new(backward_tau)?;
                Gradient::Exact(StraightThrough::Softmax { temperature: backward_tau as f32 })
            }
            Estimator::GappedStraightThrough { gap } => {
                check_gap(gap)?;
                Gradient::Exact(StraightThrough::Gapped { temperature, gap: gap as f32 })
            }
            Estimator::GumbelRao { draws: count } => {
                check_draws(count)?;
                Gradient::Exact(StraightThrough::GumbelRao { temperature, draws: draws(count) })
            }
            Estimator::ReinMax => Gradient::Exact(StraightThrough::ReinMax { temperature }),
            Estimator::ReinMaxRao { draws: count } => {
                check_draws(count)?;
                Gradient::Exact(StraightThrough::ReinMaxRao { temperature, draws: draws(count) })
            }
            Estimator::Fini => Gradient::Exact(StraightThrough::Fini),
            Estimator::Reinforce
            | Estimator::Rloo { .. }
            | Estimator::DisArm
            | Estimator::Rebar
            | Estimator::Enumeration => {
                return Err(Error::NotPathwise { estimator: estimator.name() });
            }
        };
        let drawn_from = match estimator {
            Estimator::DecoupledStraightThrough { .. } if tau != 1.0 => {
                let scale = (1.0 / tau) as f32;
                self.tempered.clear();
                self.tempered.extend(logits.iter().map(|l| l * scale));
                &self.tempered
            }
            _ => logits,
        };
        self.values.resize(n_values, 0.0);
        match gradient {
            Gradient::Relaxed { temperature } => gumbel_softmax(
                n_classes,
                temperature,
                drawn_from,
                noise,
                position,
                &mut self.values,
            ),
            Gradient::Exact(_) => {
                gumbel_one_hot(n_classes, drawn_from, noise, position, &mut self.values)
            }
        }
        .map_err(|error| explain(error, n_classes, logits))?;
        g.skip(n_values);
        if let Estimator::GumbelRao { draws } | Estimator::ReinMaxRao { draws } = estimator {
            g.skip(n_values * draws);
        }
        self.n_classes = n_classes;
        self.gradient = Some(gradient);
        Ok(())
    }

    /// The sample: relaxed for [`Estimator::GumbelSoftmax`], one-hot rows for the others. Empty before the first draw.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// The estimator's gradient at the logits from the gradient at the sample; exactly zero for a masked class.
    ///
    /// # Shapes
    /// - logits (those of the draw), d_values, d_logits: that of the sample.
    /// # Errors
    /// [`Error::ShapeMismatch`].
    pub fn backward(&self, logits: &[f32], d_values: &[f32], d_logits: &mut [f32]) -> Result<()> {
        let (n, z) = (self.n_classes, self.values.as_slice());
        for (what, len) in
            [("logits", logits.len()), ("d_values", d_values.len()), ("d_logits", d_logits.len())]
        {
            if len != z.len() {
                return Err(Error::ShapeMismatch { what, got: vec![len], expected: vec![z.len()] });
            }
        }
        match self.gradient {
            None => Ok(()),
            Some(Gradient::Relaxed { temperature }) => {
                softmax_vjp(n, temperature, z, d_values, d_logits)
            }
            Some(Gradient::Exact(estimator)) => {
                straight_through_vjp(n, estimator, logits, z, d_values, d_logits)
            }
        }
        .map_err(|error| candle_core::Error::wrap(error).into())
    }
}

/// The same error as for a tensor: it names the logit or the row.
fn explain(error: SampleError, n_classes: usize, logits: &[f32]) -> Error {
    if matches!(error, SampleError::Row { .. }) {
        let shape = (logits.len() / n_classes, n_classes);
        let rows = Tensor::from_slice(logits, shape, &Device::Cpu);
        if let Err(named) = rows.map_err(Error::from).and_then(|rows| Rows::new(&rows, 1)) {
            return named;
        }
    }
    candle_core::Error::wrap(error).into()
}
