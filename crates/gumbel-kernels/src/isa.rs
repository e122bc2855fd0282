//! Which vector instructions the running processor has, and how a task is compiled once for each of them.
#![allow(
    unsafe_code,
    reason = "calling a function compiled for an instruction set is unsafe; the tokens below prove that it was detected"
)]

#[cfg(target_arch = "aarch64")]
use crate::kernel_neon::Neon;
use crate::kernel_portable::Portable;
#[cfg(target_arch = "x86_64")]
use crate::{kernel_avx2::Avx2, kernel_avx512::Avx512};

use crate::bf16;
use crate::chacha::{Words, rounds};
use crate::lines::{LINE, Tile};

/// An instruction set that the running processor has. Values come from [`Isa::best`] and [`Isa::available`] only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Isa {
    /// 512-bit vectors: Intel since Skylake-X, AMD since Zen 4.
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
    /// 256-bit vectors with fused multiply-add: x86-64 since about 2013.
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    /// 128-bit vectors, on every 64-bit ARM.
    #[cfg(target_arch = "aarch64")]
    Neon(Neon),
    /// What the compiler makes of plain Rust for the target's baseline.
    Portable(Portable),
}

/// Work that is compiled for each instruction set.
///
/// `run` must be `#[inline(always)]`, and so must what it calls in its hot loops: only code inlined
/// into the dispatching function is compiled with that function's instructions.
pub(crate) trait Task {
    type Output;
    fn run<K: Kernel>(self, kernel: K) -> Self::Output;
}

/// The parts of a matrix product that are written by hand for each instruction set.
pub(crate) trait Kernel: Copy + Send + Sync {
    /// Height of the largest tile of sums.
    const TILE_ROWS: usize;
    /// Width of the largest tile of sums in lines of 16 values: 1 or 2.
    const TILE_LINES: usize;

    /// Adds the product of `a`, `rows` values for each step of the depth, and `b`, `lines` times 16
    /// values for each step, to `sums`, or to zero if `fresh`. `shape` is `(rows, lines, depth)`.
    fn multiply(
        self,
        shape: (usize, usize, usize),
        a: Side<'_>,
        b: Side<'_>,
        fresh: bool,
        sums: &mut Tile,
    );

    /// Runs `n` rounds of multiply-adds in registers and gives how many floating-point operations that were.
    fn spin(self, n: usize) -> usize;

    /// [`Self::multiply`] of pairs of bf16 (see `bf16.rs`).
    #[inline(always)]
    fn multiply_pairs(
        self,
        shape: (usize, usize, usize),
        a: Side<'_>,
        b: Side<'_>,
        fresh: bool,
        sums: &mut Tile,
    ) {
        bf16::multiply_pairs(shape, a, b, fresh, sums);
    }

    /// [`Self::spin`] with pairs of bf16; 0 where there is no instruction for them.
    fn spin_pairs(self, _n: usize) -> usize {
        0
    }

    /// Writes the pairs of two rows, `(first[j], second[j])`, or with zeros where there is no second.
    #[inline(always)]
    fn pair_rows(self, first: &[f32], second: Option<&[f32]>, out: &mut [f32]) {
        for (j, (out, &first)) in out.iter_mut().zip(first).enumerate() {
            *out = bf16::pair(first, second.map_or(0.0, |second| second[j]));
        }
    }

    /// [`Self::transpose`] of the pairs along each row: `columns` is at most 32, and line `j` of `out` takes the
    /// pairs `(2 j, 2 j + 1)`, with a zero beyond the last column.
    #[inline(always)]
    fn transpose_pairs(
        self,
        matrix: &[f32],
        stride: usize,
        rows: usize,
        columns: usize,
        step: usize,
        out: &mut [f32],
    ) {
        for j in 0..columns.div_ceil(2) {
            let line = &mut out[j * step..j * step + LINE];
            line.fill(0.0);
            for (i, pair) in line.iter_mut().enumerate().take(rows) {
                let first = i * stride + 2 * j;
                let second = if 2 * j + 1 < columns { matrix[first + 1] } else { 0.0 };
                *pair = bf16::pair(matrix[first], second);
            }
        }
    }

    /// Writes column `j < columns` of a matrix of up to 16 rows of `stride` values to the 16 values of
    /// `out` from `j * step` on.
    ///
    /// `columns` is at most 16; lanes beyond the rows become zero.
    #[inline(always)]
    fn transpose(
        self,
        matrix: &[f32],
        stride: usize,
        rows: usize,
        columns: usize,
        step: usize,
        out: &mut [f32],
    ) {
        for j in 0..columns {
            let line = &mut out[j * step..j * step + LINE];
            line.fill(0.0);
            for i in 0..rows {
                line[i] = matrix[i * stride + j];
            }
        }
    }

