//! What each latent of a code is used for: statistics of the posterior over images.

use candle_core::{Device, Tensor};
use catvae_data::{Batches, Binarization, ImageSet};
use catvae_model::{Code, Model, ModelSettings};
use serde::Serialize;

use crate::Result;
use crate::evaluate::{BATCH, fixed};

/// Information about the image below which a latent counts as dead, in nats.
const DEAD_BELOW: f64 = 0.01;
/// The widest code, `n_latents · n_categories`, whose pairs of latents are compared: the table of pairs has its square.
const WIDEST_FOR_PAIRS: usize = 2048;

/// Statistics of the posterior q(z|x) over images x, exact sums over categories, in nats.
///
/// For codes whose variables depend on each other they are those of its [parts](Code::parts): the label of each step of a chain, each item of a
/// subset, by their marginal probabilities.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LatentStatistics {
    /// Images that were looked at.
    pub n_images: usize,
    /// KL from the posterior of the whole code to the uniform prior, mean over images.
    pub kl: f64,
    /// One entry a latent.
    pub latents: Vec<LatentUse>,
    /// I(z_n; z_m), `(n_latents, n_latents)`; the entropy of the use where n = m. Absent where
    /// `n_latents · n_categories` is above 2,048.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub information_between: Option<Vec<Vec<f64>>>,
}

/// Statistics of one latent.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LatentUse {
    /// q(z = k), the posterior's mean over images, for each category k.
    pub usage: Vec<f64>,
    /// `exp` of the entropy of `usage`: how many categories are in use, from 1 to `n_categories`.
    pub perplexity: f64,
    /// KL from the posterior to the prior, mean over images.
    pub kl: f64,
    /// Entropy of the posterior, mean over images.
    pub entropy: f64,
    /// I(z; x), the information about the image: the entropy of `usage` minus `entropy`.
    pub information: f64,
    /// I(z; y), the information about the label. Absent where images have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label_information: Option<f64>,
}

impl LatentStatistics {
    /// Whether the whole code says next to nothing: every latent is [dead](LatentUse::is_dead), so that every image gets the
    /// same code.
    pub fn is_collapsed(&self) -> bool {
        self.latents.iter().all(LatentUse::is_dead)
    }
}

impl LatentUse {
    /// Whether the latent says next to nothing about the image: less than 0.01 nats.
    pub fn is_dead(&self) -> bool {
        self.information < DEAD_BELOW
    }
}

/// Measures every latent on images.
///
/// # Errors
/// Images of another width than the model's.
pub fn latent_statistics<M: Model>(
    model: &M,
    images: &ImageSet,
    binarization: Binarization,
    device: &Device,
) -> Result<LatentStatistics> {
    let n_classes = images.labels().map(|l| l.iter().max().map_or(0, |&m| usize::from(m) + 1));
    let (code, shape) = (model.settings().code(), model.settings().code_shape());
    let mut sums = Sums::new(code.parts(shape), n_classes);
    let mut kl = 0.0;
    let batches =
        Batches { batch_size: BATCH, shuffle_seed: None, binarization: fixed(binarization) };
    for batch in batches.epoch(images, 0, 0) {
        let shape = (batch.len, images.pixels_per_image());
        let logits = model.encode(&Tensor::from_vec(batch.images, shape, device)?)?.detach();
        let parts = code.log_parts(&logits)?;
        sums.add(&parts.flatten_all()?.to_vec1::<f32>()?, &batch.labels)?;
        if code != Code::Categories {
            kl += code.kl(&logits)?.to_vec1::<f32>()?.into_iter().map(f64::from).sum::<f64>();
        }
    }
    let mut found = sums.finish();
    if let Code::Subset { k, n } = code {
        // Under the prior an item is in its subset with probability k / n.
        let chosen = k as f64 / n as f64;
        for item in &mut found.latents {
            let cross = item.usage[0] * (1.0 - chosen).ln() + item.usage[1] * chosen.ln();
            item.kl = -cross - item.entropy;
        }
    }
    if code != Code::Categories {
        found.kl = kl / found.n_images.max(1) as f64;
    }
    Ok(found)
}

