//! What a person sees of a run in training: a bar for the epoch, a line for each that is done.

use std::borrow::Cow;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use catvae_train::{EpochMetrics, StepReport};
use indicatif::{ProgressBar, ProgressStyle};

/// The bar on stderr (none where that is no terminal) and the lines on stdout.
pub(crate) struct Progress {
    /// Whether there is neither.
    quiet: bool,
    bar: Option<ProgressBar>,
    n_epochs: usize,
    /// Whether the table has a column for the validation images.
    validates: bool,
    bar_epoch: usize,
}

impl Progress {
    /// Prints the head of the table. Where training sees exact samples, nothing is relaxed, and the two columns of
    /// training are two draws of one quantity.
    pub(crate) fn start(
        quiet: bool,
        n_epochs: usize,
        samples_are_exact: bool,
        validates: bool,
    ) -> Self {
        let bar = (!quiet && std::io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::new(0);
            let style = ProgressStyle::with_template("{prefix} {wide_bar} {pos}/{len}  {msg}");
            // The template is a constant; were it wrong, the default style would do.
            bar.set_style(
                style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━╸─"),
            );
            bar
        });
        let progress = Self { quiet, bar, n_epochs, validates, bar_epoch: 0 };
        let mut head = head(validates);
        if samples_are_exact {
            head = head.replace("train relaxed", "        train");
        }
        progress.line(&head);
        progress
    }

    /// Moves the bar.
    pub(crate) fn step(&mut self, report: &StepReport) {
        let Some(bar) = &self.bar else { return };
        if self.bar_epoch != report.epoch {
            self.bar_epoch = report.epoch;
            bar.set_length(report.n_batches as u64);
            bar.set_prefix(format!("epoch {}/{}", report.epoch, self.n_epochs));
        }
        let batches_left = report.n_batches - report.batches_done
            + report.n_batches * (self.n_epochs - report.epoch.min(self.n_epochs));
        // Steps of an epoch are alike: what is left takes as long as the same number did before.
        let rate = report.images_per_second.max(f64::MIN_POSITIVE);
        let images_per_batch = report.images_per_batch;
        let left = Duration::try_from_secs_f64(batches_left as f64 * images_per_batch / rate)
            .unwrap_or(Duration::MAX);
        bar.set_position(report.batches_done as u64);
        bar.set_message(format!(
            "loss {:.1}  τ {:.2}  {:.0} images/s  {} left",
            report.neg_elbo,
            report.temperature,
            report.images_per_second,
            clock(left)
        ));
    }

    /// Prints an epoch's line.
    pub(crate) fn epoch(&self, m: &EpochMetrics) {
        self.line(&epoch_line(m, self.n_epochs, self.validates));
    }

    /// Prints a line without disturbing the bar.
    pub(crate) fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| print_line(text)),
            None if self.quiet => (),
            None => print_line(text),
        }
    }

    /// Removes the bar.
    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

const HEAD: &str =
    "  epoch   train relaxed   unrelaxed     gap        test      τ   images/s   seconds";

fn head(validates: bool) -> String {
    match validates {
        true => HEAD.replace("        test", "   validation        test"),
        false => HEAD.to_owned(),
    }
}

fn epoch_line(m: &EpochMetrics, n_epochs: usize, validates: bool) -> String {
    let or_dash = |width: usize, x: Option<f64>| match x {
        Some(x) => cell(width, 2, x),
        None => format!("{:>width$}", "-"),
    };
    let mut cells = vec![
        format!("{:>7}", format!("{}/{n_epochs}", m.epoch)),
        cell(13, 2, m.train_neg_elbo),
        or_dash(9, m.train_neg_elbo_unrelaxed),
        or_dash(5, m.gap()),
    ];
    cells.extend(validates.then(|| or_dash(10, m.validation_neg_elbo)));
    cells.extend([
        or_dash(9, m.test_neg_elbo),
        cell(4, 2, m.temperature),
        cell(8, 0, m.images_per_second),
        cell(7, 1, m.train_seconds),
    ]);
    cells.join("   ")
}

