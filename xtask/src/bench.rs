//! `cargo xtask bench`: the criterion benches, and the time of each part of a training step. With `--peers`: the step and
//! the sampler beside PyTorch's and burn's.
//!
//! Peers are measured in rounds. In each round all sides do the same work, one after the other, and every other round
//! begins with the last side: a slow minute of the machine then falls on all of them. While one side works, the others
//! wait for input.

mod images;
mod rounds;
mod side;
mod table;

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::download::data_folder;
use crate::golden::Python;
use crate::process::{self, cargo};
use crate::train::built_executable;
use crate::workspace;
use images::Images;
use rounds::Plan;
use side::Side;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Measure the training step and the relaxed sampler side by side with PyTorch and burn
    #[arg(long)]
    peers: bool,
    #[command(flatten)]
    python: Python,
    /// Leave burn out, whose first build takes minutes
    #[arg(long, requires = "peers")]
    no_burn: bool,
    /// Rounds of the comparison
    #[arg(long, default_value_t = 7, requires = "peers", value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Seconds per measurement
    #[arg(long, default_value_t = 1.0, value_parser = positive_seconds)]
    seconds: f64,
    /// Threads on each side [default: all cores]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    threads: Option<u32>,
    /// Measure only work whose name contains this; may be repeated
    #[arg(long, value_name = "TEXT", requires = "peers")]
    only: Vec<String>,
    /// The folder that holds one folder per data set [default: $CATVAE_DATA_DIR, or data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Flags for criterion, such as `-- --save-baseline before`
    #[arg(last = true, value_name = "FLAGS", conflicts_with = "peers")]
    flags: Vec<String>,
}

/// Our step at work is `step`; see [`side`] for the program behind it.
const OUR_STEP: &str = "step";

/// The step with the time of its operations, in f32 and, where the processor gains from it, in bf16.
const BREAKDOWNS: [&str; 2] = ["step_breakdown", "step_bf16_breakdown"];

const STEP_BENCH: &[&str] = &["--package", "catvae-train", "--example", "step_bench"];

pub(crate) fn run(args: &Args) -> Result<()> {
    if args.peers {
        return compare(args);
    }
    process::run(&mut criterion(&args.flags))?;
    break_down(args)
}

/// Prints the step's rate and the time of each of its operations.
fn break_down(args: &Args) -> Result<()> {
    let images = Images::find_or_draw(&data_folder(args.data_dir.as_deref()))?;
    let ours = built_executable(STEP_BENCH)?;
    let threads = thread_count(args)?;
    let mut side = Side::start(Command::new(&ours), threads, images.path())?;
    println!(
        "\n{} {}, {threads} threads, {}\n{}\n",
        side.hello.side,
        side.hello.version,
        images.description(),
        machine()
    );
    let known = side.hello.names.clone();
    for name in BREAKDOWNS.into_iter().filter(|&name| known.iter().any(|known| known == name)) {
        let measured = side.measure(name, args.seconds)?.map_err(anyhow::Error::msg)?;
        let breakdown = measured.breakdown.context("step_bench gave no breakdown")?;
        println!("{name}\n{}", table::breakdown(&breakdown));
    }
    Ok(())
}

fn thread_count(args: &Args) -> Result<u32> {
    match args.threads {
        Some(threads) => Ok(threads),
        None => Ok(u32::try_from(std::thread::available_parallelism()?.get())?),
    }
}

fn criterion(flags: &[String]) -> Command {
    let mut command = cargo();
    // `--bench *` leaves out the unit tests' own harness, which does not know criterion's flags.
    let line = "bench -p gumbel-kernels -p gumbel-core -p catvae-train --bench *";
    command.args(line.split(' '));
    if !flags.is_empty() {
        command.arg("--").args(flags);
    }
    command
}

