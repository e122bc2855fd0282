//! The training loop.

use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use candle_core::{CpuStorage, DType, Device, Storage, Tensor};
use catvae_data::{Batch, Batches, Dataset};
use catvae_model::{CategoricalVae, Parameter};
use gumbel_core::Generator;
use gumbel_core::estimators::EstimatorState;

use crate::checkpoint::Snapshot;
use crate::evaluate::scalar;
use crate::fused_step::{FusedStep, Loss, Request};
use crate::step_times::StepTimes;
use crate::stream;
use crate::team::awake;
use crate::{
    EpochMetrics, Error, LoadedCheckpoint, LockedRun, Objective, Optimizer, Position, Result,
    TrainConfig, evaluate,
};

/// Something that happened in a run.
#[derive(Debug)]
pub enum Event<'a> {
    /// A step was taken.
    Step(StepReport),
    /// An epoch is complete and its metrics are written.
    Epoch {
        /// Its metrics.
        metrics: &'a EpochMetrics,
        /// The model as it is now.
        model: &'a CategoricalVae,
    },
    /// A checkpoint is on the disk.
    Checkpoint(&'a Path),
}

/// A step, as far as progress displays want to know.
#[derive(Clone, Copy, Debug)]
pub struct StepReport {
    /// Steps since the start of the run.
    pub step: u64,
    /// The epoch, counted from 1.
    pub epoch: usize,
    /// Batches of the epoch that are done.
    pub batches_done: usize,
    /// Batches that the epoch has.
    pub n_batches: usize,
    /// Relaxed objective of this step's batch, mean over its images, in nats.
    pub neg_elbo: f64,
    /// τ of the step.
    pub temperature: f64,
    /// Images of a full batch.
    pub images_per_batch: f64,
    /// Training images per second, mean over the epoch so far.
    pub images_per_second: f64,
}

/// How a call of [`Trainer::run`] ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All epochs are done.
    Finished,
    /// It was asked to stop; the checkpoint continues exactly there.
    Stopped {
        /// The checkpoint written last.
        checkpoint: PathBuf,
    },
}

/// A model in training.
#[derive(Debug)]
pub struct Trainer {
    config: TrainConfig,
    device: Device,
    model: CategoricalVae,
    parameters: Vec<Parameter>,
    optimizer: Optimizer,
    /// Where there is one for the device and the estimator.
    fused: Option<FusedStep>,
    /// What the estimator has learnt so far.
    estimator_state: EstimatorState,
    noise: Generator,
    unrelaxed_noise: Generator,
    position: Position,
    last_checkpoint: Option<PathBuf>,
}

/// How far an epoch got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EpochProgress {
    /// All batches are done.
    Complete,
    /// All batches are done, and a stop was asked for at the last: the epoch is still closed.
    CompleteThenStop,
    /// A stop was asked for before the last batch.
    Interrupted,
}

/// The value of a step's objectives before its update: means over the batch, in nats.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepLoss {
    /// Bernoulli cross-entropy, summed over pixels.
    pub bce: f64,
    /// KL to the uniform prior, summed over latents.
    pub kl: f64,
    /// Cross-entropy of the unrelaxed objective, where the run tracks it.
    pub bce_unrelaxed: Option<f64>,
    /// Time of the unrelaxed pass, which does not count as training.
    pub untimed: Duration,
}

impl Trainer {
    /// A fresh model.
    ///
    /// # Errors
    /// Those of [`TrainConfig::check`].
    pub fn new(config: TrainConfig, device: Device) -> Result<Self> {
        config.check()?;
        let seed = Generator::new(config.training.seed);
        let model = CategoricalVae::initialise(
            &config.model,
            &device,
            &mut seed.stream(stream::INITIALISATION),
        )?;
        let parameters = model.parameters();
        let optimizer =
            Optimizer::new(config.training.optimizer, config.training.learning_rate, &parameters)?;
        Ok(Self {
            fused: fused_step(&config, &device),
            estimator_state: EstimatorState::default(),
            noise: seed.stream(stream::NOISE),
            unrelaxed_noise: seed.stream(stream::UNRELAXED),
            config,
            device,
            model,
            parameters,
            optimizer,
            position: Position::default(),
            last_checkpoint: None,
        })
    }

