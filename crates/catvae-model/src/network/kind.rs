//! The kinds of network to choose from. A new one is a file beside this one, and a line in the list.

use std::fmt::Debug;
use std::ops::{Deref, DerefMut};

use serde::{Deserialize, Deserializer, Serialize, de};

use super::{Conv, Initialisation, Mlp, Vgg};
use crate::Result;
use crate::layer::{Activation, Layer};

/// What a network is built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Rows and columns of an image.
    pub image_shape: [usize; 2],
    /// `n_latents · n_categories`.
    pub code_width: usize,
}

impl Sizes {
    /// Pixels of an image.
    pub fn n_pixels(&self) -> usize {
        self.image_shape[0] * self.image_shape[1]
    }
}

/// A kind of network: the layers of its encoder and of its decoder.
pub trait Architecture: Debug {
    /// From pixels to the logits of the code; `last` follows the last layer.
    ///
    /// # Errors
    /// Sizes that the network cannot be built for.
    fn encoder(&self, sizes: &Sizes, last: Activation) -> Result<Vec<Box<dyn Layer>>>;

    /// From the code to the logits of the pixels.
    ///
    /// # Errors
    /// Sizes that the network cannot be built for.
    fn decoder(&self, sizes: &Sizes) -> Result<Vec<Box<dyn Layer>>>;

    /// How its parameters begin.
    fn initialisation(&self) -> Initialisation {
        Initialisation::PyTorch
    }

    /// The hidden widths of its fully connected layers, which every kind has.
    fn hidden(&mut self) -> &mut Vec<usize>;
}

/// Declares the list: name in configurations, and type.
macro_rules! networks {
    ($($name:literal => $kind:ident),+ $(,)?) => {
        /// A network with its settings. In a file it is a table, `{ kind = "mlp", hidden = [512, 256] }`, or the
        /// name alone for the defaults.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize)]
        #[serde(tag = "kind")]
        pub enum NetworkConfig {
            $(#[doc = concat!("`", $name, "`.")] #[serde(rename = $name)] $kind($kind)),+
        }

        /// What a table deserialises to.
        #[derive(Deserialize)]
        #[serde(tag = "kind")]
        enum Table {
            $(#[serde(rename = $name)] $kind($kind)),+
        }

        impl From<Table> for NetworkConfig {
            fn from(table: Table) -> Self {
                match table { $(Table::$kind(network) => Self::$kind(network)),+ }
            }
        }

        impl NetworkConfig {
            /// The names of all kinds.
            pub const NAMES: &[&str] = &[$($name),+];

            /// The kind of this name, with its defaults.
            pub fn named(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$kind($kind::default())),)+ _ => None }
            }

            /// The name of the kind.
            pub fn name(&self) -> &'static str {
                match self { $(Self::$kind(_) => $name),+ }
            }
        }

        $(impl From<$kind> for NetworkConfig {
            fn from(network: $kind) -> Self { Self::$kind(network) }
        })+

        impl Deref for NetworkConfig {
            type Target = dyn Architecture;

            fn deref(&self) -> &Self::Target {
                match self { $(Self::$kind(network) => network),+ }
            }
        }

        impl DerefMut for NetworkConfig {
            fn deref_mut(&mut self) -> &mut Self::Target {
                match self { $(Self::$kind(network) => network),+ }
            }
        }
    };
}

networks! {
    "mlp" => Mlp,
    "conv" => Conv,
    "vgg" => Vgg,
}

impl Default for NetworkConfig {
    fn default() -> Self {
        Self::Mlp(Mlp::default())
    }
}

impl<'de> Deserialize<'de> for NetworkConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct NameOrTable;

        impl<'de> de::Visitor<'de> for NameOrTable {
            type Value = NetworkConfig;

            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                write!(f, "the name of a network or a table with its `kind`")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> std::result::Result<Self::Value, E> {
                NetworkConfig::named(name)
                    .ok_or_else(|| E::unknown_variant(name, NetworkConfig::NAMES))
            }

            fn visit_map<A: de::MapAccess<'de>>(
                self,
                map: A,
            ) -> std::result::Result<Self::Value, A::Error> {
                let table = Table::deserialize(de::value::MapAccessDeserializer::new(map))?;
                Ok(table.into())
            }
        }

        deserializer.deserialize_any(NameOrTable)
    }
}
