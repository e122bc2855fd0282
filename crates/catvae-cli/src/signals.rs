//! Ctrl-C, SIGTERM and their like: the first asks the run to save and stop, the second ends it at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
#[cfg(unix)]
use signal_hook::consts::{SIGHUP, SIGXCPU, SIGXFSZ};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// What asks a run to stop. A terminal that closes sends HUP, a limit of processor time XCPU.
#[cfg(unix)]
const STOPS: [i32; 4] = [SIGINT, SIGTERM, SIGHUP, SIGXCPU];
#[cfg(not(unix))]
const STOPS: [i32; 2] = [SIGINT, SIGTERM];

/// Hears signals from its creation on.
pub(crate) struct Signals {
    received: Arc<AtomicUsize>,
}

impl Signals {
    /// Starts listening. A signal that was ignored at the start stays ignored: `nohup` ignores HUP, and a shell
    /// without job control has its background commands ignore INT.
    pub(crate) fn listen() -> Result<Self> {
        let received = Arc::new(AtomicUsize::new(0));
        let stopping = Arc::new(AtomicBool::new(false));
        let ignored = ignored();
        for signal in STOPS {
            // Where nobody can tell, HUP is left as it is: `nohup` has to go on working.
            let is_ignored = match ignored {
                Some(mask) => mask >> (signal - 1) & 1 == 1,
                None => ![SIGINT, SIGTERM].contains(&signal),
            };
            if !is_ignored {
                listen_to(signal, &stopping, &received).context("cannot listen for signals")?;
            }
        }
        Ok(Self { received })
    }

    /// The exit code of the signal heard, if any: 130 for Ctrl-C, 143 for SIGTERM.
    pub(crate) fn exit_code(&self) -> Option<u8> {
        match self.received.load(Ordering::Relaxed) {
            0 => None,
            signal => Some(128 + signal as u8),
        }
    }
}

/// How long a run may take to hear of a signal by itself.
const PATIENCE: Duration = Duration::from_millis(500);

impl Signals {
    /// Runs something that looks at [`Self::exit_code`] now and then. Where it does not end in half a second after a signal,
    /// as in a step that takes minutes, `rescue` is called until it says that all is saved, and the program ends.
    pub(crate) fn while_running<T>(
        &self,
        rescue: &(dyn Fn() -> bool + Sync),
        run: impl FnOnce() -> T,
    ) -> T {
        let ended = AtomicBool::new(false);
        thread::scope(|scope| {
            let watch = || {
                let mut heard = None;
                while !ended.load(Ordering::Relaxed) {
                    thread::sleep(PATIENCE / 10);
                    let Some(code) = self.exit_code() else { continue };
                    let is_late = heard.get_or_insert_with(Instant::now).elapsed() > PATIENCE;
                    if is_late && !ended.load(Ordering::Relaxed) && rescue() {
                        std::process::exit(code.into());
                    }
                }
            };
            // Without the thread, signals are heard at the end of a step.
            let _ = thread::Builder::new().spawn_scoped(scope, watch);
            let _end = OnDrop(|| ended.store(true, Ordering::Relaxed));
            run()
        })
    }
}

/// Calls a function at its end, also in a panic.
struct OnDrop<F: Fn()>(F);

impl<F: Fn()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        self.0();
    }
}

fn listen_to(
    signal: i32,
    stopping: &Arc<AtomicBool>,
    received: &Arc<AtomicUsize>,
) -> std::io::Result<()> {
    // A limit of processor time is signalled every second, however fast the run obeys.
    #[cfg(unix)]
    let may_repeat = signal == SIGXCPU;
    #[cfg(not(unix))]
    let may_repeat = false;
    // Handlers run in the order in which they are registered: this one sees the flag of an
    // earlier signal only.
    if !may_repeat {
        flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(stopping))?;
    }
    flag::register(signal, Arc::clone(stopping))?;
    flag::register_usize(signal, Arc::clone(received), signal as usize)?;
    Ok(())
}

/// The mask of the ignored signals, as Linux tells it.
fn ignored() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
    u64::from_str_radix(mask.trim(), 16).ok()
}

/// Has a write beyond a limit of file sizes fail with an error that can be told, where the signal would end the
/// program without a word.
pub(crate) fn survive_file_size_limit() {
    #[cfg(unix)]
    // Without the handler everything is as it would be without this call.
    let _ = flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)));
}
