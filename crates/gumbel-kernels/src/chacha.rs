//! ChaCha with 8 rounds (Bernstein 2008), sixteen blocks at a time, from any word of a stream.
//!
//! Word for word the sequence of `rand_chacha::ChaCha8Rng`.
#![allow(
    clippy::needless_range_loop,
    reason = "arrays of lanes are indexed together; iterators would hide which is which"
)]

use rayon::prelude::*;

use crate::isa::{Isa, Kernel, Task};
use crate::lines::LINE;

/// Words in a block of the cipher.
const BLOCK: usize = 16;

/// Words that are computed together: sixteen blocks.
pub(crate) const BATCH: usize = BLOCK * LINE;

/// Words in the chunk that one thread takes at a time.
const CHUNK: usize = 1 << 15;

/// A sequence of 2⁶⁸ random words that can be read from any position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WordStream {
    key: [u32; 8],
    stream: u64,
}

impl WordStream {
    /// The stream of a 256-bit key, as `ChaCha8Rng::from_seed(key)` with `set_stream(stream)`.
    pub fn from_key(key: [u8; 32], stream: u64) -> Self {
        let mut words = [0; 8];
        for (word, bytes) in words.iter_mut().zip(key.as_chunks::<4>().0) {
            *word = u32::from_le_bytes(*bytes);
        }
        WordStream { key: words, stream }
    }

    /// The stream of a seed, as `ChaCha8Rng::seed_from_u64(seed)` with `set_stream(stream)`.
    pub fn new(seed: u64, stream: u64) -> Self {
        // The expansion of rand_core 0.9: PCG-XSH-RR with 64 bits of state.
        let mut state = seed;
        let mut key = [0; 8];
        for word in &mut key {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(11_634_580_027_462_260_723);
            let xorshifted = (((state >> 18) ^ state) >> 27) as u32;
            *word = xorshifted.rotate_right((state >> 59) as u32);
        }
        WordStream { key, stream }
    }

    /// The same stream number under the key `key XOR mask`, bytes in the order of [`WordStream::from_key`].
    pub fn with_masked_key(self, mask: [u8; 32]) -> Self {
        let mask = WordStream::from_key(mask, 0).key;
        let mut key = self.key;
        for (word, mask) in key.iter_mut().zip(mask) {
            *word ^= mask;
        }
        WordStream { key, ..self }
    }

    /// Fills `out` with the words `position, position + 1, ..`, in parallel where there are many.
    pub fn fill(&self, position: u64, out: &mut [u32]) {
        self.fill_on(Isa::best(), position, out);
    }

    pub(crate) fn fill_on(&self, isa: Isa, position: u64, out: &mut [u32]) {
        out.par_chunks_mut(CHUNK).enumerate().for_each(|(idx, out)| {
            let position = position.wrapping_add((idx * CHUNK) as u64);
            isa.dispatch(Fill { words: *self, position, out });
        });
    }

    /// The word at one position.
    pub fn word(&self, position: u64) -> u32 {
        let start = self.states(position / BLOCK as u64);
        rounds::block(start.0.map(|lanes| lanes[0]))[(position % BLOCK as u64) as usize]
    }

    /// The cipher's states before the rounds, for sixteen consecutive blocks.
    #[inline(always)]
    fn states(&self, first_block: u64) -> Words {
        let mut states = Words::ZERO;
        let constants = [0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574];
        for (lanes, word) in states.0.iter_mut().zip(constants.into_iter().chain(self.key)) {
            *lanes = [word; LINE];
        }
        for i in 0..LINE {
            // Positions are 64 bits, so the stream begins again after 2⁶⁰ blocks, inside a batch too.
            let block = first_block.wrapping_add(i as u64) & (u64::MAX / BLOCK as u64);
            states.0[12][i] = block as u32;
            states.0[13][i] = (block >> 32) as u32;
        }
        states.0[14] = [self.stream as u32; LINE];
        states.0[15] = [(self.stream >> 32) as u32; LINE];
        states
    }

    /// The words of sixteen blocks.
    #[inline(always)]
    pub(crate) fn batch<K: Kernel>(&self, kernel: K, first_block: u64, out: &mut [u32; BATCH]) {
        let mut words = Words::ZERO;
        kernel.chacha8(&self.states(first_block), &mut words);
        // Words of a block must follow each other: transpose, as bits that happen to pass as floats.
        let mut floats = [0.0; BATCH];
        for (floats, words) in floats.as_chunks_mut::<LINE>().0.iter_mut().zip(&words.0) {
            for i in 0..LINE {
                floats[i] = f32::from_bits(words[i]);
            }
        }
        let mut transposed = [0.0; BATCH];
        kernel.transpose(&floats, LINE, BLOCK, LINE, LINE, &mut transposed);
        for (out, float) in out.iter_mut().zip(&transposed) {
            *out = float.to_bits();
        }
    }
}

/// A number for each of the 16 words of 16 blocks: `[word][block]`.
#[repr(align(64))]
#[derive(Debug, Clone, Copy)]
pub(crate) struct Words(pub(crate) [[u32; LINE]; BLOCK]);

impl Words {
    const ZERO: Words = Words([[0; LINE]; BLOCK]);
}

struct Fill<'a> {
    words: WordStream,
    position: u64,
    out: &'a mut [u32],
}

