//! Ctrl-C and SIGTERM: the first asks the run to save and stop, the second ends it at once.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use anyhow::{Context, Result};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// Hears signals from its creation on.
pub(crate) struct Signals {
    received: Arc<AtomicUsize>,
}

impl Signals {
    /// Starts listening.
    pub(crate) fn listen() -> Result<Self> {
        let received = Arc::new(AtomicUsize::new(0));
        let stopping = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            // Handlers run in the order in which they are registered: this one sees the flag of an
            // earlier signal only.
            flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&stopping))
                .and_then(|_| flag::register(signal, Arc::clone(&stopping)))
                .and_then(|_| flag::register_usize(signal, Arc::clone(&received), signal as usize))
                .context("cannot listen for signals")?;
        }
        Ok(Self { received })
    }

    /// The exit code of the signal heard, if any: 130 for Ctrl-C, 143 for SIGTERM.
    pub(crate) fn exit_code(&self) -> Option<ExitCode> {
        match self.received.load(Ordering::Relaxed) {
            0 => None,
            signal => Some(ExitCode::from(128 + signal as u8)),
        }
    }
}
