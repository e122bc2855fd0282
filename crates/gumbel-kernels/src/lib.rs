//! Vectorised slice kernels behind gumbel-core and the categorical VAE: matrix products, exp and log, counter-based random bits.

mod adam;
mod bernoulli;
mod chacha;
mod elementwise;
mod error;
mod gather;
mod gemm;
mod gumbel;
mod isa;
#[cfg(target_arch = "x86_64")]
mod kernel_avx2;
#[cfg(target_arch = "x86_64")]
mod kernel_avx512;
#[cfg(target_arch = "aarch64")]
mod kernel_neon;
mod kernel_portable;
mod kl;
mod linear;
mod lines;
mod pack;
mod peak;
mod reduce;
mod rows;
mod softmax;
#[cfg(test)]
mod test_support;
mod vmath;
mod window;

pub use adam::{AdamOptions, AdamParameter, AdamStep, adam_update};
pub use bernoulli::bernoulli_nll;
pub use chacha::WordStream;
pub use elementwise::{exp, ln, sigmoid, softplus};
pub use error::LengthError;
pub use gather::{GatherError, Pixels, gather_rows};
pub use gumbel::GumbelStream;
pub use kl::kl_to_uniform;
pub use linear::{
    Activation, LinearShape, linear_forward, linear_input_gradient, linear_weight_gradient,
    linear_weight_gradient_adam,
};
pub use peak::peak_gflops;
pub use softmax::{Noise, hard_sample, relaxed_sample, relaxed_sample_vjp};

/// The vector instructions in use on this processor: `avx512`, `avx2`, `neon` or `portable`.
pub fn instruction_set() -> &'static str {
    isa::Isa::best().name()
}
