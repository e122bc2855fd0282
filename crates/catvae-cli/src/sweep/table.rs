//! The table of a sweep: means and standard deviations over seeds, from the folders of the runs alone.

use std::collections::BTreeMap;

use anyhow::Result;
use catvae_train::{EpochMetrics, RunDir, Setting, TrainConfig};
use serde_json::json;

use super::End;
use super::cell::{end_of, epoch_of};
use crate::explorer::settings_of;
use crate::progress::print_line;

/// Settings that make no other result, and the seed, over which means are taken.
const NOT_SHOWN: [&str; 7] = [
    "data.data_dir",
    "model.image_shape",
    "training.seed",
    "training.eval_every",
    "training.checkpoint_every",
    "training.keep_checkpoints",
    "training.keep_best",
];

/// A run, done or not.
pub(crate) struct Entry {
    name: String,
    settings: BTreeMap<String, String>,
    seed: u64,
    /// The numbers of its last epoch; `Err` says why there are none.
    metrics: Result<EpochMetrics, End>,
}

impl Entry {
    /// Reads what the folder tells of the run with this configuration. [`End::Stopped`] stands for a run that is missing
    /// or unfinished.
    pub(crate) fn read(name: &str, run: &RunDir, config: &TrainConfig) -> Result<Self> {
        let mut settings: BTreeMap<_, _> = settings_of(config)?.into_iter().collect();
        settings.retain(|key, _| !NOT_SHOWN.contains(&&**key) && !key.starts_with("provenance"));
        let epochs = config.training.epochs;
        let metrics = match (end_of(run, epochs)?, epoch_of(run, epochs)?) {
            (Some(End::Finished), Some(metrics)) => Ok(metrics),
            (Some(End::Diverged), _) => Err(End::Diverged),
            _ => Err(End::Stopped),
        };
        Ok(Self { name: name.to_owned(), settings, seed: config.training.seed, metrics })
    }
}

/// Runs in rows: those of one row differ by their seeds only.
pub(crate) struct Summary {
    /// The settings that differ between rows.
    keys: Vec<String>,
    rows: Vec<Vec<Entry>>,
}

/// The columns of numbers.
type Column = (&'static str, fn(&EpochMetrics) -> Option<f64>);
const COLUMNS: [Column; 4] = [
    ("train", |m| Some(m.train_neg_elbo)),
    ("train unrelaxed", |m| m.train_neg_elbo_unrelaxed),
    ("validation", |m| m.validation_neg_elbo),
    ("test", |m| m.test_neg_elbo),
];

impl Summary {
    /// Sorts the runs into rows, in the order in which they come. Of two that are the same run, the one that is further
    /// counts.
    pub(crate) fn new(entries: Vec<Entry>) -> Self {
        let mut rows: Vec<Vec<Entry>> = Vec::new();
        for entry in entries {
            let Some(row) = rows.iter_mut().find(|row| row[0].settings == entry.settings) else {
                rows.push(vec![entry]);
                continue;
            };
            match row.iter_mut().find(|known| known.seed == entry.seed) {
                None => row.push(entry),
                Some(known) if known.metrics.is_err() => *known = entry,
                Some(_) => (),
            }
        }
        let mut keys: Vec<String> =
            rows.iter().flat_map(|r| r[0].settings.keys().cloned()).collect();
        keys.sort_unstable();
        keys.dedup();
        let value = |row: &Vec<Entry>, key: &str| row[0].settings.get(key).cloned();
        keys.retain(|key| rows.iter().any(|row| value(row, key) != value(&rows[0], key)));
        rows.iter_mut().for_each(|row| row.sort_by_key(|entry| entry.seed));
        Self { keys, rows }
    }

    pub(crate) fn print(&self) {
        let labels: Vec<String> = self.rows.iter().map(|row| self.label(&row[0])).collect();
        let width = labels.iter().map(String::len).max().unwrap_or(0);
        let columns = COLUMNS
            .iter()
            .filter(|(_, of)| self.rows.iter().any(|row| !numbers(row, *of).is_empty()));
        let columns: Vec<&Column> = columns.collect();
        let head: String = columns.iter().map(|(name, _)| format!("   {name:>16}")).collect();
        print_line(&format!("{:width$}   seeds{head}", ""));
        for (row, label) in self.rows.iter().zip(labels) {
            let cells: String = columns
                .iter()
                .map(|(_, of)| format!("   {:>16}", shown(&numbers(row, *of))))
                .collect();
            let n = row.iter().filter(|entry| entry.metrics.is_ok()).count();
            let notes =
                [(End::Diverged, "diverged"), (End::Stopped, "missing")].map(|(end, word)| {
                    match count(row, end) {
                        0 => String::new(),
                        n => format!("   {n} {word}"),
                    }
                });
            let seeds = if n == row.len() { n.to_string() } else { format!("{n}/{}", row.len()) };
            print_line(&format!("{label:width$}   {seeds:>5}{cells}{}", notes.concat()));
        }
        print_line(
            "\nNegative ELBO per image of the last epoch in nats, mean ± standard deviation over seeds; lower is better.",
        );
    }

    /// The settings that differ, by their flags.
    fn label(&self, entry: &Entry) -> String {
        let of = |key: &String| Some(format!("{}={}", flag(key), entry.settings.get(key)?));
        self.keys.iter().filter_map(of).collect::<Vec<_>>().join(" ")
    }

    /// One object a row.
    pub(crate) fn print_json(&self) {
        for row in &self.rows {
            let of = |(_, of): &Column| {
                let numbers = numbers(row, *of);
                mean(&numbers)
                    .map(|mean| json!({ "mean": mean, "sd": sd(&numbers), "n": numbers.len() }))
            };
            let seeds: Vec<_> = row
                .iter()
                .map(|entry| {
                    let state = state(entry);
                    json!({ "run": entry.name, "seed": entry.seed, "state": state, "last": entry.metrics.as_ref().ok() })
                })
                .collect();
            let object = json!({
                "settings": row[0].settings, "train": of(&COLUMNS[0]), "train_unrelaxed": of(&COLUMNS[1]),
                "validation": of(&COLUMNS[2]), "test": of(&COLUMNS[3]), "missing": count(row, End::Stopped), "diverged": count(row, End::Diverged),
                "seeds": seeds,
            });
            print_line(&object.to_string());
        }
    }

    /// One line a run, for programs that take means themselves.
    pub(crate) fn print_csv(&self) {
        let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
        let keys: String = self.keys.iter().map(|key| format!(",{}", quoted(key))).collect();
        print_line(&format!(
            "run{keys},seed,state,epoch,step,train_neg_elbo,train_neg_elbo_unrelaxed,validation_neg_elbo,test_neg_elbo"
        ));
        for entry in self.rows.iter().flatten() {
            let settings: String = self
                .keys
                .iter()
                .map(|key| format!(",{}", quoted(entry.settings.get(key).map_or("", |v| v))))
                .collect();
            let numbers = match &entry.metrics {
                Ok(m) => {
                    let numbers =
                        COLUMNS.map(|(_, of)| of(m).map_or(String::new(), |x| x.to_string()));
                    format!("{},{},{}", m.epoch, m.step, numbers.join(","))
                }
                Err(_) => ",,,,,".to_owned(),
            };
            let (seed, state) = (entry.seed, state(entry));
            print_line(&format!("{}{settings},{seed},{state},{numbers}", quoted(&entry.name)));
        }
    }
}

fn state(entry: &Entry) -> &'static str {
    match entry.metrics {
        Ok(_) => "finished",
        Err(End::Diverged) => "diverged",
        Err(_) => "missing",
    }
}

