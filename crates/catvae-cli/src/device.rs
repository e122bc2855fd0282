//! From a device's name to the device.

use anyhow::{Context, Result, bail};
use candle_core::Device;

use crate::args::DeviceName;

impl DeviceName {
    /// The name as it is written on the command line.
    pub(crate) fn as_str(self) -> &'static str {
        match self.resolved() {
            Self::Cuda => "cuda",
            Self::Metal => "metal",
            Self::Gpu => "gpu",
            Self::Cpu | Self::Auto => "cpu",
        }
    }

    /// `gpu` and `auto` as what they mean here; a `gpu` that there is not stays one.
    fn resolved(self) -> Self {
        let cuda = candle_core::utils::cuda_is_available();
        match (self, cuda, candle_core::utils::metal_is_available()) {
            (Self::Gpu | Self::Auto, true, _) => Self::Cuda,
            (Self::Gpu | Self::Auto, false, true) => Self::Metal,
            (Self::Auto, false, false) => Self::Cpu,
            (named, ..) => named,
        }
    }

    /// Opens the device.
    pub(crate) fn open(self) -> Result<Device> {
        let device = self.resolved();
        let built_in = match device {
            Self::Cpu | Self::Auto => return Ok(Device::Cpu),
            Self::Gpu => bail!(
                "this catvae was built without a GPU: build it with `cargo build --release -p catvae-cli --features cuda` \
                 (or metal), or leave out --device gpu"
            ),
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
        let device = match device {
            Self::Metal => Device::new_metal(0),
            _ => Device::new_cuda(0),
        };
        device.with_context(|| format!("cannot open the first {name} device"))
    }
}