    /// Goes on exactly where a checkpoint was written.
    ///
    /// # Errors
    /// Those of [`TrainConfig::check`]; [`Error::FewerEpochs`].
    pub fn resume(
        config: TrainConfig,
        checkpoint: LoadedCheckpoint,
        device: Device,
    ) -> Result<Self> {
        config.check()?;
        checkpoint.position.check_epochs(config.training.epochs)?;
        let parameters = checkpoint.model.parameters();
        let mut optimizer =
            Optimizer::new(config.training.optimizer, config.training.learning_rate, &parameters)?;
        optimizer.restore(checkpoint.optimizer_steps, &checkpoint.moments)?;
        Ok(Self {
            fused: fused_step(&config, &device),
            estimator_state: checkpoint.estimator_state,
            config,
            device,
            model: checkpoint.model,
            parameters,
            optimizer,
            noise: Generator::from_state(&checkpoint.noise),
            unrelaxed_noise: Generator::from_state(&checkpoint.unrelaxed_noise),
            position: checkpoint.position,
            last_checkpoint: Some(checkpoint.path),
        })
    }

    /// The model as it is now.
    pub fn model(&self) -> &CategoricalVae {
        &self.model
    }

    /// How far the run has come.
    pub fn position(&self) -> &Position {
        &self.position
    }

    /// Takes one step on a batch, at the temperature that the schedule has for it, and counts it:
    /// what [`Trainer::run`] does with every batch of its epochs. For a loop of one's own.
    ///
    /// # Errors
    /// [`Error::NotFinite`]; images of another width than the model's.
    pub fn take_step(&mut self, batch: &Batch) -> Result<StepLoss> {
        let loss = self.step(batch, self.config.temperature.at(self.position.step))?;
        let n_images = batch.len as f64;
        let position = &mut self.position;
        position.step += 1;
        position.batches_done += 1;
        position.n_images += batch.len as u64;
        position.sum_bce += n_images * loss.bce;
        position.sum_kl += n_images * loss.kl;
        position.sum_bce_unrelaxed += n_images * loss.bce_unrelaxed.unwrap_or(0.0);
        Ok(loss)
    }

    /// Where the time of the steps so far went; `None` where the step is candle's operations, which
    /// are not measured one by one.
    pub fn step_times(&self) -> Option<StepTimes> {
        self.fused.as_ref().map(FusedStep::times)
    }

    /// Trains until all epochs are done or `on_event` breaks, and keeps metrics and checkpoints in
    /// the run folder.
    ///
    /// # Errors
    /// [`Error::NotFinite`]; [`Error::NotKept`] when metrics or a checkpoint cannot be written; [`Error::RunExists`]
    /// where a fresh trainer finds the checkpoints of another run.
    /// Checkpoints written before stay good.
    pub fn run(
        &mut self,
        dataset: &Dataset,
        run: &LockedRun,
        on_event: &mut dyn FnMut(Event) -> ControlFlow<()>,
    ) -> Result<Outcome> {
        // A run that starts here would push out the checkpoints of another.
        if self.position.step == 0
            && let Some((_, found)) = run.checkpoints().list()?.into_iter().next()
        {
            return Err(Error::RunExists { path: run.path().to_owned(), found });
        }
        self.keep(run, || run.metrics().truncate_after(self.position.step))?;
        while self.position.epochs_done < self.config.training.epochs {
            let progress = self.train_epoch(dataset, run, on_event)?;
            if progress == EpochProgress::Interrupted {
                return Ok(Outcome::Stopped { checkpoint: self.save(run, on_event)? });
            }
            let metrics = self.finish_epoch(dataset)?;
            self.keep(run, || {
                run.metrics().append(&metrics)?;
                // Before the checkpoint of the epoch: where that one is on the disk, so is this one.
                if self.config.training.keep_best && run.metrics().is_best(&metrics)? {
                    run.checkpoints().save_best(&self.snapshot())?;
                }
                Ok(())
            })?;
            let checkpoint = self.save(run, on_event)?;
            let flow = on_event(Event::Epoch { metrics: &metrics, model: &self.model });
            let asked_to_stop = progress == EpochProgress::CompleteThenStop || flow.is_break();
            if asked_to_stop && self.position.epochs_done < self.config.training.epochs {
                return Ok(Outcome::Stopped { checkpoint });
            }
        }
        Ok(Outcome::Finished)
    }

