//! What training, evaluation and checkpoints need of a model, whoever wrote it.

use std::collections::HashMap;
use std::fmt::Debug;

use candle_core::{DType, Device, Tensor};
use gumbel_core::Generator;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Code, Error, Layered, Parameter, Result};

/// The section `[model]` of a configuration file: what a model is built from.
pub trait ModelSettings:
    Clone + Debug + Default + PartialEq + Serialize + DeserializeOwned + Send + Sync
{
    /// What is built from it.
    type Model: Model<Settings = Self>;

    /// Whether a model can be built from these settings, without building one.
    ///
    /// # Errors
    /// What is wrong, by the name of the field.
    fn check(&self) -> Result<()>;

    /// `[n_latents, n_categories]`; for subsets, how many there are and their items.
    fn code_shape(&self) -> [usize; 2];

    /// What a code is: independent categories, unless it is overridden.
    fn code(&self) -> Code {
        Code::Categories
    }

    /// Rows and columns of the images.
    fn image_shape(&self) -> [usize; 2];

    /// Values of all parameters, where they can be counted without building the model. A file of weights that is larger
    /// than they need is then refused before it is read.
    fn n_parameters(&self) -> Option<usize> {
        None
    }
}

/// A variational autoencoder whose code is `n_latents` variables of `n_categories` each, or another [`Code`]: then logits and
/// codes have its [dimensions](Code::dims) instead of `(n_latents, n_categories)`.
///
/// [`CategoricalVae`](crate::CategoricalVae) is one. A model of one's own, in candle's operations, gets the
/// trainer, checkpoints, resuming, metrics, evaluation and the estimator lab by implementing this.
pub trait Model: Debug + Sized + Send + Sync {
    /// What it is built from.
    type Settings: ModelSettings<Model = Self>;

    /// Draws initial parameters.
    ///
    /// # Errors
    /// Settings that no model can be built from.
    fn initialise(
        settings: &Self::Settings,
        device: &Device,
        generator: &mut Generator,
    ) -> Result<Self>;

    /// What the model was built from.
    fn settings(&self) -> &Self::Settings;

    /// Every parameter, always in the same order.
    fn parameters(&self) -> Vec<Parameter>;

    /// Logits of the posterior q(z|x).
    ///
    /// # Shapes
    /// - images: `(batch, n_pixels)`, values in [0, 1]; output: `(batch, n_latents, n_categories)`.
    ///
    /// # Errors
    /// Images of another size.
    fn encode(&self, images: &Tensor) -> Result<Tensor>;

    /// `−ln p(x|z)` of each image, in nats.
    ///
    /// # Shapes
    /// - z: `(batch, n_latents, n_categories)`, rows on the simplex; images: `(batch, n_pixels)`; output: `(batch,)`.
    ///
    /// # Errors
    /// Codes or images of another size.
    fn neg_log_likelihood(&self, z: &Tensor, images: &Tensor) -> Result<Tensor>;

    /// `−ln p(x|z)` of every image at every code, in nats: for as many codes as are enumerated.
    ///
    /// # Shapes
    /// - codes: `(n, n_latents, n_categories)`; images: `(batch, n_pixels)`; output: `(batch, n)`.
    ///
    /// # Errors
    /// Codes or images of another size.
    fn neg_log_likelihoods(&self, codes: &Tensor, images: &Tensor) -> Result<Tensor> {
        let n = codes.dim(0)?;
        let of_images = (0..images.dim(0)?).map(|i| {
            let image = images.narrow(0, i, 1)?.repeat((n, 1))?;
            Ok(self.neg_log_likelihood(codes, &image)?.detach())
        });
        Ok(Tensor::stack(&of_images.collect::<Result<Vec<_>>>()?, 0)?)
    }

    /// The mean image of each code: what pictures show.
    ///
    /// # Shapes
    /// - z: `(batch, n_latents, n_categories)`; output: `(batch, n_pixels)`, values in [0, 1].
    ///
    /// # Errors
    /// Codes of another size.
    fn mean_images(&self, z: &Tensor) -> Result<Tensor>;

    /// KL divergence from the posterior to the prior, in nats. To the uniform prior, unless it is overridden.
    ///
    /// # Shapes
    /// - logits: those of [`Self::encode`]; output: `(batch,)`.
    ///
    /// # Errors
    /// Logits that are NaN.
    fn kl(&self, logits: &Tensor) -> Result<Tensor> {
        self.settings().code().kl(logits)
    }

    /// `ln p(z) − ln q(z|x)` of exact codes, in nats; the prior is uniform, unless it is overridden.
    ///
    /// # Shapes
    /// - logits, z: `(batch, n_latents, n_categories)`; output: `(batch,)`.
    ///
    /// # Errors
    /// Logits that are NaN.
    fn log_prior_over_posterior(&self, logits: &Tensor, z: &Tensor) -> Result<Tensor> {
        let settings = self.settings();
        settings.code().log_prior_over_posterior(settings.code_shape(), logits, z)
    }

    /// The model as layers over slices, where it is made of them: it then trains on the fast step of the CPU.
    fn layered(&self) -> Option<&Layered> {
        None
    }
}

/// Sets every parameter of `model` from a state dict.
///
/// # Errors
/// A tensor that is missing, that the model does not have, or of another shape or element type.
pub fn load_state_dict<M: Model>(model: &M, mut tensors: HashMap<String, Tensor>) -> Result<()> {
    for Parameter { name, var } in model.parameters() {
        let tensor =
            tensors.remove(&name).ok_or_else(|| Error::MissingTensor { name: name.clone() })?;
        if tensor.dims() != var.dims() {
            let (expected, actual) = (var.dims().to_vec(), tensor.dims().to_vec());
            return Err(Error::WrongParameterShape { name, expected, actual });
        }
        if tensor.dtype() != DType::F32 {
            let actual = format!("{:?}", tensor.dtype());
            return Err(Error::WrongParameterType { name, actual });
        }
        var.set(&tensor.to_device(var.device())?)?;
    }
    if !tensors.is_empty() {
        let mut names: Vec<_> = tensors.into_keys().collect();
        names.sort();
        return Err(Error::UnexpectedTensors { names });
    }
    Ok(())
}

/// A model with the parameters of a state dict.
///
/// # Errors
/// Those of [`Model::initialise`] and of [`load_state_dict`].
pub fn from_state_dict<S: ModelSettings>(
    settings: &S,
    tensors: HashMap<String, Tensor>,
    device: &Device,
) -> Result<S::Model> {
    let model = S::Model::initialise(settings, device, &mut Generator::new(0))?;
    load_state_dict(&model, tensors)?;
    Ok(model)
}
