//! What a person sees of all workers: one bar, and a line for each cell that ends.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use indicatif::{ProgressBar, ProgressStyle};

use super::{Cell, End};
use crate::progress::warn;

pub(super) struct Progress {
    /// Steps of all cells; hidden where stderr is no terminal.
    bar: ProgressBar,
    n_cells: usize,
    n_ended: AtomicUsize,
    n_workers: usize,
    said: AtomicBool,
}

impl Progress {
    pub(super) fn start(cells: &[Cell], n_workers: usize) -> Self {
        let bar = match std::io::stderr().is_terminal() {
            true => ProgressBar::new(cells.iter().map(n_steps).sum()),
            false => ProgressBar::hidden(),
        };
        let style = ProgressStyle::with_template("{prefix} {wide_bar} {percent}%  {msg}{eta} left");
        // The template is a constant; were it wrong, the default style would do.
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━╸─"));
        let progress = Self {
            bar,
            n_cells: cells.len(),
            n_ended: AtomicUsize::new(0),
            n_workers,
            said: AtomicBool::new(false),
        };
        progress.show(0);
        progress
    }

    fn show(&self, n_ended: usize) {
        self.bar.set_prefix(format!("cell {n_ended}/{}", self.n_cells));
        self.bar.set_message(format!("{} workers  ", self.n_workers));
    }

    /// Steps that were taken.
    pub(super) fn step(&self, n: u64) {
        self.bar.inc(n);
    }

    /// Steps that were there before, which say nothing of how fast it goes.
    pub(super) fn skip(&self, n: u64) {
        self.bar.inc(n);
        self.bar.reset_eta();
    }

    /// A cell that needed no training, or is another's.
    pub(super) fn pass_by(&self, cell: &Cell) {
        self.show(self.n_ended.fetch_add(1, Ordering::Relaxed) + 1);
        self.skip(n_steps(cell));
    }

    /// A cell that this process trained.
    pub(super) fn end(&self, cell: &Cell, end: End) {
        let n_ended = self.n_ended.fetch_add(1, Ordering::Relaxed) + 1;
        self.show(n_ended);
        let told = match end {
            End::Finished => {
                let last = super::cell::epoch_of(&cell.run, cell.config.training.epochs);
                match last.ok().flatten() {
                    Some(m) => match (m.validation_neg_elbo, m.test_neg_elbo) {
                        (Some(validation), _) => format!("validation {validation:.2}"),
                        (None, Some(test)) => format!("test {test:.2}"),
                        (None, None) => format!("train {:.2}", m.train_neg_elbo),
                    },
                    None => "done".to_owned(),
                }
            }
            End::Diverged => "diverged".to_owned(),
            End::Stopped => "stopped; saved".to_owned(),
            End::Failed | End::Elsewhere => return,
        };
        self.say(&format!("{n_ended}/{}  {}  {told}", self.n_cells, cell.name));
    }

    /// Prints a line on stderr without disturbing the bar.
    pub(super) fn say(&self, text: &str) {
        self.bar.suspend(|| warn(text));
    }

    /// Says it, unless it was said.
    pub(super) fn say_once(&self, text: &str) {
        if !self.said.swap(true, Ordering::Relaxed) {
            self.say(text);
        }
    }

    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

fn n_steps(cell: &Cell) -> u64 {
    let settings = &cell.config.training;
    let n_batches = cell.dataset.train.len().div_ceil(settings.batch_size.max(1));
    (n_batches as u64).saturating_mul(settings.epochs as u64)
}
