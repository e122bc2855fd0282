//! What a tuning found: who wins, who is tied, and what that means, in words and as JSON.

use catvae_train::EpochMetrics;
use serde_json::{Value, json};

use super::candidates::Candidate;
use super::rungs::Rung;
use super::statistics::{ALPHA, Comparison, Interval, compare, interval, leader, mean};

/// Seeds of the last rung below which an interval says little.
const FEW_SEEDS: usize = 5;

/// The result of the last rung, and what the rungs before tell.
pub(crate) struct Findings {
    pub(crate) rungs: Vec<Rung>,
    pub(crate) default: Candidate,
    /// Whether training sees exact samples: then nothing is relaxed, and the gap is noise.
    pub(crate) samples_are_exact: bool,
    /// Of the last rung, as its candidates.
    pub(crate) rows: Vec<Row>,
    /// Place in `rows`.
    pub(crate) chosen: usize,
    /// What the relaxed objective alone would have chosen, after how many epochs, and the exact objective that this
    /// costs against the chosen one.
    pub(crate) relaxed: Option<(Candidate, usize, Interval)>,
}

/// A candidate in the last rung.
pub(crate) struct Row {
    pub(crate) candidate: Candidate,
    /// Exact validation objective over seeds.
    pub(crate) objective: Interval,
    pub(crate) against_leader: Comparison,
    /// Relaxed objective on the training images.
    pub(crate) relaxed: f64,
    pub(crate) gap: f64,
}

impl Findings {
    /// Reads the rungs; there is at least one, and a candidate that did not diverge.
    pub(crate) fn new(
        rungs: Vec<Rung>,
        default: Candidate,
        samples_are_exact: bool,
    ) -> Option<Self> {
        let last = rungs.last()?;
        let scores = last.scores();
        let relaxed = last.numbers(|m| Some(m.train_neg_elbo));
        let gaps = last.numbers(EpochMetrics::gap);
        let compared = compare(&scores);
        let rows: Vec<Row> = (0..scores.len())
            .map(|i| Row {
                candidate: last.candidates[i],
                objective: interval(&scores[i], ALPHA),
                against_leader: compared[i],
                relaxed: mean(&relaxed[i]),
                gap: mean(&gaps[i]),
            })
            .collect();
        let tied = (0..rows.len()).filter(|&i| rows[i].against_leader.is_tied);
        let by_gap = |&a: &usize, &b: &usize| rows[a].gap.total_cmp(&rows[b].gap);
        let chosen = match samples_are_exact {
            true => leader(&scores),
            false => tied.min_by(by_gap)?,
        };
        let relaxed = match samples_are_exact {
            true => None,
            false => by_relaxed(&rungs, rows[chosen].candidate),
        };
        Some(Self { default, samples_are_exact, chosen, relaxed, rows, rungs })
    }

    pub(crate) fn chosen(&self) -> Candidate {
        self.rows[self.chosen].candidate
    }

    fn last(&self) -> (usize, usize) {
        self.rungs.last().map_or((0, 0), |rung| (rung.epochs, rung.seeds.len()))
    }

    /// Three plain sentences.
    pub(crate) fn sentences(&self) -> [String; 3] {
        let row = &self.rows[self.chosen];
        let (epochs, n_seeds) = self.last();
        let take = format!(
            "Take {}: after {epochs} epoch(s) its exact objective on the validation images is {} nats, mean over {n_seeds} \
             seed(s), with a gap of {:.2}.",
            row.candidate.shown(),
            shown(row.objective),
            row.gap
        );
        let others =
            self.rows.iter().filter(|r| r.against_leader.is_tied && r.candidate != row.candidate);
        let others: Vec<_> = others.map(|r| r.candidate.shown()).collect();
        let tied = match (others.is_empty(), self.samples_are_exact) {
            (true, _) => "No other candidate is tied with it.".to_owned(),
            (false, true) => {
                format!("Tied with it are {}: the seeds do not tell them apart.", others.join("; "))
            }
            (false, false) => format!(
                "Tied with it are {}: the seeds do not tell them apart, and it has the smallest gap.",
                others.join("; ")
            ),
        };
        let relaxed = match &self.relaxed {
            None => "Training sees exact samples here: there is no relaxed objective that could mislead.".to_owned(),
            Some((candidate, ..)) if *candidate == row.candidate => {
                "The relaxed objective alone would have chosen the same.".to_owned()
            }
            Some((candidate, epochs, cost)) => format!(
                "The relaxed objective alone would have chosen {}, {} nats of the exact one after {epochs} epoch(s).",
                candidate.shown(),
                cost_in_words(*cost)
            ),
        };
        [take, tied, relaxed]
    }

    pub(crate) fn warnings(&self) -> Vec<String> {
        let mut found = Vec::new();
        let first = &self.rungs[0];
        let chosen = self.chosen();
        let axes: [fn(&Candidate) -> Option<f64>; 2] =
            [|c| Some(c.temperature), |c| c.backward_temperature];
        for (axis, name) in axes.iter().zip(["--temperatures", "--backward-temperatures"]) {
            let all: Vec<f64> = first.candidates.iter().filter_map(axis).collect();
            let Some(here) = axis(&chosen) else { continue };
            let (low, high) = all.iter().fold((here, here), |(l, h), &x| (l.min(x), h.max(x)));
            if low < high && (here == low || here == high) {
                found.push(format!(
                    "the choice lies at the edge of the grid: widen {name} beyond {here}"
                ));
            }
        }
        let (_, n_seeds) = self.last();
        if n_seeds < FEW_SEEDS {
            found.push(format!("{n_seeds} seed(s) tell little apart: --seeds {FEW_SEEDS} or more"));
        }
        for rung in &self.rungs {
            for (candidate, scores) in rung.candidates.iter().zip(rung.scores()) {
                let n = scores.iter().filter(|score| score.is_infinite()).count();
                if n > 0 {
                    let (name, epochs) = (candidate.shown(), rung.epochs);
                    found.push(format!(
                        "{name} diverged with {n} seed(s) by epoch {epochs}, and counts as worst"
                    ));
                }
            }
        }
        found
    }

