//! Tables of medians and ratios, in Markdown, so that they can be kept.

use serde_json::Value;

use super::OUR_STEP;
use super::rounds::{Comparison, Series};

/// Multiply-adds of one step, counted as two operations: 784-512-256-300 forward and back again, gradients of all
/// weights, and gradients of every layer's input but the first's.
const STEP_GFLOP: f64 = {
    let (weights, first) = (2 * (784 * 512 + 512 * 256 + 256 * 300), 784 * 512);
    (2 * 100 * (3 * weights - first)) as f64 / 1e9
};

/// Times of all sides, and how many times as long as ours each peer takes.
pub(super) fn times(comparisons: &[Comparison]) -> String {
    let mut rows = vec![
        ["work", "ms (fastest–slowest round)", "limit ms", "GFLOP/s", "times ours (range)"]
            .map(str::to_owned),
    ];
    for comparison in comparisons {
        let is_step = comparison.ours.name == OUR_STEP;
        let gflops = |series: &Series| match median(&known(&series.ms)) {
            Some(ms) if is_step => format!("{:.0}", STEP_GFLOP / (ms / 1e3)),
            _ => String::new(),
        };
        let ours = &comparison.ours;
        let limit = of_limit(ours.limit_ms, median(&known(&ours.ms)));
        rows.push([
            format!("{} (ours)", ours.name),
            spread(&known(&ours.ms), 3),
            limit,
            gflops(ours),
            "1".to_owned(),
        ]);
        for theirs in &comparison.theirs {
            let ratios: Vec<_> = theirs
                .ms
                .iter()
                .zip(&ours.ms)
                .filter_map(|(theirs, ours)| Some((*theirs)? / (*ours)?))
                .collect();
            rows.push([
                theirs.name.clone(),
                spread(&known(&theirs.ms), 3),
                String::new(),
                gflops(theirs),
                spread(&ratios, 2),
            ]);
        }
    }
    markdown(&rows)
}

/// Peak resident memory of processes that did nothing but the named work; ours comes first.
pub(super) fn memory(peaks: &[(String, Option<f64>)]) -> String {
    let mut rows = vec![["work", "peak resident MiB", "times ours"].map(str::to_owned)];
    let ours = peaks.first().and_then(|(_, peak)| *peak);
    for (name, peak) in peaks {
        let ratio =
            peak.zip(ours).map_or_else(unknown, |(peak, ours)| format!("{:.1}", peak / ours));
        rows.push([name.clone(), peak.map_or_else(unknown, |peak| format!("{peak:.0}")), ratio]);
    }
    markdown(&rows)
}

/// A limit, and the share of it that `ms` reaches.
fn of_limit(limit_ms: Option<f64>, ms: Option<f64>) -> String {
    limit_ms
        .zip(ms)
        .map_or_else(unknown, |(limit, ms)| format!("{limit:.3} ({:.0} %)", 100.0 * limit / ms))
}

fn unknown() -> String {
    "–".to_owned()
}

fn known(ms: &[Option<f64>]) -> Vec<f64> {
    ms.iter().copied().flatten().collect()
}

/// Median, and the range around it.
fn spread(values: &[f64], decimals: usize) -> String {
    let least = values.iter().copied().min_by(f64::total_cmp);
    let most = values.iter().copied().max_by(f64::total_cmp);
    match (median(values), least, most) {
        (Some(median), Some(least), Some(most)) => {
            format!("{median:.decimals$} ({least:.decimals$}–{most:.decimals$})")
        }
        _ => unknown(),
    }
}

fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        n if n % 2 == 1 => Some(sorted[middle]),
        _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}

