//! Standard Gumbel noise from random words: `-ln(-ln U)` with both tails true.
//!
//! The same definition as `gumbel_core::gumbel_noise` in single precision: a word's nearer end of the
//! unit interval keeps its bits exactly, and the one word in 65,536 that lands nearest to an end is
//! refined by the word at the same position of a second stream.

use rayon::prelude::*;

use crate::chacha::{BATCH, WordStream};
use crate::isa::{Isa, Kernel, Task};
use crate::lines::LINE;
use crate::vmath::{ln_normal, ln_parts, split, split_one_minus};

/// Words this near to either end, together a fraction 2⁻¹⁶, are refined.
const TAIL: u32 = 1 << 15;

/// The weights of the last bit of a word and of its refinement: 2⁻³² and 2⁻⁶⁴.
const WORD_UNIT: f32 = 1.0 / 4_294_967_296.0;
const REFINED_UNIT: f32 = WORD_UNIT * WORD_UNIT;

/// Values in the chunk that one thread takes at a time.
const CHUNK: usize = 1 << 13;

/// A sequence of standard Gumbel values that can be read from any position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GumbelStream {
    words: WordStream,
    tail: WordStream,
}

impl GumbelStream {
    /// Value `i` comes from word `i` of `words`, refined where need be by word `i` of `tail`.
    pub fn new(words: WordStream, tail: WordStream) -> Self {
        GumbelStream { words, tail }
    }

    /// Fills `out` with the values `position, position + 1, ..`, in parallel where there are many.
    ///
    /// Each value depends on its position only, not on the length of `out`, the number of threads or
    /// the processor.
    pub fn fill(&self, position: u64, out: &mut [f32]) {
        self.fill_on(Isa::best(), position, out);
    }

    fn fill_on(&self, isa: Isa, position: u64, out: &mut [f32]) {
        out.par_chunks_mut(CHUNK).enumerate().for_each(|(idx, out)| {
            let position = position.wrapping_add((idx * CHUNK) as u64);
            isa.dispatch(Fill { noise: *self, position, out });
        });
    }

    /// [`GumbelStream::fill`] on this thread, for code that is compiled for an instruction set already.
    #[inline(always)]
    pub(crate) fn fill_with<K: Kernel>(&self, kernel: K, position: u64, out: &mut [f32]) {
        let mut words = [0; BATCH];
        let mut skip = (position % LINE as u64) as usize;
        let mut block = position / LINE as u64;
        let mut rest = out;
        while !rest.is_empty() {
            self.words.batch(kernel, block, &mut words);
            let len = rest.len().min(BATCH - skip);
            let (now, later) = rest.split_at_mut(len);
            let first = block.wrapping_mul(LINE as u64).wrapping_add(skip as u64);
            self.convert(kernel, &words[skip..skip + len], first, now);
            rest = later;
            skip = 0;
            block = block.wrapping_add(LINE as u64);
        }
    }

    /// Values of the words that start at `position`.
    #[inline(always)]
    fn convert<K: Kernel>(&self, kernel: K, words: &[u32], position: u64, out: &mut [f32]) {
        let mut any_tail = false;
        let (full, rest) = words.as_chunks::<LINE>();
        let (out_full, out_rest) = out.as_chunks_mut::<LINE>();
        for (words, out) in full.iter().zip(out_full) {
            any_tail |= lanes(words, out);
        }
        if !rest.is_empty() {
            // Padding that is in no tail.
            let mut padded = [u32::MAX / 2; LINE];
            for (padded, word) in padded.iter_mut().zip(rest) {
                *padded = *word;
            }
            let mut values = [0.0; LINE];
            any_tail |= lanes(&padded, &mut values);
            kernel.store(&values, out_rest);
        }
        if any_tail {
            self.refine(words, position, out);
        }
    }

    #[cold]
    fn refine(&self, words: &[u32], position: u64, out: &mut [f32]) {
        for (idx, (&word, out)) in words.iter().zip(out).enumerate() {
            if word.min(!word) < TAIL {
                let refinement = self.tail.word(position.wrapping_add(idx as u64));
                let bits = u64::from(word.min(!word)) << 32 | u64::from(refinement);
                *out = gumbel((bits as f32 + 0.5) * REFINED_UNIT, word >> 31 == 0);
            }
        }
    }
}

/// The values of 16 words, and whether one of them is in a tail.
#[inline(always)]
fn lanes(words: &[u32; LINE], out: &mut [f32; LINE]) -> bool {
    let mut n_tail = 0;
    for i in 0..LINE {
        let word = words[i];
        let near = word.min(!word);
        n_tail += u32::from(near < TAIL);
        // Below 2³¹, so that the signed conversion, which every processor has, is the same.
        let x = (near as i32 as f32 + 0.5) * WORD_UNIT;
        out[i] = gumbel(x, word >> 31 == 0);
    }
    n_tail > 0
}