    fn train_epoch(
        &mut self,
        dataset: &Dataset,
        run: &LockedRun,
        on_event: &mut dyn FnMut(Event) -> ControlFlow<()>,
    ) -> Result<EpochProgress> {
        let settings = &self.config.training;
        let checkpoint_every = settings.checkpoint_every;
        let batches = Batches {
            batch_size: NonZeroUsize::new(settings.batch_size).unwrap_or(NonZeroUsize::MIN),
            shuffle_seed: Some(settings.seed),
            binarization: self.config.data.binarization,
            drop_last: false,
        };
        let n_batches = batches.n_batches(&dataset.train);
        let epoch = self.position.epochs_done;
        let mut source = batches.epoch(&dataset.train, epoch as u64, self.position.batches_done);
        loop {
            let start = Instant::now();
            let Some(batch) = source.next() else {
                return Ok(EpochProgress::Complete);
            };
            let temperature = self.config.temperature.at(self.position.step);
            let loss = self.take_step(&batch)?;
            source.recycle(batch);

            let position = &mut self.position;
            position.train_seconds += start.elapsed().saturating_sub(loss.untimed).as_secs_f64();

            let report = StepReport {
                step: position.step,
                epoch: epoch + 1,
                batches_done: position.batches_done,
                n_batches,
                neg_elbo: loss.bce + loss.kl,
                temperature,
                images_per_batch: self.config.training.batch_size as f64,
                images_per_second: position.n_images as f64 / position.train_seconds,
            };
            let epoch_goes_on = position.batches_done < n_batches;
            let due = checkpoint_every > 0 && position.step.is_multiple_of(checkpoint_every);
            if due && epoch_goes_on {
                self.save(run, on_event)?;
            }
            if on_event(Event::Step(report)).is_break() {
                return Ok(match epoch_goes_on {
                    true => EpochProgress::Interrupted,
                    false => EpochProgress::CompleteThenStop,
                });
            }
        }
    }

    /// One step on one batch: relaxed objective, gradient, update.
    fn step(&mut self, batch: &Batch, temperature: f64) -> Result<StepLoss> {
        match self.fused.take() {
            Some(mut fused) => {
                let loss = awake(|| self.fused_step(&mut fused, batch, temperature));
                self.fused = Some(fused);
                loss
            }
            None => self.plain_step(batch, temperature),
        }
    }

    fn fused_step(
        &mut self,
        fused: &mut FusedStep,
        batch: &Batch,
        temperature: f64,
    ) -> Result<StepLoss> {
        let settings = &self.config.training;
        let request = Request {
            images: &batch.images,
            batch: batch.len,
            temperature,
            estimator: self.config.estimator,
            clip_gradient_norm: settings.clip_gradient_norm,
        };
        let loss = fused.forward(&self.model, &request, &mut self.noise);
        let Loss { bce, kl } = loss.map_err(|error| self.in_sampling(error))?;
        self.check_loss("the loss", bce + kl)?;
        let untimed = Instant::now();
        let bce_unrelaxed = match settings.unrelaxed {
            true => Some(fused.unrelaxed_bce(&self.model, &request, &mut self.unrelaxed_noise)?),
            false => None,
        };
        let untimed = untimed.elapsed();
        self.check_loss("the unrelaxed loss", bce_unrelaxed.unwrap_or_default())?;
        if let Some(parameter) = fused.backward(&self.model, &request)? {
            return Err(self.not_finite(format!("the gradient of {parameter} is not finite")));
        }
        fused.update(&self.model, &mut self.optimizer, &request)?;
        Ok(StepLoss { bce, kl, bce_unrelaxed, untimed })
    }