/// Sums over images.
struct Sums {
    n_latents: usize,
    n_categories: usize,
    n_images: usize,
    /// `(n_latents · n_categories)`.
    usage: Vec<f64>,
    /// `(n_latents)`.
    entropy: Vec<f64>,
    /// `(n_latents · n_categories, n_classes)`, where images have labels.
    with_label: Option<(usize, Vec<f64>)>,
    /// `(n_latents · n_categories)²`, unless that is too large.
    pairs: Option<Vec<f64>>,
}

impl Sums {
    fn new([n_latents, n_categories]: [usize; 2], n_classes: Option<usize>) -> Self {
        let width = n_latents * n_categories;
        Self {
            n_latents,
            n_categories,
            n_images: 0,
            usage: vec![0.0; width],
            entropy: vec![0.0; n_latents],
            with_label: n_classes.map(|n| (n, vec![0.0; width * n])),
            pairs: (width <= WIDEST_FOR_PAIRS).then(|| vec![0.0; width * width]),
        }
    }

    /// Adds images by the logits of their posteriors, `(batch, n_latents, n_categories)`.
    fn add(&mut self, logits: &[f32], labels: &[u8]) -> Result<()> {
        let width = self.usage.len();
        let mut posteriors = vec![0.0_f32; logits.len()];
        let mut row = vec![0.0_f64; self.n_categories];
        for (i, logits) in logits.chunks_exact(self.n_categories).enumerate() {
            let (image, latent) = (i / self.n_latents, i % self.n_latents);
            self.entropy[latent] += softmax(logits, &mut row);
            for (k, &q) in row.iter().enumerate() {
                let at = latent * self.n_categories + k;
                self.usage[at] += q;
                posteriors[image * width + at] = q as f32;
                if let (Some((n_classes, sums)), Some(&label)) =
                    (&mut self.with_label, labels.get(image))
                {
                    sums[at * *n_classes + usize::from(label)] += q;
                }
            }
        }
        let batch = logits.len() / width;
        self.n_images += batch;
        if let Some(pairs) = &mut self.pairs {
            let posteriors = Tensor::from_vec(posteriors, (batch, width), &Device::Cpu)?;
            let products = posteriors.t()?.matmul(&posteriors)?.flatten_all()?.to_vec1::<f32>()?;
            pairs.iter_mut().zip(products).for_each(|(sum, q)| *sum += f64::from(q));
        }
        Ok(())
    }

    fn finish(self) -> LatentStatistics {
        let n = self.n_images.max(1) as f64;
        let k = self.n_categories;
        let latents = (0..self.n_latents).map(|latent| {
            let of_latent = latent * k..(latent + 1) * k;
            let usage: Vec<f64> = self.usage[of_latent.clone()].iter().map(|q| q / n).collect();
            let entropy = self.entropy[latent] / n;
            let marginal = entropy_of(usage.iter().copied());
            let label_information = self.with_label.as_ref().map(|(n_classes, sums)| {
                let joint = &sums[of_latent.start * n_classes..of_latent.end * n_classes];
                mutual_information(&joint.iter().map(|q| q / n).collect::<Vec<_>>(), *n_classes)
            });
            LatentUse {
                perplexity: marginal.exp(),
                kl: (k as f64).ln() - entropy,
                entropy,
                information: (marginal - entropy).max(0.0),
                label_information,
                usage,
            }
        });
        let latents: Vec<_> = latents.collect();
        let width = self.n_latents * k;
        let between = |pairs: Vec<f64>| {
            let of_pair = |a: usize, b: usize| {
                if a == b {
                    return latents[a].perplexity.ln();
                }
                let joint = (0..k * k).map(|i| pairs[(a * k + i / k) * width + b * k + i % k] / n);
                mutual_information(&joint.collect::<Vec<_>>(), k)
            };
            let row = |a| (0..self.n_latents).map(|b| of_pair(a, b)).collect();
            (0..self.n_latents).map(row).collect()
        };
        let information_between = self.pairs.map(between);
        let kl = latents.iter().map(|latent| latent.kl).sum();
        LatentStatistics { n_images: self.n_images, kl, latents, information_between }
    }
}

/// Writes the probabilities of a row of logits, and returns their entropy.
fn softmax(logits: &[f32], probabilities: &mut [f64]) -> f64 {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for (p, &logit) in probabilities.iter_mut().zip(logits) {
        *p = f64::from(logit - largest).exp();
        sum += *p;
    }
    probabilities.iter_mut().for_each(|p| *p /= sum);
    entropy_of(probabilities.iter().copied())
}

