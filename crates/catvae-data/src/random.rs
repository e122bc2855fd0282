//! Counter-based streams of random words: (seed, purpose, stream, position) fixes every draw.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// What a stream is for. One seed given for two purposes yields unrelated draws.
#[derive(Clone, Copy)]
pub(crate) enum Purpose {
    Shuffle,
    DynamicBinarization,
    StaticBinarization,
    Split,
    Validation,
    Digits,
}

/// The generator of `purpose` under `seed`, at the start of `stream`.
///
/// The ChaCha key is the seed (8 bytes, little endian), then the purpose's tag (8 bytes), then
/// zeros, so distinct pairs have distinct keys.
pub(crate) fn stream(seed: u64, purpose: Purpose, stream: u64) -> ChaCha8Rng {
    let tag: &[u8; 8] = match purpose {
        Purpose::Shuffle => b"shuffle ",
        Purpose::DynamicBinarization => b"dynamic ",
        Purpose::StaticBinarization => b"static  ",
        Purpose::Split => b"split   ",
        Purpose::Validation => b"validate",
        Purpose::Digits => b"digits  ",
    };
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(tag);
    let mut rng = ChaCha8Rng::from_seed(key);
    rng.set_stream(stream);
    rng
}

/// A uniform index below `n`, which must not be zero.
///
/// The high word of `n` times 64 random bits; no index's probability is off by more than 2^-64.
pub(crate) fn index_below(rng: &mut ChaCha8Rng, n: usize) -> usize {
    ((u128::from(rng.next_u64()) * n as u128) >> 64) as usize
}

/// Puts `items` into a uniformly random order (Fisher and Yates).
///
/// Written here, so that an update of `rand` cannot change the order of anyone's batches.
pub(crate) fn shuffle<T>(rng: &mut ChaCha8Rng, items: &mut [T]) {
    for last in (1..items.len()).rev() {
        items.swap(last, index_below(rng, last + 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_keep_their_values() {
        let mut rng = stream(42, Purpose::Shuffle, 3);
        let words: Vec<u32> = (0..4).map(|_| rng.next_u32()).collect();
        assert_eq!(
            words,
            [2517073425, 3455009991, 2494357922, 873077398],
            "value-breaking: every seeded run changes"
        );
    }

    #[test]
    fn purposes_draw_from_unrelated_streams() {
        let first = |purpose| stream(1, purpose, 0).next_u64();
        let mut words = [
            first(Purpose::Shuffle),
            first(Purpose::DynamicBinarization),
            first(Purpose::StaticBinarization),
            first(Purpose::Split),
            first(Purpose::Validation),
            first(Purpose::Digits),
        ];
        words.sort_unstable();
        assert!(words.windows(2).all(|pair| pair[0] != pair[1]));
    }

    #[test]
    fn every_order_of_four_items_is_equally_likely() {
        // Chi-square over the 24 orders, 23 degrees of freedom, alpha = 1e-3: 49.73.
        const DRAWS: usize = 24_000;
        let mut counts = std::collections::BTreeMap::new();
        let mut rng = stream(5, Purpose::Shuffle, 0);
        for _ in 0..DRAWS {
            let mut items = [0u8, 1, 2, 3];
            shuffle(&mut rng, &mut items);
            *counts.entry(items).or_insert(0usize) += 1;
        }
        assert_eq!(counts.len(), 24);
        let expected = DRAWS as f64 / 24.0;
        let chi_square: f64 =
            counts.values().map(|&n| (n as f64 - expected).powi(2) / expected).sum();
        assert!(chi_square < 49.73, "chi-square {chi_square}");
    }
}
