//! Vectorised slice kernels behind gumbel-core and the categorical VAE: matrix products, exp and log, counter-based random bits.

mod adam;
mod error;
mod gemm;
mod isa;
#[cfg(target_arch = "x86_64")]
mod kernel_avx2;
#[cfg(target_arch = "x86_64")]
mod kernel_avx512;
#[cfg(target_arch = "aarch64")]
mod kernel_neon;
mod kernel_portable;
mod linear;
mod lines;
mod pack;
#[cfg(test)]
mod test_support;
mod window;

pub use adam::{AdamOptions, AdamParameter, AdamStep, adam_update};
pub use error::LengthError;
pub use linear::{
    Activation, LinearShape, linear_forward, linear_input_gradient, linear_weight_gradient,
    linear_weight_gradient_adam,
};

/// The vector instructions in use on this processor: `avx512`, `avx2`, `neon` or `portable`.
pub fn instruction_set() -> &'static str {
    isa::Isa::best().name()
}
