//! `catvae train`.

use std::cell::Cell;
use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result};
use candle_core::Device;
use catvae_data::Dataset;
use catvae_model::CategoricalVae;
use catvae_train::{
    EpochMetrics, Error, Event, LatentStatistics, LockedRun, Outcome, Rescue, RunDir, TrainConfig,
    Trainer, latent_statistics, stream,
};
use clap::CommandFactory;
use clap::error::ErrorKind;
use gumbel_core::Generator;
use gumbel_core::estimators::Estimator;

use crate::args::{Cli, TrainArgs, TrainCommand};
use crate::commands::{settings, show};
use crate::data::{self, Datasets};
use crate::explorer::{self, Exhibit};
use crate::progress::{Progress, print_line, quoted, warn};
use crate::run::folder_name;
use crate::runs::Listed;
use crate::signals::Signals;
use crate::tensorboard::{self, EventFile};
use crate::{memory, pictures, plot};

pub(crate) fn train(command: &TrainCommand) -> Result<ExitCode> {
    let started = Instant::now();
    let args = &command.args;
    if let Err(error) = args.check_usage() {
        error.exit();
    }
    let signals = Signals::listen()?;
    let device = args.device.open()?;
    let mut start = starting_point(args)?;
    if command.quick {
        start.training.epochs = 1;
        start.data.n_train = start.data.n_train.or(Some(1000));
        start.data.n_test = start.data.n_test.or(Some(200));
    }
    if command.print_config && data::is_known_without_loading(&start.data) {
        return print_config(args, start);
    }
    let (mut config, dataset) = resolve(args, start, &mut Datasets::default())?;
    if let Some(provenance) = &mut config.provenance
        && (command.note.is_some() || !args.resumes())
    {
        provenance.note.clone_from(&command.note);
    }
    let quiet = command.quiet || command.json;
    let say = |text: &str| {
        if !quiet {
            print_line(text);
        }
    };
    let name = command.name.as_deref().unwrap_or(&dataset.name);
    if command.early_stop.is_some() && dataset.validation.is_none() {
        let message = "--early-stop needs validation images: add --validation-images 5000";
        Cli::command().error(ErrorKind::MissingRequiredArgument, message).exit();
    }
    if command.print_config {
        print_line(settings::commented(&config.to_toml()?).trim_end());
        return Ok(ExitCode::SUCCESS);
    }
    let quick = command.quick.then(QuickFolder::make).transpose()?;
    let out = quick.as_ref().map_or(args.folder(), |folder| Some(folder.0.as_path()));
    if command.dry_run {
        Trainer::new(config.clone(), device)?;
        let run = RunDir::new(out.map_or_else(|| Path::new("runs").join(name), Path::to_owned));
        if out.is_some() && !args.resumes() && run.holds_run() {
            let (path, found) = (run.path().to_owned(), run.config_path());
            return Err(Error::RunExists { path, found }.into());
        }
        say(&introduction(&config, &dataset, &run)?);
        say("nothing is trained: --dry-run");
        return Ok(ExitCode::SUCCESS);
    }

    if device.is_cpu() {
        memory::check(&config, dataset.train.len())?;
    }
    let (run, mut trainer) = match out {
        Some(out) if args.resumes() => {
            let run = RunDir::new(out).lock()?;
            let trainer = resume(&run, &config, &device, &warn)?;
            (run, trainer)
        }
        out => {
            let trainer = Trainer::new(config.clone(), device.clone())?;
            let run = match out {
                Some(out) => RunDir::new(out),
                None => claim_folder(name)?,
            };
            let run = run.lock()?;
            run.check_unused()?;
            (run, trainer)
        }
    };
    let epochs = config.training.epochs;
    if trainer.position().epochs_done >= epochs {
        say(&format!("all {epochs} epochs are done; a larger --epochs goes on"));
        return print_object(command, run.path()).map(|()| ExitCode::SUCCESS);
    }

    if !run.keeps_others_out() {
        let path = run.path().display();
        warn(&format!(
            "warning: the file system of {path} has no locks: see to it that no other process trains into it"
        ));
    }
    say(&introduction(&config, &dataset, &run)?);
    let mut progress = Progress::start(
        quiet,
        config.training.epochs,
        config.estimator.samples_are_exact(),
        dataset.validation.is_some(),
    );
    let start = || EventFile::start(&run, &config, trainer.position().step, args.resumes());
    let mut events = match (!args.no_tensorboard).then(start).transpose() {
        Ok(events) => events,
        Err(error) => {
            warn(&format!("warning: no events for TensorBoard: {error:#}"));
            None
        }
    };
    let gallery = Gallery { run: &run, dataset: &dataset, config: &config, device: &device };
    let mut failed_picture = None;
    let mut collapse_said = false;
    let stopped_early = Cell::new(false);
    let time_is_up = || command.max_time.is_some_and(|most| started.elapsed() >= most);
    let go_on = || match signals.exit_code() {
        None if !time_is_up() && !stopped_early.get() => ControlFlow::Continue(()),
        _ => ControlFlow::Break(()),
    };
    let mut on_event = |event: Event| {
        match event {
            Event::Step(report) => progress.step(&report),
            Event::Epoch { metrics, model } => {
                progress.epoch(metrics);
                if let (Some(most), Ok(epochs)) = (command.early_stop, run.metrics().read()) {
                    stopped_early.set(epochs_since_best(&epochs) >= most.get());
                }
                // A picture that cannot be drawn must not cost the run.
                if let Err(error) = gallery.draw(model, metrics) {
                    failed_picture.get_or_insert(error);
                }
                let latents = match gallery.latents(model) {
                    Ok(latents) => latents,
                    Err(error) => {
                        failed_picture.get_or_insert(error);
                        return go_on();
                    }
                };
                let begun = metrics.epoch > 1 && metrics.step >= FIRST_STEPS;
                if begun && latents.is_collapsed() && !collapse_said {
                    warn(COLLAPSED);
                    collapse_said = true;
                }
                let logged = events.as_ref().map(|events| gallery.log(events, &latents, metrics));
                if let Some(Err(error)) = logged {
                    warn(&format!("warning: no more events for TensorBoard: {error:#}"));
                    events = None;
                }
            }
            Event::Checkpoint(_) => {}
        }
        go_on()
    };
    let (rescue, keep) = (trainer.rescue(), config.training.keep_checkpoints);
    let save = || rescue_run(&rescue, &run, keep);
    let outcome = signals.while_running(&save, || trainer.run(&dataset, &run, &mut on_event));
    progress.finish();
    if let Some(error) = failed_picture {
        warn(&format!("warning: a picture could not be drawn: {error:#}"));
    }
    let outcome = outcome?;
    if outcome != Outcome::Finished && stopped_early.get() {
        say(
            "stopped early: no better objective on the validation images; the best model is checkpoints/best",
        );
    }
    match outcome {
        Outcome::Stopped { checkpoint } if !stopped_early.get() => {
            say_stopped(&run, &checkpoint);
            print_object(command, run.path())?;
            // The only other reason to stop is --max-time, which was wished.
            Ok(signals.exit_code().map_or(ExitCode::SUCCESS, ExitCode::from))
        }
        Outcome::Finished | Outcome::Stopped { .. } => {
            let step = trainer.position().step;
            let exhibit = Exhibit { run: &run, config: &config, model: trainer.model(), step };
            let page = explorer::path_in(&run);
            // The run is safe on the disk: a page that cannot be written must not fail it.
            if let Err(error) = explorer::write(&[exhibit], &dataset.test, None, &device, &page) {
                warn(&format!("warning: explorer.html is not written: {error:#}"));
            }
            if let Some(Err(error)) = events.map(|events| events.finish()) {
                warn(&format!("warning: the events for TensorBoard are not ended: {error:#}"));
            }
            match quick {
                Some(_) => say("\nAll of it works here; nothing of this quick run is kept."),
                None if quiet => print_object(command, run.path())?,
                None => say_where_all_lies(run.path()),
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Epochs with a validation objective after the one with the best.
fn epochs_since_best(epochs: &[EpochMetrics]) -> usize {
    let known: Vec<f64> = epochs.iter().filter_map(|epoch| epoch.validation_neg_elbo).collect();
    let best = known.iter().enumerate().min_by(|a, b| a.1.total_cmp(b.1));
    best.map_or(0, |(at, _)| known.len() - 1 - at)
}

/// A folder for a run that nobody wants to keep; it goes with this.
struct QuickFolder(PathBuf);

impl QuickFolder {
    fn make() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("catvae-quick-{}", std::process::id()));
        fs::create_dir(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for QuickFolder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The configuration that the flags make of `config`, checked, and its data.
pub(crate) fn resolve(
    args: &TrainArgs,
    mut config: TrainConfig,
    datasets: &mut Datasets,
) -> Result<(TrainConfig, Dataset)> {
    config.check()?;
    let takes_shape = args.config.is_none() && !args.resumes();
    let dataset = datasets.bind(&mut config, takes_shape, args.device.as_str())?;
    if !args.resumes() {
        set_schedule(args, &mut config, dataset.train.len())?;
    }
    Ok((config, dataset))
}

/// The schedule of the temperature that the flags say, over the steps of the run.
fn set_schedule(args: &TrainArgs, config: &mut TrainConfig, n_train: usize) -> Result<()> {
    let n_batches = n_train.div_ceil(config.training.batch_size);
    // What config.toml can hold is more steps than any run takes.
    let n_steps = (n_batches as u64).saturating_mul(config.training.epochs as u64);
    let n_steps = n_steps.min(i64::MAX as u64);
    config.temperature = settings::schedule(&args.schedule, config.temperature, n_steps)?;
    Ok(())
}

/// Saves a run in mid-step. Whether that was possible, or has failed: the program can then end.
fn rescue_run(rescue: &Rescue, run: &LockedRun, keep: usize) -> bool {
    match rescue.save(run, keep) {
        Ok(None) => return false,
        Ok(Some(checkpoint)) => say_stopped(run, &checkpoint),
        Err(error) => warn(&format!("error: {error}")),
    }
    true
}

fn say_stopped(run: &RunDir, checkpoint: &Path) {
    warn(&format!("stopped; saved {}", checkpoint.display()));
    warn(&format!("go on with: catvae train --resume {}", quoted(run.path())));
}

/// The configuration that flags are put over: that of the run to resume, of a file, or the default.
pub(crate) fn starting_point(args: &TrainArgs) -> Result<TrainConfig> {
    let apply = |config: &mut TrainConfig| {
        let fresh = args.config.is_none() && !args.resumes();
        settings::apply(&args.settings, fresh, config)?;
        if args.straight_through {
            config.estimator = Estimator::StGumbelSoftmax;
        }
        anyhow::Ok(())
    };
    if let (true, Some(out)) = (args.resumes(), args.folder()) {
        let started_with = RunDir::new(out).read_config()?;
        let mut config = started_with.clone();
        apply(&mut config)?;
        config.temperature = settings::schedule(&args.schedule, config.temperature, 1)?;
        config.check_resumes(&started_with, out)?;
        return Ok(config);
    }
    let weights = args.settings.text("training.init_from").map(Path::new);
    let mut config = settings::starting_point(args.config.as_deref(), weights)?;
    apply(&mut config)?;
    Ok(config)
}

/// Goes on at the newest checkpoint. A run that ended before its first one has none, and starts again at step 0.
pub(crate) fn resume(
    run: &LockedRun,
    config: &TrainConfig,
    device: &Device,
    say: &dyn Fn(&str),
) -> Result<Trainer> {
    if let Some(aside) = run.metrics().set_damage_aside()? {
        say(&format!("warning: metrics.jsonl was damaged; it is kept as {}", aside.display()));
    }
    let newest = run.checkpoints().load_newest(&config.model, device, |damage| {
        say(&format!("warning: {damage}; trying the one before"));
    });
    match newest {
        Ok(checkpoint) => {
            say(&format!("resuming from {}", checkpoint.path.display()));
            Ok(Trainer::resume(config.clone(), checkpoint, device.clone())?)
        }
        // An epoch's line comes before its checkpoint. With two lines there was one, and somebody removed it.
        Err(Error::NoCheckpoint { .. }) if run.metrics().read()?.len() <= 1 => {
            say("no checkpoint yet: starting at the first step");
            Ok(Trainer::new(config.clone(), device.clone())?)
        }
        Err(error) => Err(error.into()),
    }
}

/// Makes the first of `runs/NAME`, `runs/NAME-2`, … that is not there yet, before another process can.
pub(crate) fn claim_folder(name: &str) -> Result<RunDir> {
    let runs = Path::new("runs");
    fs::create_dir_all(runs).context("cannot create runs")?;
    let mut folder = runs.join(name);
    for i in 2.. {
        match fs::create_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => (),
            made => {
                made.with_context(|| format!("cannot create {}", folder.display()))?;
                break;
            }
        }
        folder = runs.join(format!("{name}-{i}"));
    }
    Ok(RunDir::new(folder))
}

/// What `catvae show --json` says of the run, where that was asked for.
fn print_object(command: &TrainCommand, run: &Path) -> Result<()> {
    if command.json {
        print_line(&show::object(&Listed::read(run)?)?.to_string());
    }
    Ok(())
}

/// Prints the configuration of a dataset whose size is known, which need not be there.
fn print_config(args: &TrainArgs, mut config: TrainConfig) -> Result<ExitCode> {
    config.check()?;
    let n_train = data::N_TRAIN.min(config.data.n_train.unwrap_or(usize::MAX));
    let n_train = n_train.saturating_sub(config.data.n_validation.unwrap_or(0));
    set_schedule(args, &mut config, n_train)?;
    print_line(settings::commented(&config.to_toml()?).trim_end());
    Ok(ExitCode::SUCCESS)
}

fn introduction(config: &TrainConfig, dataset: &Dataset, run: &RunDir) -> Result<String> {
    let widths = config.model.encoder_widths()?;
    let widths: Vec<String> = widths.iter().map(ToString::to_string).collect();
    Ok(format!(
        "{}: {} training{} and {} test images; network {} {} ({}) and back, \
         at least {} of memory\nrun folder {}; negative ELBO per image in nats, lower is better",
        dataset.name,
        dataset.train.len(),
        dataset.validation.as_ref().map_or(String::new(), |v| format!(", {} validation", v.len())),
        dataset.test.len(),
        config.model.network.name(),
        widths.join("-"),
        config.model.describe_code(),
        memory::shown(memory::least(config, dataset.train.len())?),
        run.path().display()
    ))
}

fn say_where_all_lies(path: &Path) {
    print_line(&format!("\nDone. In {}:", path.display()));
    for (name, what) in [
        ("explorer.html", "open it in a browser: flip the choices, draw, look inside"),
        ("curves.png", "the objectives over the epochs"),
        ("samples/", "images from codes sampled from the prior, one picture per epoch"),
        ("reconstructions/", "test images above their reconstructions"),
        ("metrics.jsonl", "every number of every epoch"),
        (tensorboard::FILE, "the same for `tensorboard --logdir`"),
        ("checkpoints/", "the model (PyTorch's names and layouts) and the optimiser"),
        ("config.toml", "repeats this run: catvae train --config"),
    ] {
        // The page shows categories only.
        if path.join(name).exists() {
            print_line(&format!("  {name:<27} {what}"));
        }
    }
    if let Ok(run) = Listed::read(path)
        && let Some(best) = run.best().filter(|_| run.config.training.keep_best)
    {
        print_line(&format!(
            "The best epoch, {}, was chosen on the {} images; it is checkpoints/best.",
            best.epoch,
            run.chosen_on().name()
        ));
    }
    print_line(&format!("Next: catvae evaluate {} --importance-samples 100", quoted(path)));
}

/// Test images behind the statistics of the latents.
pub(crate) const LOGGED_IMAGES: usize = 1000;

/// So many steps a model may take before its codes must carry something.
pub(crate) const FIRST_STEPS: u64 = 500;
pub(crate) const COLLAPSED: &str = "warning: the codes carry nothing: every image gets the same one (each latent knows less than 0.01 nats of \
     the image). Few runs come out of this: try another --seed, or a smaller --lr";

/// Draws the pictures of a run.
struct Gallery<'a> {
    run: &'a RunDir,
    dataset: &'a Dataset,
    config: &'a TrainConfig,
    device: &'a Device,
}

impl Gallery<'_> {
    /// Use of the latents over the first test images.
    fn latents(&self, model: &CategoricalVae) -> Result<LatentStatistics> {
        let images = self.dataset.test.take(LOGGED_IMAGES);
        Ok(latent_statistics(model, &images, self.config.data.binarization, self.device)?)
    }

    /// The epoch as an event.
    fn log(
        &self,
        events: &EventFile,
        latents: &LatentStatistics,
        metrics: &EpochMetrics,
    ) -> Result<()> {
        let pictures = ["samples", "reconstructions"].map(|folder| {
            let file = format!("epoch-{:03}.png", metrics.epoch);
            (folder, self.run.path().join(folder).join(file))
        });
        events.epoch(metrics, latents, &pictures)
    }

    fn draw(&self, model: &CategoricalVae, metrics: &EpochMetrics) -> Result<()> {
        let path = self.run.path();
        if is_pictured(metrics.epoch, self.config.training.epochs) {
            self.draw_images(model, metrics.epoch)?;
        }
        plot::draw_curves(&folder_name(path), &self.run.metrics().read()?, &path.join("curves.png"))
            .context("cannot draw curves.png")
    }

    fn draw_images(&self, model: &CategoricalVae, epoch: usize) -> Result<()> {
        let test = &self.dataset.test;
        let file = format!("epoch-{epoch:03}.png");
        let path = self.run.path();
        for name in ["samples", "reconstructions"] {
            match fs::create_dir(path.join(name)) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => (),
                // The run folder itself is not made again: who removed it does not want it.
                made => {
                    made.with_context(|| format!("cannot create {}", path.join(name).display()))?
                }
            }
        }
        // The same codes and draws in every epoch: the pictures show one thing getting better.
        let mut generator = Generator::new(self.config.training.seed).stream(stream::PICTURES);
        pictures::samples(
            model,
            (8, 8),
            [test.rows(), test.cols()],
            self.device,
            &mut generator,
            &path.join("samples").join(&file),
        )?;
        let reconstructions = path.join("reconstructions").join(&file);
        let binarization = self.config.data.binarization;
        pictures::reconstructions(
            model,
            test,
            binarization,
            self.device,
            &mut generator,
            &reconstructions,
        )
    }
}

/// Whether an epoch's images are drawn: each of the first 99, then each tenth, from 1000 on each hundredth, and so on,
/// and the last. Long runs need not fill a disk with pictures that nobody tells apart.
fn is_pictured(epoch: usize, n_epochs: usize) -> bool {
    epoch == n_epochs || epoch.is_multiple_of(10_usize.pow(epoch.max(10).ilog10() - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_runs_draw_fewer_pictures() {
        let n_pictures = |n_epochs| (1..=n_epochs).filter(|&i| is_pictured(i, n_epochs)).count();
        assert_eq!([1, 99, 105, 10_000].map(n_pictures), [1, 99, 101, 99 + 90 + 90 + 1]);
    }
}
