//! What an experiment found: a table in Markdown, and the same as a figure.

use std::path::Path;

use anyhow::{Context, Result};

use crate::figure;

/// A quantity that was measured.
#[derive(Clone, Debug)]
pub(crate) struct Column {
    /// With its unit.
    pub(crate) title: String,
    /// The known answer.
    pub(crate) answer: Option<f64>,
    /// Whether the figure has a logarithmic axis.
    pub(crate) log: bool,
}

impl Column {
    pub(crate) fn new(title: &str) -> Self {
        Self { title: title.to_owned(), answer: None, log: false }
    }

    pub(crate) fn answer(self, answer: f64) -> Self {
        Self { answer: Some(answer), ..self }
    }

    pub(crate) fn log(self) -> Self {
        Self { log: true, ..self }
    }
}

/// Rows of methods, columns of quantities; each cell has a value for each seed.
#[derive(Debug)]
pub(crate) struct Report {
    title: String,
    pub(crate) columns: Vec<Column>,
    pub(crate) rows: Vec<(String, Vec<Vec<f64>>)>,
}

impl Report {
    pub(crate) fn new(title: &str, columns: Vec<Column>) -> Self {
        Self { title: title.to_owned(), columns, rows: Vec::new() }
    }

    /// Adds the row of a method: for each seed its quantities.
    pub(crate) fn push(&mut self, method: &str, seeds: &[Vec<f64>]) {
        let column = |at: usize| seeds.iter().map(|values| values[at]).collect();
        let cells: Vec<Vec<f64>> = (0..self.columns.len()).map(column).collect();
        let line: Vec<String> = cells.iter().map(|cell| mean_and_deviation(cell)).collect();
        eprintln!("{method}: {}", line.join(", "));
        self.rows.push((method.to_owned(), cells));
    }

    /// Prints the table and writes the figure.
    #[expect(clippy::print_stdout, reason = "the table is what the program is for")]
    pub(crate) fn finish(&self, figure: &Path) -> Result<()> {
        println!("{}", self.table());
        let write = |figure: &Path| {
            std::fs::create_dir_all(figure.parent().unwrap_or(Path::new(".")))?;
            std::fs::write(figure, figure::svg(&self.title, self))
        };
        write(figure).with_context(|| format!("cannot write {}", figure.display()))?;
        println!("{}", figure.display());
        Ok(())
    }

    fn table(&self) -> String {
        let titles: Vec<&str> = self.columns.iter().map(|column| column.title.as_str()).collect();
        let mut table = format!("| | {} |\n|---|", titles.join(" | "));
        table.push_str(&"---|".repeat(titles.len()));
        for (method, cells) in &self.rows {
            let cells: Vec<String> = cells.iter().map(|cell| mean_and_deviation(cell)).collect();
            table.push_str(&format!("\n| {method} | {} |", cells.join(" | ")));
        }
        if self.columns.iter().any(|column| column.answer.is_some()) {
            let known = |column: &Column| column.answer.map_or(String::new(), |x| x.to_string());
            let known: Vec<String> = self.columns.iter().map(known).collect();
            table.push_str(&format!("\n| *best possible* | {} |", known.join(" | ")));
        }
        table
    }
}

/// What each seed gives, in threads of their own: the steps of an experiment are too small to fill two cores.
pub(crate) fn each_seed(
    seeds: u64,
    one: impl Fn(u64) -> Result<Vec<f64>> + Sync,
) -> Result<Vec<Vec<f64>>> {
    let one = &one;
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..seeds).map(|seed| scope.spawn(move || one(seed))).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, Result<Vec<f64>>>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        threads.into_iter().map(join).collect()
    })
}

pub(crate) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// `mean ± standard deviation` over seeds, with two digits of the deviation.
fn mean_and_deviation(values: &[f64]) -> String {
    let mean = mean(values);
    let squares: f64 = values.iter().map(|x| (x - mean).powi(2)).sum();
    let sd = (squares / (values.len() as f64 - 1.0).max(1.0)).sqrt();
    let scale = sd.max(mean.abs() / 100.0);
    if scale == 0.0 {
        return "0".to_owned();
    }
    let one = values.len() == 1;
    if scale < 1e-4 {
        return if one { format!("{mean:.1e}") } else { format!("{mean:.1e} ± {sd:.0e}") };
    }
    let digits = (1.0 - scale.log10().floor()).clamp(0.0, 5.0) as usize;
    if one { format!("{mean:.digits$}") } else { format!("{mean:.digits$} ± {sd:.digits$}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_means_deviations_and_the_known_answer() {
        let columns = vec![Column::new("gap").answer(0.0), Column::new("rank")];
        let mut report = Report::new("test", columns);
        report.push("a", &[vec![1.0, 2.5], vec![1.2, 2.5], vec![1.4, 2.5]]);
        report.push("b", &[vec![0.0, 1e-7], vec![0.0, 1e-7]]);
        let expected = "| | gap | rank |\n|---|---|---|\n| a | 1.20 ± 0.20 | 2.500 ± 0.000 |\n\
                        | b | 0 | 1.0e-7 ± 0e0 |\n| *best possible* | 0 |  |";
        assert_eq!(report.table(), expected);
    }
}
