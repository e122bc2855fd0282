//! Our side of `cargo xtask bench --peers`: training steps, evaluation, the relaxed sampler and structured variables, timed on
//! request.
//!
//! The protocol is described in xtask/src/bench/side.rs. To try it by hand:
//!
//! ```text
//! echo 'run step 2' | cargo run --release -p catvae-train --example step_bench -- --threads 2 --images FILE
//! ```
//!
//! `step_breakdown` is the step again, with where its time goes; `step_bf16` and its breakdown are the step in bf16.

mod evaluation;
mod limit;
mod machine;
mod sampler;
mod step;
mod structured;
mod timing;

use std::io::{BufRead, Write};
use std::path::PathBuf;

use catvae_train::Precision;
use serde_json::{Value, json};

use evaluation::Evaluation;
use sampler::{SHAPES, Sampler};
use step::{Kind, Step};
use structured::{Structured, WORK};
use timing::Iterate;

/// The system's allocator gives blocks of megabytes back at once, and candle's backward pass makes several of the
/// logits' size for each gradient: then half of the sampler's time is page faults. A step allocates nothing.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let (mut threads, mut images) = (2, None);
    while let Some(flag) = args.next() {
        let value = args.next().ok_or_else(|| format!("{flag} needs a value"))?;
        match flag.as_str() {
            "--threads" => threads = value.parse()?,
            "--images" => images = Some(PathBuf::from(value)),
            _ => {
                return Err(format!("unknown flag {flag}; known: --threads N --images FILE").into());
            }
        }
    }
    let images = images.ok_or("--images FILE is missing: an IDX file of 28x28 images")?;
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global()?;

    let bf16 = Precision::Bf16.check_processor().is_ok();
    let names: Vec<_> = STEPS
        .into_iter()
        .filter(|&(_, kind, _)| bf16 || kind != Kind::Article(Precision::Bf16))
        .map(|(name, ..)| name.to_owned())
        .chain(evaluation::NAMES.map(str::to_owned))
        .chain(SHAPES.iter().map(|shape| Sampler::name(shape)))
        .chain(WORK.map(str::to_owned))
        .collect();
    reply(&json!({
        "side": "catvae",
        "version": env!("CARGO_PKG_VERSION"),
        "threads": rayon::current_num_threads(),
        "names": names,
    }))?;

    let mut bench =
        Bench { images, step: None, evaluation: None, samplers: Vec::new(), structured: None };
    for line in std::io::stdin().lock().lines() {
        let answer = bench.answer(&line?);
        reply(&answer.unwrap_or_else(|error| json!({ "error": error.to_string() })))?;
    }
    Ok(())
}

/// Steps, with or without where their time goes.
const STEPS: [(&str, Kind, bool); 9] = [
    ("step", Kind::Article(Precision::F32), false),
    ("step_breakdown", Kind::Article(Precision::F32), true),
    ("step_bf16", Kind::Article(Precision::Bf16), false),
    ("step_bf16_breakdown", Kind::Article(Precision::Bf16), true),
    ("reinforce", Kind::Estimator("reinforce"), false),
    ("rloo", Kind::Estimator("rloo"), false),
    ("rebar", Kind::Estimator("rebar"), false),
    ("disarm", Kind::Estimator("disarm"), false),
    ("conv", Kind::Conv, false),
];

fn reply(message: &Value) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{message}")?;
    Ok(out.flush()?)
}

/// What has been asked for so far.
struct Bench {
    images: PathBuf,
    /// The one asked for last.
    step: Option<(Kind, Step)>,
    evaluation: Option<Evaluation>,
    samplers: Vec<(String, Sampler)>,
    structured: Option<(&'static str, Structured)>,
}

impl Bench {
    fn answer(&mut self, line: &str) -> Result<Value> {
        let words: Vec<_> = line.split_whitespace().collect();
        let &["run", name, seconds] = words.as_slice() else {
            return Err(format!("cannot do {line:?}: it is not `run NAME SECONDS`").into());
        };
        let seconds = seconds.parse()?;
        if let Some(&(_, kind, breakdown)) = STEPS.iter().find(|step| step.0 == name) {
            let step = self.step(kind)?;
            step.forget_times();
            let mut answer = timing::measure(name, step, seconds)?;
            answer["limit_ms"] = json!(step.limit_ms());
            if breakdown {
                answer["breakdown"] = step.breakdown();
            }
            return Ok(answer);
        }
        if let Some(&work) = evaluation::NAMES.iter().find(|&&work| work == name) {
            return timing::measure(name, self.evaluation(work)?, seconds);
        }
        if let Some(&work) = WORK.iter().find(|&&work| work == name) {
            return timing::measure(name, self.structured(work)?, seconds);
        }
        let sampler = self.sampler(name)?;
        let mut answer = timing::measure(name, sampler, seconds)?;
        answer["limit_ms"] = json!(sampler.limit_ms());
        Ok(answer)
    }

    fn step(&mut self, kind: Kind) -> Result<&mut Step> {
        if self.step.as_ref().is_none_or(|(known, _)| *known != kind) {
            let mut step = Step::new(&self.images, kind)?;
            timing::warm_up(&mut step)?;
            self.step = Some((kind, step));
        }
        self.step.as_mut().map(|(_, step)| step).ok_or_else(|| "no step".into())
    }

    fn evaluation(&mut self, name: &'static str) -> Result<&mut Evaluation> {
        if self.evaluation.as_ref().is_none_or(|known| known.name != name) {
            let mut evaluation = Evaluation::new(&self.images, name)?;
            timing::warm_up(&mut evaluation)?;
            self.evaluation = Some(evaluation);
        }
        self.evaluation.as_mut().ok_or_else(|| "no evaluation".into())
    }

    fn structured(&mut self, name: &'static str) -> Result<&mut Structured> {
        if self.structured.as_ref().is_none_or(|(known, _)| *known != name) {
            let mut structured = Structured::new(name)?;
            timing::warm_up(&mut structured)?;
            self.structured = Some((name, structured));
        }
        self.structured.as_mut().map(|(_, s)| s).ok_or_else(|| "no structure".into())
    }

    fn sampler(&mut self, name: &str) -> Result<&mut Sampler> {
        let idx = match self.samplers.iter().position(|(known, _)| known == name) {
            Some(idx) => idx,
            None => {
                let shape = SHAPES.iter().find(|shape| Sampler::name(shape) == name);
                let mut sampler =
                    Sampler::new(shape.ok_or_else(|| format!("unknown name {name:?}"))?)?;
                timing::warm_up(&mut sampler)?;
                self.samplers.push((name.to_owned(), sampler));
                self.samplers.len() - 1
            }
        };
        Ok(&mut self.samplers[idx].1)
    }
}

impl Iterate for Sampler {
    fn iterate(&mut self) -> Result<()> {
        self.draw()
    }
}

impl Iterate for Step {
    fn iterate(&mut self) -> Result<()> {
        self.take()
    }
}
