//! `exp`, `ln`, softplus and sigmoid of whole slices.

use rayon::prelude::*;

use crate::error::{LengthError, check_len};
use crate::isa::{Isa, Kernel, Task};
use crate::lines::LINE;
use crate::vmath;

/// Values in the chunk that one thread takes at a time.
const CHUNK: usize = 1 << 14;

macro_rules! elementwise {
    ($($(#[$doc:meta])* $name:ident, $task:ident, $function:expr;)*) => {$(
        $(#[$doc])*
        ///
        /// # Errors
        /// [`LengthError`] when `out` is not as long as `x`.
        pub fn $name(x: &[f32], out: &mut [f32]) -> Result<(), LengthError> {
            check_len("out", out.len(), x.len())?;
            let isa = Isa::best();
            x.par_chunks(CHUNK)
                .zip(out.par_chunks_mut(CHUNK))
                .for_each(|(x, out)| isa.dispatch($task { x, out }));
            Ok(())
        }

        struct $task<'a> {
            x: &'a [f32],
            out: &'a mut [f32],
        }

        impl Task for $task<'_> {
            type Output = ();

            #[inline(always)]
            fn run<K: Kernel>(self, kernel: K) {
                for (x, out) in self.x.chunks(LINE).zip(self.out.chunks_mut(LINE)) {
                    let mut lanes = kernel.load(x, 1.0);
                    for lane in &mut lanes {
                        *lane = $function(*lane);
                    }
                    kernel.store(&lanes, out);
                }
            }
        }
    )*};
}

elementwise! {
    /// `out = eˣ`, within 1 unit in the last place over the whole range.
    exp, Exp, vmath::exp;
    /// `out = ln x`, within 1 unit in the last place over the whole range; -∞ at zero, NaN below.
    ln, Ln, vmath::ln;
    /// `out = ln(1 + eˣ)`, without overflow or cancellation: `max(x, 0) + ln(1 + e^(−|x|))`.
    softplus, Softplus, vmath::softplus;
    /// `out = 1 / (1 + e^(−x))`, the derivative of softplus.
    sigmoid, Sigmoid, vmath::sigmoid;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::values;

    #[test]
    fn slices_of_every_length_get_the_scalar_function() {
        let lens: &[usize] = if cfg!(miri) { &[0, 17] } else { &[0, 1, 15, 16, 17, 100_000] };
        for &len in lens {
            let x: Vec<f32> = values(len, 1).iter().map(|x| x * 50.0).collect();
            let mut out = vec![0.0; len];
            type Case = (fn(&[f32], &mut [f32]) -> Result<(), LengthError>, fn(f32) -> f32);
            let cases: [Case; 4] = [
                (exp, vmath::exp),
                (ln, vmath::ln),
                (softplus, vmath::softplus),
                (sigmoid, vmath::sigmoid),
            ];
            for (slice, scalar) in cases {
                slice(&x, &mut out).unwrap();
                let expected: Vec<u32> = x.iter().map(|&x| scalar(x).to_bits()).collect();
                // Bits, since logarithms of negative values are NaN; all NaN here are the same one.
                assert!(out.iter().map(|y| y.to_bits()).eq(expected));
            }
        }
        assert!(exp(&[0.0; 3], &mut [0.0; 2]).is_err());
    }
}