    /// Adds to each word of sixteen ChaCha states, `start[word][block]`, the word after 8 rounds.
    #[inline(always)]
    fn chacha8(self, start: &Words, out: &mut Words) {
        rounds::portable(start, out);
    }

    /// The first 16 values, `fill` where there are fewer.
    #[inline(always)]
    fn load(self, values: &[f32], fill: f32) -> [f32; LINE] {
        let mut lanes = [fill; LINE];
        for (lane, value) in lanes.iter_mut().zip(values) {
            *lane = *value;
        }
        lanes
    }

    /// Writes the first 16 values, or as many as there is room for.
    #[inline(always)]
    fn store(self, lanes: &[f32; LINE], out: &mut [f32]) {
        for (out, lane) in out.iter_mut().zip(lanes) {
            *out = *lane;
        }
    }
}

/// One side of a product as a tile reads it: the values of step `k` of the depth start at `k * stride`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Side<'a> {
    pub(crate) values: &'a [f32],
    pub(crate) stride: usize,
}

impl<'a> Side<'a> {
    /// The first `len` values of a step.
    #[inline(always)]
    pub(crate) fn at(&self, k: usize, len: usize) -> &'a [f32] {
        &self.values[k * self.stride..k * self.stride + len]
    }
}

#[cfg(test)]
thread_local! {
    /// What [`Isa::best`] gives on this thread, for tests of the public functions.
    static FORCED: std::cell::Cell<Option<Isa>> = const { std::cell::Cell::new(None) };
}

impl Isa {
    /// The fastest instruction set of this processor.
    pub(crate) fn best() -> Self {
        #[cfg(test)]
        if let Some(forced) = FORCED.get() {
            return forced;
        }
        Self::detected()
    }

    /// Runs `body` as on a processor that has this instruction set at most.
    #[cfg(test)]
    pub(crate) fn force(self, body: impl FnOnce()) {
        FORCED.set(Some(self));
        body();
        FORCED.set(None);
    }

    #[cfg(target_arch = "x86_64")]
    fn detected() -> Self {
        if let Some(token) = Avx512::detect() {
            Isa::Avx512(token)
        } else if let Some(token) = Avx2::detect() {
            Isa::Avx2(token)
        } else {
            Isa::Portable(Portable)
        }
    }

    #[cfg(target_arch = "aarch64")]
    fn detected() -> Self {
        Neon::detect().map_or(Isa::Portable(Portable), Isa::Neon)
    }

    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    fn detected() -> Self {
        Isa::Portable(Portable)
    }

    /// Every instruction set that this processor can run, so that tests can force each of them.
    #[cfg(test)]
    pub(crate) fn available() -> Vec<Self> {
        let mut all = vec![Isa::Portable(Portable)];
        #[cfg(target_arch = "x86_64")]
        {
            all.extend(Avx2::detect().map(Isa::Avx2));
            all.extend(Avx512::detect().map(Isa::Avx512));
        }
        #[cfg(target_arch = "aarch64")]
        all.extend(Neon::detect().map(Isa::Neon));
        all
    }

    /// The name that benchmarks print.
    pub(crate) fn name(self) -> &'static str {
        match self {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(_) => "avx512",
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(_) => "avx2",
            #[cfg(target_arch = "aarch64")]
            Isa::Neon(_) => "neon",
            Isa::Portable(_) => "portable",
        }
    }

    /// Runs `task` compiled for this instruction set.
    #[inline]
    pub(crate) fn dispatch<T: Task>(self, task: T) -> T::Output {
        match self {
            // SAFETY: an `Avx512` exists only after all of these features were detected.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(token) => unsafe { run_avx512(token, task) },
            // SAFETY: an `Avx2` exists only after all of these features were detected.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(token) => unsafe { run_avx2(token, task) },
            // NEON belongs to the baseline of aarch64: nothing to enable.
            #[cfg(target_arch = "aarch64")]
            Isa::Neon(token) => task.run(token),
            Isa::Portable(token) => task.run(token),
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,bmi2")]
fn run_avx512<T: Task>(token: Avx512, task: T) -> T::Output {
    task.run(token)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,bmi2")]
fn run_avx2<T: Task>(token: Avx2, task: T) -> T::Output {
    task.run(token)
}