/// A number in a column: with fewer digits where it would be too wide.
fn cell(width: usize, decimals: usize, x: f64) -> String {
    let plain = (0..=decimals).rev().map(|decimals| format!("{x:.decimals$}"));
    let mut forms = plain.chain([format!("{x:.1e}"), format!("{x:.0e}")]);
    let text = forms.find(|text| text.len() <= width).unwrap_or_else(|| format!("{x:.0e}"));
    format!("{text:>width$}")
}

/// The first error of writing to stdout.
static FAILED: OnceLock<io::Error> = OnceLock::new();

/// Writes a line to stdout. Where that fails, [`printing_failed`] tells it at the end.
pub(crate) fn print_line(text: &str) {
    if let Err(error) = writeln!(io::stdout(), "{}", visible(text)) {
        FAILED.get_or_init(|| error);
    }
}

/// Why something could not be written to stdout. A reader that goes away (`catvae train | head`) is no failure
/// of a command whose results are files, and `reader_may_go` says that it is one.
pub(crate) fn printing_failed(reader_may_go: bool) -> Option<&'static io::Error> {
    if let Err(error) = io::stdout().flush() {
        FAILED.get_or_init(|| error);
    }
    FAILED.get().filter(|error| !(reader_may_go && error.kind() == ErrorKind::BrokenPipe))
}

/// Writes a line to stderr. A log that cannot be written must not end a run.
pub(crate) fn warn(text: &str) {
    let _ = writeln!(io::stderr(), "{}", visible(text));
}

/// The text with its control characters written out: names and messages of a stranger's files must not steer the
/// terminal.
fn visible(text: &str) -> Cow<'_, str> {
    let steers = |c: char| c.is_control() && c != '\n';
    match text.contains(steers) {
        false => text.into(),
        true => text
            .chars()
            .map(|c| if steers(c) { c.escape_default().to_string() } else { c.to_string() })
            .collect(),
    }
}

/// A path as a shell takes it for one word.
pub(crate) fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:,@%".contains(c);
    match !text.is_empty() && text.chars().all(is_plain) {
        true => text,
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds / 3600 {
        0 => format!("{}:{:02}", seconds / 60, seconds % 60),
        hours if hours < 100 => format!("{hours}:{:02}:{:02}", seconds / 60 % 60, seconds % 60),
        _ => "days".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_keep_their_width_whatever_the_numbers() {
        let metrics = |x: f64| EpochMetrics {
            epoch: 1,
            step: 1,
            temperature: x.abs(),
            learning_rate: x,
            train_neg_elbo: x,
            train_bce: x,
            train_kl: x,
            train_neg_elbo_unrelaxed: Some(-x),
            validation_neg_elbo: None,
            validation_bce: None,
            validation_kl: None,
            test_neg_elbo: Some(x),
            test_bce: None,
            test_kl: None,
            train_seconds: x.abs(),
            step_ms: x,
            images_per_second: x.abs(),
            best_on: None,
        };
        for x in [0.0, 1.234, 109.7, 5e9, 5e37] {
            for validates in [false, true] {
                let line = epoch_line(&metrics(x), 1, validates);
                assert_eq!(line.chars().count(), head(validates).chars().count(), "{x}: {line}");
            }
        }
        assert_eq!(cell(9, 2, 109.746), "   109.75");
        assert_eq!(cell(5, 2, -1234.56), "-1235");
        assert_eq!(cell(9, 2, 5e37), "   5.0e37");
        assert_eq!(cell(5, 2, -5e37), "-5e37");
    }

    #[test]
    fn control_characters_are_written_out() {
        assert_eq!(visible("τ = 1\n  µ"), "τ = 1\n  µ");
        assert_eq!(visible("\u{1b}]0;x\u{7}\r\u{9b}1m"), "\\u{1b}]0;x\\u{7}\\r\\u{9b}1m");
    }

    #[test]
    fn a_shell_takes_a_quoted_path_for_one_word() {
        assert_eq!(quoted(Path::new("runs/mnist-2")), "runs/mnist-2");
        assert_eq!(quoted(Path::new("sp ace")), "'sp ace'");
        assert_eq!(quoted(Path::new("it's")), r"'it'\''s'");
        assert_eq!(quoted(Path::new("")), "''");
    }
}
