//! From a device's name to the device.

use anyhow::{Context, Result, bail};
use candle_core::Device;

use crate::args::DeviceName;

impl DeviceName {
    /// The name as it is written on the command line.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
            Self::Metal => "metal",
        }
    }

    /// Opens the device.
    pub(crate) fn open(self) -> Result<Device> {
        let built_in = match self {
            Self::Cpu => return Ok(Device::Cpu),
            Self::Cuda => candle_core::utils::cuda_is_available(),
            Self::Metal => candle_core::utils::metal_is_available(),
        };
        let name = self.as_str();
        if !built_in {
            bail!(
                "this catvae was built without {name}: build it with `cargo build --release -p catvae-cli --features {name}`, \
                 or leave out --device {name}"
            );
        }
        let device = match self {
            Self::Metal => Device::new_metal(0),
            _ => Device::new_cuda(0),
        };
        device.with_context(|| format!("cannot open the first {name} device"))
    }
}
