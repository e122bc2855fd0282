//! `catvae train`.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use candle_core::Device;
use catvae_data::Dataset;
use catvae_model::CategoricalVae;
use catvae_train::{EpochMetrics, Error, Event, Outcome, RunDir, TrainConfig, Trainer, stream};
use gumbel_core::Generator;

use crate::args::TrainArgs;
use crate::commands::settings;
use crate::progress::{Progress, print_line};
use crate::signals::Signals;
use crate::{data, pictures, plot};

pub(crate) fn train(args: &TrainArgs) -> Result<ExitCode> {
    let signals = Signals::listen()?;
    let device = args.device.open()?;
    let run = RunDir::new(match &args.out {
        Some(out) => out.clone(),
        None => free_folder(args.dataset.as_deref().unwrap_or("digits")),
    });
    let mut config = starting_point(args, &run)?;
    settings::apply(args, &mut config)?;
    config.check()?;

    let dataset = data::load(&config.data)?;
    if args.config.is_none() && !args.resume {
        config.model.n_pixels = dataset.train.pixels_per_image();
    }
    let dataset = config.bind_data(dataset, args.device.as_str())?;
    if !args.resume {
        let n_batches = dataset.train.len().div_ceil(config.training.batch_size);
        let n_steps = (n_batches * config.training.epochs) as u64;
        config.temperature = settings::schedule(args, config.temperature, n_steps)?;
    }

    let run = run.lock()?;
    let mut trainer = if args.resume {
        let checkpoint = run.checkpoints().load_newest(&config.model, &device, |damage| {
            eprintln!("warning: {damage}; trying the one before")
        })?;
        eprintln!("resuming from {}", checkpoint.path.display());
        Trainer::resume(config.clone(), checkpoint, device.clone())?
    } else {
        if run.holds_run() {
            return Err(Error::RunExists { path: run.path().to_owned() }.into());
        }
        Trainer::new(config.clone(), device.clone())?
    };
    run.write_config(&config)?;

    introduce(&config, &dataset, &run);
    let mut progress = Progress::start(config.training.epochs);
    let gallery = Gallery { run: &run, dataset: &dataset, config: &config, device: &device };
    let mut failed_picture = None;
    let outcome = trainer.run(&dataset, &run, &mut |event| {
        match event {
            Event::Step(report) => progress.step(&report),
            Event::Epoch { metrics, model } => {
                progress.epoch(metrics);
                // A picture that cannot be drawn must not cost the run.
                if let Err(error) = gallery.draw(model, metrics) {
                    failed_picture.get_or_insert(error);
                }
            }
            Event::Checkpoint(_) => {}
        }
        match signals.exit_code() {
            Some(_) => ControlFlow::Break(()),
            None => ControlFlow::Continue(()),
        }
    });
    progress.finish();
    if let Some(error) = failed_picture {
        eprintln!("warning: a picture could not be drawn: {error:#}");
    }
    match outcome? {
        Outcome::Finished => {
            say_where_all_lies(&run);
            Ok(ExitCode::SUCCESS)
        }
        Outcome::Stopped { checkpoint } => {
            eprintln!("stopped; saved {}", checkpoint.display());
            eprintln!("go on with: catvae train --resume --out {}", run.path().display());
            Ok(signals.exit_code().unwrap_or(ExitCode::FAILURE))
        }
    }
}

/// The configuration that flags are put over: that of the run to resume, of a file, or the default.
fn starting_point(args: &TrainArgs, run: &RunDir) -> Result<TrainConfig> {
    if args.resume {
        let started_with = run.read_config()?;
        let mut config = started_with.clone();
        settings::apply(args, &mut config)?;
        config.temperature = settings::schedule(args, config.temperature, 1)?;
        config.check_resumes(&started_with, run.path())?;
        return Ok(config);
    }
    match &args.config {
        Some(path) => Ok(TrainConfig::read(path)?),
        None => Ok(TrainConfig::default()),
    }
}

/// The first of `runs/NAME`, `runs/NAME-2`, … that is not there yet.
fn free_folder(dataset: &str) -> PathBuf {
    let runs = Path::new("runs");
    let mut folder = runs.join(dataset);
    for i in 2.. {
        if !folder.exists() {
            break;
        }
        folder = runs.join(format!("{dataset}-{i}"));
    }
    folder
}

fn introduce(config: &TrainConfig, dataset: &Dataset, run: &RunDir) {
    let widths = config.model.encoder_widths();
    let widths: Vec<String> = widths.iter().map(ToString::to_string).collect();
    print_line(&format!(
        "{}: {} training and {} test images; network {} ({} latents of {} categories) and back",
        dataset.name,
        dataset.train.len(),
        dataset.test.len(),
        widths.join("-"),
        config.model.n_latents,
        config.model.n_categories
    ));
    print_line(&format!(
        "run folder {}; negative ELBO per image in nats, lower is better",
        run.path().display()
    ));
}

fn say_where_all_lies(run: &RunDir) {
    let path = run.path().display();
    print_line(&format!("\nDone. In {path}:"));
    for (name, what) in [
        ("curves.png", "the objectives over the epochs"),
        ("samples/", "images from codes sampled from the prior, one picture per epoch"),
        ("reconstructions/", "test images above their reconstructions"),
        ("metrics.jsonl", "every number of every epoch"),
        ("checkpoints/", "the model (PyTorch's names and layouts) and the optimiser"),
        ("config.toml", "repeats this run: catvae train --config"),
    ] {
        print_line(&format!("  {name:<18} {what}"));
    }
    print_line(&format!("Next: catvae evaluate {path} --importance-samples 100"));
}

/// Draws the pictures of a run.
struct Gallery<'a> {
    run: &'a RunDir,
    dataset: &'a Dataset,
    config: &'a TrainConfig,
    device: &'a Device,
}

impl Gallery<'_> {
    fn draw(&self, model: &CategoricalVae, metrics: &EpochMetrics) -> Result<()> {
        let test = &self.dataset.test;
        let file = format!("epoch-{:03}.png", metrics.epoch);
        // The same codes and draws in every epoch: the pictures show one thing getting better.
        let mut generator = Generator::new(self.config.training.seed).stream(stream::PICTURES);
        let path = self.run.path();
        pictures::samples(
            model,
            (8, 8),
            [test.rows(), test.cols()],
            self.device,
            &mut generator,
            &path.join("samples").join(&file),
        )?;
        let reconstructions = path.join("reconstructions").join(&file);
        pictures::reconstructions(model, test, self.device, &mut generator, &reconstructions)?;
        plot::draw_curves(&self.run.metrics().read()?, &path.join("curves.png"))
            .context("cannot draw curves.png")
    }
}
