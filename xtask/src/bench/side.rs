//! One side of a comparison: a program that measures itself when asked to.
//!
//! # Protocol
//! Ours is the example `step_bench` of `catvae-train`, PyTorch's is `scripts/bench_pytorch.py`, burn's is the package
//! `peers/burn`; all are started as
//!
//! ```text
//! PROGRAM --threads N --images FILE
//! ```
//!
//! FILE is an IDX file of 28x28 images of unsigned bytes, raw or gzip. RAYON_NUM_THREADS and MATMUL_NUM_THREADS are set
//! to N as well. The program says in one line on stdout who it is and what it can measure. Then it answers each line on
//! stdin with one line on stdout (flushed):
//!
//! ```text
//!                      < {"side":"catvae","version":"0.1.0","threads":2,"names":["step", …]}
//! run step 1.5         >
//!                      < {"name":"step","iterations":250,"ms":6.1,"min_ms":5.9,"peak_rss_mib":120.5}
//! run nonsense 1.5     >
//!                      < {"error":"…"}
//! ```
//!
//! - `run NAME SECONDS` times iterations one by one until SECONDS have passed, at least five. `ms` is their median.
//! - The first request for NAME sets up its network and buffers and compiles it, and warms it up by at least ten
//!   iterations and half a second that do not count. Nothing is set up for a NAME that is not asked for.
//! - `limit_ms`, which ours has, is the least that this processor allows: multiply-adds at the rate measured in registers, or
//!   reading and writing each value once at the rate measured for as many, whichever takes longer.
//! - `peak_rss_mib` is the most memory the process has ever held; absent where the system does not say.
//! - At the end of stdin the program ends. Anything for people goes to stderr.
//!
//! # Names
//! Work of a peer belongs to ours when the names are equal, or when it begins with ours and an underscore
//! (`step_eager_adam` belongs to `step`).
//!
//! - `step`: one training step of 784-512-256-(30x10)-256-512-784, linear logits, relaxed sample at τ = 1, batch 100,
//!   Adam 1e-3. Images are kept as bytes; a step gathers its batch in shuffled order and scales it to [0, 1], draws
//!   noise, runs forward, backward and optimiser, and reads the loss back as a number.
//! - `step_breakdown`: the same step; the answer also has `breakdown` with mean milliseconds by operation (`parts_ms`),
//!   `gflops`, and `peak_gflops`, the rate of multiply-adds in registers on all threads. Ours alone.
//! - `step_bf16`, `step_bf16_breakdown`: the same with products in bf16, where the processor gains from it.
//! - `reinforce`, `rloo` (four samples), `rebar`: `step` with exact samples and these gradients; `disarm`: with 150 bits. `conv`: with
//!   the default convolutional network.
//! - `evaluate`: the negative ELBO of 2,000 images, one exact sample each; `bound`: the importance-weighted bound of 100 images with
//!   100 samples each. Both begin with images as bytes.
//! - `gumbel_softmax_AxBxC`: a relaxed sample over the last axis at τ = 1 with fresh noise, and the gradient of the
//!   logits for a fixed upstream gradient.
//! - `structured_chain_*`, `structured_subset_*`: 64 chains of 100 labels out of 20 with scores for every edge, 64 subsets of 10 of
//!   1,000 items; `structured_tree_*`: 64 trees over 30 nodes and a root. `marginals` with the log-partition, `relaxed` samples with noise and gradient, exact `sample`s.
//! - `structured_sinkhorn_*`: twenty iterations on 64 matrices of 32 rows; `structured_ranking_gradient`: of the log-probability of
//!   64 rankings of 1,000 items; `structured_sort_soft`: 64 lists of 100.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::process::shown;

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hello {
    pub(super) side: String,
    pub(super) version: String,
    pub(super) names: Vec<String>,
}

/// The answer to `run`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Measured {
    /// Median of the iterations.
    pub(super) ms: f64,
    /// The least that this processor allows, where the side says it.
    pub(super) limit_ms: Option<f64>,
    pub(super) peak_rss_mib: Option<f64>,
    /// Where the time went, for names that say it.
    pub(super) breakdown: Option<Value>,
}

/// A program at the other end of two pipes; it ends when this is dropped.
pub(super) struct Side {
    pub(super) hello: Hello,
    talk: Option<Talk<BufReader<ChildStdout>, ChildStdin>>,
    child: Child,
}

impl Side {
    /// Starts the program and waits for its first line.
    ///
    /// # Errors
    /// When it cannot be started, ends early, or says something else.
    pub(super) fn start(mut command: Command, threads: u32, images: &Path) -> Result<Self> {
        let threads = threads.to_string();
        command.args(["--threads", &threads]).arg("--images").arg(images);
        command.env("RAYON_NUM_THREADS", &threads).env("MATMUL_NUM_THREADS", &threads);
        eprintln!("$ {}", shown(&command));
        let name = shown(&command);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            bail!("{name} has no pipes");
        };
        let mut talk = Talk { output: BufReader::new(output), input };
        let hello = talk.hello().with_context(|| format!("{name} did not introduce itself"))?;
        Ok(Self { hello, talk: Some(talk), child })
    }

    /// Has the program measure `name`; the inner error is its own refusal.
    ///
    /// # Errors
    /// When it ends, or answers what the protocol does not have.
    pub(super) fn measure(&mut self, name: &str, seconds: f64) -> Result<Result<Measured, String>> {
        let talk = self.talk.as_mut().context("the program has ended")?;
        talk.measure(name, seconds)
            .with_context(|| format!("{} could not measure {name}", self.hello.side))
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        // The end of its stdin ends the program.
        self.talk = None;
        let _ = self.child.wait();
    }
}

