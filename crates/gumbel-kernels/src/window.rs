//! The output of a product, cut into parts that threads own.

use std::ops::Range;

use crate::gemm::Part;
use crate::lines::LINE;

/// Multiply-adds below which a second thread costs more than it saves.
pub(crate) const SERIAL_WORK: usize = 1 << 18;

/// How a row-major output is cut: along its longer dimension unless told otherwise, at whole lines.
pub(crate) struct Grid {
    rows: usize,
    columns: usize,
    n_parts: usize,
    by_rows: bool,
}

impl Grid {
    /// As many parts as there are threads, but one for a product of little `work` (in multiply-adds).
    pub(crate) fn new(rows: usize, columns: usize, work: usize) -> Self {
        let n_threads = if work < SERIAL_WORK { 1 } else { rayon::current_num_threads() };
        let n_parts = n_threads.min(rows.max(columns).div_ceil(LINE)).max(1);
        Grid { rows, columns, n_parts, by_rows: columns < rows }
    }

    /// The same, cut along the rows where there are enough of them: then threads write to memory that no other is near.
    /// Where two write halves of each row, what the processor fetches ahead for one is taken from the other.
    pub(crate) fn by_rows(self) -> Self {
        Grid { by_rows: self.rows.div_ceil(LINE) >= self.n_parts, ..self }
    }

    /// Cuts `out`, which has `rows * columns` values.
    pub(crate) fn windows<'a>(&self, out: &'a mut [f32]) -> Vec<Window<'a>> {
        let mut windows: Vec<Window<'a>> = (0..self.n_parts)
            .map(|idx| {
                let (rows, columns) = self.ranges(idx);
                Window { segments: Vec::with_capacity(rows.len()), rows, columns }
            })
            .collect();
        if self.columns == 0 {
            for window in &mut windows {
                window.rows = 0..0;
            }
            return windows;
        }
        for (row, mut rest) in out.chunks_exact_mut(self.columns).enumerate() {
            for window in &mut windows {
                if window.rows.contains(&row) {
                    let (segment, tail) = rest.split_at_mut(window.columns.len());
                    window.segments.push(segment);
                    rest = tail;
                }
            }
        }
        windows
    }

    /// Cuts `out` and gives each part a sink.
    pub(crate) fn parts<'a, S>(
        &self,
        out: &'a mut [f32],
        sink: impl Fn(Window<'a>) -> S,
    ) -> Vec<Part<S>> {
        self.windows(out).into_iter().map(|window| window.into_part(&sink)).collect()
    }

    fn ranges(&self, idx: usize) -> (Range<usize>, Range<usize>) {
        let cut = |len: usize| {
            let bound = |i: usize| (len.div_ceil(LINE) * i / self.n_parts * LINE).min(len);
            bound(idx)..bound(idx + 1)
        };
        if self.by_rows {
            (cut(self.rows), 0..self.columns)
        } else {
            (0..self.rows, cut(self.columns))
        }
    }
}

/// A rectangle of the output, as the slices of its rows.
pub(crate) struct Window<'a> {
    segments: Vec<&'a mut [f32]>,
    rows: Range<usize>,
    columns: Range<usize>,
}

impl<'a> Window<'a> {
    /// Columns `column..column + width` of `row`, counted in the whole output.
    #[inline(always)]
    pub(crate) fn segment(&mut self, row: usize, column: usize, width: usize) -> &mut [f32] {
        let start = column - self.columns.start;
        &mut self.segments[row - self.rows.start][start..start + width]
    }

    /// The part of the product whose sink writes to this window.
    pub(crate) fn into_part<S>(self, sink: impl FnOnce(Window<'a>) -> S) -> Part<S> {
        Part { rows: self.rows.clone(), columns: self.columns.clone(), sink: sink(self) }
    }
}
