//! The training step in candle's operations: any model, on any device.

use std::time::Instant;

use candle_core::{CpuStorage, DType, Device, Storage, Tensor};
use catvae_model::{Model, Parameter};

use super::{Failure, Request, StepLoss};
use crate::evaluate::scalar;
use crate::{Error, Objective, Optimizer};

/// Takes a step.
///
/// # Errors
/// Those of the model and of the estimator; a loss or a gradient that is not finite, before anything is updated.
pub(crate) fn take<M: Model>(
    model: &M,
    device: &Device,
    optimizer: &mut Optimizer,
    mut request: Request,
) -> Result<StepLoss, Failure> {
    let shape = (request.batch, request.images.len() / request.batch.max(1));
    let images = Tensor::from_slice(request.images, shape, device)?;
    let objective = Objective::trained(
        model,
        &images,
        request.estimator,
        request.state,
        request.temperature,
        request.noise,
    )?;
    let (bce, kl) = (scalar(&objective.bce)?, scalar(&objective.kl)?);
    let start = Instant::now();
    let bce_unrelaxed = match &mut request.unrelaxed_noise {
        Some(noise) => {
            let logits = objective.latent_logits.detach();
            Some(scalar(&Objective::unrelaxed(model, &images, logits, noise)?.bce)?)
        }
        None => None,
    };
    let loss = StepLoss { bce, kl, bce_unrelaxed, untimed: start.elapsed() };
    loss.check()?;
    let parameters = model.parameters();
    let gradients = gradients(&parameters, &objective.total()?, request.clip_gradient_norm)?;
    request.rescue.close();
    optimizer.step(&parameters, &gradients)?;
    Ok(loss)
}

/// The gradient of every parameter, checked and clipped.
fn gradients(
    parameters: &[Parameter],
    loss: &Tensor,
    clip_norm: Option<f64>,
) -> Result<Vec<Tensor>, Failure> {
    let mut store = loss.backward()?;
    let mut gradients = Vec::with_capacity(parameters.len());
    let mut squared_norm = 0.0;
    for Parameter { name, var } in parameters {
        let missing = || Error::NoGradient { parameter: name.clone() };
        let gradient = store.remove(var.as_tensor()).ok_or_else(missing)?;
        let squares = sum_of_squares(&gradient)?;
        if !squares.is_finite() {
            return Err(Failure::NotFinite(format!("the gradient of {name} is not finite")));
        }
        squared_norm += squares;
        gradients.push(gradient);
    }
    match clip_norm {
        Some(max_norm) if squared_norm > max_norm * max_norm => {
            let scale = max_norm / squared_norm.sqrt();
            gradients.iter().map(|g| Ok(g.affine(scale, 0.0)?)).collect()
        }
        _ => Ok(gradients),
    }
}

/// Σ x², in f64 on the CPU; it is finite exactly when every x is.
fn sum_of_squares(tensor: &Tensor) -> crate::Result<f64> {
    let (storage, layout) = tensor.storage_and_layout();
    if let (Storage::Cpu(CpuStorage::F32(values)), Some((start, end))) =
        (&*storage, layout.contiguous_offsets())
    {
        return Ok(values[start..end].iter().map(|&x| f64::from(x) * f64::from(x)).sum());
    }
    drop(storage);
    Ok(tensor.to_dtype(DType::F64)?.sqr()?.sum_all()?.to_scalar::<f64>()?)
}
