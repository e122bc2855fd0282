//! The threads that the work is shared among.

use std::sync::{Arc, Mutex};
use std::thread::{self, available_parallelism};

use rayon::ThreadPoolBuilder;

/// Makes the pool. Where the system gives fewer threads than asked for, it has fewer, down to this one alone:
/// left to itself, the pool would end the program. So would candle's own, which reads the same variable and
/// nothing else, so that the program starts itself anew with it.
pub(crate) fn start() {
    let asked = std::env::var("RAYON_NUM_THREADS").ok().and_then(|n| n.parse().ok());
    let wanted = match asked {
        None | Some(0) => available_parallelism().map_or(1, usize::from),
        Some(n) => n,
    };
    // The pool can be made once only, so what can be had is tried with other threads.
    let had = threads_to_be_had(wanted);
    if had < wanted {
        #[cfg(unix)]
        if wanted > 1 {
            start_again(had.max(1));
        }
        let pool = match had {
            0 => ThreadPoolBuilder::new().num_threads(1).use_current_thread(),
            _ => ThreadPoolBuilder::new().num_threads(had),
        };
        // A failure here is one of the first use as well, and told there.
        let _ = pool.build_global();
    }
}

/// Becomes the same program with the variable set; goes on as it is where that fails.
#[cfg(unix)]
fn start_again(n_threads: usize) {
    use std::os::unix::process::CommandExt;

    if let Ok(program) = std::env::current_exe() {
        let mut again = std::process::Command::new(program);
        again.args(std::env::args_os().skip(1));
        let _failed = again.env("RAYON_NUM_THREADS", n_threads.to_string()).exec();
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
