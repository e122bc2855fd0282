//! The workers: threads that walk the cells, each with a thread pool of its own.
//!
//! Within a process a queue hands every cell to one worker. Between processes the lock of the run folder decides, so
//! that any number of them, on any machines that share the folder, may walk the same cells.

use std::collections::VecDeque;
use std::panic::resume_unwind;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use candle_core::Device;
use rayon::ThreadPoolBuilder;

use super::progress::Progress;
use super::{Cell, End, claim};
use crate::signals::Signals;

/// Who trains.
pub(crate) struct Crew {
    pub(crate) n_workers: usize,
    /// Threads of each worker; their number changes no result.
    pub(crate) n_threads: usize,
    pub(crate) device: Device,
    /// Whether runs get an event file for TensorBoard.
    pub(crate) events: bool,
    /// The cell that is tried first: processes that begin at different ones seldom meet.
    pub(crate) first: usize,
}

/// What became of the cells, and of the workers' time.
pub(crate) struct Report {
    /// One for each cell, in their order.
    pub(crate) ends: Vec<End>,
    /// Cells that this process trained at.
    pub(crate) n_trained: usize,
    pub(crate) elapsed: Duration,
    /// The part of their time that workers spent between cells, until the first of them found none left.
    pub(crate) idle: f64,
}

/// Trains every cell to its last epoch, unless another process does or a signal comes. Cells that are done already cost
/// a look into their folders. A cell that fails is told and keeps no other from being trained.
///
/// # Errors
/// A folder that holds a run with other settings, before anything is trained; no threads.
pub(crate) fn run_cells(cells: &[Cell], crew: &Crew, signals: &Signals) -> Result<Report> {
    cells.iter().try_for_each(Cell::check_folder)?;
    let n_workers = crew.n_workers.clamp(1, cells.len().max(1));
    let n = cells.len();
    let walk = Walk {
        cells,
        crew,
        signals,
        progress: Progress::start(cells, n_workers),
        queue: Mutex::new((0..n).map(|i| ((crew.first + i) % n, true)).collect()),
        ends: Mutex::new(vec![End::Stopped; n]),
    };
    let pool = || ThreadPoolBuilder::new().num_threads(crew.n_threads.max(1)).build();
    let pools: Vec<_> = (0..n_workers).map_while(|_| pool().ok()).collect();
    let start = Instant::now();
    let shifts: Vec<Shift> = thread::scope(|scope| {
        let workers: Vec<_> = pools
            .iter()
            .map_while(|pool| {
                let work = || pool.install(|| walk.work());
                thread::Builder::new().spawn_scoped(scope, work).ok()
            })
            .collect();
        let ended = workers.into_iter().map(thread::ScopedJoinHandle::join);
        ended.map(|shift| shift.unwrap_or_else(|panic| resume_unwind(panic))).collect()
    });
    let elapsed = start.elapsed();
    walk.progress.finish();
    // Until here all had something to do.
    let until =
        shifts.iter().map(|shift| shift.ended).min().context("the system gives no threads")?;
    let whole = until.duration_since(start).as_secs_f64() * shifts.len() as f64;
    let busy: f64 = shifts
        .iter()
        .flat_map(|shift| &shift.busy)
        .map(|(from, to)| (*to).min(until).saturating_duration_since(*from).as_secs_f64())
        .sum();
    Ok(Report {
        ends: walk.ends.into_inner().unwrap_or_else(PoisonError::into_inner),
        n_trained: shifts.iter().map(|shift| shift.busy.len()).sum(),
        elapsed,
        idle: (1.0 - busy / whole.max(f64::MIN_POSITIVE)).clamp(0.0, 1.0),
    })
}

struct Walk<'a> {
    cells: &'a [Cell],
    crew: &'a Crew,
    signals: &'a Signals,
    progress: Progress,
    /// Cells to try, and whether to try once more if another process has them: it may die.
    queue: Mutex<VecDeque<(usize, bool)>>,
    ends: Mutex<Vec<End>>,
}

/// A worker's time: when it trained, and when there was no cell left for it.
struct Shift {
    busy: Vec<(Instant, Instant)>,
    ended: Instant,
}

impl Walk<'_> {
    fn work(&self) -> Shift {
        let mut busy = Vec::new();
        while self.signals.exit_code().is_none() {
            let next = self.queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            let Some((i, again)) = next else { break };
            let cell = &self.cells[i];
            let end = match cell.end() {
                Ok(Some(end)) => {
                    self.progress.pass_by(cell);
                    end
                }
                _ => {
                    let from = Instant::now();
                    let end = self.train(cell);
                    match end {
                        End::Elsewhere if again => {
                            let mut queue =
                                self.queue.lock().unwrap_or_else(PoisonError::into_inner);
                            queue.push_back((i, false));
                            continue;
                        }
                        End::Elsewhere => self.progress.pass_by(cell),
                        end => {
                            busy.push((from, Instant::now()));
                            self.progress.end(cell, end);
                        }
                    }
                    end
                }
            };
            self.ends.lock().unwrap_or_else(PoisonError::into_inner)[i] = end;
        }
        Shift { busy, ended: Instant::now() }
    }

    fn train(&self, cell: &Cell) -> End {
        let trained = claim::train(cell, self.crew, self.signals, &self.progress);
        trained.unwrap_or_else(|error| {
            self.progress.say(&format!("error: {}: {error:#}", cell.name));
            End::Failed
        })
    }
}
