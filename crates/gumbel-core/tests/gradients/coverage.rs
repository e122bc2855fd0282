//! No public function escapes the table: the sources are read to find out.

use std::collections::BTreeSet;
use std::path::Path;

use crate::table::table;

/// Public functions without a gradient: they return indices, constants, numbers or shapes.
const NO_GRADIENT: &[&str] = &[
    "all_codes",
    "at",
    "batch_shape",
    "check",
    "checked",
    "enumerate_support",
    "event_shape",
    "fill_gumbel_noise",
    "floor",
    "from_state",
    "from_var",
    "gumbel_max",
    "gumbel_max_with_noise",
    "gumbel_noise",
    "gumbel_top_k",
    "gumbel_top_k_with_noise",
    "has_temperature",
    "is_unbiased",
    "k",
    "lengths",
    "logistic_noise",
    "matching",
    "mode_labels",
    "n_classes",
    "n_items",
    "n_states",
    "name",
    "new",
    "one_hot",
    "sample",
    "sample_labels",
    "sample_one_hot",
    "sample_with_noise",
    "samples_are_exact",
    "state",
    "stochastic_beam_search",
    "stream",
    "structure",
    "uniform",
    "var",
];

/// The modes of discrete distributions are constants, and so are temperatures as they were given. What estimators
/// have learnt are numbers. Proposals are in no graph.
const NO_GRADIENT_IN: &[&str] = &[
    "categorical::mode",
    "one_hot_categorical::mode",
    "bernoulli::mode",
    "plackett_luce::mode",
    "plackett_luce::log_count",
    "plackett_luce::position_marginals",
    "plackett_luce::conditional_gumbels",
    "plackett_luce_subset::mode",
    "plackett_luce_subset::leave_one_out_ratios",
    "exp_relaxed_one_hot_categorical::temperature",
    "relaxed_one_hot_categorical::temperature",
    "logit_relaxed_bernoulli::temperature",
    "relaxed_bernoulli::temperature",
    "gibbs::log_count",
    "gibbs::mode",
    "gibbs::on",
    "samples::noise",
    "arborescence::parents",
    "copies::of",
    "k_subset::indices",
    "labels::edges",
    "rebar::scale",
    "estimator::propose",
    "estimator::propose_on",
    "proposal::points",
    "proposal::stacked",
    "proposal::combine",
    "proposal::split",
    "reinforce::mean",
];

/// `file::function` for every `pub fn` of the crate's own folder, of the distributions, of the estimators and of the structures.
fn public_functions() -> BTreeSet<String> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut names = BTreeSet::new();
    for folder in [
        src.clone(),
        src.join("random"),
        src.join("temperature"),
        src.join("distributions"),
        src.join("order"),
        src.join("estimators"),
        src.join("distributions/gibbs"),
        src.join("structure/arborescence"),
        src.join("structure/copies"),
        src.join("structure/k_subset"),
        src.join("structure/linear_chain"),
        src.join("structure/spanning_tree"),
    ] {
        for file in std::fs::read_dir(&folder).unwrap() {
            let path = file.unwrap().path();
            if path.extension().is_none_or(|e| e != "rs") {
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            // A folder's own file has its name.
            let path = if path.ends_with("mod.rs") { folder.clone() } else { path };
            let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
            for line in text.lines() {
                if let Some(rest) = line.trim_start().strip_prefix("pub fn ") {
                    let name = rest.split(['(', '<']).next().unwrap();
                    names.insert(format!("{stem}::{name}"));
                }
            }
        }
    }
    names
}

#[test]
fn every_public_function_is_in_the_table_or_known_to_have_no_gradient() {
    let functions = public_functions();
    assert!(functions.len() > 100, "the sources were not read");
    let table: BTreeSet<String> = table().iter().map(|e| e.name.to_owned()).collect();
    for name in &functions {
        let function = name.split("::").last().unwrap();
        let excused = NO_GRADIENT.contains(&function) || NO_GRADIENT_IN.contains(&name.as_str());
        assert!(table.contains(name) || excused, "{name} is in no gradient test");
    }
    for name in &table {
        assert!(functions.contains(name), "{name} is in the table, but not in the sources");
    }
}
