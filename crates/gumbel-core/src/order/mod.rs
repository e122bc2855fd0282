//! Orders and matchings of items: the largest, sorted, relaxed and assigned.

mod items;
mod matching;
mod relaxed_sort;
mod sinkhorn;
mod top_k;

pub(crate) use items::{check_items, row_len};
pub(crate) use relaxed_sort::relaxed_sort;
pub(crate) use top_k::largest_of;

pub use matching::matching;
pub use relaxed_sort::{Sort, neural_sort, soft_sort};
pub use sinkhorn::{
    Iterations, Sinkhorn, SinkhornGradient, SinkhornOptions, gumbel_sinkhorn, sinkhorn,
};
pub use top_k::{gumbel_top_k, gumbel_top_k_with_noise, top_k};
