//! The training loop.

use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use candle_core::Device;
use catvae_data::{Batch, Batches, Dataset, ImageSet};
use catvae_model::{Layered, Model, ModelConfig, ModelSettings, load_state_dict};
use gumbel_core::Generator;
use gumbel_core::estimators::EstimatorState;

use crate::checkpoint::{Moment, Snapshot};
use crate::state_dict::read_state_dict;
use crate::step::layers::LayerStep;
use crate::step::team::Team;
use crate::step::times::StepTimes;
use crate::step::{Failure, Request, StepLoss, tensors};
use crate::{
    EpochMetrics, Error, Evaluation, LoadedCheckpoint, LockedRun, Optimizer, Position, Precision,
    Rescue, Result, RunConfig, TrainingSettings, evaluate, stream,
};

/// Something that happened in a run.
#[derive(Debug)]
pub enum Event<'a, S: ModelSettings = ModelConfig> {
    /// A step was taken.
    Step(StepReport),
    /// An epoch is complete and its metrics are written.
    Epoch {
        /// Its metrics.
        metrics: &'a EpochMetrics,
        /// The model as it is now.
        model: &'a S::Model,
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
pub struct Trainer<S: ModelSettings = ModelConfig> {
    config: RunConfig<S>,
    device: Device,
    model: S::Model,
    optimizer: Optimizer,
    /// The buffers of the CPU's step; `None` where steps are taken in candle's operations.
    layer_step: Option<LayerStep>,
    team: Team,
    /// What the estimator has learnt so far.
    estimator_state: EstimatorState,
    noise: Generator,
    unrelaxed_noise: Generator,
    position: Position,
    last_checkpoint: Option<PathBuf>,
    rescue: Arc<Rescue>,
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

impl<S: ModelSettings> Trainer<S> {
    /// A fresh model, or one with the weights of `training.init_from`.
    ///
    /// # Errors
    /// Those of [`RunConfig::check`]; weights that cannot be read, or that are not this model's, by name.
    pub fn new(config: RunConfig<S>, device: Device) -> Result<Self> {
        config.check()?;
        let seed = Generator::new(config.training.seed);
        let model =
            S::Model::initialise(&config.model, &device, &mut seed.stream(stream::INITIALISATION))?;
        let settings = &config.training;
        if let Some(path) = &settings.init_from {
            load_state_dict(&model, read_state_dict(path, &config.model)?)?;
        }
        let optimizer =
            Optimizer::new(settings.optimizer, settings.learning_rate, &model.parameters())?;
        Ok(Self {
            rescue: Arc::new(Rescue::new(model.parameters(), &optimizer)),
            layer_step: layer_step(&model, &device, config.training.precision)?,
            team: Team::default(),
            estimator_state: EstimatorState::default(),
            noise: seed.stream(stream::NOISE),
            unrelaxed_noise: seed.stream(stream::UNRELAXED),
            config,
            device,
            model,
            optimizer,
            position: Position::default(),
            last_checkpoint: None,
        })
    }

    /// Goes on exactly where a checkpoint was written.
    ///
    /// # Errors
    /// Those of [`RunConfig::check`]; [`Error::FewerEpochs`].
    pub fn resume(
        config: RunConfig<S>,
        checkpoint: LoadedCheckpoint<S>,
        device: Device,
    ) -> Result<Self> {
        config.check()?;
        checkpoint.position.check_epochs(config.training.epochs)?;
        let parameters = checkpoint.model.parameters();
        let mut optimizer =
            Optimizer::new(config.training.optimizer, config.training.learning_rate, &parameters)?;
        optimizer.restore(checkpoint.optimizer_steps, &checkpoint.moments)?;
        Ok(Self {
            rescue: Arc::new(Rescue::new(parameters, &optimizer)),
            layer_step: layer_step(&checkpoint.model, &device, config.training.precision)?,
            team: Team::default(),
            estimator_state: checkpoint.estimator_state,
            config,
            device,
            model: checkpoint.model,
            optimizer,
            noise: Generator::from_state(&checkpoint.noise),
            unrelaxed_noise: Generator::from_state(&checkpoint.unrelaxed_noise),
            position: checkpoint.position,
            last_checkpoint: Some(checkpoint.path),
        })
    }

    /// The model as it is now.
    pub fn model(&self) -> &S::Model {
        &self.model
    }

    /// How far the run has come.
    pub fn position(&self) -> &Position {
        &self.position
    }

    /// Saves the run from another thread, in the middle of a step that takes long.
    pub fn rescue(&self) -> Arc<Rescue> {
        Arc::clone(&self.rescue)
    }

    /// Takes one step on a batch, at the temperature that the schedule has for it, and counts it:
    /// what [`Trainer::run`] does with every batch of its epochs. For a loop of one's own, whose learning rate is constant.
    ///
    /// # Errors
    /// [`Error::NotFinite`]; images of another width than the model's.
    pub fn take_step(&mut self, batch: &Batch) -> Result<StepLoss> {
        self.rescue.open(self.moment());
        let loss = self.step(batch, self.config.temperature.at(self.position.step));
        self.rescue.close();
        let loss = loss?;
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

    /// Where the time of the steps so far went; `None` where steps are candle's operations, which
    /// are not measured one by one.
    pub fn step_times(&self) -> Option<StepTimes> {
        self.layer_step.as_ref().map(LayerStep::times)
    }

    /// Trains until all epochs are done or `on_event` breaks, and keeps configuration, metrics and checkpoints in
    /// the run folder.
    ///
    /// # Errors
    /// [`Error::NotFinite`]; [`Error::NotKept`] when something cannot be written; [`Error::RunExists`] where a fresh
    /// trainer finds another run, which it would overwrite.
    /// Checkpoints written before stay good.
    pub fn run(
        &mut self,
        dataset: &Dataset,
        run: &LockedRun,
        on_event: &mut dyn FnMut(Event<S>) -> ControlFlow<()>,
    ) -> Result<Outcome> {
        if self.last_checkpoint.is_none() {
            self.check_alone(run)?;
        }
        self.keep(run, || {
            run.write_config(&self.config)?;
            run.metrics().truncate_after(self.position.step)
        })?;
        while self.position.epochs_done < self.config.training.epochs {
            let progress = self.train_epoch(dataset, run, on_event)?;
            if progress == EpochProgress::Interrupted {
                return Ok(Outcome::Stopped { checkpoint: self.save(run, on_event)? });
            }
            let mut metrics = self.finish_epoch(dataset)?;
            self.keep(run, || {
                if self.config.training.keep_best {
                    metrics.best_on = run.metrics().best_on(&metrics)?;
                }
                run.metrics().append(&metrics)?;
                // Before the checkpoint of the epoch: where that one is on the disk, so is this one.
                if metrics.best_on.is_some() {
                    self.with_snapshot(|snapshot| run.checkpoints().save_best(snapshot))?;
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

    /// Keeps configuration and model as they are before the first step, for those who train no further.
    ///
    /// # Errors
    /// As [`Trainer::run`] has for a fresh trainer.
    pub fn keep_start(&mut self, run: &LockedRun) -> Result<PathBuf> {
        self.check_alone(run)?;
        self.keep(run, || run.write_config(&self.config))?;
        self.save(run, &mut |_| ControlFlow::Continue(()))
    }

    /// A run that starts here would push out the checkpoints of another. One that ended before its first
    /// checkpoint left its configuration only, and the same one may start again.
    fn check_alone(&self, run: &LockedRun) -> Result<()> {
        let newest = run.checkpoints().list()?.into_iter().next().map(|(_, folder)| folder);
        let config = run.config_path();
        let another = config.exists() && run.read_config().ok().as_ref() != Some(&self.config);
        match newest.or(another.then_some(config)) {
            Some(found) => Err(Error::RunExists { path: run.path().to_owned(), found }),
            None => Ok(()),
        }
    }

    fn train_epoch(
        &mut self,
        dataset: &Dataset,
        run: &LockedRun,
        on_event: &mut dyn FnMut(Event<S>) -> ControlFlow<()>,
    ) -> Result<EpochProgress> {
        let settings = &self.config.training;
        let checkpoint_every = settings.checkpoint_every;
        let batches = Batches {
            batch_size: NonZeroUsize::new(settings.batch_size).unwrap_or(NonZeroUsize::MIN),
            shuffle_seed: Some(settings.seed),
            binarization: self.config.data.binarization,
        };
        let n_batches = batches.n_batches(&dataset.train);
        let n_steps = (n_batches as u64).saturating_mul(settings.epochs as u64);
        let (rate, schedule) = (settings.learning_rate, settings.learning_rate_schedule);
        let rate_after = |step| rate * schedule.factor(step, n_steps);
        // Of the step before, for the metrics of an epoch that has only its evaluation left.
        self.optimizer.set_learning_rate(rate_after(self.position.step.saturating_sub(1)));
        let epoch = self.position.epochs_done;
        let mut source = batches.epoch(&dataset.train, epoch as u64, self.position.batches_done);
        loop {
            let start = Instant::now();
            let Some(batch) = source.next() else {
                return Ok(EpochProgress::Complete);
            };
            let temperature = self.config.temperature.at(self.position.step);
            self.optimizer.set_learning_rate(rate_after(self.position.step));
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
                images_per_second: position.n_images as f64 / measured(position.train_seconds),
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

    /// One step on one batch: the objective, its gradient, the update.
    fn step(&mut self, batch: &Batch, temperature: f64) -> Result<StepLoss> {
        let settings = &self.config.training;
        let request = Request {
            images: &batch.images,
            batch: batch.len,
            estimator: self.config.estimator,
            temperature,
            state: &mut self.estimator_state,
            noise: &mut self.noise,
            unrelaxed_noise: settings.unrelaxed.then_some(&mut self.unrelaxed_noise),
            clip_gradient_norm: settings.clip_gradient_norm,
            rescue: &self.rescue,
        };
        let (model, optimizer) = (&self.model, &mut self.optimizer);
        let taken = match (&mut self.layer_step, model.layered()) {
            (Some(step), Some(layered)) => {
                self.team.step(|| step.take(model, layered, optimizer, request))
            }
            _ => tensors::take(model, &self.device, optimizer, request),
        };
        taken.map_err(|failure| match failure {
            Failure::NotFinite(what) => self.not_finite(what),
            Failure::Error(error) => self.in_sampling(error),
        })
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

    /// Evaluates where due, and closes the running means.
    fn finish_epoch(&mut self, dataset: &Dataset) -> Result<EpochMetrics> {
        let settings = &self.config.training;
        let epoch = self.position.epochs_done + 1;
        let due = settings.eval_every > 0 && epoch.is_multiple_of(settings.eval_every);
        let due = due || epoch == settings.epochs;
        let validation = dataset.validation.as_ref().filter(|_| due);
        let validation =
            validation.map(|images| self.evaluate("validation", images)).transpose()?;
        let test =
            (due && settings.test).then(|| self.evaluate("test", &dataset.test)).transpose()?;
        let position = &self.position;
        let n_images = position.n_images as f64;
        let seconds = measured(position.train_seconds);
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
            validation_neg_elbo: validation.map(|v| v.neg_elbo),
            validation_bce: validation.map(|v| v.bce),
            validation_kl: validation.map(|v| v.kl),
            test_neg_elbo: test.map(|t| t.neg_elbo),
            test_bce: test.map(|t| t.bce),
            test_kl: test.map(|t| t.kl),
            train_seconds: seconds,
            step_ms: 1e3 * seconds / position.batches_done as f64,
            images_per_second: n_images / seconds,
            best_on: None,
        };
        self.position = Position { step: position.step, epochs_done: epoch, ..Position::default() };
        Ok(metrics)
    }

    /// The unrelaxed objective on images that are not trained on.
    fn evaluate(&self, part: &str, images: &ImageSet) -> Result<Evaluation> {
        let TrainingSettings { seed, eval_draws, .. } = self.config.training;
        // The same draws every time, so that epochs differ by their models alone.
        let mut generator = Generator::new(seed).stream(stream::EVALUATION);
        let n_draws = NonZeroUsize::new(eval_draws).unwrap_or(NonZeroUsize::MIN);
        let binarization = self.config.data.binarization;
        self.rescue.open(self.moment());
        let found =
            evaluate(&self.model, images, binarization, n_draws, &self.device, &mut generator);
        self.rescue.close();
        let found = found.map_err(|error| self.in_sampling(error))?;
        if !found.neg_elbo.is_finite() {
            let (step, epoch) = (self.position.step, self.position.epochs_done + 1);
            let what = format!("the {part} objective is {}", found.neg_elbo);
            return Err(Error::NotFinite {
                what,
                step,
                epoch,
                checkpoint: self.last_checkpoint.clone(),
            });
        }
        Ok(found)
    }

    fn moment(&self) -> Moment {
        Moment {
            position: self.position.clone(),
            optimizer_steps: self.optimizer.n_steps(),
            estimator_state: self.estimator_state,
            noise: self.noise.state(),
            unrelaxed_noise: self.unrelaxed_noise.state(),
        }
    }

    fn with_snapshot<T>(&self, save: impl FnOnce(&Snapshot) -> T) -> T {
        save(&Snapshot {
            parameters: &self.model.parameters(),
            moments: self.optimizer.moments(),
            optimizer: self.optimizer.kind(),
            moment: &self.moment(),
        })
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
        on_event: &mut dyn FnMut(Event<S>) -> ControlFlow<()>,
    ) -> Result<PathBuf> {
        let keep = self.config.training.keep_checkpoints;
        let path = self
            .keep(run, || self.with_snapshot(|snapshot| run.checkpoints().save(snapshot, keep)))?;
        self.last_checkpoint = Some(path.clone());
        // A wish to stop is heard at the next step.
        let _ = on_event(Event::Checkpoint(&path));
        Ok(path)
    }
}

/// A time that rates can be computed from, also where the clock stood still: no infinity may get into the metrics.
fn measured(seconds: f64) -> f64 {
    seconds.max(1e-9)
}

/// The step on slices, where the model is made of layers and lies on the CPU.
fn layer_step<M: Model>(
    model: &M,
    device: &Device,
    precision: Precision,
) -> Result<Option<LayerStep>> {
    let layered = model.layered().filter(|_| device.is_cpu());
    if precision == Precision::F32 {
        return Ok(layered.map(|_| LayerStep::default()));
    }
    let Some(layered) = layered.and_then(Layered::in_bf16) else {
        let reason = "only networks of linear layers (mlp) on the CPU have it".to_owned();
        return Err(Error::NoBf16 { reason });
    };
    precision.check_processor()?;
    Ok(Some(LayerStep::in_bf16(layered)))
}

#[cfg(test)]
mod tests {
    use candle_core::Tensor;
    use catvae_data::digits_with;
    use catvae_model::{Code, Conv, Likelihood, LogitsActivation, ModelConfig, Parameter, Vgg};
    use gumbel_core::estimators::Estimator;

    use super::*;
    use crate::TrainConfig;

    /// A few steps on slices and in candle's operations, with the same settings: losses and weights.
    ///
    /// The first five steps of RAdam follow the gradient itself, so that the weights show every entry of it in its
    /// own size. Adam divides by that size, and rounding would decide where a gradient is next to nothing.
    fn both(change: impl Fn(&mut TrainConfig)) -> [(Vec<[f64; 3]>, Vec<f32>); 2] {
        let data = digits_with(3, 64, 1).train;
        [true, false].map(|on_slices| {
            let model = ModelConfig::mlp([28, 28], &[23, 17], [5, 7]);
            let mut config = TrainConfig { model, ..TrainConfig::default() };
            config.training.optimizer = crate::OptimizerKind::RAdam;
            change(&mut config);
            let mut trainer = Trainer::new(config, Device::Cpu).unwrap();
            if !on_slices {
                trainer.layer_step = None;
            }
            let mut losses = Vec::new();
            for step in 0..5 {
                // Batches of different sizes, one image among them.
                let len = [13, 1, 16, 9, 2][step];
                let images =
                    (0..len).flat_map(|i| data.image(7 * step + i)).map(|&p| f32::from(p) / 255.0);
                let batch = Batch { images: images.collect(), len, ..Batch::default() };
                let loss = trainer.step(&batch, 0.7).unwrap();
                losses.push([loss.bce, loss.kl, loss.bce_unrelaxed.unwrap()]);
            }
            let weights =
                trainer.model.parameters().into_iter().flat_map(|p| {
                    p.var.as_tensor().flatten_all().unwrap().to_vec1::<f32>().unwrap()
                });
            (losses, weights.collect())
        })
    }

    fn assert_same(what: &str, change: impl Fn(&mut TrainConfig)) {
        let [(losses, slices), (expected_losses, tensors)] = both(change);
        for (f, p) in losses.iter().flatten().zip(expected_losses.iter().flatten()) {
            // The KL of each of the five latents is a difference of numbers near ln 7 = 1.9.
            assert!(
                (f - p).abs() <= 2e-5 * p.abs() + 5.0 * 2.4e-7,
                "{what}: {losses:?} against {expected_losses:?}"
            );
        }
        let deviations = slices.iter().zip(&tensors).map(|(s, t)| (s - t).abs());
        let worst = deviations.clone().fold(0.0, f32::max);
        let mean = deviations.map(f64::from).sum::<f64>() / slices.len() as f64;
        // Weights of up to one half, moved by up to 0.1: a few units in the last place of either.
        assert!(worst <= 5e-6 && mean < 5e-8, "{what}: {worst:e} at most, {mean:e} on average");
    }

    #[test]
    fn an_infinite_unrelaxed_loss_at_a_finite_relaxed_one_stops_the_step_before_the_update() {
        for on_slices in [true, false] {
            let model = ModelConfig::mlp([2, 2], &[3], [2, 2]);
            let config = TrainConfig { model, ..TrainConfig::default() };
            let mut trainer = Trainer::new(config, Device::Cpu).unwrap();
            if !on_slices {
                trainer.layer_step = None;
            }
            trainer.last_checkpoint = Some(PathBuf::from("run/checkpoints/step-000000000"));
            // Both latents take their first category, whose weights together leave f32. Relaxed at
            // a high temperature, each has half of it, and the sum stays.
            let set = |name: &str, values: &[f32]| {
                let parameters = trainer.model.parameters();
                let parameter = parameters.iter().find(|p| p.name == name).unwrap();
                let tensor = Tensor::from_slice(values, parameter.var.shape(), &Device::Cpu);
                parameter.var.set(&tensor.unwrap()).unwrap();
            };
            set("encoder.2.weight", &[0.0; 12]);
            set("encoder.2.bias", &[10.0, -10.0, 10.0, -10.0]);
            set("decoder.0.weight", &[2e38, 0.0].repeat(6));
            set("decoder.2.weight", &[2e-38; 12]);
            let weights = |trainer: &Trainer| -> Vec<Vec<f32>> {
                let flat = |p: &Parameter| p.var.flatten_all().unwrap().to_vec1().unwrap();
                trainer.model.parameters().iter().map(flat).collect()
            };
            let before = weights(&trainer);

            let batch = Batch { images: vec![0.5; 8], len: 2, ..Batch::default() };
            let error = trainer.step(&batch, 100.0).unwrap_err().to_string();
            let [start, checkpoint] =
                ["the unrelaxed loss is ", "Last good checkpoint: run/checkpoints/step-"];
            assert!(error.starts_with(start) && error.contains(checkpoint), "{on_slices}: {error}");
            assert!(error.contains("at step 1 (epoch 1)"), "{on_slices}: {error}");
            assert_eq!(weights(&trainer), before, "{on_slices}: the weights were updated");

            // The relaxed loss alone is no reason to stop.
            trainer.config.training.unrelaxed = false;
            trainer.step(&batch, 100.0).unwrap();
        }
    }

    #[test]
    fn a_step_in_bf16_goes_where_the_step_in_f32_goes() {
        let data = digits_with(3, 100, 1).train;
        let images = (0..100).flat_map(|i| data.image(i)).map(|&p| f32::from(p) / 255.0).collect();
        let batch = Batch { images, len: 100, ..Batch::default() };
        let run = |bf16: bool| {
            let model = ModelConfig::mlp([28, 28], &[33, 20], [5, 7]);
            let mut config = TrainConfig { model, ..TrainConfig::default() };
            // Its first steps follow the gradient itself.
            config.training.optimizer = crate::OptimizerKind::RAdam;
            let mut trainer = Trainer::new(config, Device::Cpu).unwrap();
            if bf16 {
                // Whatever this processor gains from it.
                let layered = trainer.model.layered().unwrap().in_bf16().unwrap();
                trainer.layer_step = Some(LayerStep::in_bf16(layered));
            }
            let weights = |trainer: &Trainer| -> Vec<f32> {
                let flat = |p: &Parameter| p.var.flatten_all().unwrap().to_vec1::<f32>().unwrap();
                trainer.model.parameters().iter().flat_map(flat).collect()
            };
            let before = weights(&trainer);
            let loss = trainer.step(&batch, 1.0).unwrap();
            let after = weights(&trainer);
            let moved = after.iter().zip(&before).map(|(a, b)| f64::from(a - b));
            (loss.bce, moved.collect::<Vec<_>>())
        };
        let [(loss, moved), (loss_bf16, moved_bf16)] = [run(false), run(true)];
        assert!(loss != loss_bf16 && (loss / loss_bf16 - 1.0).abs() < 1e-3, "{loss} {loss_bf16}");
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let cosine =
            dot(&moved, &moved_bf16) / (dot(&moved, &moved) * dot(&moved_bf16, &moved_bf16)).sqrt();
        // Independent roundings of 2⁻⁹ each.
        assert!(cosine > 0.9999, "{cosine}");
    }

    #[test]
    fn bf16_is_refused_where_a_layer_has_no_products_in_it() {
        let mut config = TrainConfig::default();
        config.training.precision = Precision::Bf16;
        config.model.network = Conv { channels: vec![3, 5], hidden: vec![17] }.into();
        let error = Trainer::new(config, Device::Cpu).unwrap_err().to_string();
        assert!(error.contains("mlp") && error.contains("training.precision"), "{error}");
    }

    #[test]
    fn a_clock_that_stands_still_leaves_metrics_that_can_be_read_again() {
        let data = digits_with(3, 4, 1);
        let model = ModelConfig::mlp([28, 28], &[3], [2, 2]);
        let mut trainer =
            Trainer::new(TrainConfig { model, ..TrainConfig::default() }, Device::Cpu).unwrap();
        trainer.position =
            Position { step: 1, batches_done: 1, n_images: 4, ..Position::default() };
        let metrics = trainer.finish_epoch(&data).unwrap();
        assert!(metrics.images_per_second.is_finite() && metrics.step_ms > 0.0, "{metrics:?}");
    }

    #[test]
    fn the_step_on_slices_is_the_one_in_candles_operations() {
        assert_same("relaxed", |_| ());
        for estimator in Estimator::ALL {
            // Few enough codes to enumerate, and the two categories that disarm is for.
            let code = match estimator {
                Estimator::Enumeration => [3, 4],
                Estimator::DisArm => [5, 2],
                _ => [5, 7],
            };
            assert_same(estimator.name(), |c| {
                c.estimator = estimator;
                c.model = ModelConfig::mlp([28, 28], &[23, 17], code);
            });
            assert_same(&format!("{estimator}, relu logits, clipped"), |c| {
                c.estimator = estimator;
                c.model = ModelConfig::mlp([28, 28], &[23, 17], code);
                c.model.logits = LogitsActivation::Relu;
                c.training.clip_gradient_norm = Some(3.0);
            });
        }
        for code in [Code::Chain, Code::Subset { k: 3, n: 6 }] {
            let small = |c: &mut TrainConfig| {
                c.model = ModelConfig { code, ..ModelConfig::mlp([28, 28], &[23], [2, 3]) };
            };
            let mut n_taken = 0;
            for estimator in Estimator::ALL {
                let mut config = TrainConfig { estimator, ..TrainConfig::default() };
                small(&mut config);
                match config.check() {
                    Err(crate::Error::EstimatorOfCode { .. }) => continue,
                    checked => checked.unwrap(),
                }
                n_taken += 1;
                assert_same(&format!("{code}, {estimator}"), |c| {
                    small(c);
                    c.estimator = estimator;
                });
            }
            assert_eq!(n_taken, 7, "{code}");
        }
        assert_same("no hidden layer", |c| c.model = ModelConfig::mlp([28, 28], &[], [5, 7]));
        let conv = || Conv { channels: vec![3, 5], hidden: vec![17] }.into();
        assert_same("convolutions", |c| c.model.network = conv());
        assert_same("two convolutions a stage, discretised logistic", |c| {
            c.model.network = Vgg { channels: vec![3, 5], hidden: vec![17] }.into();
            c.model.likelihood = Likelihood::DiscretisedLogistic;
        });
        assert_same("convolutions, rloo, continuous Bernoulli", |c| {
            c.model.network = conv();
            c.model.likelihood = Likelihood::ContinuousBernoulli;
            c.estimator = Estimator::Rloo { samples: 3 };
        });
    }
}