fn compare(args: &Args) -> Result<()> {
    // This is quick to fail, so it comes first.
    args.python.script("bench_pytorch.py", &["torch", "numpy"])?;
    let images = Images::find_or_draw(&data_folder(args.data_dir.as_deref()))?;
    let ours = built_executable(STEP_BENCH)?;
    let burn = if args.no_burn { None } else { Some(build_burn()?) };
    let threads = thread_count(args)?;
    // By the indices that the plan uses: ours is 0.
    let start = |side: usize| {
        let command = match (side, &burn) {
            (0, _) => Command::new(&ours),
            (1, _) => args.python.script("bench_pytorch.py", &["torch", "numpy"])?,
            (_, Some(burn)) => Command::new(burn),
            (_, None) => bail!("there is no side {side}"),
        };
        Side::start(command, threads, images.path())
    };

    let n_sides = if burn.is_some() { 3 } else { 2 };
    let mut sides = (0..n_sides).map(start).collect::<Result<Vec<_>>>()?;
    let peers: Vec<_> = sides[1..].iter().map(|side| side.hello.names.as_slice()).collect();
    let plan = Plan::new(&sides[0].hello.names, &peers, &args.only);
    ensure!(!plan.is_empty(), "nothing to compare: the peers' names are {peers:?}");
    let who: Vec<_> =
        sides.iter().map(|side| format!("{} {}", side.hello.side, side.hello.version)).collect();
    let title = format!(
        "{}, {threads} threads, {} rounds of {} s, {}",
        who.join(" against "),
        args.rounds,
        args.seconds,
        images.description(),
    );
    let comparisons = plan.measure(args.rounds, |side, name| {
        // Thread pools of the side before go on spinning for a while.
        std::thread::sleep(SETTLE);
        let measured = sides[side].measure(name, args.seconds)?;
        match &measured {
            Ok(measured) => {
                eprintln!("{:<10} {name:<32} {:>10.3} ms", sides[side].hello.side, measured.ms)
            }
            Err(reason) => eprintln!("{:<10} {name:<32} failed: {reason}", sides[side].hello.side),
        }
        Ok(measured)
    })?;
    drop(sides);
    println!("{title}\n{}\n", machine());
    println!("{}", table::times(&comparisons));

    // Memory in processes of their own, because a peak never goes down again.
    let mut peaks = Vec::new();
    for (side, name) in plan.work_of(OUR_STEP) {
        let measured = start(side)?.measure(name, args.seconds)?;
        peaks.push((name.to_owned(), measured.ok().and_then(|measured| measured.peak_rss_mib)));
    }
    if !peaks.is_empty() {
        println!("{}", table::memory(&peaks));
    }
    Ok(())
}

/// burn's program, built in release. Its first build takes minutes.
fn build_burn() -> Result<PathBuf> {
    let package = workspace::root().join("peers/burn");
    let mut command = cargo();
    command.args(["build", "--release", "--locked", "--manifest-path"]);
    command.arg(package.join("Cargo.toml")).arg("--target-dir").arg(package.join("target"));
    process::run(&mut command).context("burn cannot be built; --no-burn leaves it out")?;
    Ok(package.join("target/release/bench-burn").with_extension(std::env::consts::EXE_EXTENSION))
}

/// Longer than OpenMP's threads spin by default (200 ms).
const SETTLE: Duration = Duration::from_millis(300);

/// The processor's name, where the system says it.
fn machine() -> String {
    let name = std::fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("model name"))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    });
    format!(
        "{} {}, {}",
        std::env::consts::OS,
        std::env::consts::ARCH,
        name.as_deref().unwrap_or("processor unknown")
    )
}

fn positive_seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds > 0.0 && seconds <= 3600.0 => Ok(seconds),
        _ => Err("a number of seconds above 0, at most 3600".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn criterion_flags_come_after_the_dashes() {
        let shown =
            process::shown(&criterion(&["--save-baseline".to_owned(), "before".to_owned()]));
        assert!(shown.ends_with("--bench '*' -- --save-baseline before"), "{shown}");
        assert!(process::shown(&criterion(&[])).ends_with("--bench '*'"));
    }

    #[test]
    fn seconds_are_positive_and_finite() {
        assert_eq!(positive_seconds("0.5"), Ok(0.5));
        for text in ["0", "-1", "nan", "inf", "soon"] {
            assert!(positive_seconds(text).is_err(), "{text}");
        }
    }
}
