//! The run as an event file for TensorBoard: one record an epoch, besides the settings and the charts.
//!
//! A record is its length, the CRC of that, its bytes, and their CRC. A run that goes on writes the file anew from the
//! epochs that it keeps, so that no epoch stands there twice and a record that a crash tore is gone.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use catvae_train::{EpochMetrics, LatentStatistics, RunDir, TrainConfig, write_atomically};

use crate::explorer::settings_of;
use crate::protobuf::{Message, int_in};

/// TensorBoard and the Hugging Face hub look for `tfevents` in a name.
pub(crate) const FILE: &str = "events.out.tfevents.catvae";

/// The event file of a run in training.
pub(crate) struct EventFile {
    path: PathBuf,
}

impl EventFile {
    /// Writes what is known of the run until `step`: settings, charts, and the epochs that are kept. A run that does not
    /// resume leaves a file that is there alone.
    pub(crate) fn start(
        run: &RunDir,
        config: &TrainConfig,
        step: u64,
        resumes: bool,
    ) -> Result<Self> {
        let path = run.path().join(FILE);
        let old = match fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            read => read.with_context(|| format!("cannot read {}", path.display()))?,
        };
        ensure!(resumes || old.is_empty(), "{} is there already", path.display());
        let mut kept: BTreeMap<u64, &[u8]> =
            records(&old).filter_map(|record| Some((int_in(record, 2)?, record))).collect();
        let version = Message::new().double(1, now()).bytes(3, "brain.Event:2");
        let mut bytes = framed(version.as_bytes());
        bytes.extend(framed(&event(0, &summary(head(config)?))));
        for metrics in run.metrics().read()?.iter().filter(|metrics| metrics.step <= step) {
            bytes.extend(match kept.remove(&metrics.step) {
                Some(record) => framed(record),
                // The process ended between the epoch's line and its event, or wrote no events.
                None => framed(&event(metrics.step, &summary(scalars(metrics)?))),
            });
        }
        write_atomically(&path, &bytes)?;
        Ok(Self { path })
    }

    /// Appends an epoch with its pictures, PNG files by their tags.
    pub(crate) fn epoch(
        &self,
        metrics: &EpochMetrics,
        latents: &LatentStatistics,
        pictures: &[(&str, PathBuf)],
    ) -> Result<()> {
        let mut values = scalars(metrics)?;
        let of = |pick: fn(&catvae_train::LatentUse) -> f64| {
            latents.latents.iter().map(pick).collect::<Vec<_>>()
        };
        values.push(value("latents/kl").message(5, &histogram(&of(|latent| latent.kl))));
        values.push(
            value("latents/perplexity").message(5, &histogram(&of(|latent| latent.perplexity))),
        );
        for (tag, path) in pictures {
            let png = match fs::read(path) {
                // That it could not be drawn was told.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                read => read.with_context(|| format!("cannot read {}", path.display()))?,
            };
            let size = |at: usize| {
                png.get(at..at + 4).map_or(0, |b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]))
            };
            let (width, height) = (u64::from(size(16)), u64::from(size(20)));
            let image = Message::new().int(1, height).int(2, width).int(3, 1).bytes(4, &png);
            values.push(value(tag).message(4, &image));
        }
        self.append(&event(metrics.step, &summary(values)))
    }

    /// Says that the run is complete.
    pub(crate) fn finish(&self) -> Result<()> {
        let end = Message::new().int(1, 1).double(2, now());
        self.append(&event(0, &summary(vec![hparams("session_end_info", 4, &end)])))
    }

    /// Appends a record. One that cannot be written whole is taken back.
    fn append(&self, record: &[u8]) -> Result<()> {
        let path = &self.path;
        let told = || format!("cannot write {}", path.display());
        let mut file = OpenOptions::new().append(true).open(path).with_context(told)?;
        let length = file.seek(SeekFrom::End(0)).with_context(told)?;
        let written = file.write_all(&framed(record)).and_then(|()| file.sync_data());
        if written.is_err() {
            let _ = file.set_len(length);
        }
        written.with_context(told)
    }
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

/// `tensorflow.Event` with a summary.
fn event(step: u64, summary: &Message) -> Vec<u8> {
    Message::new().double(1, now()).int(2, step).message(5, summary).as_bytes().to_owned()
}

fn summary(values: Vec<Message>) -> Message {
    values.iter().fold(Message::new(), |summary, value| summary.message(1, value))
}

/// `Summary.Value` with its tag.
fn value(tag: &str) -> Message {
    Message::new().bytes(1, tag)
}

