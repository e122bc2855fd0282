//! Vectorised slice kernels behind gumbel-core and the categorical VAE: matrix products, exp and log, counter-based random bits,
//! samples of categories and the gradients through them.
//!
//! Everything here is a function over slices; there are no tensors, no files and no global state
//! beyond scratch buffers that each thread keeps.
//!
//! # How it is built
//!
//! **Instruction sets.** One binary serves every processor. Work is a `Task` whose body is inlined
//! into a function compiled for AVX-512, for AVX2 with FMA, or for the target's baseline (NEON is the
//! baseline of aarch64); which one runs is decided when the program runs. Most kernels are plain Rust
//! loops over 16 lanes that the compiler vectorises there. Only the tile of a matrix product, the
//! 16 x 16 transpose, the ChaCha rounds and loads of less than a vector are written with intrinsics,
//! in one `kernel_*.rs` for each instruction set. Those four files and `isa.rs` hold all `unsafe`.
//!
//! **Products.** `y = x Wᵀ`, `dx = dy W` and `dW = dyᵀ x` share one driver. Tiles are 14 x 32 sums with
//! AVX-512 (28 of 32 registers) and 2 x 6 x 16 with AVX2 and NEON; a batch of 100 is eight tiles of 12 or
//! 13 rows, so that next to nothing is padding. A side whose neighbours along the tile are neighbours in
//! memory is read where it lies; the others (both sides of the forward product, `dy` of the input gradient)
//! are transposed into lines of 16 values. Long sums are blocked by 320, which keeps the right side of a
//! tile in the first-level cache; short ones (the weight gradient) follow the rows of the output, so that
//! the writes are a few long streams. Weights stay in PyTorch's layout: packing them
//! for the forward product costs 5 to 10 % of it, and keeping a packed copy would cost the optimiser as much.
//! Bias, ReLU and its derivative are applied to a tile while it is in the first-level cache.
//! Software prefetching made no measurable difference and is absent.
//!
//! **bf16.** [`Precision::Bf16`] rounds the factors of the linear layer's products as they are packed; sums are f32, and the
//! bits those of VDPBF16PS on every processor.
//!
//! **Convolutions** gather the patches of a few images and hand them to the same driver.
//!
//! **Threads.** They split outputs, not sums, so results are the same bits for every number of threads. The one sum
//! that is split, of a convolution's weight gradient, is cut in parts that the shape alone fixes.
//! Call from inside a rayon pool (`ThreadPool::install` around the whole training run): a call from
//! outside wakes a worker and sleeps until it is done, for each operation.
//!
//! **Reproducible noise.** `exp`, `ln` and all that is built on them, unlike the products, use no fused
//! multiply-add and add lanes in one fixed order: noise, samples and losses are the same bits on every
//! processor.
//!
//! **No subnormal numbers** build up: Adam's moments become zero below 2⁻¹²⁰ (see [`adam_update`]), softmax
//! probabilities below 2⁻¹²⁶.
//!
//! # Measured
//!
//! One thread of an AMD EPYC of the Zen 5 generation (48 KiB and 1 MiB of cache a core; 235 to 262 GFLOP/s in
//! registers), batch 100, the best of many runs on a busy machine. Peers: faer 0.24, gemm 0.19 and
//! matrixmultiply 0.3, measured on the same machine in other runs (our two gradients with a later build than
//! theirs); MKL 2024.2 as PyTorch 2.15 calls it.
//!
//! | GFLOP/s | ours | faer | matrixmultiply | gemm | MKL |
//! |---|---|---|---|---|---|
//! | 100x784x512 forward | 202 | 177 | 83 | 103 | 99 |
//! | 100x784x512 input gradient | 220 | 212 | 128 | 110 | 99 |
//! | 100x784x512 weight gradient | 219 | 222 | 177 | 112 | 99 |
//! | 100x256x512 forward | 196 | 188 | 137 | 103 | 98 |
//! | 100x256x512 input gradient | 223 | 227 | 148 | 114 | 98 |
//! | 100x256x512 weight gradient | 222 | 220 | 212 | 109 | 96 |
//!
//! | ms, the network 784-512-256-300 and back, batch 100 | 1 thread | 2 threads |
//! |---|---|---|
//! | the 17 products of a step, bias and ReLU included | 3.2 | 1.7 |
//! | the same products in MKL, without ReLU | 7.3 | 3.6 |
//! | products, then Adam on the 1.22 million parameters | 3.9 | 2.0 |
//!
//! | ns a value | 1 thread | 2 threads |
//! |---|---|---|
//! | ChaCha8 word | 0.38 | 0.25 |
//! | Gumbel value | 1.3 | 0.7 |
//! | `exp`, `ln` | 0.27, 0.39 | 0.14, 0.21 |
//! | relaxed sample with its noise, (3000, 10) | 2.5 | 1.5 |
//! | relaxed sample with its noise, (4096, 8192) | 2.7 | 2.5 |
//! | its gradient, (3000, 10) | 0.4 | 0.25 |
//! | Bernoulli likelihood with gradient | 0.8 | 0.4 |
//!
//! `cargo bench -p gumbel-kernels` measures all of them again.

