//! Pixels as numbers.

use crate::error::{LengthError, check_len};
use crate::isa::{Isa, Kernel, Task};

/// How a byte becomes a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pixels {
    /// `byte / 255`.
    Grey,
    /// One from this byte on, else zero.
    Threshold(u8),
}

/// Converts each byte, on the calling thread: an image at a time as a batch is gathered.
///
/// # Errors
/// [`LengthError`] when `out` is not as long as `pixels`; it is then untouched.
pub fn pixels_to_f32(pixels: &[u8], convert: Pixels, out: &mut [f32]) -> Result<(), LengthError> {
    check_len("out", out.len(), pixels.len())?;
    Isa::best().dispatch(Conversion { pixels, convert, out });
    Ok(())
}

struct Conversion<'a> {
    pixels: &'a [u8],
    convert: Pixels,
    out: &'a mut [f32],
}

impl Task for Conversion<'_> {
    type Output = ();

    #[inline(always)]
    fn run<K: Kernel>(self, _kernel: K) {
        let values = self.out.iter_mut().zip(self.pixels);
        match self.convert {
            Pixels::Grey => values.for_each(|(out, &pixel)| *out = f32::from(pixel) / 255.0),
            Pixels::Threshold(least) => {
                values.for_each(|(out, &pixel)| *out = if pixel >= least { 1.0 } else { 0.0 })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_becomes_the_nearest_float_on_every_instruction_set() {
        // 256 bytes and some more, so that no vector width divides them.
        let pixels: Vec<u8> = (0..=u8::MAX).chain(0..13).collect();
        for convert in [Pixels::Grey, Pixels::Threshold(128), Pixels::Threshold(0)] {
            for isa in Isa::available() {
                let mut out = vec![-1.0; pixels.len()];
                isa.dispatch(Conversion { pixels: &pixels, convert, out: &mut out });
                for (&pixel, out) in pixels.iter().zip(out) {
                    let expected = match convert {
                        Pixels::Grey => (f64::from(pixel) / 255.0) as f32,
                        Pixels::Threshold(least) => f32::from(pixel >= least),
                    };
                    assert_eq!(out, expected, "{}", isa.name());
                }
            }
        }
    }

    #[test]
    fn another_length_is_refused_and_nothing_is_written() {
        let mut out = [9.0; 4];
        let error = pixels_to_f32(&[1; 6], Pixels::Grey, &mut out);
        assert_eq!(error, Err(LengthError { operand: "out", expected: 6, actual: 4 }));
        assert_eq!(out, [9.0; 4]);
        pixels_to_f32(&[], Pixels::Grey, &mut []).unwrap();
    }
}