/// Every number of `metrics.jsonl` under its own name, and the gap.
fn scalars(metrics: &EpochMetrics) -> Result<Vec<Message>> {
    let object = serde_json::to_value(metrics)?;
    let numbers = object.as_object().into_iter().flatten();
    let numbers = numbers.filter(|(key, _)| !["epoch", "step"].contains(&key.as_str()));
    let mut values: Vec<Message> = numbers
        .filter_map(|(key, number)| {
            let group = match key.as_str() {
                key if key.contains("neg_elbo") => "objective",
                key if key.ends_with("_bce") || key.ends_with("_kl") => "terms",
                _ => "run",
            };
            Some(value(&format!("{group}/{key}")).float(2, number.as_f64()? as f32))
        })
        .collect();
    if let Some(gap) = metrics.gap() {
        values.push(value("objective/gap").float(2, gap as f32));
    }
    Ok(values)
}

/// `HistogramProto` with thirty bins between the least and the largest value.
fn histogram(values: &[f64]) -> Message {
    const BINS: usize = 30;
    let (low, high) = values
        .iter()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), &v| (low.min(v), high.max(v)));
    let width = ((high - low) / BINS as f64).max(1e-12);
    let mut counts = vec![0.0; BINS];
    for value in values {
        counts[(((value - low) / width) as usize).min(BINS - 1)] += 1.0;
    }
    Message::new()
        .double(1, low)
        .double(2, high)
        .double(3, values.len() as f64)
        .double(4, values.iter().sum())
        .double(5, values.iter().map(|v| v * v).sum())
        .doubles(6, (1..=BINS).map(|i| low + i as f64 * width))
        .doubles(7, counts)
}

/// The settings as text and as hyperparameters, and one chart of all objectives.
fn head(config: &TrainConfig) -> Result<Vec<Message>> {
    let toml = config.to_toml()?;
    let indented: String = toml.lines().map(|line| format!("    {line}\n")).collect();
    let text = value("config")
        .message(9, &plugin("text", None))
        .message(8, &string_tensor(indented.as_bytes()));

    let mut objectives = vec!["train_neg_elbo", "train_neg_elbo_unrelaxed", "test_neg_elbo"];
    objectives.extend(config.data.n_validation.map(|_| "validation_neg_elbo"));
    let lines =
        objectives.iter().fold(Message::new(), |m, key| m.bytes(1, format!("^objective/{key}$")));
    let chart =
        Message::new().bytes(1, "negative ELBO: relaxed, unrelaxed, test").message(2, &lines);
    let category = Message::new().bytes(1, "objectives").message(2, &chart);
    let layout = Message::new().message(2, &category);
    let layout = value("custom_scalars__config__")
        .message(9, &plugin("custom_scalars", None))
        .message(8, &string_tensor(layout.as_bytes()));

    let settings: Vec<_> = settings_of(config)?
        .into_iter()
        .filter(|(key, _)| !key.starts_with("provenance."))
        .collect();
    let (mut start, mut experiment, mut group) = (Message::new(), Message::new(), String::new());
    for (key, text) in &settings {
        let (value, kind) = match text.parse::<f64>() {
            Ok(number) if number.is_finite() => (Message::new().double(2, number), 3),
            _ => (Message::new().bytes(3, text), 1),
        };
        start = start.message(1, &Message::new().bytes(1, key).message(2, &value));
        experiment = experiment.message(4, &Message::new().bytes(1, key).int(4, kind));
        if !["training.seed", "data.data_dir"].contains(&key.as_str()) {
            group.push_str(&format!("{key}={text}\n"));
        }
    }
    // Runs that differ by their seeds alone are one group, whose mean TensorBoard shows.
    let start = start.bytes(4, format!("{:08x}", crc32c(group.as_bytes()))).double(5, now());
    for key in objectives {
        let name = Message::new().bytes(2, format!("objective/{key}"));
        experiment = experiment.message(5, &Message::new().message(1, &name));
    }
    let experiment = hparams("experiment", 2, &experiment);
    Ok(vec![text, layout, experiment, hparams("session_start_info", 3, &start)])
}

/// A value of the plugin for hyperparameters: everything stands in its metadata, and the tensor is empty.
fn hparams(name: &str, field: u32, content: &Message) -> Message {
    const FLOAT: u64 = 1;
    let content = Message::new().int(1, 0).message(field, content);
    let no_elements = Message::new().message(2, &Message::new().int(1, 0));
    value(&format!("_hparams_/{name}"))
        .message(9, &plugin("hparams", Some(&content)))
        .message(8, &Message::new().int(1, FLOAT).message(2, &no_elements))
}

