//! Matrix tiles of 14 x 32 sums in AVX-512 registers.
//!
//! 28 of the 32 registers hold sums, two hold a line of `b`, one a value of `a` spread over all lanes.
//! Each step of the depth takes 16 loads for 28 multiply-adds, well below the two loads a cycle that
//! these processors have, so the multiply-add units are the only bound.
#![allow(
    unsafe_code,
    reason = "vector loads and stores take raw pointers, and the kernels need detected features"
)]
#![allow(
    clippy::needless_range_loop,
    reason = "arrays of registers are indexed together; iterators would hide which is which"
)]

use std::arch::x86_64::*;

use crate::bf16;
use crate::chacha::{Words, rounds};
use crate::isa::{Kernel, Side};
use crate::kernel_portable::Portable;
use crate::lines::{LINE, Line, Tile};

/// Proof that the processor has AVX-512 (F, BW, DQ, VL), AVX2, FMA and BMI2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Avx512 {
    /// Whether it also has the dot product of pairs of bf16.
    has_bf16: bool,
}

impl Avx512 {
    /// The token, if this processor has all of its features.
    pub(crate) fn detect() -> Option<Self> {
        let found = !cfg!(miri)
            && is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("bmi2");
        found.then(|| Avx512 { has_bf16: is_x86_feature_detected!("avx512bf16") })
    }
}

impl Kernel for Avx512 {
    const TILE_ROWS: usize = 14;
    const TILE_LINES: usize = 2;

    fn spin(self, n: usize) -> usize {
        // SAFETY: the token proves the features.
        unsafe { spin(n) }
    }

    #[inline(always)]
    fn multiply(
        self,
        (rows, lines, depth): (usize, usize, usize),
        a: Side<'_>,
        b: Side<'_>,
        fresh: bool,
        sums: &mut Tile,
    ) {
        macro_rules! by_height {
            ($($height:literal)*) => {
                match (rows, lines) {
                    // SAFETY: the token proves the features.
                    $(($height, 2) => unsafe { tile::<$height, 2>(depth, a, b, fresh, sums) },
                    ($height, 1) => unsafe { tile::<$height, 1>(depth, a, b, fresh, sums) },)*
                    _ => debug_assert!(false, "a tile of {rows} rows and {lines} lines"),
                }
            };
        }
        by_height!(1 2 3 4 5 6 7 8 9 10 11 12 13 14);
    }

    #[inline(always)]
    fn multiply_pairs(
        self,
        shape @ (rows, lines, depth): (usize, usize, usize),
        a: Side<'_>,
        b: Side<'_>,
        fresh: bool,
        sums: &mut Tile,
    ) {
        if !self.has_bf16 {
            return bf16::multiply_pairs(shape, a, b, fresh, sums);
        }
        macro_rules! by_height {
            ($($height:literal)*) => {
                match (rows, lines) {
                    // SAFETY: the token proves the features, and the field that of bf16.
                    $(($height, 2) => unsafe { tile_pairs::<$height, 2>(depth, a, b, fresh, sums) },
                    ($height, 1) => unsafe { tile_pairs::<$height, 1>(depth, a, b, fresh, sums) },)*
                    _ => debug_assert!(false, "a tile of {rows} rows and {lines} lines"),
                }
            };
        }
        by_height!(1 2 3 4 5 6 7 8 9 10 11 12 13 14);
    }

    fn spin_pairs(self, n: usize) -> usize {
        // SAFETY: the token proves the features, and the field that of bf16.
        if self.has_bf16 { unsafe { spin_pairs(n) } } else { 0 }
    }

    #[inline(always)]
    fn pair_rows(self, first: &[f32], second: Option<&[f32]>, out: &mut [f32]) {
        if self.has_bf16 {
            // SAFETY: the token proves the features, and the field that of bf16.
            unsafe { pair_rows(first, second, out) }
        } else {
            Portable.pair_rows(first, second, out);
        }
    }

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
        if self.has_bf16 {
            // SAFETY: the token proves the features, and the field that of bf16.
            unsafe { transpose_pairs(matrix, stride, rows, columns, step, out) }
        } else {
            Portable.transpose_pairs(matrix, stride, rows, columns, step, out);
        }
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

