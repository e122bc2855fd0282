//! Weights from elsewhere: a run, a safetensors file, or a PyTorch file.

use std::collections::HashMap;
use std::io::Read;
use std::path::Path;

use candle_core::pickle::PthTensors;
use candle_core::{DType, Device, Tensor};
use catvae_model::{Model, ModelSettings};

use crate::durable::open_regular;
use crate::error::io;
use crate::{Error, Result, RunDir};

/// Where a PyTorch file may keep the state dict beside other things. The last stands for the file itself.
const KEYS: [Option<&str>; 4] = [Some("state_dict"), Some("model_state_dict"), Some("model"), None];

/// The weights in `path` by their state-dict names: of the newest checkpoint of a run folder, of a safetensors file, or
/// of a file that `torch.save` of PyTorch 1.6 or newer wrote. Other floating-point types become f32.
///
/// # Errors
/// [`Error::StateDict`]; [`Error::Io`]; for a run those of [`crate::Checkpoints::load_newest_model`].
pub(crate) fn read_state_dict<S: ModelSettings>(
    path: &Path,
    settings: &S,
) -> Result<HashMap<String, Tensor>> {
    if path.is_dir() {
        let checkpoints = RunDir::new(path).checkpoints();
        let loaded = checkpoints.load_newest_model(settings, &Device::Cpu, |_| ())?;
        let parameters = loaded.model.parameters().into_iter();
        return Ok(parameters.map(|p| (p.name, p.var.as_tensor().clone())).collect());
    }
    let mut bytes = Vec::new();
    let read = open_regular(path).and_then(|mut file| file.read_to_end(&mut bytes));
    read.map_err(io("cannot read", path))?;
    let tensors = match &bytes[..] {
        [b'P', b'K', ..] => from_pytorch(path, bytes.len()),
        [0x80, 2..=4, ..] => {
            Err("PyTorch before 1.6 wrote it, or pickle alone: load it in PyTorch and \
             torch.save its state_dict() again"
                .to_owned())
        }
        _ => candle_core::safetensors::load_buffer(&bytes, &Device::Cpu)
            .map_err(|error| format!("neither a safetensors file nor one of torch.save: {error}")),
    };
    let as_f32 = |(name, tensor): (String, Tensor)| {
        let tensor = match tensor.dtype().is_float() {
            true => tensor.to_dtype(DType::F32)?,
            false => tensor,
        };
        Ok((name, tensor))
    };
    tensors.map_err(unusable(path))?.into_iter().map(as_f32).collect()
}

fn unusable(path: &Path) -> impl Fn(String) -> Error {
    |message| Error::StateDict { path: path.to_owned(), message }
}

/// The state dict in a file of `torch.save` that has `n_bytes`.
fn from_pytorch(
    path: &Path,
    n_bytes: usize,
) -> std::result::Result<HashMap<String, Tensor>, String> {
    let mut found = Err("no tensors in it".to_owned());
    for key in KEYS {
        match PthTensors::new(path, key) {
            Ok(file) if !file.tensor_infos().is_empty() => {
                found = Ok(file);
                break;
            }
            Ok(_) => (),
            Err(error) => found = Err(error.to_string()),
        }
    }
    let file = found?;
    let mut tensors = HashMap::new();
    for (name, info) in file.tensor_infos() {
        let shape = info.layout.shape();
        // `torch.save` compresses nothing: more values than bytes cannot be.
        let n_values = shape.dims().iter().try_fold(1_usize, |n, &side| n.checked_mul(side));
        if n_values.is_none_or(|n| n > n_bytes) {
            return Err(format!(
                "{name} has the shape {shape:?}, but the file has {n_bytes} bytes"
            ));
        }
        let tensor = file.get(name).map_err(|error| format!("{name}: {error}"))?;
        tensors.insert(name.clone(), tensor.ok_or_else(|| format!("{name} is not there"))?);
    }
    Ok(tensors)
}
