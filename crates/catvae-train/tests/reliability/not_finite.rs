//! A run stops before the update that NaN or infinity would spoil, and says where.

use std::ops::ControlFlow;

use candle_core::{Device, Tensor};
use catvae_model::{Mlp, Model};
use catvae_train::{RunDir, Trainer};
use gumbel_core::estimators::Estimator;

use crate::tiny;

/// Trains three steps, sets the biases to zero and weights by name, goes on, and returns the error.
fn error_after(weights: &[(&str, f32)], estimator: Estimator) -> String {
    let dir = tempfile::tempdir().unwrap();
    let run = RunDir::new(dir.path());
    let mut config = tiny::config();
    config.model.network = Mlp { hidden: vec![3, 3] }.into();
    config.estimator = estimator;
    tiny::run_until(&config, &run, 3);
    let checkpoint = tiny::load(&config, &run, |e| panic!("{e}")).unwrap();
    let parameters = checkpoint.model.parameters();
    for bias in parameters.iter().filter(|p| p.name.ends_with("bias")) {
        bias.var.set(&bias.var.zeros_like().unwrap()).unwrap();
    }
    for (name, value) in weights {
        let parameter = parameters.iter().find(|p| p.name == *name).unwrap();
        let (n_out, n_in) = parameter.var.dims2().unwrap();
        // Every other output only: equal logits would have no gradient.
        let values = (0..n_out * n_in).map(|i| if i / n_in % 2 == 0 { *value } else { 0.0 });
        let values = Tensor::from_iter(values, &Device::Cpu).unwrap();
        parameter.var.set(&values.reshape((n_out, n_in)).unwrap()).unwrap();
    }
    let mut trainer = Trainer::resume(config, checkpoint, Device::Cpu).unwrap();
    let locked = run.lock().unwrap();
    let error =
        trainer.run(&tiny::dataset(), &locked, &mut |_| ControlFlow::Continue(())).unwrap_err();
    // Nothing was saved after it.
    assert_eq!(tiny::steps(&run), [3]);
    error.to_string()
}

#[test]
fn a_weight_that_is_not_finite_stops_the_step_and_names_it_and_the_last_checkpoint() {
    for estimator in [Estimator::GumbelSoftmax, Estimator::ReinMax] {
        for value in [f32::NAN, f32::INFINITY] {
            let error = error_after(&[("decoder.4.weight", value)], estimator);
            assert!(error.contains("at step 4 (epoch 2)"), "{estimator} {value}: {error}");
            assert!(error.contains("step-000000003"), "{estimator} {value}: {error}");
        }
    }
}

#[test]
fn a_gradient_that_overflows_at_a_finite_loss_stops_the_step_and_names_the_parameter() {
    // The logits are about 1, and the gradient of the first layer is about 1e41.
    let weights =
        [("encoder.0.weight", 1e-41), ("encoder.2.weight", 1e21), ("encoder.4.weight", 1e20)];
    for estimator in [Estimator::GumbelSoftmax, Estimator::ReinMax] {
        let error = error_after(&weights, estimator);
        assert!(error.starts_with("the gradient of encoder.0.weight is not finite"), "{error}");
        assert!(error.contains("at step 4") && error.contains("step-000000003"), "{error}");
    }
}
