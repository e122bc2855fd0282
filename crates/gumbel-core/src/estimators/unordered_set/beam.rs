//! Codes of independent latents, drawn without replacement.

use crate::beam::{Beam, LogSum};

/// Different codes of one row, and the probability of all that were not drawn.
pub(super) struct Codes {
    /// The classes of the latents.
    pub(super) codes: Vec<Vec<u32>>,
    pub(super) log_probs: Vec<f64>,
    pub(super) log_outside: f64,
}

/// Draws up to `k` codes: of each beam the classes of the next latent, then the `k` of the largest perturbed log-probabilities.
///
/// # Shapes
/// - log_probs: `(latents, classes)`; noise: `(latents, k, classes)`.
pub(super) fn sample(log_probs: &[f64], classes: usize, k: usize, noise: &[f64]) -> Codes {
    let mut beams = vec![Beam::start()];
    // What is left behind on the way: a sum, not one minus what is kept.
    let mut outside = LogSum::EMPTY;
    for (log_probs, noise) in log_probs.chunks_exact(classes).zip(noise.chunks_exact(k * classes)) {
        let mut children = Vec::with_capacity(beams.len() * classes);
        for (beam, noise) in beams.iter().zip(noise.chunks_exact(classes)) {
            children.extend(beam.children(log_probs, noise));
        }
        children.sort_by(|a, b| b.perturbed.total_cmp(&a.perturbed));
        children.drain(k.min(children.len())..).for_each(|left| outside.add(left.log_prob));
        beams = children;
    }
    Codes {
        log_probs: beams.iter().map(|beam| beam.log_prob).collect(),
        codes: beams.into_iter().map(|beam| beam.code).collect(),
        log_outside: outside.ln(),
    }
}
