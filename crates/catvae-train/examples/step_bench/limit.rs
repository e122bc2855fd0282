//! What this processor allows: multiply-adds in registers, and streaming through memory, each measured on all threads.

use std::hint::black_box;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rayon::prelude::*;

/// Billions of floating-point operations a second, f32.
pub(crate) fn peak_gflops() -> f64 {
    static PEAK: OnceLock<f64> = OnceLock::new();
    *PEAK.get_or_init(|| {
        let duration = Duration::from_millis(200);
        rayon::broadcast(|_| gumbel_kernels::peak_gflops(duration)).iter().sum()
    })
}

/// What a piece of work cannot do without.
#[derive(Clone, Copy)]
pub(crate) struct Needs {
    /// Operations, in billions of f32's.
    pub(crate) gflop: f64,
    /// Values that are read or written, each once.
    pub(crate) values: usize,
}

impl Needs {
    /// The least milliseconds for it: the longer of computing and streaming.
    pub(crate) fn ms(self) -> f64 {
        (self.gflop / peak_gflops()).max(streaming_seconds(self.values)) * 1e3
    }
}

/// The shortest time for reading and writing this many values, two reads to a write; blocks lie where blocks of their
/// size come to lie.
fn streaming_seconds(n_values: usize) -> f64 {
    let n = n_values / 3;
    let (a, b, mut sum) = (vec![1.0_f32; n], vec![2.0_f32; n], vec![0.0_f32; n]);
    let len = n.div_ceil(rayon::current_num_threads()).max(1);
    let (end, mut best) = (Instant::now() + Duration::from_millis(50), f64::INFINITY);
    while Instant::now() < end {
        let start = Instant::now();
        sum.par_chunks_mut(len).zip(a.par_chunks(len)).zip(b.par_chunks(len)).for_each(
            |((sum, a), b)| {
                for ((sum, a), b) in sum.iter_mut().zip(a).zip(b) {
                    *sum = a + b;
                }
            },
        );
        best = best.min(start.elapsed().as_secs_f64());
        black_box(&mut sum);
    }
    best
}
