//! Evaluation with exact samples, and the importance-weighted bound, of the article's network.

use std::num::NonZeroUsize;
use std::path::Path;

use candle_core::Device;
use catvae_data::{Binarization, IdxKind, ImageSet, read_idx};
use catvae_model::ModelConfig;
use catvae_train::{TrainConfig, Trainer, evaluate, importance_weighted_bound};
use gumbel_core::Generator;

use crate::Result;
use crate::timing::Iterate;

pub(crate) const NAMES: [&str; 2] = ["evaluate", "bound"];

/// Images of an evaluation.
const EVALUATED: usize = 2000;

/// Images and samples of a bound.
const BOUNDED: usize = 100;
const SAMPLES: NonZeroUsize = NonZeroUsize::new(100).unwrap();

pub(crate) struct Evaluation {
    pub(crate) name: &'static str,
    trainer: Trainer,
    images: ImageSet,
    noise: Generator,
}

impl Evaluation {
    pub(crate) fn new(images: &Path, name: &'static str) -> Result<Self> {
        let idx = read_idx(images, IdxKind::Images)?;
        let &[_, rows, cols] = idx.dims.as_slice() else {
            return Err("the file holds no images".into());
        };
        let n = if name == "bound" { BOUNDED } else { EVALUATED };
        let config = TrainConfig {
            model: ModelConfig::mlp([rows, cols], &[512, 256], [30, 10]),
            ..TrainConfig::default()
        };
        Ok(Self {
            name,
            trainer: Trainer::new(config, Device::Cpu)?,
            images: ImageSet::new(idx.data, None, rows, cols)?.take(n),
            noise: Generator::new(0),
        })
    }
}

impl Iterate for Evaluation {
    fn iterate(&mut self) -> Result<()> {
        let (model, images, grey) = (self.trainer.model(), &self.images, Binarization::Grey);
        let (device, noise) = (&Device::Cpu, &mut self.noise);
        let nats = if self.name == "bound" {
            importance_weighted_bound(model, images, grey, SAMPLES, device, noise, |_| ())?
        } else {
            evaluate(model, images, grey, NonZeroUsize::MIN, device, noise)?.neg_elbo
        };
        std::hint::black_box(nats);
        Ok(())
    }
}