fn count(row: &[Entry], end: End) -> usize {
    row.iter().filter(|entry| entry.metrics.as_ref().err() == Some(&end)).count()
}

fn numbers(row: &[Entry], of: fn(&EpochMetrics) -> Option<f64>) -> Vec<f64> {
    row.iter().filter_map(|entry| of(entry.metrics.as_ref().ok()?)).collect()
}

fn mean(numbers: &[f64]) -> Option<f64> {
    (!numbers.is_empty()).then(|| numbers.iter().sum::<f64>() / numbers.len() as f64)
}

/// The standard deviation of a sample, with n − 1; none of a single number.
fn sd(numbers: &[f64]) -> Option<f64> {
    let mean = mean(numbers).filter(|_| numbers.len() > 1)?;
    let squares: f64 = numbers.iter().map(|x| (x - mean).powi(2)).sum();
    Some((squares / (numbers.len() - 1) as f64).sqrt())
}

fn shown(numbers: &[f64]) -> String {
    match (mean(numbers), sd(numbers)) {
        (Some(mean), Some(sd)) => format!("{mean:.2} ± {sd:.2}"),
        (Some(mean), None) => format!("{mean:.2}"),
        (None, _) => "-".to_owned(),
    }
}

/// A setting's flag, as one gives it.
fn flag(key: &str) -> String {
    match key {
        "temperature.value" | "temperature.init" => "temperature".to_owned(),
        "temperature.kind" => "schedule".to_owned(),
        "temperature.min" => "temperature-end".to_owned(),
        "estimator.name" => "estimator".to_owned(),
        _ => match Setting::named(key).and_then(|setting| setting.flag) {
            Some((flag, _)) => flag.to_owned(),
            None => key.replace('.', "-"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_and_standard_deviation_are_those_of_a_sample() {
        assert_eq!((mean(&[]), sd(&[1.0])), (None, None));
        assert_eq!(
            (mean(&[1.0, 2.0, 6.0]), sd(&[1.0, 2.0, 6.0])),
            (Some(3.0), Some(7.0_f64.sqrt()))
        );
        assert_eq!(shown(&[1.0, 3.0]), "2.00 ± 1.41");
    }
}
