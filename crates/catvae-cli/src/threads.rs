//! The threads that the work is shared among.

use std::env;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use std::thread::{self, available_parallelism};

use anyhow::{Context, Result, ensure};
use rayon::ThreadPoolBuilder;

const VARIABLE: &str = "RAYON_NUM_THREADS";
/// As many threads may be asked for on a machine with fewer cores.
const ALWAYS_ALLOWED: usize = 64;

/// Makes the pool, of as many threads as the flag says, else the variable, else as there are cores. Where the system
/// gives fewer threads, it has fewer, down to this one alone: left to itself, the pool would end the program. So would
/// candle's own, which reads the variable and nothing else, so that the program starts itself anew with it.
pub(crate) fn start(flag: Option<NonZeroUsize>) -> Result<()> {
    let cores = available_parallelism().map_or(1, usize::from);
    let in_variable = of_variable()?;
    let (by, asked) = match flag {
        Some(n) => ("--threads", Some(n.get())),
        None => (VARIABLE, in_variable.filter(|&n| n > 0)),
    };
    let wanted = asked.unwrap_or(cores);
    let most = cores.max(ALWAYS_ALLOWED);
    ensure!(
        wanted <= most,
        "{by} is {wanted}, but at most {most} threads are of use with {cores} cores"
    );

    // The pool can be made once only, so what can be had is tried with other threads.
    let had = threads_to_be_had(wanted);
    let n_threads = had.max(1);
    #[cfg(unix)]
    if (flag.is_some() || had < wanted) && in_variable != Some(n_threads) {
        start_again(n_threads);
    }
    let pool = match had {
        0 => ThreadPoolBuilder::new().num_threads(1).use_current_thread(),
        _ => ThreadPoolBuilder::new().num_threads(n_threads),
    };
    let built = pool.build_global();
    // It cannot be tried twice in one process, and whoever uses the pool then ends the program.
    #[cfg(unix)]
    if built.is_err() && n_threads > 1 {
        start_again(1);
    }
    built.context("the system gives no threads")
}

/// What the variable says; 0 stands for the number of cores.
fn of_variable() -> Result<Option<usize>> {
    let Some(text) = env::var_os(VARIABLE) else { return Ok(None) };
    let number = text.to_str().and_then(|text| text.trim().parse().ok());
    number.map(Some).with_context(|| {
        format!("{VARIABLE} is {text:?}, but must be a number of threads; 0 or no such variable takes all cores")
    })
}

/// Becomes the same program with the variable set; goes on as it is where that fails.
#[cfg(unix)]
fn start_again(n_threads: usize) {
    use std::os::unix::process::CommandExt;

    if let Ok(program) = env::current_exe() {
        let mut again = std::process::Command::new(program);
        again.args(env::args_os().skip(1));
        let _failed = again.env(VARIABLE, n_threads.to_string()).exec();
    }
}

/// How many threads can live at once, at most `wanted`.
fn threads_to_be_had(wanted: usize) -> usize {
    let gate = Arc::new(Mutex::new(()));
    let closed = gate.lock();
    let threads: Vec<_> = (0..wanted)
        .map_while(|_| {
            let gate = Arc::clone(&gate);
            thread::Builder::new().spawn(move || drop(gate.lock())).ok()
        })
        .collect();
    drop(closed);
    threads.into_iter().map(thread::JoinHandle::join).filter(Result::is_ok).count()
}
