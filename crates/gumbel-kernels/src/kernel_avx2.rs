//! Matrix tiles of 6 x 16 sums in AVX2 registers, two of them to a tile of 12 rows.
#![allow(
    unsafe_code,
    reason = "vector loads and stores take raw pointers, and the kernels need detected features"
)]
#![allow(
    clippy::needless_range_loop,
    reason = "arrays of registers are indexed together; iterators would hide which is which"
)]

use std::arch::x86_64::*;

use crate::chacha::{Words, rounds};
use crate::isa::{Kernel, Side};
use crate::lines::{LINE, Line, Tile};

/// Proof that the processor has AVX2, FMA and BMI2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Avx2(());

impl Avx2 {
    /// The token, if this processor has all of its features.
    pub(crate) fn detect() -> Option<Self> {
        let found = !cfg!(miri)
            && is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("bmi2");
        found.then_some(Avx2(()))
    }
}

impl Kernel for Avx2 {
    const TILE_ROWS: usize = 12;
    const TILE_LINES: usize = 1;

    fn spin(self, n: usize) -> usize {
        // SAFETY: the token proves the features.
        unsafe { spin(n) }
    }

    #[inline(always)]
    fn multiply(
        self,
        (rows, _lines, depth): (usize, usize, usize),
        a: Side<'_>,
        b: Side<'_>,
        fresh: bool,
        sums: &mut Tile,
    ) {
        macro_rules! by_height {
            ($($height:literal)*) => {
                match rows {
                    // SAFETY: the token proves the features.
                    $($height => unsafe {
                        const UPPER: usize = if $height > 6 { 6 } else { $height };
                        tile::<UPPER, 0>(depth, a, b, fresh, sums);
                        if $height > 6 {
                            tile::<{ $height - UPPER }, 6>(depth, a, b, fresh, sums);
                        }
                    },)*
                    _ => debug_assert!(false, "a tile of {rows} rows"),
                }
            };
        }
        by_height!(1 2 3 4 5 6 7 8 9 10 11 12);
    }

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
        // SAFETY: the token proves the features.
        unsafe { transpose(matrix, stride, rows, columns, step, out) }
    }

    #[inline(always)]
    fn chacha8(self, start: &Words, out: &mut Words) {
        // SAFETY: the token proves the features.
        unsafe { chacha8(start, out) }
    }
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn load(line: &Line, half: usize) -> __m256 {
    // SAFETY: the slice is bounds-checked: 8 values from an offset of 0 or 8, both aligned to 32 bytes.
    unsafe { _mm256_load_ps(line.0[8 * half..8 * half + 8].as_ptr()) }
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn store(line: &mut Line, half: usize, value: __m256) {
    // SAFETY: the slice is bounds-checked: 8 values from an offset of 0 or 8, both aligned to 32 bytes.
    unsafe { _mm256_store_ps(line.0[8 * half..8 * half + 8].as_mut_ptr(), value) }
}

/// Rows `FROM..FROM + ROWS` of the tile.
#[target_feature(enable = "avx2,fma")]
fn tile<const ROWS: usize, const FROM: usize>(
    depth: usize,
    a: Side<'_>,
    b: Side<'_>,
    fresh: bool,
    sums: &mut Tile,
) {
    let mut acc = [[_mm256_setzero_ps(); 2]; ROWS];
    if !fresh {
        for r in 0..ROWS {
            for h in 0..2 {
                acc[r][h] = load(&sums[FROM + r][0], h);
            }
        }
    }
    for k in 0..depth {
        let (a, b) = (a.at(k, FROM + ROWS), b.at(k, LINE));
        let right = [read(&b[..8]), read(&b[8..])];
        for r in 0..ROWS {
            let left = _mm256_set1_ps(a[FROM + r]);
            for h in 0..2 {
                acc[r][h] = _mm256_fmadd_ps(left, right[h], acc[r][h]);
            }
        }
    }
    for r in 0..ROWS {
        for h in 0..2 {
            store(&mut sums[FROM + r][0], h, acc[r][h]);
        }
    }
}

/// The first values, zero where there are fewer than 8.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn read(values: &[f32]) -> __m256 {
    let mut lanes = [0.0; 8];
    if let Some(values) = values.first_chunk::<8>() {
        lanes = *values;
    } else {
        lanes[..values.len()].copy_from_slice(values);
    }
    // SAFETY: 32 readable bytes; the load takes any alignment.
    unsafe { _mm256_loadu_ps(lanes.as_ptr()) }
}

