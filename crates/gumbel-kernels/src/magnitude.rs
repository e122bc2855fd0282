//! The largest magnitude of many values, to find at once whether any is not finite.

use crate::isa::{Isa, Kernel, Task};
use crate::lines::LINE;

/// The largest |x|: infinite if any x is, NaN if any x is, 0 for no values.
pub fn largest_magnitude(values: &[f32]) -> f32 {
    Isa::best().dispatch(Largest(values))
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
}
