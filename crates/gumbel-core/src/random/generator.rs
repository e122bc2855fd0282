//! The counter-based generator: (seed, stream, position) fixes every draw, on every device.

use gumbel_kernels::{GumbelStream, WordStream};
use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// A seeded source of random bits whose whole state is three integers.
///
/// The bits are those of ChaCha with 8 rounds (Bernstein 2008), a counter-based generator: the word
/// at a position can be computed without the words before it. So a state is small, streams cost
/// nothing, and a saved run continues bit for bit.
///
/// `Generator` implements [`rand::RngCore`], so that it serves every sampler of the `rand` family.
///
/// # Example
/// ```
/// use gumbel_core::Generator;
/// use rand::RngCore;
///
/// let mut noise = Generator::new(7);
/// let mut shuffling = noise.stream(1); // independent of `noise`, from the same seed
/// let saved = noise.state();
/// let word = noise.next_u32();
/// assert_eq!(word, Generator::from_state(&saved).next_u32());
/// assert_ne!(word, shuffling.next_u32());
/// ```
#[derive(Clone, Debug)]
pub struct Generator {
    seed: u64,
    words: ChaCha8Rng,
}

/// Where a [`Generator`] stands: enough to continue it exactly.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(deny_unknown_fields)]
pub struct GeneratorState {
    /// The seed the generator was made from.
    pub seed: u64,
    /// The stream it draws from.
    pub stream: u64,
    /// How many 32-bit words of the stream have been used.
    pub position: u64,
}

impl Generator {
    /// Starts at position 0 of stream 0 of a seed.
    pub fn new(seed: u64) -> Self {
        Self { seed, words: ChaCha8Rng::seed_from_u64(seed) }
    }

    /// An independent stream of the same seed, at position 0, wherever `self` stands.
    ///
    /// The same `id` gives the same stream again; `stream(0)` is the one that [`Generator::new`] starts with.
    pub fn stream(&self, id: u64) -> Self {
        let mut words = ChaCha8Rng::seed_from_u64(self.seed);
        words.set_stream(id);
        Self { seed: self.seed, words }
    }

    /// The state to save with a checkpoint.
    pub fn state(&self) -> GeneratorState {
        GeneratorState {
            seed: self.seed,
            stream: self.words.get_stream(),
            position: self.position(),
        }
    }

    /// Continues where [`Generator::state`] was taken.
    pub fn from_state(state: &GeneratorState) -> Self {
        let mut generator = Self::new(state.seed).stream(state.stream);
        generator.words.set_word_pos(u128::from(state.position));
        generator
    }

    /// The next `n` words of the stream.
    pub(crate) fn next_words(&mut self, n: usize) -> Vec<u32> {
        let mut words = vec![0u32; n];
        self.word_stream().fill(self.position(), &mut words);
        self.skip(n);
        words
    }

    /// Fills a slice with the next standard Gumbel values in single precision, one word each.
    pub(crate) fn fill_gumbels(&mut self, values: &mut [f32]) {
        let (noise, position) = self.gumbel_stream();
        noise.fill(position, values);
        self.skip(values.len());
    }

    /// Gumbel values in single precision, and the current position among them. The caller must [`skip`](Self::skip)
    /// what it reads.
    pub(crate) fn gumbel_stream(&self) -> (GumbelStream, u64) {
        let words = self.word_stream();
        (GumbelStream::new(words, self.tail()), self.position())
    }

    /// The same words, computed many at a time.
    fn word_stream(&self) -> WordStream {
        WordStream::from_key(self.words.get_seed(), self.words.get_stream())
    }

    /// Another sequence from the same position on: a draw of noise that is conditional on what `self` draws.
    ///
    /// It has a key of its own, and its number in the high half of the stream. So the word at a position depends on the
    /// seed, the stream, the position and the number, and not on how many words are drawn.
    pub(crate) fn conditional(&self, draw: u64) -> Self {
        let mut key = self.words.get_seed();
        for (byte, flip) in key.iter_mut().zip(CONDITIONAL_KEY) {
            *byte ^= flip;
        }
        let mut words = ChaCha8Rng::from_seed(key);
        words.set_stream(self.words.get_stream() ^ draw.rotate_left(32));
        words.set_word_pos(self.words.get_word_pos());
        Self { seed: self.seed, words }
    }

