//! Warming up, and timing iterations one by one.

use std::time::Instant;

use serde_json::{Value, json};

use crate::{Result, machine};

const WARM_UP_ITERATIONS: usize = 10;
const WARM_UP_SECONDS: f64 = 0.5;
const FEWEST_ITERATIONS: usize = 5;

/// Work that is timed again and again.
pub(crate) trait Iterate {
    fn iterate(&mut self) -> Result<()>;
}

pub(crate) fn warm_up(work: &mut impl Iterate) -> Result<()> {
    let start = Instant::now();
    let mut n_done = 0;
    while n_done < WARM_UP_ITERATIONS || start.elapsed().as_secs_f64() < WARM_UP_SECONDS {
        work.iterate()?;
        n_done += 1;
    }
    Ok(())
}

/// Iterates for about `seconds`; the answer to `run`.
pub(crate) fn measure(name: &str, work: &mut impl Iterate, seconds: f64) -> Result<Value> {
    let mut times_ms = Vec::new();
    let start = Instant::now();
    let mut before = start;
    while times_ms.len() < FEWEST_ITERATIONS || (before - start).as_secs_f64() < seconds {
        work.iterate()?;
        let now = Instant::now();
        times_ms.push((now - before).as_secs_f64() * 1e3);
        before = now;
    }
    times_ms.sort_by(f64::total_cmp);
    let middle = times_ms.len() / 2;
    let median = match times_ms.len() % 2 {
        0 => (times_ms[middle - 1] + times_ms[middle]) / 2.0,
        _ => times_ms[middle],
    };
    Ok(json!({
        "name": name,
        "iterations": times_ms.len(),
        "ms": median,
        "min_ms": times_ms[0],
        "peak_rss_mib": machine::peak_rss_mib(),
    }))
}
