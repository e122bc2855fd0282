//! Saving a run from another thread, while a step that takes long is under way.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use catvae_model::Parameter;

use crate::checkpoint::{Moment, Snapshot};
use crate::{LockedRun, Moments, Optimizer, OptimizerKind, Result};

/// The state that a trainer's step or evaluation began with, for as long as no parameter has changed since. From
/// [`Trainer::rescue`](crate::Trainer::rescue).
#[derive(Debug)]
pub struct Rescue {
    parameters: Vec<Parameter>,
    moments: Vec<Moments>,
    optimizer: OptimizerKind,
    phase: Mutex<Phase>,
}

#[derive(Debug)]
enum Phase {
    /// Parameters may be changing.
    Closed,
    /// Parameters are those of this moment.
    Open(Box<Moment>),
    /// They stay so for ever.
    Frozen,
}

impl Rescue {
    pub(crate) fn new(parameters: Vec<Parameter>, optimizer: &Optimizer) -> Self {
        let (moments, kind) = (optimizer.moments().to_vec(), optimizer.kind());
        Self { parameters, moments, optimizer: kind, phase: Mutex::new(Phase::Closed) }
    }

    /// Saves the state that the step or evaluation under way began with, as a checkpoint of the run, and keeps the
    /// newest `keep`. Nothing where neither is under way: the trainer's own events are then near.
    ///
    /// After a save **the trainer's thread never goes on**: its next change would not be in the checkpoint. The caller ends
    /// the process.
    ///
    /// # Errors
    /// Those of writing a checkpoint.
    pub fn save(&self, run: &LockedRun, keep: usize) -> Result<Option<PathBuf>> {
        let mut phase = self.phase();
        let moment = match &*phase {
            Phase::Open(moment) => moment.clone(),
            Phase::Closed | Phase::Frozen => return Ok(None),
        };
        *phase = Phase::Frozen;
        drop(phase);
        let Self { parameters, moments, optimizer, .. } = self;
        let snapshot = Snapshot { parameters, moments, optimizer: *optimizer, moment: &moment };
        run.write(|| run.checkpoints().save(&snapshot, keep)).map(Some)
    }

    /// The parameters stay as they are at this moment until [`Self::close`].
    pub(crate) fn open(&self, moment: Moment) {
        *self.going_on() = Phase::Open(Box::new(moment));
    }

    /// From here on, parameters may change.
    pub(crate) fn close(&self) {
        *self.going_on() = Phase::Closed;
    }

    /// Never returns once the state was saved.
    fn going_on(&self) -> MutexGuard<'_, Phase> {
        let phase = self.phase();
        if matches!(*phase, Phase::Frozen) {
            drop(phase);
            loop {
                std::thread::park();
            }
        }
        phase
    }

    fn phase(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
