//! From flags and a file to the configuration of a run: flag before file before default.

use std::path::Path;

use anyhow::{Result, bail};
use catvae_model::LogitsActivation;
use catvae_train::{OptimizerKind, TrainConfig};
use gumbel_core::TemperatureSchedule;
use gumbel_core::estimators::Estimator;

use crate::args::{LogitsName, OptimizerName, ScheduleName, TrainArgs};
use crate::data;

/// Puts the flags that were given over `config`.
pub(crate) fn apply(args: &TrainArgs, config: &mut TrainConfig) -> Result<()> {
    fn set<T: Clone>(place: &mut T, flag: Option<&T>) {
        if let Some(value) = flag {
            place.clone_from(value);
        }
    }
    let TrainConfig { data, model, training, .. } = config;
    set(&mut data.dataset, args.dataset.as_ref());
    if args.dataset.is_none() && args.config.is_none() && !args.resume {
        // A folder alone says which images are meant.
        set(&mut data.dataset, args.data_dir.as_deref().and_then(last_name).as_ref());
    }
    data::set_folder(data, args.data_dir.as_deref())?;
    set(&mut data.binarization, args.binarization.as_ref());
    data.n_train = args.train_images.or(data.n_train);
    data.n_test = args.test_images.or(data.n_test);

    set(&mut model.n_latents, args.latents.as_ref());
    set(&mut model.n_categories, args.categories.as_ref());
    set(&mut model.hidden, args.hidden.as_ref());
    let logits = args.logits.map(|name| match name {
        LogitsName::Linear => LogitsActivation::Linear,
        LogitsName::Relu => LogitsActivation::Relu,
    });
    set(&mut model.logits, logits.as_ref());

    set(&mut training.epochs, args.epochs.as_ref());
    set(&mut training.batch_size, args.batch_size.as_ref());
    set(&mut training.learning_rate, args.lr.as_ref());
    set(&mut training.seed, args.seed.as_ref());
    set(&mut training.eval_every, args.eval_every.as_ref());
    set(&mut training.checkpoint_every, args.checkpoint_every.as_ref());
    set(&mut training.keep_checkpoints, args.keep_checkpoints.as_ref());
    training.clip_gradient_norm = args.clip_gradient_norm.or(training.clip_gradient_norm);
    training.unrelaxed &= !args.no_unrelaxed;
    let optimizer = args.optimizer.map(|name| match name {
        OptimizerName::Adam => OptimizerKind::Adam,
        OptimizerName::RAdam => OptimizerKind::RAdam,
    });
    set(&mut training.optimizer, optimizer.as_ref());
    let estimator = match args.straight_through {
        true => Some(Estimator::StGumbelSoftmax),
        false => args.estimator,
    };
    set(&mut training.estimator, estimator.as_ref());
    Ok(())
}

fn last_name(folder: &Path) -> Option<String> {
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    Some(folder.file_name()?.to_string_lossy().into_owned())
}

/// The schedule of the temperature that the flags describe; `n_steps` is the length of the run.
pub(crate) fn schedule(
    args: &TrainArgs,
    current: TemperatureSchedule,
    n_steps: u64,
) -> Result<TemperatureSchedule> {
    // As the file has it: the value at step 0 is rounded, and not below an exponential's `min`.
    let init = match current {
        TemperatureSchedule::Constant { value: init }
        | TemperatureSchedule::Linear { init, .. }
        | TemperatureSchedule::Cosine { init, .. }
        | TemperatureSchedule::Exponential { init, .. } => init,
    };
    let start = args.temperature.unwrap_or(init);
    let name = match (args.schedule, &current) {
        (Some(name), _) => name,
        (None, TemperatureSchedule::Constant { .. }) => ScheduleName::Constant,
        (None, TemperatureSchedule::Linear { .. }) => ScheduleName::Linear,
        (None, TemperatureSchedule::Cosine { .. }) => ScheduleName::Cosine,
        (None, TemperatureSchedule::Exponential { .. }) => ScheduleName::Exponential,
    };
    // What a flag does not say is taken from the file's schedule where it has such a field.
    let (mut end, mut steps, mut rate, mut every) = (0.5, n_steps, 3e-5, 1000);
    match current {
        TemperatureSchedule::Constant { .. } => {}
        TemperatureSchedule::Linear { end: e, steps: s, .. }
        | TemperatureSchedule::Cosine { end: e, steps: s, .. } => (end, steps) = (e, s),
        TemperatureSchedule::Exponential { rate: r, min, every: n, .. } => {
            (end, rate, every) = (min, r, n);
        }
    }
    for (flag, given, serves) in [
        ("--temperature-end", args.temperature_end.is_some(), name != ScheduleName::Constant),
        (
            "--temperature-steps",
            args.temperature_steps.is_some(),
            matches!(name, ScheduleName::Linear | ScheduleName::Cosine),
        ),
        ("--temperature-rate", args.temperature_rate.is_some(), name == ScheduleName::Exponential),
        (
            "--temperature-every",
            args.temperature_every.is_some(),
            name == ScheduleName::Exponential,
        ),
    ] {
        if given && !serves {
            bail!("{flag} does not go with this schedule: choose one that has it with --schedule");
        }
    }
    let end = args.temperature_end.unwrap_or(end);
    let steps = args.temperature_steps.unwrap_or(steps);
    let schedule = match name {
        ScheduleName::Constant => TemperatureSchedule::Constant { value: start },
        ScheduleName::Linear => TemperatureSchedule::Linear { init: start, end, steps },
        ScheduleName::Cosine => TemperatureSchedule::Cosine { init: start, end, steps },
        ScheduleName::Exponential => TemperatureSchedule::Exponential {
            init: start,
            rate: args.temperature_rate.unwrap_or(rate),
            min: end,
            every: args.temperature_every.unwrap_or(every),
        },
    };
    Ok(schedule.checked()?)
}