    /// The epoch of the rung after which a candidate was dropped.
    fn dropped_after(&self, candidate: Candidate) -> Option<usize> {
        let last = self.rungs.iter().rfind(|rung| rung.place_of(candidate).is_some())?;
        (last.epochs < self.last().0).then_some(last.epochs)
    }

    pub(crate) fn table(&self) -> Vec<String> {
        let first = &self.rungs[0].candidates;
        let width = first.iter().map(|c| c.shown().chars().count()).max().unwrap_or(0);
        let mut lines = vec![format!(
            "{:width$}   exact, validation     against the best    relaxed      gap",
            ""
        )];
        for &candidate in first {
            let name = format!("{:width$}", candidate.shown());
            lines.push(match self.rows.iter().find(|row| row.candidate == candidate) {
                None => {
                    let epochs = self.dropped_after(candidate).unwrap_or(0);
                    format!("{name}   dropped after epoch {epochs}")
                }
                Some(row) => format!(
                    "{name}   {:>17}   {:>18}   {:>8.2}   {:>6.2}   {}",
                    shown(row.objective),
                    shown(row.against_leader.difference),
                    row.relaxed,
                    row.gap,
                    match (candidate == self.chosen(), row.against_leader.is_tied) {
                        (true, _) => "chosen",
                        (false, true) => "tied",
                        (false, false) => "",
                    }
                ),
            });
        }
        lines
    }

    pub(crate) fn json(&self, confirmation: Value) -> Value {
        let rungs = self.rungs.iter().map(|rung| {
            json!({
                "epochs": rung.epochs,
                "seeds": rung.seeds,
                "candidates": rung.candidates.iter().map(|c| c.json()).collect::<Vec<_>>(),
                "validation_neg_elbo": rung.scores(),
                "train_neg_elbo": rung.numbers(|m| Some(m.train_neg_elbo)),
                "gap": rung.numbers(EpochMetrics::gap),
            })
        });
        let rows = self.rows.iter().map(|row| {
            json!({
                "candidate": row.candidate.json(),
                "validation_neg_elbo": interval_json(row.objective),
                "difference_to_best": interval_json(row.against_leader.difference),
                "tied": row.against_leader.is_tied,
                "train_neg_elbo": row.relaxed,
                "gap": row.gap,
            })
        });
        let relaxed = self.relaxed.as_ref().map(|(candidate, epochs, cost)| {
            json!({ "candidate": candidate.json(), "epochs": epochs, "cost": interval_json(*cost) })
        });
        json!({
            "chosen": self.chosen().json(),
            "default": self.default.json(),
            "rows": rows.collect::<Vec<_>>(),
            "relaxed_alone": relaxed,
            "confirmation": confirmation,
            "sentences": self.sentences(),
            "warnings": self.warnings(),
            "rungs": rungs.collect::<Vec<_>>(),
        })
    }
}

/// The choice of the relaxed objective: of the last rung, or of the first where some were dropped since. Its cost is
/// taken at the last rung that it reached.
fn by_relaxed(rungs: &[Rung], chosen: Candidate) -> Option<(Candidate, usize, Interval)> {
    let (first, last) = (rungs.first()?, rungs.last()?);
    let asked = if first.candidates == last.candidates { last } else { first };
    let relaxed = asked.numbers(|m| Some(m.train_neg_elbo));
    let candidate = asked.candidates[leader(&relaxed)];
    let rung = rungs.iter().rfind(|rung| rung.place_of(candidate).is_some())?;
    let (scores, here, there) = (rung.scores(), rung.place_of(candidate)?, rung.place_of(chosen)?);
    let differences: Vec<f64> =
        scores[here].iter().zip(&scores[there]).map(|(a, b)| a - b).collect();
    Some((candidate, rung.epochs, interval(&differences, ALPHA)))
}

/// `which costs 1.85 ± 0.40`; a negative cost is a gain, which is possible among tied candidates.
fn cost_in_words(cost: Interval) -> String {
    match cost.mean < 0.0 {
        true => format!("which is better by {}", shown(Interval { mean: -cost.mean, ..cost })),
        false => format!("which costs {}", shown(cost)),
    }
}

/// `127.31 ± 0.42`.
pub(crate) fn shown(interval: Interval) -> String {
    match interval.half_width.is_finite() {
        true => format!("{:.2} ± {:.2}", interval.mean, interval.half_width),
        false => format!("{:.2}", interval.mean),
    }
}

/// What is not finite is null, as JSON has no infinity.
pub(crate) fn interval_json(interval: Interval) -> Value {
    json!({ "mean": interval.mean, "half_width": interval.half_width })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_negative_cost_is_told_as_a_gain() {
        let told = |mean| cost_in_words(Interval { mean, half_width: 0.4 });
        assert_eq!(told(1.85), "which costs 1.85 ± 0.40");
        assert_eq!(told(-1.85), "which is better by 1.85 ± 0.40");
    }
}