/// The protocol over any two streams.
struct Talk<R, W> {
    output: R,
    input: W,
}

impl<R: BufRead, W: Write> Talk<R, W> {
    fn hello(&mut self) -> Result<Hello> {
        let line = self.line()?;
        let text = |key| line.get(key).and_then(Value::as_str).map(str::to_owned);
        let names = line.get("names").and_then(Value::as_array).map(|names| {
            names.iter().filter_map(|name| name.as_str().map(str::to_owned)).collect()
        });
        match (text("side"), text("version"), names) {
            (Some(side), Some(version), Some(names)) => Ok(Hello { side, version, names }),
            _ => bail!("side, version and names are expected, but it said {line}"),
        }
    }

    fn measure(&mut self, name: &str, seconds: f64) -> Result<Result<Measured, String>> {
        writeln!(self.input, "run {name} {seconds}")
            .and_then(|()| self.input.flush())
            .context("it takes no input")?;
        let line = self.line()?;
        if let Some(error) = line.get("error") {
            return Ok(Err(error.as_str().map_or_else(|| error.to_string(), str::to_owned)));
        }
        let number = |key| line.get(key).and_then(Value::as_f64);
        match (line.get("name").and_then(Value::as_str), number("ms")) {
            (Some(answered), Some(ms)) if answered == name && ms > 0.0 => {
                let breakdown = line.get("breakdown").cloned();
                Ok(Ok(Measured {
                    ms,
                    limit_ms: number("limit_ms"),
                    peak_rss_mib: number("peak_rss_mib"),
                    breakdown,
                }))
            }
            _ => bail!("name and ms are expected, but it said {line}"),
        }
    }

    fn line(&mut self) -> Result<Value> {
        let mut line = String::new();
        if self.output.read_line(&mut line).context("its output cannot be read")? == 0 {
            bail!("it has ended; what it wrote above says why");
        }
        serde_json::from_str(&line)
            .with_context(|| format!("a line of JSON is expected, but it said {}", line.trim_end()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn talk(said: &str) -> Talk<&[u8], Vec<u8>> {
        Talk { output: said.as_bytes(), input: Vec::new() }
    }

    #[test]
    fn a_side_introduces_itself_and_answers() {
        let mut talk = talk(
            "{\"side\":\"catvae\",\"version\":\"0.1.0\",\"threads\":2,\"names\":[\"step\"]}\n\
             {\"name\":\"step\",\"iterations\":9,\"ms\":6.5,\"min_ms\":6.0,\"peak_rss_mib\":120.0}\n\
             {\"name\":\"step\",\"iterations\":9,\"ms\":7.5,\"min_ms\":6.0,\"peak_rss_mib\":null}\n",
        );
        assert_eq!(talk.hello().unwrap().names, ["step"]);
        let first = talk.measure("step", 1.5).unwrap();
        let expected =
            Measured { ms: 6.5, limit_ms: None, peak_rss_mib: Some(120.0), breakdown: None };
        assert_eq!(first, Ok(expected));
        let second = talk.measure("step", 0.25).unwrap();
        assert_eq!(
            second,
            Ok(Measured { ms: 7.5, limit_ms: None, peak_rss_mib: None, breakdown: None })
        );
        assert_eq!(String::from_utf8(talk.input).unwrap(), "run step 1.5\nrun step 0.25\n");
    }

    #[test]
    fn a_refusal_is_no_end_of_the_talk() {
        let mut talk = talk("{\"error\":\"no compiler\"}\n{\"name\":\"step\",\"ms\":1}\n");
        assert_eq!(talk.measure("step", 1.0).unwrap(), Err("no compiler".to_owned()));
        assert!(talk.measure("step", 1.0).unwrap().is_ok());
    }

    #[test]
    fn what_the_protocol_does_not_have_is_quoted() {
        for (said, quoted) in [
            ("", "ended"),
            ("Traceback\n", "Traceback"),
            ("{\"name\":\"other\",\"ms\":1}\n", "other"),
            ("{\"name\":\"step\",\"ms\":0}\n", "\"ms\":0"),
        ] {
            let error = format!("{:#}", talk(said).measure("step", 1.0).unwrap_err());
            assert!(error.contains(quoted), "{error}");
        }
        assert!(talk("{\"side\":\"x\"}\n").hello().is_err());
    }

    #[test]
    fn a_program_that_ends_at_once_is_an_error_with_its_name() {
        let error = Side::start(Command::new("cargo"), 1, Path::new("images")).err().unwrap();
        assert!(format!("{error:#}").contains("cargo"), "{error:#}");
    }
}
