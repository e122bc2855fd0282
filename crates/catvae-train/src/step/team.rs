//! The threads of a step: how many, and that they stay awake for its length.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rayon::{ThreadPool, ThreadPoolBuilder, Yield};

use super::choice::Choice;

/// Threads that are kept awake at most: more find nothing to do in a product of a hundred rows, and
/// would only crowd the queue they look at.
const MAX_AWAKE: usize = 8;

/// How long a thread looks for work without finding any. The serial parts of a step are shorter; where nothing comes
/// for longer, the thread with the work is not running, because another program has its core, and to look on would
/// only take the core from it.
const PATIENCE: Duration = Duration::from_micros(50);

/// Takes steps with all threads or with fewer, as is faster at the time: what a step computes depends on their number
/// in no bit. Where `RAYON_NUM_THREADS` gives the number, it stays.
#[derive(Debug, Default)]
pub(crate) struct Team {
    choice: Option<Choice>,
    /// Of each level but the first, which is the pool around.
    pools: Vec<Option<ThreadPool>>,
}

impl Team {
    /// Takes a step, and its time.
    pub(crate) fn step<R: Send>(&mut self, body: impl FnOnce() -> R + Send) -> R {
        let choice = self.choice.get_or_insert_with(|| {
            let is_fixed = std::env::var_os("RAYON_NUM_THREADS").is_some();
            Choice::new(if is_fixed { 1 } else { rayon::current_num_threads() })
        });
        let level = choice.level();
        let start = Instant::now();
        let result = match pool(&mut self.pools, level) {
            Some(pool) => pool.install(|| awake(body)),
            None => awake(body),
        };
        choice.record(start.elapsed().as_secs_f64());
        result
    }
}

/// The pool of a level, made at its first use; none for the first, and where the system gives no threads for it.
fn pool(pools: &mut Vec<Option<ThreadPool>>, level: usize) -> Option<&ThreadPool> {
    while pools.len() < level {
        let n_threads = rayon::current_num_threads() >> (pools.len() + 1);
        pools.push(ThreadPoolBuilder::new().num_threads(n_threads.max(1)).build().ok());
    }
    pools.get(level.checked_sub(1)?)?.as_ref()
}

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
    fn steps_are_taken_whatever_the_number_of_threads() {
        for n_threads in [1, 2, 3, 12] {
            let pool = ThreadPoolBuilder::new().num_threads(n_threads).build().unwrap();
            let mut team = Team { choice: Some(Choice::new(n_threads)), ..Team::default() };
            let mut seen = Vec::new();
            for _ in 0..200 {
                seen.push(pool.install(|| team.step(rayon::current_num_threads)));
            }
            assert!(seen.iter().all(|&n| (1..=n_threads).contains(&n)), "{seen:?}");
            assert!(seen.contains(&(n_threads / 2).max(1)), "{seen:?}");
        }
    }

    #[test]
    fn a_panic_inside_does_not_leave_the_others_waiting() {
        let panicked = std::panic::catch_unwind(|| awake(|| panic!("on purpose")));
        assert!(panicked.is_err());
    }
}
