//! Threads that stay awake for the length of a step.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rayon::Yield;

/// Threads that are kept awake at most: more find nothing to do in a product of a hundred rows, and
/// would only crowd the queue they look at.
const MAX_AWAKE: usize = 8;

/// How long a thread looks for work without finding any. The serial parts of a step are shorter; where nothing comes
/// for longer, the thread with the work is not running, because another program has its core, and to look on would
/// only take the core from it.
const PATIENCE: Duration = Duration::from_micros(50);

/// Runs `body` inside the thread pool and keeps the pool's other threads looking for work until it is
/// done.
///
/// A step is some thirty short parallel operations with short serial ones between them. Left alone, a
/// thread without work gives way to the system after every look at the queues and soon goes to
/// sleep, and to wake it takes longer than a small product.
pub(crate) fn awake<R: Send>(body: impl FnOnce() -> R + Send) -> R {
    let done = AtomicBool::new(false);
    let done = &done;
    rayon::scope(|scope| {
        let here = rayon::current_thread_index();
        for _ in 1..rayon::current_num_threads().min(MAX_AWAKE) {
            scope.spawn(move |_| {
                // Here, `body` would wait for itself.
                let elsewhere = rayon::current_thread_index() != here;
                let mut last_work = Instant::now();
                while elsewhere && !done.load(Ordering::Relaxed) && last_work.elapsed() < PATIENCE {
                    match rayon::yield_now() {
                        Some(Yield::Executed) => last_work = Instant::now(),
                        _ => spin_loop(),
                    }
                }
            });
        }
        let _done = SetOnDrop(done);
        body()
    })
}

/// Also when `body` panics: the scope waits for what it has spawned.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_inside_is_done_and_its_result_returned_with_any_number_of_threads() {
        for n_threads in [1, 2, 3, 12] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
            // Often, so that every order of stealing has its chance.
            for round in 0..200 {
                let sum = pool.install(|| {
                    awake(|| {
                        let (left, right) = rayon::join(|| round, || awake(|| 2 * round));
                        left + right
                    })
                });
                assert_eq!(sum, 3 * round);
            }
        }
    }

    #[test]
    fn a_panic_inside_does_not_leave_the_others_waiting() {
        let panicked = std::panic::catch_unwind(|| awake(|| panic!("on purpose")));
        assert!(panicked.is_err());
    }
}
