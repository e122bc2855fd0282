//! What a person sees of a run in training: a bar for the epoch, a line for each that is done.

use std::io::IsTerminal;
use std::time::Duration;

use catvae_train::{EpochMetrics, StepReport};
use indicatif::{ProgressBar, ProgressStyle};

/// The bar on stderr (none where that is no terminal) and the lines on stdout.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    n_epochs: usize,
    bar_epoch: usize,
}

impl Progress {
    /// Prints the head of the table.
    pub(crate) fn start(n_epochs: usize) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(0);
            let style = ProgressStyle::with_template("{prefix} {wide_bar} {pos}/{len}  {msg}");
            // The template is a constant; were it wrong, the default style would do.
            bar.set_style(
                style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━╸─"),
            );
            bar
        });
        let progress = Self { bar, n_epochs, bar_epoch: 0 };
        progress.line(
            "  epoch   train relaxed   unrelaxed     gap        test      τ   images/s   seconds",
        );
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
        let number = |x: Option<f64>| x.map_or_else(|| "-".to_owned(), |x| format!("{x:.2}"));
        let gap = m.train_neg_elbo_unrelaxed.map(|u| u - m.train_neg_elbo);
        self.line(&format!(
            "{:>7}   {:>13}   {:>9}   {:>5}   {:>9}   {:>4.2}   {:>8.0}   {:>7.1}",
            format!("{}/{}", m.epoch, self.n_epochs),
            number(Some(m.train_neg_elbo)),
            number(m.train_neg_elbo_unrelaxed),
            number(gap),
            number(m.test_neg_elbo),
            m.temperature,
            m.images_per_second,
            m.train_seconds
        ));
    }

    /// Prints a line without disturbing the bar.
    pub(crate) fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| print_line(text)),
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

/// Writes a line to stdout. A reader that went away (`catvae train | head`) does not end the run.
pub(crate) fn print_line(text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stdout(), "{text}");
}

fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds / 3600 {
        0 => format!("{}:{:02}", seconds / 60, seconds % 60),
        hours if hours < 100 => format!("{hours}:{:02}:{:02}", seconds / 60 % 60, seconds % 60),
        _ => "days".to_owned(),
    }
}
