//! The values of contiguous f32 tensors on the CPU, as the kernels want them.

use candle_core::{CpuStorage, Error, Layout, Result, Storage};

/// The values behind a layout.
pub(crate) fn f32_slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let (start, end) = layout
        .contiguous_offsets()
        .ok_or_else(|| Error::RequiresContiguous { op: "kernel" }.bt())?;
    Ok(&storage.as_slice::<f32>()?[start..end])
}

/// The values of a tensor that is known to lie on the CPU.
pub(crate) fn tensor_slice<'a>(storage: &'a Storage, layout: &Layout) -> Result<&'a [f32]> {
    match storage {
        Storage::Cpu(storage) => f32_slice(storage, layout),
        _ => Err(Error::msg("a CPU kernel was handed a tensor of another device")),
    }
}

/// An error of a kernel as one of candle: operations on tensors can return no other.
pub(crate) fn kernel_error(error: gumbel_kernels::LengthError) -> Error {
    Error::wrap(error)
}
