//! Training and evaluation of the categorical VAE: optimisers, trainer, checkpoints, metrics.