/// `-ln(-ln U)` with `U = x` on the lower side, else `U = 1 - x`; `0 < x ≤ ½`.
#[inline(always)]
fn gumbel(x: f32, lower: bool) -> f32 {
    let (f_lower, e_lower) = split(x);
    let (f_upper, e_upper) = split_one_minus(x);
    let f = if lower { f_lower } else { f_upper };
    let e = if lower { e_lower as f32 } else { e_upper };
    -ln_normal(-ln_parts(f, e))
}

struct Fill<'a> {
    noise: GumbelStream,
    position: u64,
    out: &'a mut [f32],
}

impl Task for Fill<'_> {
    type Output = ();

    #[inline(always)]
    fn run<K: Kernel>(self, kernel: K) {
        self.noise.fill_with(kernel, self.position, self.out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEN: usize = if cfg!(miri) { 600 } else { 300_000 };

    fn stream() -> GumbelStream {
        let words = WordStream::new(3, 5);
        GumbelStream::new(words, words.with_masked_key([0xa5; 32]))
    }

    /// The definition in double precision, from the same words.
    fn exact(words: &WordStream, tail: &WordStream, position: u64) -> f64 {
        let word = words.word(position);
        let near = word.min(!word);
        let x = if near < TAIL {
            (f64::from(near) * 2f64.powi(32) + f64::from(tail.word(position)) + 0.5)
                * 2f64.powi(-64)
        } else {
            (f64::from(near) + 0.5) * 2f64.powi(-32)
        };
        let exponential = if word >> 31 == 0 { -x.ln() } else { -(-x).ln_1p() };
        -exponential.ln()
    }

    #[test]
    fn values_are_those_of_the_definition() {
        let noise = stream();
        let mut n_tail = 0;
        for isa in Isa::available() {
            for position in [0, 7, 1 << 33] {
                let mut values = vec![0.0; LEN];
                noise.fill_on(isa, position, &mut values);
                for (idx, &value) in values.iter().enumerate() {
                    let position = position + idx as u64;
                    let expected = exact(&noise.words, &noise.tail, position);
                    // Rounding of x and of the inner logarithm, 3 units of 2⁻²⁴ together, moves the outer
                    // logarithm by as much; its own rounding is relative to the value.
                    let bound = 2f64.powi(-24) * (4.0 + 2.0 * expected.abs());
                    assert!(
                        (f64::from(value) - expected).abs() < bound,
                        "{} at {position}: {value} for {expected}",
                        isa.name()
                    );
                    let word = noise.words.word(position);
                    n_tail += usize::from(word.min(!word) < TAIL);
                }
            }
        }
        assert!(n_tail > 0 || cfg!(miri), "no value of the tails was tested");
    }

    #[test]
    fn values_are_the_same_bits_on_every_instruction_set_and_from_every_position() {
        let noise = stream();
        let mut all = vec![0.0; LEN];
        noise.fill_on(Isa::available()[0], 0, &mut all);
        for isa in Isa::available() {
            for (from, to) in [(0, LEN), (1, 18), (15, 590), (256, 257), (LEN / 3, LEN / 2)] {
                let mut part = vec![0.0; to - from];
                noise.fill_on(isa, from as u64, &mut part);
                assert!(part == all[from..to], "{} from {from}", isa.name());
            }
        }
    }

    #[test]
    fn the_stream_begins_again_after_its_last_position() {
        let noise = stream();
        let mut across = [0.0; 400];
        noise.fill(u64::MAX - 5, &mut across);
        let (mut before, mut after) = ([0.0; 6], [0.0; 394]);
        noise.fill(u64::MAX - 5, &mut before);
        noise.fill(0, &mut after);
        assert_eq!(across[..6], before);
        assert_eq!(across[6..], after);
        for (i, value) in [(0, across[5]), (1, across[6])] {
            let exact = exact(&noise.words, &noise.tail, u64::MAX.wrapping_add(i));
            assert!((f64::from(value) - exact).abs() < 1e-5);
        }
    }

    #[test]
    fn the_furthest_tails_are_finite() {
        // U = 2^-65 and 1 - 2^-65.
        let furthest = 65.0 * std::f64::consts::LN_2;
        assert!((f64::from(gumbel(REFINED_UNIT / 2.0, true)) + furthest.ln()).abs() < 1e-6);
        assert!((f64::from(gumbel(REFINED_UNIT / 2.0, false)) - furthest).abs() < 1e-5);
        let median = -(2f32.ln().ln());
        assert!((gumbel(0.5, true) - median).abs() < 1e-6);
        assert!((gumbel(0.5, false) - median).abs() < 1e-6);
    }
}