    /// The step in candle's operations: for every device, and for every estimator. Those that work on values of
    /// the loss evaluate the decoder several times, or keep a state.
    fn plain_step(&mut self, batch: &Batch, temperature: f64) -> Result<StepLoss> {
        let shape = (batch.len, self.config.model.n_pixels);
        let images = Tensor::from_slice(&batch.images, shape, &self.device)?;
        let objective = Objective::trained(
            &self.model,
            &images,
            self.config.estimator,
            &mut self.estimator_state,
            temperature,
            &mut self.noise,
        );
        let objective = objective.map_err(|error| self.in_sampling(error))?;
        let (bce, kl) = (scalar(&objective.neg_elbo.bce)?, scalar(&objective.neg_elbo.kl)?);
        self.check_loss("the loss", bce + kl)?;

        let untimed = Instant::now();
        let bce_unrelaxed = if self.config.training.unrelaxed {
            let logits = objective.latent_logits.detach();
            let unrelaxed =
                Objective::unrelaxed(&self.model, &images, logits, &mut self.unrelaxed_noise)?;
            Some(scalar(&unrelaxed.neg_elbo.bce)?)
        } else {
            None
        };
        let untimed = untimed.elapsed();
        self.check_loss("the unrelaxed loss", bce_unrelaxed.unwrap_or_default())?;

        let gradients = self.gradients(&objective.neg_elbo.total()?)?;
        self.optimizer.step(&self.parameters, &gradients)?;
        Ok(StepLoss { bce, kl, bce_unrelaxed, untimed })
    }

    fn check_loss(&self, what: &str, nats: f64) -> Result<()> {
        match nats.is_finite() {
            true => Ok(()),
            false => Err(self.not_finite(format!("{what} is {nats}"))),
        }
    }

    /// Logits that no sample can be drawn from are those of a diverged run.
    fn in_sampling(&self, error: Error) -> Error {
        match error {
            Error::Sampling(logits @ gumbel_core::Error::InvalidLogit { .. }) => {
                self.not_finite(format!("{logits}"))
            }
            error => error,
        }
    }

    fn not_finite(&self, what: String) -> Error {
        Error::NotFinite {
            what,
            step: self.position.step + 1,
            epoch: self.position.epochs_done + 1,
            checkpoint: self.last_checkpoint.clone(),
        }
    }

    /// The gradient of every parameter, checked and clipped.
    fn gradients(&self, loss: &Tensor) -> Result<Vec<Tensor>> {
        let mut store = loss.backward()?;
        let mut gradients = Vec::with_capacity(self.parameters.len());
        let mut squared_norm = 0.0;
        for parameter in &self.parameters {
            let gradient = store
                .remove(parameter.var.as_tensor())
                .ok_or_else(|| Error::NoGradient { parameter: parameter.name.clone() })?;
            let squares = sum_of_squares(&gradient)?;
            if !squares.is_finite() {
                let what = format!("the gradient of {} is not finite", parameter.name);
                return Err(self.not_finite(what));
            }
            squared_norm += squares;
            gradients.push(gradient);
        }
        match self.config.training.clip_gradient_norm {
            Some(max_norm) if squared_norm > max_norm * max_norm => {
                let scale = max_norm / squared_norm.sqrt();
                gradients.iter().map(|g| Ok(g.affine(scale, 0.0)?)).collect()
            }
            _ => Ok(gradients),
        }
    }

    /// Evaluates where due, and closes the running means.
    fn finish_epoch(&mut self, dataset: &Dataset) -> Result<EpochMetrics> {
        let settings = &self.config.training;
        let epoch = self.position.epochs_done + 1;
        let due = settings.eval_every > 0 && epoch.is_multiple_of(settings.eval_every);
        let test = if due || epoch == settings.epochs {
            // The same draws every time, so that epochs differ by their models alone.
            let mut generator = Generator::new(settings.seed).stream(stream::EVALUATION);
            let binarization = self.config.data.binarization;
            let test =
                evaluate(&self.model, &dataset.test, binarization, &self.device, &mut generator);
            let test = test.map_err(|error| self.in_sampling(error))?;
            if !test.neg_elbo.is_finite() {
                let what = format!("the test objective is {}", test.neg_elbo);
                let (step, checkpoint) = (self.position.step, self.last_checkpoint.clone());
                return Err(Error::NotFinite { what, step, epoch, checkpoint });
            }
            Some(test)
        } else {
            None
        };
        let position = &self.position;
        let n_images = position.n_images as f64;
        let (bce, kl) = (position.sum_bce / n_images, position.sum_kl / n_images);
        let metrics = EpochMetrics {
            epoch,
            step: position.step,
            temperature: self.config.temperature.at(position.step.saturating_sub(1)),
            learning_rate: self.optimizer.learning_rate(),
            train_neg_elbo: bce + kl,
            train_bce: bce,
            train_kl: kl,
            train_neg_elbo_unrelaxed: settings
                .unrelaxed
                .then(|| position.sum_bce_unrelaxed / n_images + kl),
            test_neg_elbo: test.map(|t| t.neg_elbo),
            test_bce: test.map(|t| t.bce),
            test_kl: test.map(|t| t.kl),
            train_seconds: position.train_seconds,
            step_ms: 1e3 * position.train_seconds / position.batches_done as f64,
            images_per_second: n_images / position.train_seconds,
        };
        self.position = Position { step: position.step, epochs_done: epoch, ..Position::default() };
        Ok(metrics)
    }