    /// Leaves out the next `n` words.
    pub(crate) fn skip(&mut self, n: usize) {
        self.words.set_word_pos(self.words.get_word_pos() + n as u128);
    }

    /// How many words of the stream have been used. A stream has 2^68; nobody gets past 2^64.
    pub(crate) fn position(&self) -> u64 {
        self.words.get_word_pos() as u64
    }

    /// The same seed and stream under a second key.
    ///
    /// Word `i` of the result refines word `i` of `self`: see [`crate::gumbel_noise`].
    pub(crate) fn tail(&self) -> WordStream {
        self.word_stream().with_masked_key(TAIL_KEY)
    }
}

/// "gumbel-core tail words, stream 2", folded into the key: seeds are 64 bits expanded to 256, so the
/// chance that this lands on the key of another seed is 2^-192.
const TAIL_KEY: [u8; 32] = *b"gumbel-core tail words, stream 2";

/// The same for noise that is drawn given other noise.
const CONDITIONAL_KEY: [u8; 32] = *b"gumbel-core conditional draws  1";

impl RngCore for Generator {
    fn next_u32(&mut self) -> u32 {
        self.words.next_u32()
    }

    fn next_u64(&mut self) -> u64 {
        self.words.next_u64()
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        self.words.fill_bytes(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_seed_never_change() {
        // Value stability: a change here changes every run of every user, and is "value-breaking" in the changelog.
        let mut g = Generator::new(0);
        let first: Vec<u32> = (0..4).map(|_| g.next_u32()).collect();
        assert_eq!(first, FIRST_WORDS_OF_SEED_0);
        assert_eq!(Generator::new(0).stream(5).next_u32(), FIRST_WORD_OF_STREAM_5);
        assert_eq!(Generator::new(0).tail().word(3), TAIL_WORD_3);
    }
    const FIRST_WORDS_OF_SEED_0: [u32; 4] = [2811902828, 3045455719, 3134767159, 2001118559];
    const FIRST_WORD_OF_STREAM_5: u32 = 3945579194;
    const TAIL_WORD_3: u32 = 1126274721;

    #[test]
    fn a_restored_generator_continues_bit_for_bit() {
        // Positions inside a block, at its end and across candle-sized fills, reached by words, long words and bytes.
        for used in [0usize, 1, 15, 16, 63, 64, 65, 1000] {
            let mut g = Generator::new(11).stream(3);
            g.next_words(used);
            g.next_u64();
            let state = g.state();
            assert_eq!(state.position, used as u64 + 2);
            let json = serde_json::to_string(&state).unwrap();
            let mut restored = Generator::from_state(&serde_json::from_str(&json).unwrap());
            assert_eq!(g.next_words(200), restored.next_words(200));
            assert_eq!(g.state(), restored.state());
        }
    }

    #[test]
    fn filling_equals_drawing_word_by_word() {
        let mut a = Generator::new(5);
        let mut b = Generator::new(5);
        a.next_u32();
        b.next_u32();
        let filled = a.next_words(333);
        let drawn: Vec<u32> = (0..333).map(|_| b.next_u32()).collect();
        assert_eq!(filled, drawn);
        assert_eq!(a.state(), b.state());
    }

    #[test]
    fn streams_seeds_and_tails_differ() {
        let g = Generator::new(1);
        let main = g.clone().next_words(64);
        let stream = g.stream(1).next_words(64);
        let seed = Generator::new(2).next_words(64);
        let tail = g.tail();
        let tail: Vec<u32> = (0..64).map(|i| tail.word(i)).collect();
        for other in [&stream, &seed, &tail] {
            assert!(main.iter().zip(other).filter(|(a, b)| a == b).count() < 2);
        }
    }

    #[test]
    fn a_stream_starts_at_zero_wherever_its_parent_stands() {
        let mut g = Generator::new(1);
        let before = g.stream(9).next_words(8);
        g.next_words(100);
        assert_eq!(g.stream(9).next_words(8), before);
    }
}