    #[inline(always)]
    fn load(self, values: &[f32], fill: f32) -> [f32; LINE] {
        // SAFETY: the token proves the features.
        unsafe { load_up_to(values, fill) }
    }

    #[inline(always)]
    fn store(self, lanes: &[f32; LINE], out: &mut [f32]) {
        // SAFETY: the token proves the features.
        unsafe { store_up_to(lanes, out) }
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load(line: &Line) -> __m512 {
    // SAFETY: a line is 64 readable bytes, aligned to 64.
    unsafe { _mm512_load_ps(line.0.as_ptr()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store(line: &mut Line, value: __m512) {
    // SAFETY: a line is 64 writable bytes, aligned to 64.
    unsafe { _mm512_store_ps(line.0.as_mut_ptr(), value) }
}

/// One bit for each of the first 16 values.
#[inline(always)]
fn mask(len: usize) -> u16 {
    if len >= LINE { u16::MAX } else { (1 << len) - 1 }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load_up_to(values: &[f32], fill: f32) -> [f32; LINE] {
    let mut lanes = Line::ZERO;
    // SAFETY: lanes beyond the end of the slice are masked out and not read.
    let read =
        unsafe { _mm512_mask_loadu_ps(_mm512_set1_ps(fill), mask(values.len()), values.as_ptr()) };
    store(&mut lanes, read);
    lanes.0
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store_up_to(lanes: &[f32; LINE], out: &mut [f32]) {
    let lanes = load(&Line(*lanes));
    // SAFETY: lanes beyond the end of the slice are masked out and not written.
    unsafe { _mm512_mask_storeu_ps(out.as_mut_ptr(), mask(out.len()), lanes) };
}

#[target_feature(enable = "avx512f")]
fn tile<const ROWS: usize, const LINES: usize>(
    depth: usize,
    a: Side<'_>,
    b: Side<'_>,
    fresh: bool,
    sums: &mut Tile,
) {
    let mut acc = [[_mm512_setzero_ps(); LINES]; ROWS];
    if !fresh {
        for r in 0..ROWS {
            for l in 0..LINES {
                acc[r][l] = load(&sums[r][l]);
            }
        }
    }
    for k in 0..depth {
        let (a, b) = (a.at(k, ROWS), b.at(k, LINES * LINE));
        let mut right = [_mm512_setzero_ps(); LINES];
        for l in 0..LINES {
            // SAFETY: `b` holds 16 values from here on; the load takes any alignment.
            right[l] = unsafe { _mm512_loadu_ps(b[l * LINE..][..LINE].as_ptr()) };
        }
        for r in 0..ROWS {
            let left = _mm512_set1_ps(a[r]);
            for l in 0..LINES {
                acc[r][l] = _mm512_fmadd_ps(left, right[l], acc[r][l]);
            }
        }
    }
    for r in 0..ROWS {
        for l in 0..LINES {
            store(&mut sums[r][l], acc[r][l]);
        }
    }
}

/// [`tile`] of pairs of bf16.
#[target_feature(enable = "avx512f,avx512bf16")]
fn tile_pairs<const ROWS: usize, const LINES: usize>(
    depth: usize,
    a: Side<'_>,
    b: Side<'_>,
    fresh: bool,
    sums: &mut Tile,
) {
    let mut acc = [[_mm512_setzero_ps(); LINES]; ROWS];
    if !fresh {
        for r in 0..ROWS {
            for l in 0..LINES {
                acc[r][l] = load(&sums[r][l]);
            }
        }
    }
    for k in 0..depth {
        let (a, b) = (a.at(k, ROWS), b.at(k, LINES * LINE));
        let mut right = [_mm512_setzero_ps(); LINES];
        for l in 0..LINES {
            // SAFETY: `b` holds 16 values from here on; the load takes any alignment.
            right[l] = unsafe { _mm512_loadu_ps(b[l * LINE..][..LINE].as_ptr()) };
        }
        for r in 0..ROWS {
            let left = _mm512_set1_ps(a[r]);
            for l in 0..LINES {
                acc[r][l] = _mm512_dpbf16_ps(acc[r][l], pairs(left), pairs(right[l]));
            }
        }
    }
    for r in 0..ROWS {
        for l in 0..LINES {
            store(&mut sums[r][l], acc[r][l]);
        }
    }
}

/// The same bits as pairs of bf16.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
fn pairs(x: __m512) -> __m512bh {
    // SAFETY: both are 64 bytes, and every pattern of bits is a value of both.
    unsafe { std::mem::transmute(x) }
}

/// 32 values rounded to bf16, `first` in the lower half.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
fn narrow(first: __m512, second: __m512) -> __m512i {
    // SAFETY: both are 64 bytes, and every pattern of bits is a value of both.
    unsafe { std::mem::transmute(_mm512_cvtne2ps_pbh(second, first)) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn pair_rows(first: &[f32], second: Option<&[f32]>, out: &mut [f32]) {
    // Words 0, 16, 1, 17 and so on.
    let lanes: __m512i = _mm512_set_epi16(
        31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5, 20, 4,
        19, 3, 18, 2, 17, 1, 16, 0,
    );
    for (l, out) in out.chunks_mut(LINE).enumerate() {
        let row = |values: &[f32]| read(&values[l * LINE..l * LINE + out.len()]);
        let both = narrow(row(first), second.map_or(_mm512_setzero_ps(), row));
        let both = _mm512_castsi512_ps(_mm512_permutexvar_epi16(lanes, both));
        // SAFETY: lanes beyond the end of the slice are masked out and not written.
        unsafe { _mm512_mask_storeu_ps(out.as_mut_ptr(), mask(out.len()), both) };
    }
}

#[target_feature(enable = "avx512f,avx512bf16")]
fn transpose_pairs(
    matrix: &[f32],
    stride: usize,
    rows: usize,
    columns: usize,
    step: usize,
    out: &mut [f32],
) {
    let mut x = [_mm512_setzero_ps(); 16];
    for i in 0..16 {
        if i < rows {
            let row = &matrix[i * stride..i * stride + columns];
            let (first, second) = row.split_at(columns.min(LINE));
            x[i] = _mm512_castsi512_ps(narrow(read(first), read(second)));
        }
    }
    write_transposed(x, columns.div_ceil(2), step, out);
}

/// The first values, zero where there are fewer than 16.
#[inline]
#[target_feature(enable = "avx512f")]
fn read(values: &[f32]) -> __m512 {
    // SAFETY: lanes beyond the end of the slice are masked out and not read.
    unsafe { _mm512_maskz_loadu_ps(mask(values.len()), values.as_ptr()) }
}

#[target_feature(enable = "avx512f")]
fn transpose(
    matrix: &[f32],
    stride: usize,
    rows: usize,
    columns: usize,
    step: usize,
    out: &mut [f32],
) {
    let mut x = [_mm512_setzero_ps(); 16];
    for i in 0..16 {
        if i < rows {
            x[i] = read(&matrix[i * stride..i * stride + columns]);
        }
    }
    write_transposed(x, columns, step, out);
}

/// Four rounds of 16 shuffles: 32-bit, 64-bit, then twice 128-bit interleaving.
#[inline]
#[target_feature(enable = "avx512f")]
fn write_transposed(mut x: [__m512; 16], columns: usize, step: usize, out: &mut [f32]) {
    let mut y = x;
    for i in 0..8 {
        y[2 * i] = _mm512_unpacklo_ps(x[2 * i], x[2 * i + 1]);
        y[2 * i + 1] = _mm512_unpackhi_ps(x[2 * i], x[2 * i + 1]);
    }
    // Afterwards x[4q + c] holds, in its four 128-bit parts, columns c, c + 4, c + 8, c + 12 of rows 4q..4q+4.
    for q in 0..4 {
        for h in 0..2 {
            let (lo, hi) = (_mm512_castps_pd(y[4 * q + h]), _mm512_castps_pd(y[4 * q + 2 + h]));
            x[4 * q + 2 * h] = _mm512_castpd_ps(_mm512_unpacklo_pd(lo, hi));
            x[4 * q + 2 * h + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(lo, hi));
        }
    }
    for c in 0..4 {
        let even = _mm512_shuffle_f32x4::<0x88>(x[c], x[4 + c]);
        let odd = _mm512_shuffle_f32x4::<0xdd>(x[c], x[4 + c]);
        let even2 = _mm512_shuffle_f32x4::<0x88>(x[8 + c], x[12 + c]);
        let odd2 = _mm512_shuffle_f32x4::<0xdd>(x[8 + c], x[12 + c]);
        y[c] = _mm512_shuffle_f32x4::<0x88>(even, even2);
        y[4 + c] = _mm512_shuffle_f32x4::<0x88>(odd, odd2);
        y[8 + c] = _mm512_shuffle_f32x4::<0xdd>(even, even2);
        y[12 + c] = _mm512_shuffle_f32x4::<0xdd>(odd, odd2);
    }
    for c in 0..16 {
        if c < columns {
            let line = &mut out[c * step..c * step + LINE];
            // SAFETY: 64 writable bytes; the store takes any alignment.
            unsafe { _mm512_storeu_ps(line.as_mut_ptr(), y[c]) };
        }
    }
}

/// Sixteen blocks at once, a register for each word of the state.
#[target_feature(enable = "avx512f")]
fn chacha8(start: &Words, out: &mut Words) {
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn add(x: __m512i, y: __m512i) -> __m512i {
        _mm512_add_epi32(x, y)
    }
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn xor(x: __m512i, y: __m512i) -> __m512i {
        _mm512_xor_si512(x, y)
    }
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn rotate<const BY: i32>(x: __m512i) -> __m512i {
        _mm512_rol_epi32::<BY>(x)
    }
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn read(words: &[u32; LINE]) -> __m512i {
        // SAFETY: 64 readable bytes; the load takes any alignment.
        unsafe { _mm512_loadu_si512(words.as_ptr().cast()) }
    }
    let mut s = [_mm512_setzero_si512(); 16];
    for w in 0..16 {
        s[w] = read(&start.0[w]);
    }
    rounds::four_double_rounds!(s);
    for w in 0..16 {
        let sum = add(s[w], read(&start.0[w]));
        // SAFETY: 64 writable bytes; the store takes any alignment.
        unsafe { _mm512_storeu_si512(out.0[w].as_mut_ptr().cast(), sum) };
    }
}

#[target_feature(enable = "avx512f")]
fn spin(n: usize) -> usize {
    // Twice as many chains as two units with a latency of four cycles need.
    let mut acc = [_mm512_setzero_ps(); 16];
    let (factor, term) = (_mm512_set1_ps(0.75), _mm512_set1_ps(0.25));
    for _ in 0..n {
        for acc in &mut acc {
            *acc = _mm512_fmadd_ps(*acc, factor, term);
        }
    }
    std::hint::black_box(acc);
    n * acc.len() * LINE * 2
}

#[target_feature(enable = "avx512f,avx512bf16")]
fn spin_pairs(n: usize) -> usize {
    let mut acc = [_mm512_setzero_ps(); 16];
    let (factor, other) = (_mm512_set1_ps(0.75), _mm512_set1_ps(0.25));
    for _ in 0..n {
        for acc in &mut acc {
            *acc = _mm512_dpbf16_ps(*acc, pairs(factor), pairs(other));
        }
    }
    std::hint::black_box(acc);
    n * acc.len() * LINE * 4
}