impl Task for Fill<'_> {
    type Output = ();

    #[inline(always)]
    fn run<K: Kernel>(self, kernel: K) {
        let mut batch = [0; BATCH];
        let mut skip = (self.position % BLOCK as u64) as usize;
        let mut block = self.position / BLOCK as u64;
        let mut rest = self.out;
        while !rest.is_empty() {
            self.words.batch(kernel, block, &mut batch);
            let len = rest.len().min(BATCH - skip);
            let (now, later) = rest.split_at_mut(len);
            now.copy_from_slice(&batch[skip..skip + len]);
            rest = later;
            skip = 0;
            block = block.wrapping_add(LINE as u64);
        }
    }
}

/// The rounds of the cipher, for any vector type.
pub(crate) mod rounds {
    use super::{BLOCK, Words};
    use crate::lines::LINE;

    /// Four double rounds on `$s`, an array of 16 vectors, with the functions `add`, `xor` and
    /// `rotate::<N>` in scope.
    macro_rules! four_double_rounds {
        ($s:ident) => {
            macro_rules! quarter_round {
                ($a:literal, $b:literal, $c:literal, $d:literal) => {
                    $s[$a] = add($s[$a], $s[$b]);
                    $s[$d] = rotate::<16>(xor($s[$d], $s[$a]));
                    $s[$c] = add($s[$c], $s[$d]);
                    $s[$b] = rotate::<12>(xor($s[$b], $s[$c]));
                    $s[$a] = add($s[$a], $s[$b]);
                    $s[$d] = rotate::<8>(xor($s[$d], $s[$a]));
                    $s[$c] = add($s[$c], $s[$d]);
                    $s[$b] = rotate::<7>(xor($s[$b], $s[$c]));
                };
            }
            for _ in 0..4 {
                quarter_round!(0, 4, 8, 12);
                quarter_round!(1, 5, 9, 13);
                quarter_round!(2, 6, 10, 14);
                quarter_round!(3, 7, 11, 15);
                quarter_round!(0, 5, 10, 15);
                quarter_round!(1, 6, 11, 12);
                quarter_round!(2, 7, 8, 13);
                quarter_round!(3, 4, 9, 14);
            }
        };
    }
    #[cfg(target_arch = "x86_64")]
    pub(crate) use four_double_rounds;

    /// Block by block, in plain integers.
    pub(crate) fn portable(start: &Words, out: &mut Words) {
        for lane in 0..LINE {
            let words = block(start.0.map(|lanes| lanes[lane]));
            for (out, word) in out.0.iter_mut().zip(words) {
                out[lane] = word;
            }
        }
    }

    /// One block.
    pub(crate) fn block(start: [u32; BLOCK]) -> [u32; BLOCK] {
        fn add(x: u32, y: u32) -> u32 {
            x.wrapping_add(y)
        }
        fn xor(x: u32, y: u32) -> u32 {
            x ^ y
        }
        fn rotate<const BY: u32>(x: u32) -> u32 {
            x.rotate_left(BY)
        }
        let mut s = start;
        four_double_rounds!(s);
        for (word, start) in s.iter_mut().zip(start) {
            *word = add(*word, start);
        }
        s
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::{RngCore, SeedableRng};

    use super::*;

    fn reference(mut rng: ChaCha8Rng, stream: u64, position: u64, len: usize) -> Vec<u32> {
        rng.set_stream(stream);
        rng.set_word_pos(u128::from(position));
        (0..len).map(|_| rng.next_u32()).collect()
    }

    #[test]
    fn words_are_those_of_rand_chacha_from_every_position() {
        let positions: &[u64] = if cfg!(miri) {
            &[0, 17, (1 << 36) - 3]
        } else {
            &[0, 1, 15, 16, 17, 255, 256, 1000, (1 << 36) - 3, (1 << 40) + 5]
        };
        let lengths: &[usize] = if cfg!(miri) { &[0, 270] } else { &[0, 1, 15, 16, 300, 70_000] };
        for isa in Isa::available() {
            for (seed, stream) in [(0, 0), (7, 1), (u64::MAX, u64::MAX), (1 << 40, 1 << 33)] {
                for &position in positions {
                    for &len in lengths {
                        let mut words = vec![0; len];
                        WordStream::new(seed, stream).fill_on(isa, position, &mut words);
                        let rng = ChaCha8Rng::seed_from_u64(seed);
                        assert!(
                            words == reference(rng, stream, position, len),
                            "{}: seed {seed} stream {stream} position {position} len {len}",
                            isa.name()
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn keys_and_single_words_agree_with_rand_chacha() {
        let key: [u8; 32] = std::array::from_fn(|i| (i * 37) as u8);
        let mask: [u8; 32] = std::array::from_fn(|i| (i * 11 + 1) as u8);
        let masked: [u8; 32] = std::array::from_fn(|i| key[i] ^ mask[i]);
        for position in [0, 5, 16, 999] {
            let words = WordStream::from_key(key, 3);
            let expected = reference(ChaCha8Rng::from_seed(key), 3, position, 1)[0];
            assert_eq!(words.word(position), expected);
            let expected = reference(ChaCha8Rng::from_seed(masked), 3, position, 1)[0];
            assert_eq!(words.with_masked_key(mask).word(position), expected);
        }
    }
}
