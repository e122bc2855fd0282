//! A model of one's own, trained with checkpoints, stopped, resumed, and evaluated.
//!
//! It is not made of this project's layers and has another likelihood: convolutions in candle's operations, a
//! map of 7 x 7 latents with 8 categories each, and pixels of a Gaussian law. To keep the run it implements two traits.
//!
//! ```sh
//! cargo run --release -p catvae-train --example own_model
//! ```

#![allow(clippy::print_stdout, reason = "an example talks to its reader")]

use std::num::NonZeroUsize;
use std::ops::ControlFlow;

use candle_core::{Device, Tensor, Var};
use catvae_data::digits_with;
use catvae_model::{Model, ModelSettings, Parameter, Result, uniform_within};
use catvae_train::{Event, Outcome, RunConfig, RunDir, Trainer, evaluate, stream};
use gumbel_core::Generator;
use gumbel_core::estimators::Estimator;
use serde::{Deserialize, Serialize};

/// The section `[model]` of the run's `config.toml`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct MapSettings {
    channels: usize,
    categories: usize,
    /// Standard deviation of a pixel.
    sd: f64,
}

impl Default for MapSettings {
    fn default() -> Self {
        Self { channels: 16, categories: 8, sd: 0.3 }
    }
}

impl ModelSettings for MapSettings {
    type Model = MapVae;

    fn check(&self) -> Result<()> {
        Ok(())
    }

    fn code_shape(&self) -> [usize; 2] {
        [49, self.categories]
    }

    fn image_shape(&self) -> [usize; 2] {
        [28, 28]
    }
}

#[derive(Debug)]
struct MapVae {
    settings: MapSettings,
    parameters: Vec<Parameter>,
}

impl Model for MapVae {
    type Settings = MapSettings;

    fn initialise(s: &MapSettings, device: &Device, generator: &mut Generator) -> Result<Self> {
        let (c, k) = (s.channels, s.categories);
        let shapes = [
            ("encoder.0.weight", vec![c, 1, 4, 4]),
            ("encoder.1.weight", vec![k, c, 4, 4]),
            ("decoder.0.weight", vec![k, c, 4, 4]),
            ("decoder.1.weight", vec![c, 1, 4, 4]),
        ];
        let parameters = shapes.into_iter().map(|(name, shape)| {
            let bound = 1.0 / ((shape[1] * 16) as f64).sqrt();
            let var = Var::from_tensor(&uniform_within(bound, &shape, device, generator)?)?;
            Ok(Parameter { name: name.to_owned(), var })
        });
        Ok(Self { settings: s.clone(), parameters: parameters.collect::<Result<_>>()? })
    }

    fn settings(&self) -> &MapSettings {
        &self.settings
    }

    fn parameters(&self) -> Vec<Parameter> {
        self.parameters.clone()
    }

    fn encode(&self, images: &Tensor) -> Result<Tensor> {
        let x = images.reshape(((), 1, 28, 28))?;
        let x = x.conv2d(&self.parameters[0].var, 1, 2, 1, 1)?.tanh()?;
        let x = x.conv2d(&self.parameters[1].var, 1, 2, 1, 1)?; // (batch, categories, 7, 7)
        Ok(x.flatten_from(2)?.transpose(1, 2)?.contiguous()?)
    }

    fn neg_log_likelihood(&self, z: &Tensor, images: &Tensor) -> Result<Tensor> {
        let sd = self.settings.sd;
        let log_normalizer = (sd * (2.0 * std::f64::consts::PI).sqrt()).ln();
        let squares = ((self.mean_images(z)? - images)? / sd)?.sqr()?;
        Ok(squares.affine(0.5, log_normalizer)?.sum(1)?)
    }

    fn mean_images(&self, z: &Tensor) -> Result<Tensor> {
        let x = z.transpose(1, 2)?.reshape(((), self.settings.categories, 7, 7))?;
        let x = x.conv_transpose2d(&self.parameters[2].var, 1, 0, 2, 1)?.tanh()?;
        let x = x.conv_transpose2d(&self.parameters[3].var, 1, 0, 2, 1)?;
        Ok(candle_nn::ops::sigmoid(&x.flatten_from(1)?)?)
    }
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let device = Device::Cpu;
    let mut config =
        RunConfig::<MapSettings> { estimator: Estimator::ReinMax, ..RunConfig::default() };
    config.training.epochs = 4;
    let dataset = config.bind_data(digits_with(0, 2000, 200), "cpu")?;
    let folder = std::env::temp_dir().join(format!("own-model-{}", std::process::id()));
    let run = RunDir::new(&folder);

    // Stops after 50 steps, as Ctrl-C would; the checkpoint goes on exactly there.
    let mut trainer = Trainer::new(config, device.clone())?;
    let outcome = trainer.run(&dataset, &run.lock()?, &mut |event| match event {
        Event::Step(report) if report.step == 50 => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    })?;
    assert!(matches!(outcome, Outcome::Stopped { .. }));

    // Everything that is needed to go on lies in the folder.
    let config: RunConfig<MapSettings> = run.read_config()?;
    let newest = run.checkpoints().load_newest(&config.model, &device, |damage| {
        eprintln!("{damage}; taking the one before")
    })?;
    let (seed, binarization) = (config.training.seed, config.data.binarization);
    let mut trainer = Trainer::resume(config, newest, device.clone())?;
    trainer.run(&dataset, &run.lock()?, &mut |event| {
        if let Event::Epoch { metrics, .. } = event {
            let (epoch, train) = (metrics.epoch, metrics.train_neg_elbo);
            let test = metrics.test_neg_elbo.unwrap_or(f64::NAN);
            println!("epoch {epoch}: {train:.1} nats on training images, {test:.1} on test images");
        }
        ControlFlow::Continue(())
    })?;

    let mut generator = Generator::new(seed).stream(stream::EVALUATION);
    let one = NonZeroUsize::MIN;
    let test =
        evaluate(trainer.model(), &dataset.test, binarization, one, &device, &mut generator)?;
    println!("the trained model again: {:.1} nats on test images", test.neg_elbo);
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}