mod adam;
mod argmax;
mod bernoulli;
mod bf16;
mod chacha;
mod chain;
mod conditional;
mod continuous_bernoulli;
mod conv;
mod discretised_logistic;
mod elementwise;
mod error;
mod exp64;
mod gemm;
#[cfg(test)]
#[cfg(all(unix, not(miri)))]
mod guard_pages;
mod gumbel;
mod gumbel_softmax;
mod isa;
mod k_subset;
#[cfg(target_arch = "x86_64")]
mod kernel_avx2;
#[cfg(target_arch = "x86_64")]
mod kernel_avx512;
#[cfg(target_arch = "aarch64")]
mod kernel_neon;
mod kernel_portable;
mod kl;
mod likelihood;
mod linear;
mod lines;
mod log_softmax;
mod magnitude;
mod orders;
mod pack;
mod peak;
mod pixels;
mod reduce;
mod rows;
mod scalar;
mod softmax;
#[cfg(test)]
mod test_support;
mod transport;
mod trees;
mod vmath;
mod window;

pub use adam::{AdamOptions, AdamParameter, AdamStep, adam_update};
pub use argmax::{argmax, one_hot_argmax, perturb};
pub use bernoulli::bernoulli_nll;
pub use bf16::{Precision, bf16_gain};
pub use chacha::WordStream;
pub use chain::{
    ChainShape, Real, chain_dead_ends, chain_gumbel_crf, chain_gumbel_crf_vjp, chain_log_partition,
    chain_marginals, chain_mode, chain_sample, chain_vjp,
};
pub use conditional::conditional_softmax_vjp;
pub use continuous_bernoulli::continuous_bernoulli_nll;
pub use conv::{ConvShape, channel_sums, conv2d_adjoint, conv2d_forward, conv2d_weight_gradient};
pub use discretised_logistic::{HALF_LEVEL, LOGISTIC_SCALE, discretised_logistic_nll};
pub use elementwise::{exp, ln, sigmoid, softplus};
pub use error::LengthError;
pub use gumbel::GumbelStream;
pub use gumbel_softmax::{SampleError, gumbel_argmax, gumbel_one_hot, gumbel_softmax};
pub use k_subset::{
    k_hot, k_subset_log_partition, k_subset_marginals, k_subset_sample, k_subset_vjp,
};
pub use kl::{kl_to_uniform, neg_entropy};
pub use linear::{
    Activation, LinearShape, linear_forward, linear_input_gradient, linear_weight_gradient,
};
pub use log_softmax::{log_softmax, log_softmax_vjp};
pub use magnitude::largest_magnitude;
pub use orders::{
    LogSum, MAX_DRAWN, SetProbs, SoftSort, StageGain, ranking_expectation, ranking_gumbels,
    ranking_log_prob, ranking_positions, ranking_score, set_log_prob, set_log_ratios, set_probs,
    soft_sort, top_k,
};
pub use peak::peak_gflops;
pub use pixels::{Pixels, pixels_to_f32};
pub use scalar::{Dual, Scalar};
pub use softmax::{softmax, softmax_vjp};
pub use transport::{
    Marginals, Scaling, hungarian, sinkhorn_implicit_vjp, sinkhorn_plan, sinkhorn_row,
    sinkhorn_unrolled_vjp, unmatched_row,
};
pub use trees::{
    TreeShape, best_arborescence, best_spanning_tree, tree_log_partition, tree_marginals,
    tree_marginals_vjp, tree_samples,
};

/// The vector instructions in use on this processor: `avx512`, `avx2`, `neon` or `portable`.
pub fn instruction_set() -> &'static str {
    isa::Isa::best().name()
}
