//! The largest magnitude of many values, to find at once whether any is not finite.

use rayon::prelude::*;

use crate::isa::{Isa, Kernel, Task};
use crate::lines::LINE;

/// Values that one thread looks at.
const CHUNK: usize = 1 << 14;

/// The largest |x|: infinite if any x is, NaN if any x is, 0 for no values.
pub fn largest_magnitude(values: &[f32]) -> f32 {
    let isa = Isa::best();
    if values.len() <= CHUNK {
        return isa.dispatch(Largest(values));
    }
    let of_chunks = values.par_chunks(CHUNK).map(|chunk| isa.dispatch(Largest(chunk)).to_bits());
    // Magnitudes as integers, as below: the order of chunks does not matter.
    f32::from_bits(of_chunks.reduce(|| 0, u32::max))
}

struct Largest<'a>(&'a [f32]);

impl Task for Largest<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<K: Kernel>(self, _: K) -> f32 {
        // As integers, the magnitudes of floats have the order of the floats, with NaN above infinity.
        let (lines, rest) = self.0.as_chunks::<LINE>();
        let mut largest = [0; LINE];
        for line in lines {
            for (largest, x) in largest.iter_mut().zip(line) {
                *largest = (*largest).max(x.to_bits() & !(1 << 31));
            }
        }
        for (largest, x) in largest.iter_mut().zip(rest) {
            *largest = (*largest).max(x.to_bits() & !(1 << 31));
        }
        f32::from_bits(largest.into_iter().fold(0, u32::max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::values;

    #[test]
    fn the_largest_magnitude_is_found_wherever_it_stands() {
        for len in [0, 1, 15, 16, 17, 53] {
            let mut x = values(len, 1);
            for at in 0..len {
                let before = std::mem::replace(&mut x[at], -3.0);
                for isa in Isa::available() {
                    assert_eq!(isa.dispatch(Largest(&x)), 3.0, "{} at {at} of {len}", isa.name());
                }
                x[at] = before;
            }
        }
        assert_eq!(largest_magnitude(&[]), 0.0);
    }

    #[test]
    fn what_is_not_finite_is_the_largest() {
        assert!(largest_magnitude(&[1.0, f32::NEG_INFINITY, 2.0]).is_infinite());
        assert!(largest_magnitude(&[f32::INFINITY, -f32::NAN, 2.0]).is_nan());
        assert!(largest_magnitude(&[[2.0; 20], [f32::NAN; 20]].concat()).is_nan());
    }

    #[test]
    fn many_values_are_looked_at_in_chunks() {
        let mut x = values(3 * CHUNK + 5, 1);
        for at in [0, CHUNK - 1, CHUNK, 3 * CHUNK + 4] {
            let before = std::mem::replace(&mut x[at], -3.0);
            assert_eq!(largest_magnitude(&x), 3.0, "at {at}");
            x[at] = f32::NAN;
            assert!(largest_magnitude(&x).is_nan(), "at {at}");
            x[at] = before;
        }
    }
}
