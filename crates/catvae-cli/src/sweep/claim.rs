//! What a worker does with one cell: take it, go on where it stands, train it to its end.

use std::ops::ControlFlow;

use anyhow::Result;
use catvae_train::{Error, Event, LockedRun, Outcome, Trainer, latent_statistics};

use super::progress::Progress;
use super::{Cell, Crew, End};
use crate::commands::train::{COLLAPSED, FIRST_STEPS, LOGGED_IMAGES, resume};
use crate::signals::Signals;
use crate::tensorboard::EventFile;

/// Claims the cell by its folder's lock and trains it. The lock goes with the process, however that ends, and whoever
/// claims the cell next resumes it bit for bit.
pub(super) fn train(
    cell: &Cell,
    crew: &Crew,
    signals: &Signals,
    progress: &Progress,
) -> Result<End> {
    let run = match cell.run.lock() {
        Err(Error::Locked { .. }) => return Ok(End::Elsewhere),
        locked => locked?,
    };
    if !run.keeps_others_out() {
        progress.say_once(
            "warning: the file system has no locks: start no second process into this folder, or give each its own --shard",
        );
    }
    // Another process may have ended it a moment ago.
    if let Some(end) = cell.end()? {
        return Ok(end);
    }
    match take_steps(cell, &run, crew, signals, progress) {
        Err(error) => match error.downcast_ref::<Error>() {
            Some(Error::NotFinite { .. }) => {
                cell.mark_diverged(&error.to_string())?;
                Ok(End::Diverged)
            }
            _ => Err(error),
        },
        ended => ended,
    }
}

fn take_steps(
    cell: &Cell,
    run: &LockedRun,
    crew: &Crew,
    signals: &Signals,
    progress: &Progress,
) -> Result<End> {
    let (config, device) = (&cell.config, &crew.device);
    let say = |text: &str| {
        if text.starts_with("warning") {
            progress.say(&format!("{}: {text}", cell.name));
        }
    };
    let resumes = run.holds_run();
    let mut trainer = match resumes {
        true => {
            cell.check_folder()?;
            resume(run, config, device, &say)?
        }
        false => {
            run.check_unused()?;
            Trainer::new(config.clone(), device.clone())?
        }
    };
    if trainer.position().step == 0 && resumes {
        // It ended before its first checkpoint, perhaps with fewer epochs to come: it begins anew, with this
        // configuration.
        run.write_config(config)?;
    }
    let mut done = trainer.position().step;
    progress.skip(done);
    let start = || EventFile::start(run, config, done, true);
    let mut failed = None;
    let events = crew.events.then(start).transpose();
    let events = events.unwrap_or_else(|error| {
        failed = Some(error);
        None
    });
    let logged = cell.dataset.test.take(LOGGED_IMAGES);
    let mut collapse_said = false;
    let outcome = trainer.run(&cell.dataset, run, &mut |event| {
        match event {
            Event::Step(report) => {
                progress.step(report.step - done);
                done = report.step;
            }
            Event::Epoch { metrics, model } => {
                let kept = latent_statistics(model, &logged, config.data.binarization, device)
                    .map_err(anyhow::Error::from)
                    .and_then(|latents| {
                        let begun = metrics.epoch > 1 && metrics.step >= FIRST_STEPS;
                        if begun && latents.is_collapsed() && !collapse_said {
                            say(COLLAPSED);
                            collapse_said = true;
                        }
                        events
                            .as_ref()
                            .map_or(Ok(()), |events| events.epoch(metrics, &latents, &[]))
                    });
                if let Err(error) = kept {
                    failed.get_or_insert(error);
                }
            }
            Event::Checkpoint(_) => {}
        }
        match signals.exit_code() {
            Some(_) => ControlFlow::Break(()),
            None => ControlFlow::Continue(()),
        }
    })?;
    let finished = outcome == Outcome::Finished;
    if let (true, Some(events)) = (finished, events) {
        failed = failed.or(events.finish().err());
    }
    if let Some(error) = failed {
        say(&format!("warning: events for TensorBoard are missing: {error:#}"));
    }
    Ok(if finished { End::Finished } else { End::Stopped })
}