/// Where the time of our step goes, from what `step_bench` says.
pub(super) fn breakdown(breakdown: &Value) -> String {
    let number = |value: &Value| value.as_f64().unwrap_or(f64::NAN);
    let total = number(&breakdown["mean_ms"]);
    let mut rows = vec![["operation", "ms", "share", "limit ms"].map(str::to_owned)];
    let limit = |name: &str, ms| of_limit(breakdown["limits_ms"][name].as_f64(), Some(ms));
    let parts = breakdown["parts_ms"].as_object().into_iter().flatten();
    let mut parts: Vec<_> = parts
        .map(|(name, ms)| (name.replace('_', " "), number(ms), limit(name, number(ms))))
        .collect();
    parts.sort_by(|a, b| b.1.total_cmp(&a.1));
    let whole = of_limit(breakdown["limit_ms"].as_f64(), Some(total));
    parts.push(("the whole step".to_owned(), total, whole));
    for (name, ms, limit) in parts {
        rows.push([name, format!("{ms:.3}"), format!("{:.0} %", 100.0 * ms / total), limit]);
    }
    format!(
        "{}\n{:.0} GFLOP/s, {:.0} % of the {:.0} that multiply-adds in registers reach\n",
        markdown(&rows),
        number(&breakdown["gflops"]),
        100.0 * number(&breakdown["share_of_peak"]),
        number(&breakdown["peak_gflops"]),
    )
}

/// Rows of cells, the first one the head; columns aligned also as plain text.
fn markdown<const N: usize>(rows: &[[String; N]]) -> String {
    let widths: [usize; N] = std::array::from_fn(|column| {
        rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)
    });
    let mut text = String::new();
    for (row_idx, row) in rows.iter().enumerate() {
        let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
        let padded =
            row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(&line(padded));
        if row_idx == 0 {
            text.push_str(&line(widths.iter().map(|&width| "-".repeat(width)).collect()));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(name: &str, ms: &[Option<f64>]) -> Series {
        Series { name: name.to_owned(), ms: ms.to_vec(), limit_ms: Some(1.1) }
    }

    #[test]
    fn the_median_is_the_middle_or_the_mean_of_two() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }

    #[test]
    fn a_step_is_two_thirds_of_a_gflop() {
        assert!((STEP_GFLOP - 0.6508).abs() < 1e-3, "{STEP_GFLOP}");
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        let comparison = Comparison {
            ours: series("step", &[Some(1.0), Some(10.0), None]),
            theirs: vec![
                series("step_eager", &[Some(2.0), Some(40.0), Some(7.0)]),
                series("step_gone", &[None; 3]),
            ],
        };
        let text = times(&[comparison]);
        let rows: Vec<Vec<_>> = text
            .lines()
            .map(|row| row.trim_matches('|').split('|').map(str::trim).collect())
            .collect();
        assert_eq!(rows[2], ["step (ours)", "5.500 (1.000–10.000)", "1.100 (20 %)", "118", "1"]);
        assert_eq!(rows[3], ["step_eager", "7.000 (2.000–40.000)", "", "93", "3.00 (2.00–4.00)"]);
        assert_eq!(rows[4], ["step_gone", "–", "", "", "–"]);
    }

    #[test]
    fn memory_is_compared_with_ours() {
        let text = memory(&[
            ("step".to_owned(), Some(100.0)),
            ("a".to_owned(), Some(350.0)),
            ("b".to_owned(), None),
        ]);
        assert!(text.contains("| 350 ") && text.contains("| 3.5 ") && text.contains('–'), "{text}");
    }

    #[test]
    fn the_breakdown_begins_with_what_takes_longest() {
        let text = breakdown(&serde_json::json!({
            "mean_ms": 4.0, "parts_ms": {"noise": 1.0, "weight_gradients": 3.0},
            "limits_ms": {"weight_gradients": 1.5}, "limit_ms": 2.0,
            "gflops": 160.0, "peak_gflops": 400.0, "share_of_peak": 0.4,
        }));
        let rows: Vec<_> = text.lines().collect();
        assert!(rows[2].starts_with("| weight gradients | 3.000 | 75 %  | 1.500 (50 %)"), "{text}");
        assert!(rows[4].contains("4.000 | 100 % | 2.000 (50 %)"), "{text}");
        assert_eq!(rows[6], "160 GFLOP/s, 40 % of the 400 that multiply-adds in registers reach");
    }

    #[test]
    fn columns_are_aligned() {
        let text =
            markdown(&[["a".to_owned(), "–".to_owned()], ["long".to_owned(), "xyz".to_owned()]]);
        assert_eq!(text, "| a    | –   |\n| ---- | --- |\n| long | xyz |\n");
    }
}
