//! burn's side of `cargo xtask bench --peers`: the training step, on burn's two CPU backends.
//!
//! The protocol and the work are described in xtask/src/bench/side.rs. To try it by hand:
//!
//! ```text
//! echo 'run step_burn_flex 2' | cargo run --release --manifest-path peers/burn/Cargo.toml -- --images FILE
//! ```
//!
//! The number of threads is taken from RAYON_NUM_THREADS and MATMUL_NUM_THREADS, which `xtask` sets.

mod images;
mod step;

use std::io::{BufRead, Write};
use std::time::Instant;

use burn::backend::{Autodiff, Flex, NdArray};
use serde_json::{Value, json};

use images::Images;
use step::Step;

type Error = Box<dyn std::error::Error>;

const FLEX: &str = "step_burn_flex";
const NDARRAY: &str = "step_burn_ndarray";

const WARM_UP_ITERATIONS: usize = 10;
const WARM_UP_SECONDS: f64 = 0.5;
const FEWEST_ITERATIONS: usize = 5;

fn main() -> Result<(), Error> {
    let (mut images, mut threads) = (None, None);
    let mut args = std::env::args().skip(1);
    while let Some(flag) = args.next() {
        let value = args.next().ok_or_else(|| format!("{flag} needs a value"))?;
        match flag.as_str() {
            "--images" => images = Some(value),
            "--threads" => threads = Some(value.parse::<usize>()?),
            _ => {
                return Err(format!("unknown flag {flag}; known: --threads N --images FILE").into());
            }
        }
    }
    let images = Images::read(&images.ok_or("--images FILE is missing")?)?;
    let names = [FLEX, NDARRAY];
    reply(&json!({ "side": "burn", "version": "0.21.0", "threads": threads, "names": names }))?;

    let mut flex: Option<Step<Autodiff<Flex>>> = None;
    let mut ndarray: Option<Step<Autodiff<NdArray>>> = None;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<_> = line.split_whitespace().collect();
        let answer = match words.as_slice() {
            &["run", FLEX, seconds] => measure(FLEX, seconds, &mut flex, &images),
            &["run", NDARRAY, seconds] => measure(NDARRAY, seconds, &mut ndarray, &images),
            _ => Err(format!("cannot do {line:?}").into()),
        };
        reply(&answer.unwrap_or_else(|error| json!({ "error": error.to_string() })))?;
    }
    Ok(())
}

fn reply(message: &Value) -> Result<(), Error> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{message}")?;
    Ok(out.flush()?)
}

/// Sets the step up at its first request, warms it up, and times it one by one.
fn measure<B: burn::tensor::backend::AutodiffBackend>(
    name: &str,
    seconds: &str,
    step: &mut Option<Step<B>>,
    images: &Images,
) -> Result<Value, Error> {
    let seconds: f64 = seconds.parse()?;
    if step.is_none() {
        let step = step.insert(Step::new());
        let start = Instant::now();
        let mut done = 0;
        while done < WARM_UP_ITERATIONS || start.elapsed().as_secs_f64() < WARM_UP_SECONDS {
            step.take(images);
            done += 1;
        }
    }
    let step = step.as_mut().ok_or("no step")?;
    let mut times_ms = Vec::new();
    let start = Instant::now();
    while start.elapsed().as_secs_f64() < seconds || times_ms.len() < FEWEST_ITERATIONS {
        let before = Instant::now();
        let loss = step.take(images);
        times_ms.push(before.elapsed().as_secs_f64() * 1e3);
        if !loss.is_finite() {
            return Err(format!("the loss is {loss}").into());
        }
    }
    times_ms.sort_by(f64::total_cmp);
    Ok(json!({
        "name": name,
        "iterations": times_ms.len(),
        "ms": times_ms[times_ms.len() / 2],
        "min_ms": times_ms[0],
        "peak_rss_mib": peak_rss_mib(),
        "loss": step.last_loss(),
    }))
}

/// The most memory this process has ever held, where the system says it.
fn peak_rss_mib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<f64>().ok()? / 1024.0)
}
