//! What is compared with what, and in which order.

use anyhow::Result;

use super::side::Measured;

/// The index of our side; those of the peers follow.
const OURS: usize = 0;

/// Our work and the peers' work that belongs to it, with the index of its side.
#[derive(Debug, PartialEq, Eq)]
struct Group {
    ours: String,
    theirs: Vec<(usize, String)>,
}

/// All groups.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan {
    groups: Vec<Group>,
}

/// One piece of work, round by round; a round that failed is `None`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Series {
    pub(super) name: String,
    pub(super) ms: Vec<Option<f64>>,
    /// The least that this processor allows, as measured last.
    pub(super) limit_ms: Option<f64>,
}

/// A group after all rounds.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Comparison {
    pub(super) ours: Series,
    pub(super) theirs: Vec<Series>,
}

impl Plan {
    /// Groups of the names that we and some peer have, and that contain one of `only` if there are any.
    pub(super) fn new(ours: &[String], peers: &[&[String]], only: &[String]) -> Self {
        let wanted =
            |name: &str| only.is_empty() || only.iter().any(|text| name.contains(text.as_str()));
        let belongs = |theirs: &str, ours: &str| {
            theirs.strip_prefix(ours).is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
        };
        let groups = ours
            .iter()
            .map(|name| Group {
                ours: name.clone(),
                theirs: peers
                    .iter()
                    .enumerate()
                    .flat_map(|(peer, names)| names.iter().map(move |name| (OURS + 1 + peer, name)))
                    .filter(|(_, peer)| wanted(peer) && belongs(peer, name))
                    .map(|(side, name)| (side, name.clone()))
                    .collect(),
            })
            .filter(|group| !group.theirs.is_empty())
            .collect();
        Self { groups }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// The sides and names of all that is measured beside `ours`, ours first.
    pub(super) fn work_of<'a>(&'a self, ours: &str) -> Vec<(usize, &'a str)> {
        let Some(group) = self.groups.iter().find(|group| group.ours == ours) else {
            return Vec::new();
        };
        let theirs = group.theirs.iter().map(|(side, name)| (*side, name.as_str()));
        std::iter::once((OURS, group.ours.as_str())).chain(theirs).collect()
    }

    /// Measures every group once a round, every other round in reverse.
    ///
    /// # Errors
    /// When `measure(side, name)` fails; its inner error is a failed round.
    pub(super) fn measure(
        &self,
        n_rounds: u32,
        mut measure: impl FnMut(usize, &str) -> Result<Result<Measured, String>>,
    ) -> Result<Vec<Comparison>> {
        let series = |name: &String| Series { name: name.clone(), ms: Vec::new(), limit_ms: None };
        let mut comparisons: Vec<_> = self
            .groups
            .iter()
            .map(|group| Comparison {
                ours: series(&group.ours),
                theirs: group.theirs.iter().map(|(_, name)| series(name)).collect(),
            })
            .collect();
        for round in 0..n_rounds {
            for (group, comparison) in self.groups.iter().zip(&mut comparisons) {
                let ours = std::iter::once((OURS, &mut comparison.ours));
                let sides = group.theirs.iter().map(|(side, _)| *side);
                let mut work: Vec<_> = ours.chain(sides.zip(&mut comparison.theirs)).collect();
                if round % 2 == 1 {
                    work.reverse();
                }
                for (side, series) in work {
                    let measured = measure(side, &series.name)?;
                    let measured = measured.ok();
                    series.limit_ms =
                        measured.as_ref().and_then(|m| m.limit_ms).or(series.limit_ms);
                    series.ms.push(measured.map(|measured| measured.ms));
                }
            }
        }
        Ok(comparisons)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    fn of_side(side: usize, names: &[&str]) -> Vec<(usize, String)> {
        names.iter().map(|name| (side, name.to_string())).collect()
    }

    #[test]
    fn work_is_grouped_by_name_over_all_peers() {
        let ours = names(&["step", "sample_4x4", "alone"]);
        let first = names(&["step_eager", "step_fused", "sample_4x4", "sample_4x44", "stepwise"]);
        let second = names(&["step_other"]);
        let plan = Plan::new(&ours, &[&first, &second], &[]);
        let mut of_step = of_side(1, &["step_eager", "step_fused"]);
        of_step.extend(of_side(2, &["step_other"]));
        assert_eq!(
            plan.groups,
            [
                Group { ours: "step".to_owned(), theirs: of_step },
                Group { ours: "sample_4x4".to_owned(), theirs: of_side(1, &["sample_4x4"]) },
            ]
        );
    }

    #[test]
    fn only_what_is_asked_for_is_planned() {
        let plan = Plan::new(
            &names(&["step", "other"]),
            &[&names(&["step_a", "step_b", "other"])],
            &names(&["step_b"]),
        );
        let theirs = of_side(1, &["step_b"]);
        assert_eq!(plan.groups, [Group { ours: "step".to_owned(), theirs }]);
        let nothing = names(&["nothing"]);
        assert!(Plan::new(&names(&["step"]), &[&names(&["step_a"])], &nothing).is_empty());
    }

    #[test]
    fn sides_alternate_and_the_order_turns_around() {
        let peers = [names(&["step_a"]), names(&["step_b"])];
        let plan = Plan::new(&names(&["step"]), &[&peers[0], &peers[1]], &[]);
        let mut order = Vec::new();
        let comparisons = plan
            .measure(2, |side, name| {
                order.push((side, name.to_owned()));
                let ms = order.len() as f64;
                Ok(if name == "step_b" {
                    Err("no".to_owned())
                } else {
                    Ok(Measured { ms, limit_ms: Some(0.5), peak_rss_mib: None, breakdown: None })
                })
            })
            .unwrap();
        let sides: Vec<_> = order.iter().map(|(side, name)| (*side, name.as_str())).collect();
        assert_eq!(
            sides,
            [(0, "step"), (1, "step_a"), (2, "step_b"), (2, "step_b"), (1, "step_a"), (0, "step")]
        );
        assert_eq!(comparisons[0].ours.ms, [Some(1.0), Some(6.0)]);
        assert_eq!(comparisons[0].theirs[0].ms, [Some(2.0), Some(5.0)]);
        assert_eq!(comparisons[0].theirs[1].ms, [None, None]);
        assert_eq!(comparisons[0].ours.limit_ms, Some(0.5));
    }
}
