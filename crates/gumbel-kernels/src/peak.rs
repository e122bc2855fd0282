//! The multiply-add rate that one core can reach at most.

use std::time::{Duration, Instant};

use crate::isa::{Isa, Kernel, Task};

/// Billions of floating-point operations a second that this thread reaches with multiply-adds in
/// registers: the bound that the products of this crate are measured against. Takes `duration`,
/// and reports the fastest slice of it, so that an interruption does not count.
pub fn peak_gflops(duration: Duration) -> f64 {
    let end = Instant::now() + duration;
    let mut best = 0.0f64;
    loop {
        let start = Instant::now();
        let operations = Isa::best().dispatch(Spin);
        best = best.max(operations as f64 / start.elapsed().as_secs_f64() / 1e9);
        if Instant::now() >= end {
            return best;
        }
    }
}

struct Spin;

impl Task for Spin {
    type Output = usize;

    #[inline(always)]
    fn run<K: Kernel>(self, kernel: K) -> usize {
        kernel.spin(if cfg!(miri) { 10 } else { 10_000 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_instruction_set_reports_the_operations_it_did() {
        for isa in Isa::available() {
            assert!(isa.dispatch(Spin) >= 10 * 32 * 2);
        }
        assert!(peak_gflops(Duration::ZERO) > 0.0);
    }
}
