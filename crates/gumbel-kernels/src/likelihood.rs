//! The negative log-likelihood of independent pixels, row by row: the loop that every law shares.

use rayon::prelude::*;

use crate::error::{LengthError, check_len};
use crate::isa::{Isa, Kernel, Task};
use crate::lines::LINE;
use crate::reduce::sum;
use crate::rows::{check_rows, rows_per_chunk};

/// One pixel's negative log-likelihood in nats, and its derivative for the logit.
pub(crate) struct Pixel {
    pub(crate) nll: f32,
    pub(crate) slope: f32,
}

/// The law of a pixel `x` given its logit `l`.
pub(crate) trait Law: Copy + Send + Sync {
    /// Compiled into the loop of each instruction set: no branches, no calls.
    fn pixel(self, l: f32, x: f32) -> Pixel;
}

/// Sums the pixels of each row, and scales their slopes.
#[expect(clippy::too_many_arguments, reason = "the operands of one operation")]
pub(crate) fn nll_on<L: Law>(
    isa: Isa,
    law: L,
    row_len: usize,
    scale: f32,
    logits: &[f32],
    targets: &[f32],
    nll: &mut [f32],
    d_logits: &mut [f32],
) -> Result<(), LengthError> {
    check_rows("logits", logits.len(), row_len)?;
    check_len("targets", targets.len(), logits.len())?;
    check_len("d_logits", d_logits.len(), logits.len())?;
    check_len("nll", nll.len(), logits.len().checked_div(row_len).unwrap_or(0))?;
    if logits.is_empty() {
        return Ok(());
    }
    let rows = rows_per_chunk(row_len);
    logits
        .par_chunks(rows * row_len)
        .zip(targets.par_chunks(rows * row_len))
        .zip(nll.par_chunks_mut(rows))
        .zip(d_logits.par_chunks_mut(rows * row_len))
        .for_each(|(((logits, targets), nll), d_logits)| {
            isa.dispatch(Rows { law, row_len, scale, logits, targets, nll, d_logits });
        });
    Ok(())
}

struct Rows<'a, L> {
    law: L,
    row_len: usize,
    scale: f32,
    logits: &'a [f32],
    targets: &'a [f32],
    nll: &'a mut [f32],
    d_logits: &'a mut [f32],
}

impl<L: Law> Task for Rows<'_, L> {
    type Output = ();

    #[inline(always)]
    fn run<K: Kernel>(self, kernel: K) {
        let rows = self
            .logits
            .chunks_exact(self.row_len)
            .zip(self.targets.chunks_exact(self.row_len))
            .zip(self.nll)
            .zip(self.d_logits.chunks_exact_mut(self.row_len));
        for (((logits, targets), nll), d_logits) in rows {
            let mut total = [0.0; LINE];
            let lines = logits.chunks(LINE).zip(targets.chunks(LINE));
            for ((logits, targets), d_logits) in lines.zip(d_logits.chunks_mut(LINE)) {
                let width = logits.len();
                let (l, x) = (kernel.load(logits, 0.0), kernel.load(targets, 0.0));
                let mut d = [0.0; LINE];
                for i in 0..LINE {
                    let Pixel { nll, slope } = self.law.pixel(l[i], x[i]);
                    // The padding of the last line adds nothing.
                    total[i] += if i < width { nll } else { 0.0 };
                    d[i] = self.scale * slope;
                }
                kernel.store(&d, d_logits);
            }
            *nll = sum(total);
        }
    }
}
