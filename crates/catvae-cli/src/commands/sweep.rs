//! `catvae sweep`.

use std::env;
use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread::available_parallelism;

use anyhow::{Context, Result, anyhow, ensure};
use catvae_train::{RunDir, TrainConfig};

use crate::args::{DeviceName, SweepArgs};
use crate::commands::{settings, train};
use crate::data::Datasets;
use crate::progress::{print_line, quoted, warn};
use crate::runs;
use crate::signals::Signals;
use crate::sweep::grid::{Grid, Sketch};
use crate::sweep::rank::{self, Shard};
use crate::sweep::table::{Entry, Summary};
use crate::sweep::{Cell, Crew, End, run_cells};

/// The grid, kept in the folder of its cells.
const FILE: &str = "sweep.toml";

pub(crate) fn sweep(args: &SweepArgs, threads: Option<NonZeroUsize>) -> Result<ExitCode> {
    if let Some(places) = &args.merge {
        print(args, &Summary::new(merged(places)?));
        return Ok(ExitCode::SUCCESS);
    }
    let signals = Signals::listen()?;
    let grid = Grid::new(args.grid.as_deref(), &args.flags)?;
    let mut sketches = cells_of(&grid)?;
    let all = sketches.len();

    let variable = |name: &str| env::var(name).ok();
    let launched = rank::of_launcher(&variable);
    let part = match args.shard {
        Some(Shard::Part(part)) => Some(part),
        Some(Shard::Auto) => {
            let rank = launched.as_ref().map_err(|error| anyhow!("--shard auto: {error:#}"))?;
            Some(rank.context(
                "--shard auto: no variable of Slurm, mpirun, PMI or torchrun is set; name the part as --shard i/n",
            )?)
        }
        None => None,
    };
    if let Some(part) = part {
        let mut i = 0..;
        sketches.retain(|_| i.next().is_some_and(|i: usize| i % part.count == part.index));
    }
    if args.dry_run {
        sketches.iter().for_each(|sketch| print_line(&sketch.name));
        return Ok(ExitCode::SUCCESS);
    }

    let out = out(args);
    let device = sketches.first().map_or(DeviceName::Cpu, |sketch| sketch.args.device);
    ensure!(
        sketches.iter().all(|sketch| sketch.args.device == device),
        "the cells of a sweep share one --device"
    );
    let n_threads = threads.map_or(1, usize::from);
    let cores = available_parallelism().map_or(1, usize::from);
    let n_workers = match (args.workers, device) {
        (Some(n), _) => n.get(),
        (None, DeviceName::Cpu) => (rank::n_workers(&variable, cores) / n_threads).max(1),
        (None, _) => 1,
    };
    let mut datasets = Datasets::default();
    let cells = sketches.iter().map(|sketch| cell(sketch, &out, &mut datasets));
    let cells = cells.collect::<Result<Vec<_>>>()?;
    keep(&grid, &out)?;
    let here =
        if cells.len() < all { format!(", {} of them here", cells.len()) } else { String::new() };
    warn(&format!(
        "{all} cells{here} in {}; {n_workers} at a time, {n_threads} thread(s) each",
        out.display()
    ));

    let launched = launched.ok().flatten();
    let first = launched.map_or(0, |rank| rank.index * cells.len() / rank.count);
    let crew = Crew {
        n_workers,
        n_threads,
        device: device.open()?,
        events: sketches.iter().all(|sketch| !sketch.args.no_tensorboard),
        first: if args.shard.is_some() { 0 } else { first },
    };
    let report = run_cells(&cells, &crew, &signals)?;
    let n = |end| report.ends.iter().filter(|&&found| found == end).count();
    warn(&format!(
        "{} of {} cells trained in {:.1} s; until the first worker had none left, workers were between cells for {:.1} % of \
         the time",
        report.n_trained,
        cells.len(),
        report.elapsed.as_secs_f64(),
        100.0 * report.idle
    ));
    if let Some(code) = signals.exit_code() {
        warn("stopped; every cell is saved, and the same command goes on");
        return Ok(code.into());
    }
    match (n(End::Elsewhere), n(End::Failed)) {
        (0, _) => {
            let entries: Result<Vec<_>> = sketches
                .iter()
                .map(|s| Entry::read(&s.name, &RunDir::new(out.join(&s.name)), &outline(s)?))
                .collect();
            print(args, &Summary::new(entries?));
        }
        (others, _) => warn(&format!(
            "other processes have {others} cells; the last one shows the table, and so does: catvae sweep --merge {}",
            quoted(&out)
        )),
    }
    Ok(if n(End::Failed) == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The cells of a grid. Flags that `catvae train` would not take are wrong usage.
fn cells_of(grid: &Grid) -> Result<Vec<Sketch>> {
    grid.cells().map_err(|error| match error.downcast::<clap::Error>() {
        Ok(usage) => usage.exit(),
        Err(error) => error,
    })
}

fn out(args: &SweepArgs) -> PathBuf {
    let name = args.grid.as_deref().and_then(Path::file_stem).unwrap_or("sweep".as_ref());
    args.out.clone().unwrap_or_else(|| Path::new("runs").join(name))
}

fn cell(sketch: &Sketch, out: &Path, datasets: &mut Datasets) -> Result<Cell> {
    let (config, dataset) = train::starting_point(&sketch.args)
        .and_then(|config| train::resolve(&sketch.args, config, datasets))
        .with_context(|| sketch.name.clone())?;
    let run = RunDir::new(out.join(&sketch.name));
    Ok(Cell { name: sketch.name.clone(), run, config, dataset })
}

/// The configuration of a cell as far as it is known without data.
fn outline(sketch: &Sketch) -> Result<TrainConfig> {
    let mut config = train::starting_point(&sketch.args)?;
    config.temperature = settings::schedule(&sketch.args.schedule, config.temperature, 1)?;
    Ok(config)
}

/// Writes the grid into the folder. Several processes may do so at once, and all have the same to write.
fn keep(grid: &Grid, out: &Path) -> Result<()> {
    let path = out.join(FILE);
    let told = || format!("cannot write {}", path.display());
    let text = format!("# Written by catvae sweep.\n\n{}", grid.to_toml()?);
    if fs::read_to_string(&path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    fs::create_dir_all(out).with_context(told)?;
    let part = out.join(format!(".{FILE}.{}", std::process::id()));
    fs::write(&part, text).and_then(|()| fs::rename(&part, &path)).with_context(told)?;
    Ok(())
}

/// The runs in folders of sweeps, missing ones included, or in any other folders.
fn merged(places: &[PathBuf]) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for place in places {
        let file = place.join(FILE);
        if file.is_file() {
            for sketch in cells_of(&Grid::new(Some(&file), &Default::default())?)? {
                let run = RunDir::new(place.join(&sketch.name));
                entries.push(Entry::read(&sketch.name, &run, &outline(&sketch)?)?);
            }
            continue;
        }
        for listed in runs::read_all(std::slice::from_ref(place))? {
            let name = listed.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            entries.push(Entry::read(&name, &RunDir::new(&listed.path), &listed.config)?);
        }
    }
    Ok(entries)
}

fn print(args: &SweepArgs, summary: &Summary) {
    match (args.json, args.csv) {
        (true, _) => summary.print_json(),
        (_, true) => summary.print_csv(),
        _ => summary.print(),
    }
}