    fn snapshot(&self) -> Snapshot<'_> {
        Snapshot {
            position: &self.position,
            model: &self.model,
            optimizer: &self.optimizer,
            estimator_state: self.estimator_state,
            noise: self.noise.state(),
            unrelaxed_noise: self.unrelaxed_noise.state(),
        }
    }

    /// Writes something into the run folder; where that fails, the error names the last good checkpoint.
    fn keep<T>(&self, run: &LockedRun, write: impl FnOnce() -> Result<T>) -> Result<T> {
        run.write(write).map_err(|error| Error::NotKept {
            error: Box::new(error),
            checkpoint: self.last_checkpoint.clone(),
        })
    }

    fn save(
        &mut self,
        run: &LockedRun,
        on_event: &mut dyn FnMut(Event) -> ControlFlow<()>,
    ) -> Result<PathBuf> {
        let keep = self.config.training.keep_checkpoints;
        let path = self.keep(run, || run.checkpoints().save(&self.snapshot(), keep))?;
        self.last_checkpoint = Some(path.clone());
        // A wish to stop is heard at the next step.
        let _ = on_event(Event::Checkpoint(&path));
        Ok(path)
    }
}

/// The fused step, where there is one for the device and the estimator.
fn fused_step(config: &TrainConfig, device: &Device) -> Option<FusedStep> {
    (config.estimator.is_pathwise() && device.is_cpu()).then(FusedStep::default)
}

/// Σ x², in f64 on the CPU; it is finite exactly when every x is.
fn sum_of_squares(tensor: &Tensor) -> Result<f64> {
    let (storage, layout) = tensor.storage_and_layout();
    if let (Storage::Cpu(CpuStorage::F32(values)), Some((start, end))) =
        (&*storage, layout.contiguous_offsets())
    {
        return Ok(values[start..end].iter().map(|&x| f64::from(x) * f64::from(x)).sum());
    }
    drop(storage);
    Ok(tensor.to_dtype(DType::F64)?.sqr()?.sum_all()?.to_scalar::<f64>()?)
}

#[cfg(test)]
mod tests {
    use catvae_data::digits_with;
    use catvae_model::{LogitsActivation, ModelConfig};
    use gumbel_core::estimators::Estimator;

    use super::*;

    /// A few steps of the fused and of the plain trainer with the same settings: losses and weights.
    fn both(change: impl Fn(&mut TrainConfig)) -> [(Vec<[f64; 3]>, Vec<f32>); 2] {
        let data = digits_with(3, 64, 1).train;
        [true, false].map(|fused| {
            let mut config = TrainConfig::default();
            config.model =
                ModelConfig { hidden: vec![23, 17], n_latents: 5, n_categories: 7, ..config.model };
            config.training.learning_rate = 1e-2;
            change(&mut config);
            let mut trainer = Trainer::new(config, Device::Cpu).unwrap();
            if !fused {
                trainer.fused = None;
            }
            let mut losses = Vec::new();
            for step in 0..6 {
                // Batches of different sizes, one image among them.
                let len = [13, 1, 16, 9, 2, 5][step];
                let images =
                    (0..len).flat_map(|i| data.image(7 * step + i)).map(|&p| f32::from(p) / 255.0);
                let batch = Batch { images: images.collect(), len, indices: Vec::new() };
                let loss = trainer.step(&batch, 0.7).unwrap();
                losses.push([loss.bce, loss.kl, loss.bce_unrelaxed.unwrap()]);
            }
            let weights = trainer
                .parameters
                .iter()
                .flat_map(|p| p.var.as_tensor().flatten_all().unwrap().to_vec1::<f32>().unwrap());
            (losses, weights.collect())
        })
    }