/// `−Σ p ln p`, with `0 ln 0 = 0`.
fn entropy_of(probabilities: impl Iterator<Item = f64>) -> f64 {
    probabilities.filter(|&p| p > 0.0).map(|p| -p * p.ln()).sum()
}

/// `H(a) + H(b) − H(a, b)` of a joint law, `(rows, n_cols)`.
fn mutual_information(joint: &[f64], n_cols: usize) -> f64 {
    let of_row = joint.chunks_exact(n_cols).map(|row| row.iter().sum::<f64>());
    let of_col = (0..n_cols).map(|col| joint.iter().skip(col).step_by(n_cols).sum::<f64>());
    let information = entropy_of(of_row) + entropy_of(of_col) - entropy_of(joint.iter().copied());
    // Rounding may leave an independent pair just below zero.
    information.max(0.0)
}

#[cfg(test)]
mod tests {
    use std::f64::consts::LN_2;

    use super::*;

    /// Logits of a posterior that is sure of one category.
    fn sure(category: usize) -> [f32; 2] {
        let mut logits = [-200.0; 2];
        logits[category] = 0.0;
        logits
    }

    /// Four images, labels 0 0 1 1. Latent 0 is the label, 1 changes within a label, 2 copies 0 and
    /// 3 is undecided, 4 always the same.
    fn example() -> LatentStatistics {
        let mut sums = Sums::new([5, 2], Some(2));
        for image in 0..4 {
            let label = image / 2;
            let logits = [sure(label), sure(image % 2), sure(label), [0.3, 0.3], sure(1)].concat();
            sums.add(&logits, &[label as u8]).unwrap();
        }
        sums.finish()
    }

    fn close(actual: f64, expected: f64) {
        assert!((actual - expected).abs() < 1e-6, "{actual} instead of {expected}");
    }

    #[test]
    fn statistics_are_those_worked_out_by_hand() {
        let found = example();
        assert_eq!(found.n_images, 4);
        // Perplexity, KL, entropy, information about image and label.
        let expected = [
            [2.0, LN_2, 0.0, LN_2, LN_2],
            [2.0, LN_2, 0.0, LN_2, 0.0],
            [2.0, LN_2, 0.0, LN_2, LN_2],
            [2.0, 0.0, LN_2, 0.0, 0.0],
            [1.0, LN_2, 0.0, 0.0, 0.0],
        ];
        for (latent, expected) in found.latents.iter().zip(expected) {
            let label = latent.label_information.unwrap();
            let actual = [latent.perplexity, latent.kl, latent.entropy, latent.information, label];
            actual.into_iter().zip(expected).for_each(|(a, e)| close(a, e));
        }
        let dead: Vec<bool> = found.latents.iter().map(LatentUse::is_dead).collect();
        assert_eq!(dead, [false, false, false, true, true]);
        let between = found.information_between.unwrap();
        close(between[0][2], LN_2);
        close(between[2][0], LN_2);
        close(between[0][1], 0.0);
        close(between[0][3], 0.0);
        close(between[1][1], LN_2);
    }

    #[test]
    fn an_unsure_posterior_gives_what_its_formulas_say() {
        let mut sums = Sums::new([1, 3], None);
        let logits = [0.5_f64, 0.25, 0.25].map(|p| (7.0 + p.ln()) as f32);
        sums.add(&[logits, [0.25, 0.5, 0.25].map(|p: f64| p.ln() as f32)].concat(), &[]).unwrap();
        let found = sums.finish();
        let latent = &found.latents[0];
        let entropy = 1.5 * LN_2;
        let marginal = -2.0 * 0.375 * 0.375_f64.ln() + 0.25 * 4_f64.ln();
        latent.usage.iter().zip([0.375, 0.375, 0.25]).for_each(|(&a, e)| close(a, e));
        close(latent.entropy, entropy);
        close(latent.kl, 3_f64.ln() - entropy);
        close(latent.perplexity, marginal.exp());
        close(latent.information, marginal - entropy);
        assert_eq!(latent.label_information, None);
    }

    #[test]
    fn a_code_too_wide_for_pairs_has_all_but_them() {
        let mut sums = Sums::new([1025, 2], None);
        sums.add(&vec![0.0; 2050], &[]).unwrap();
        let found = sums.finish();
        assert_eq!(found.information_between, None);
        assert_eq!(found.latents.len(), 1025);
    }
}
