//! Asks for cache lines before they are needed.
#![allow(unsafe_code, reason = "prefetching takes a raw pointer, which it never dereferences")]

/// Starts to load the lines that hold `values` into the second-level cache, for reading and writing.
#[inline(always)]
pub(crate) fn prefetch(values: &[f32]) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    for line in values.chunks(16) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: prefetching reads nothing that the program can see and never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) };
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = values;
}
