//! Log-partitions and marginals of structures against 60 digits, beside PyTorch's errors at the same inputs.
//!
//! `cargo test -p gumbel-core --test goldens structures -- --nocapture` prints the table. `make_structures.py` writes the figures.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};
use gumbel_core::distributions::Gibbs;
use gumbel_core::structure::{Arborescence, KSubset, LinearChain, Structure};
use serde::Deserialize;

#[derive(Deserialize)]
struct Goldens {
    torch: String,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    structure: String,
    /// Of the logits, which are normal.
    deviation: f64,
    shape: Vec<usize>,
    /// Exact in f32.
    logits: Vec<f64>,
    log_partition: Vec<f64>,
    marginals: Vec<f64>,
    pytorch_errors: BTreeMap<String, [Option<f64>; 2]>,
}

fn numbers(t: Tensor) -> Vec<f64> {
    t.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

/// The largest error of a log-partition, relative to what exceeds one nat, and of a marginal.
fn errors<S: Structure>(case: &Case, d: &Gibbs<S>) -> [f64; 2] {
    let worst = |got: Vec<f64>, expected: &[f64], floor: f64| {
        assert_eq!(got.len(), expected.len());
        assert!(
            got.iter().all(|x| x.is_finite()),
            "{} {}: {got:?}",
            case.structure,
            case.deviation
        );
        let error = |(g, e): (&f64, &f64)| (g - e).abs() / e.abs().max(floor);
        got.iter().zip(expected).map(error).fold(0.0, f64::max)
    };
    let log_partition = numbers(d.log_partition().unwrap());
    let marginals = numbers(d.marginals().unwrap());
    [worst(log_partition, &case.log_partition, 1.0), worst(marginals, &case.marginals, 1.0)]
}

fn ours(case: &Case, dtype: DType) -> [f64; 2] {
    let logits = Tensor::from_slice(&case.logits, case.shape.as_slice(), &Device::Cpu).unwrap();
    let logits = logits.to_dtype(dtype).unwrap();
    match case.structure.as_str() {
        "chain" => errors(case, &Gibbs::new(LinearChain::default(), &logits).unwrap()),
        "subset" => errors(case, &KSubset::from_logits(&logits, 5).unwrap()),
        "tree" => errors(case, &Gibbs::new(Arborescence::default(), &logits).unwrap()),
        other => panic!("structure {other} is not tested"),
    }
}

#[test]
fn structures_hold_to_sixty_digits_at_any_scale() {
    let goldens: Goldens = serde_json::from_str(include_str!("structures.json")).unwrap();
    assert_eq!(goldens.cases.len(), 9);
    println!("| structure | deviation, nats | f64 | f32 | PyTorch {}, f32 in |", goldens.torch);
    println!("|---|---|---|---|---|");
    let mut failed = Vec::new();
    for case in &goldens.cases {
        let (double, single) = (ours(case, DType::F64), ours(case, DType::F32));
        let error = |e: Option<f64>| e.map_or("not finite".into(), |e| format!("{e:.0e}"));
        let both = |[a, m]: [Option<f64>; 2]| format!("{}, {}", error(a), error(m));
        let pytorch: Vec<_> =
            case.pytorch_errors.iter().map(|(k, &e)| format!("{k} {}", both(e))).collect();
        let [double_said, single_said] = [double, single].map(|e| both(e.map(Some)));
        let (structure, deviation) = (&case.structure, case.deviation);
        println!(
            "| {structure} | {deviation} | {double_said} | {single_said} | {} |",
            pytorch.join("; ")
        );
        if double.iter().any(|e| *e > 1e-12) || single.iter().any(|e| *e > 2e-6) {
            failed.push(format!("{structure} {deviation}: {double:?} {single:?}"));
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}