/// Four blocks of 8 x 8: 32-bit, 64-bit, then 128-bit interleaving.
#[target_feature(enable = "avx2,fma")]
fn transpose(
    matrix: &[f32],
    stride: usize,
    rows: usize,
    columns: usize,
    step: usize,
    out: &mut [f32],
) {
    for row in 0..2 {
        for column in 0..2 {
            let mut x = [_mm256_setzero_ps(); 8];
            for i in 0..8 {
                if 8 * row + i < rows && 8 * column < columns {
                    let start = (8 * row + i) * stride;
                    x[i] = read(&matrix[start + 8 * column..start + columns]);
                }
            }
            let mut y = x;
            for i in 0..4 {
                y[2 * i] = _mm256_unpacklo_ps(x[2 * i], x[2 * i + 1]);
                y[2 * i + 1] = _mm256_unpackhi_ps(x[2 * i], x[2 * i + 1]);
            }
            // Afterwards x[4q + c] holds columns c and c + 4 of rows 4q..4q+4.
            for q in 0..2 {
                for h in 0..2 {
                    x[4 * q + 2 * h] = _mm256_shuffle_ps::<0x44>(y[4 * q + h], y[4 * q + 2 + h]);
                    x[4 * q + 2 * h + 1] =
                        _mm256_shuffle_ps::<0xee>(y[4 * q + h], y[4 * q + 2 + h]);
                }
            }
            for c in 0..4 {
                y[c] = _mm256_permute2f128_ps::<0x20>(x[c], x[4 + c]);
                y[4 + c] = _mm256_permute2f128_ps::<0x31>(x[c], x[4 + c]);
            }
            for c in 0..8 {
                if 8 * column + c < columns {
                    let start = (8 * column + c) * step + 8 * row;
                    let half = &mut out[start..start + 8];
                    // SAFETY: 32 writable bytes; the store takes any alignment.
                    unsafe { _mm256_storeu_ps(half.as_mut_ptr(), y[c]) };
                }
            }
        }
    }
}

/// Eight blocks at once, a register for each word of the state, twice.
#[target_feature(enable = "avx2,fma")]
fn chacha8(start: &Words, out: &mut Words) {
    #[inline]
    #[target_feature(enable = "avx2")]
    fn add(x: __m256i, y: __m256i) -> __m256i {
        _mm256_add_epi32(x, y)
    }
    #[inline]
    #[target_feature(enable = "avx2")]
    fn xor(x: __m256i, y: __m256i) -> __m256i {
        _mm256_xor_si256(x, y)
    }
    #[inline]
    #[target_feature(enable = "avx2")]
    fn rotate<const BY: i32>(x: __m256i) -> __m256i {
        let left = _mm256_sll_epi32(x, _mm_cvtsi32_si128(BY));
        _mm256_or_si256(left, _mm256_srl_epi32(x, _mm_cvtsi32_si128(32 - BY)))
    }
    #[inline]
    #[target_feature(enable = "avx2")]
    fn read(words: &[u32; 8]) -> __m256i {
        // SAFETY: 32 readable bytes; the load takes any alignment.
        unsafe { _mm256_loadu_si256(words.as_ptr().cast()) }
    }
    for half in 0..2 {
        let start = |w: usize| &start.0[w].as_chunks::<8>().0[half];
        let mut s = [_mm256_setzero_si256(); 16];
        for w in 0..16 {
            s[w] = read(start(w));
        }
        rounds::four_double_rounds!(s);
        for w in 0..16 {
            let out = &mut out.0[w].as_chunks_mut::<8>().0[half];
            // SAFETY: 32 writable bytes; the store takes any alignment.
            unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), add(s[w], read(start(w)))) };
        }
    }
}

#[target_feature(enable = "avx2,fma")]
fn spin(n: usize) -> usize {
    let mut acc = [_mm256_setzero_ps(); 12];
    let (factor, term) = (_mm256_set1_ps(0.75), _mm256_set1_ps(0.25));
    for _ in 0..n {
        for acc in &mut acc {
            *acc = _mm256_fmadd_ps(*acc, factor, term);
        }
    }
    std::hint::black_box(acc);
    n * acc.len() * 8 * 2
}
