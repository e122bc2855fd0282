//! The memory that a training needs, compared with what there is before anything is made.

use anyhow::{Result, ensure};
use catvae_model::{ModelConfig, ModelSettings};
use catvae_train::TrainConfig;
use sysinfo::System;

/// Bytes that a training on the CPU takes at least: each weight with its gradient and two moments, and for a batch every
/// layer's values with their gradients. What estimators, the system and the images take comes on top.
pub(crate) fn least(config: &TrainConfig, n_images: usize) -> Result<u64> {
    let weights = config.model.n_parameters().unwrap_or(0) as u64;
    let layers: usize = config.model.encoder_widths()?.iter().sum();
    let batch = config.training.batch_size.min(n_images) as u64;
    // The decoder mirrors the encoder.
    let values = batch.saturating_mul(4 * layers as u64);
    Ok(4_u64.saturating_mul(values.saturating_add(4 * weights)))
}

/// # Errors
/// Less memory than [`least`] says.
pub(crate) fn check(config: &TrainConfig, n_images: usize) -> Result<()> {
    refuse_more_than(available(), least(config, n_images)?, &config.model)
}

fn refuse_more_than(available: Option<u64>, least: u64, model: &ModelConfig) -> Result<()> {
    let weights = model.n_parameters().unwrap_or(0);
    let there_is = available.unwrap_or(u64::MAX);
    ensure!(
        least <= there_is,
        "this training needs at least {} of memory ({weights} weights, their gradients and moments, and a batch's values), \
         and there are {}: make the model or the batch smaller (--hidden, --latents, --categories, --batch-size)",
        shown(least),
        shown(there_is)
    );
    Ok(())
}

/// Memory and swap that are free or can be made so, within the limits of a container. `None` where nobody can tell.
fn available() -> Option<u64> {
    let mut system = System::new();
    system.refresh_memory();
    let of_machine = system.available_memory().saturating_add(system.free_swap());
    let of_container = system.cgroup_limits().map(|l| l.free_memory.saturating_add(l.free_swap));
    Some(of_machine.min(of_container.unwrap_or(u64::MAX))).filter(|&bytes| bytes > 0)
}

/// Bytes as people read them.
pub(crate) fn shown(bytes: u64) -> String {
    let mib = bytes as f64 / (1 << 20) as f64;
    match mib < 1024.0 {
        true => format!("{mib:.0} MiB"),
        false => format!("{:.1} GiB", mib / 1024.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_needs_some_thirty_mebibytes_and_may_have_them() {
        let config = TrainConfig::default();
        let need = least(&config, 60_000).unwrap();
        assert_eq!(need, 16 * 1_221_180 + 16 * 100 * (784 + 512 + 256 + 300));
        assert_eq!(shown(need), "21 MiB");
        check(&config, 60_000).unwrap();
        refuse_more_than(None, u64::MAX, &config.model).unwrap();
        refuse_more_than(Some(need), need, &config.model).unwrap();
        let error = refuse_more_than(Some(need - 1), need, &config.model).unwrap_err().to_string();
        assert!(error.contains("at least 21 MiB") && error.contains("--hidden"), "{error}");
    }

    #[test]
    fn this_machine_has_memory() {
        assert!(available().is_some_and(|bytes| bytes > 1 << 20));
    }
}
