//! A folder with images of 2x2 pixels, a run in it, and the program.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use candle_core::Device;
use catvae_data::{Dataset, ImageSet};
use catvae_train::{LoadedCheckpoint, RunDir};

/// A model of a hundred weights: a step takes well under a millisecond, and most of the time goes
/// into checkpoints.
pub(crate) const TINY: &str = "train --dataset tiny --data-dir data --hidden 3 --latents 2 --categories 2 --batch-size 4 --out run";

pub(crate) struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let set = |n: usize| {
            let labels: Vec<u8> = (0..n).map(|i| (i * i % 7 % 2) as u8).collect();
            let pixels = labels.iter().flat_map(|&label| match label {
                0 => [0, 250, 240, 10],
                _ => [255, 20, 0, 245],
            });
            ImageSet::new(pixels.collect(), labels, 2, 2).unwrap()
        };
        let dataset =
            Dataset { name: "tiny".to_owned(), train: set(512), validation: None, test: set(8) };
        catvae_data::write_folder(&dir.path().join("data/tiny"), &dataset).unwrap();
        Self { dir }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The program with these words, silent but for stderr.
    pub(crate) fn catvae(&self, line: &str) -> Command {
        self.started_by(&[], line)
    }

    /// The same, started by another program that is given it as its last words.
    pub(crate) fn started_by(&self, starter: &[&str], line: &str) -> Command {
        let catvae: &OsStr = assert_cmd::cargo::cargo_bin!("catvae").as_ref();
        let mut words = starter.iter().map(OsStr::new).chain([catvae]);
        let mut command = Command::new(words.next().unwrap());
        command
            .args(words)
            .args(line.split_whitespace())
            .current_dir(self.dir.path())
            .env_remove("CATVAE_DATA_DIR")
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        command
    }

    pub(crate) fn ok(&self, line: &str) {
        let output = self.catvae(line).output().unwrap();
        assert!(output.status.success(), "{line}: {}", stderr(&output));
    }

    pub(crate) fn run(&self) -> RunDir {
        RunDir::new(self.path("run"))
    }

    /// Waits for a checkpoint of a step after `step`.
    pub(crate) fn wait_for_checkpoint_after(&self, step: u64, child: &mut Child) {
        wait_until(child, || newest_step(&self.run()) > step);
    }
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Waits until something holds; the process must not end before that.
pub(crate) fn wait_until(child: &mut Child, holds: impl Fn() -> bool) {
    // No assertion on speed: the limit only keeps a defect from hanging the tests.
    let limit = Instant::now() + Duration::from_secs(120);
    while !holds() {
        assert_eq!(child.try_wait().unwrap(), None, "the run ended before its time");
        assert!(Instant::now() < limit, "the run does nothing");
        std::thread::sleep(Duration::from_micros(200));
    }
}

pub(crate) fn newest_step(run: &RunDir) -> u64 {
    run.checkpoints().list().unwrap().first().map_or(0, |(step, _)| *step)
}

pub(crate) fn send(signal: &str, child: &Child) {
    let status = Command::new("kill").args([format!("-{signal}"), child.id().to_string()]).status();
    assert!(status.unwrap().success());
}

/// Loads the newest checkpoint, which must be whole.
pub(crate) fn load_whole(run: &RunDir) -> LoadedCheckpoint {
    let config = run.read_config().unwrap();
    run.checkpoints()
        .load_newest(&config.model, &Device::Cpu, |damage| panic!("a torn checkpoint: {damage}"))
        .unwrap()
}

/// The metrics are whole lines, one per epoch, in order.
pub(crate) fn assert_metrics_are_whole(run: &Path) {
    let text = match fs::read_to_string(run.join("metrics.jsonl")) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
        text => text.unwrap(),
    };
    assert!(text.is_empty() || text.ends_with('\n'), "a torn line: {text:?}");
    let mut last = (0, 0);
    for line in text.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let here = (line["epoch"].as_u64().unwrap(), line["step"].as_u64().unwrap());
        assert!(here.0 == last.0 + 1 && here.1 > last.1, "{here:?} after {last:?}");
        last = here;
    }
}

/// The names in the folder of checkpoints that begin like something unfinished.
pub(crate) fn leftovers(run: &RunDir) -> Vec<String> {
    let Ok(entries) = fs::read_dir(run.path().join("checkpoints")) else { return Vec::new() };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| name.starts_with('.')).collect()
}

/// Whether a program starts and does its part here; says so on stderr where it does not.
pub(crate) fn can(what: &str, program: &[&str]) -> bool {
    let mut command = Command::new(program[0]);
    command.args(&program[1..]).stdout(Stdio::null()).stderr(Stdio::null());
    let can = command.status().is_ok_and(|status| status.success());
    if !can {
        eprintln!("SKIPPED: {what} cannot be tested here, `{}` fails", program.join(" "));
    }
    can
}