    fn assert_same(what: &str, change: impl Fn(&mut TrainConfig)) {
        let [(fused_losses, fused), (plain_losses, plain)] = both(change);
        for (f, p) in fused_losses.iter().flatten().zip(plain_losses.iter().flatten()) {
            // The KL of each of the five latents is a difference of numbers near ln 7 = 1.9.
            assert!(
                (f - p).abs() <= 2e-5 * p.abs() + 5.0 * 2.4e-7,
                "{what}: {fused_losses:?} against {plain_losses:?}"
            );
        }
        for (f, p) in fused.iter().zip(&plain) {
            // Adam divides by the gradient's own size: where a gradient is next to nothing, rounding
            // decides about a part of a step of 1e-2.
            assert!((f - p).abs() <= 5e-4, "{what}: a weight is {f} against {p}");
        }
        let mean_deviation =
            fused.iter().zip(&plain).map(|(f, p)| f64::from((f - p).abs())).sum::<f64>()
                / fused.len() as f64;
        assert!(mean_deviation < 1e-6, "{what}: {mean_deviation:e}");
    }

    #[test]
    fn an_infinite_unrelaxed_loss_at_a_finite_relaxed_one_stops_the_step_before_the_update() {
        for fused in [true, false] {
            let mut config = TrainConfig::default();
            config.model = ModelConfig {
                n_pixels: 4,
                hidden: vec![3],
                n_latents: 2,
                n_categories: 2,
                ..config.model
            };
            let mut trainer = Trainer::new(config, Device::Cpu).unwrap();
            if !fused {
                trainer.fused = None;
            }
            trainer.last_checkpoint = Some(PathBuf::from("run/checkpoints/step-000000000"));
            // Both latents take their first category, whose weights together leave f32. Relaxed at
            // a high temperature, each has half of it, and the sum stays.
            let set = |name: &str, values: &[f32]| {
                let parameter = trainer.parameters.iter().find(|p| p.name == name).unwrap();
                let tensor = Tensor::from_slice(values, parameter.var.shape(), &Device::Cpu);
                parameter.var.set(&tensor.unwrap()).unwrap();
            };
            set("encoder.2.weight", &[0.0; 12]);
            set("encoder.2.bias", &[10.0, -10.0, 10.0, -10.0]);
            set("decoder.0.weight", &[2e38, 0.0].repeat(6));
            set("decoder.2.weight", &[2e-38; 12]);
            let weights = |trainer: &Trainer| -> Vec<Vec<f32>> {
                let flat = |p: &Parameter| p.var.flatten_all().unwrap().to_vec1().unwrap();
                trainer.parameters.iter().map(flat).collect()
            };
            let before = weights(&trainer);

            let batch = Batch { images: vec![0.5; 8], len: 2, indices: Vec::new() };
            let error = trainer.step(&batch, 100.0).unwrap_err().to_string();
            let [start, checkpoint] =
                ["the unrelaxed loss is ", "Last good checkpoint: run/checkpoints/step-"];
            assert!(error.starts_with(start) && error.contains(checkpoint), "{fused}: {error}");
            assert!(error.contains("at step 1 (epoch 1)"), "{fused}: {error}");
            assert_eq!(weights(&trainer), before, "{fused}: the weights were updated");

            // The relaxed loss alone is no reason to stop.
            trainer.config.training.unrelaxed = false;
            trainer.step(&batch, 100.0).unwrap();
        }
    }

    #[test]
    fn the_fused_step_is_the_plain_one() {
        assert_same("relaxed", |_| ());
        for estimator in Estimator::ALL.into_iter().filter(|e| e.is_pathwise()) {
            assert_same(estimator.name(), |c| c.estimator = estimator);
            assert_same(&format!("{estimator}, relu logits, clipped"), |c| {
                c.estimator = estimator;
                c.model.logits = LogitsActivation::Relu;
                c.training.clip_gradient_norm = Some(3.0);
            });
        }
        assert_same("radam", |c| c.training.optimizer = crate::OptimizerKind::RAdam);
        assert_same("no hidden layer", |c| c.model.hidden = Vec::new());
    }
}
