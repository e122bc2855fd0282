//! Named parameters in a fixed order.

use candle_core::Var;

/// A parameter with its PyTorch state-dict name, such as `encoder.0.weight`.
///
/// The order in which a model lists its parameters is the order of its layers, weight before bias.
/// Everything that walks parameters (optimiser, checkpoint, norms) walks them in this order, so
/// that sums and files do not depend on the iteration order of a hash map.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// State-dict name.
    pub name: String,
    /// The value, f32.
    pub var: Var,
}