/// `SummaryMetadata` for a plugin.
fn plugin(name: &str, content: Option<&Message>) -> Message {
    let data = Message::new().bytes(1, name);
    let data = content.map_or(data.clone(), |content| data.message(2, content));
    Message::new().message(1, &data)
}

/// `TensorProto` with one string.
fn string_tensor(text: &[u8]) -> Message {
    const STRING: u64 = 7;
    Message::new().int(1, STRING).message(2, &Message::new()).bytes(8, text)
}

fn framed(record: &[u8]) -> Vec<u8> {
    let length = (record.len() as u64).to_le_bytes();
    let crc = |bytes: &[u8]| masked(crc32c(bytes)).to_le_bytes();
    [&length[..], &crc(&length), record, &crc(record)].concat()
}

/// The whole records of a file, up to the first that is torn.
fn records(file: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = file;
    std::iter::from_fn(move || {
        let length = u64::from_le_bytes(rest.get(..8)?.try_into().ok()?);
        let end = usize::try_from(length).ok()?.checked_add(12)?;
        let record = rest.get(12..end)?;
        let whole = framed(record);
        rest = rest.strip_prefix(&whole[..])?;
        Some(record)
    })
}

/// What a CRC is written as, so that a CRC over bytes that hold CRCs stays good.
fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// CRC-32C (Castagnoli), bits reflected.
fn crc32c(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut i = 0;
        while i < 256 {
            let (mut crc, mut bit) = (i as u32, 0);
            while bit < 8 {
                crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
                bit += 1;
            }
            table[i] = crc;
            i += 1;
        }
        table
    };
    let step = |crc: u32, &byte: &u8| crc >> 8 ^ TABLE[usize::from(crc as u8 ^ byte)];
    !bytes.iter().fold(u32::MAX, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics(epoch: usize, step: u64) -> EpochMetrics {
        let line = format!(
            r#"{{"epoch":{epoch},"step":{step},"temperature":1.0,"learning_rate":0.001,"train_neg_elbo":110.5,
                "train_bce":90.0,"train_kl":20.5,"train_seconds":1.0,"step_ms":2.0,"images_per_second":3.0}}"#
        );
        serde_json::from_str(&line).unwrap()
    }

    fn steps(run: &RunDir) -> Vec<u64> {
        let bytes = fs::read(run.path().join(FILE)).unwrap();
        assert_eq!(records(&bytes).map(|r| framed(r).len()).sum::<usize>(), bytes.len(), "torn");
        records(&bytes).filter_map(|record| int_in(record, 2)).collect()
    }

    fn no_latents() -> LatentStatistics {
        LatentStatistics { n_images: 0, kl: 0.0, latents: Vec::new(), information_between: None }
    }

    #[test]
    fn checksums_are_those_of_rfc_3720() {
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn a_resumed_run_has_every_epoch_once_and_no_torn_record() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir::new(dir.path());
        let config = TrainConfig::default();
        let file = EventFile::start(&run, &config, 0, false).unwrap();
        for epoch in 1..=3 {
            run.metrics().append(&metrics(epoch, 10 * epoch as u64)).unwrap();
            // The second is written to metrics.jsonl only, as if the process was killed in between.
            if epoch != 2 {
                file.epoch(&metrics(epoch, 10 * epoch as u64), &no_latents(), &[]).unwrap();
            }
        }
        file.finish().unwrap();
        assert_eq!(steps(&run), [0, 10, 30, 0]);
        // Half a record, as a crash leaves it.
        let path = run.path().join(FILE);
        let mut bytes = fs::read(&path).unwrap();
        bytes.extend(&framed(b"record")[..9]);
        fs::write(&path, bytes).unwrap();
        // The newest checkpoint is that of step 20.
        let file = EventFile::start(&run, &config, 20, true).unwrap();
        assert_eq!(steps(&run), [0, 10, 20]);
        file.epoch(&metrics(3, 30), &no_latents(), &[]).unwrap();
        assert_eq!(steps(&run), [0, 10, 20, 30]);
    }

    #[test]
    fn a_fresh_run_leaves_the_file_of_another_alone() {
        let dir = tempfile::tempdir().unwrap();
        let run = RunDir::new(dir.path());
        fs::write(run.path().join(FILE), "another's").unwrap();
        assert!(EventFile::start(&run, &TrainConfig::default(), 0, false).is_err());
        assert_eq!(fs::read(run.path().join(FILE)).unwrap(), b"another's");
    }
}
