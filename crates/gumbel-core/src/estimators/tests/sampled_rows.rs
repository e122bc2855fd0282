//! Samples on slices against the same on tensors.

use super::contracts::{error_of, some_logits};
use super::*;
use crate::Error;
use crate::estimators::SampledRows;

fn all() -> impl Iterator<Item = Estimator> {
    let more = [
        Estimator::DecoupledStraightThrough { backward_tau: 0.6 },
        Estimator::GumbelRao { draws: 1 },
        Estimator::GappedStraightThrough { gap: 0.0 },
    ];
    Estimator::ALL.into_iter().chain(more)
}

#[test]
fn slices_and_tensors_give_the_same_sample_gradient_and_generator() {
    let logits = some_logits((5, 7, 3), DType::F32);
    let flat: Vec<f32> = logits.flatten_all().unwrap().to_vec1().unwrap();
    let d_values: Vec<f32> = (0..flat.len()).map(|i| (1.3 * i as f32).cos()).collect();
    let weights = Tensor::from_slice(&d_values, logits.shape(), &Device::Cpu).unwrap();
    // One value for all draws: buffers that are too long or too short would show.
    let mut sample = SampledRows::default();
    for estimator in all().filter(|e| e.is_pathwise()) {
        for tau in [1.0, 0.7] {
            let mut drawn = None;
            let mut f = |z: &Tensor| {
                drawn = Some(z.flatten_all()?.to_vec1::<f32>()?);
                Ok::<_, Error>((z * &weights)?.sum((1, 2))?)
            };
            let mut state = EstimatorState::default();
            let mut g = Generator::new(8);
            g.skip(11);
            let mut on_slices = g.clone();
            let objective = estimator.objective(&mut state, &logits, tau, &mut g, &mut f).unwrap();
            let grads = objective.surrogate.sum_all().unwrap().backward().unwrap();
            let grad: Vec<f32> =
                grads.get(&logits).unwrap().flatten_all().unwrap().to_vec1().unwrap();

            sample.draw(estimator, tau, 3, &flat, &mut on_slices).unwrap();
            let mut d_logits = vec![f32::NAN; flat.len()];
            sample.backward(&flat, &d_values, &mut d_logits).unwrap();
            assert_eq!(Some(sample.values()), drawn.as_deref(), "{estimator} {tau}");
            for (d, grad) in d_logits.iter().zip(&grad) {
                // Gradients of order one. On tensors st-gumbel-softmax normalises before the product, not after.
                assert!((d - grad).abs() < 1e-6, "{estimator} {tau}: {d} {grad}");
            }
            assert_eq!(on_slices.state(), g.state(), "{estimator} {tau}");
        }
    }
}

#[test]
fn what_cannot_be_drawn_is_the_same_error_as_for_tensors() {
    let mut sample = SampledRows::default();
    let mut draw = |estimator, tau, logits: &[f32]| {
        sample.draw(estimator, tau, 3, logits, &mut Generator::new(0)).unwrap_err()
    };
    for estimator in all() {
        if !estimator.is_pathwise() {
            let error = draw(estimator, 1.0, &[0.0; 6]);
            assert!(
                matches!(error, Error::NotPathwise { estimator: e } if e == estimator.name()),
                "{error}"
            );
            continue;
        }
        for bad in [[0.0, 1.0, f32::NAN], [0.0, f32::INFINITY, 0.0], [f32::NEG_INFINITY; 3]] {
            let logits = [[0.0, 1.0, 2.0], bad].concat();
            let tensor = Tensor::from_slice(&logits, (2, 1, 3), &Device::Cpu).unwrap();
            let (error, expected) =
                (draw(estimator, 1.0, &logits), error_of(estimator, &tensor, 1.0));
            assert_eq!(std::mem::discriminant(&error), std::mem::discriminant(&expected));
            let named = match error {
                Error::InvalidLogit { index, .. } => index[0],
                Error::AllMasked { row, .. } => row[0],
                other => panic!("{estimator}: {other}"),
            };
            assert_eq!(named, 1, "{estimator}");
        }
        if estimator.has_temperature() {
            let error = draw(estimator, 0.0, &[0.0; 6]);
            assert!(matches!(error, Error::InvalidTemperature { .. }), "{estimator}: {error}");
        }
    }
    for estimator in [
        Estimator::GumbelRao { draws: 0 },
        Estimator::ReinMaxRao { draws: 0 },
        Estimator::GappedStraightThrough { gap: f64::NAN },
    ] {
        let error = draw(estimator, 1.0, &[0.0; 6]);
        assert!(matches!(error, Error::InvalidParameter { .. }), "{estimator}: {error}");
    }
    sample.draw(Estimator::ReinMax, 1.0, 3, &[0.0; 6], &mut Generator::new(0)).unwrap();
    let error = sample.backward(&[0.0; 6], &[0.0; 3], &mut [0.0; 6]).unwrap_err();
    assert!(matches!(error, Error::ShapeMismatch { what: "d_values", .. }), "{error}");
}
