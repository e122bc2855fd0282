//! A setting is said once: its name, type, default, range and meaning stand in one line of a section, and the file,
//! the errors, the flags and their help follow from it.

use std::path::PathBuf;

use catvae_data::Binarization;
use catvae_model::{Code, Likelihood, LogitsActivation, NetworkConfig};
use gumbel_core::estimators::Estimator;
use serde::de::DeserializeOwned;

use crate::{Error, LearningRateSchedule, OptimizerKind, Precision, Result, TrainConfig};

/// A setting of a [`TrainConfig`] as text, for command lines and error messages.
#[derive(Debug)]
pub struct Setting {
    /// Section and field of the configuration file: `training.epochs`.
    pub key: &'static str,
    /// Its meaning.
    pub help: &'static str,
    /// The name of a flag for it and what stands for its value; `None` where the value is only switched off.
    pub flag: Option<(&'static str, Option<&'static str>)>,
    pub(crate) range: Range,
    /// Whether a run may be resumed with another value.
    pub(crate) may_change: bool,
    pub(crate) field: fn(&mut TrainConfig) -> &mut dyn Field,
}

impl Setting {
    /// Every setting that has a place of its own. The temperature's fields depend on its schedule.
    pub fn all() -> impl Iterator<Item = &'static Self> {
        crate::config::SECTIONS.iter().copied().flatten()
    }

    /// The setting with this section and field.
    pub fn named(key: &str) -> Option<&'static Self> {
        Self::all().find(|setting| setting.key == key)
    }

    /// The names that it takes; empty where it takes something else.
    pub fn names(&self) -> Vec<&'static str> {
        (self.field)(&mut TrainConfig::default()).names()
    }

    /// Sets the value from text; upper and lower case are one in a name. Its range is checked by
    /// [`TrainConfig::check`].
    ///
    /// # Errors
    /// What the text must be.
    pub fn set(&self, config: &mut TrainConfig, text: &str) -> std::result::Result<(), String> {
        let name = self.names().into_iter().find(|name| name.eq_ignore_ascii_case(text));
        let field = (self.field)(config);
        field.read(name.unwrap_or(text)).map_err(|error| match (field.number(), self.range) {
            (None, _) => error,
            (Some(Number::Integer(_)), Range::AtLeastOne) => {
                "expected a whole number from 1 to 2^63 - 1".to_owned()
            }
            (Some(Number::Integer(_)), _) => {
                "expected a whole number from 0 to 2^63 - 1".to_owned()
            }
            (Some(Number::Real(_)), _) => "expected a number, such as 0.5 or 1e-3".to_owned(),
        })
    }

    /// The default as text; empty where there is none.
    pub fn default_text(&self) -> String {
        (self.field)(&mut TrainConfig::default()).show()
    }

    /// Checks the value's range.
    ///
    /// # Errors
    /// [`Error::Setting`].
    pub fn check(&self, config: &mut TrainConfig) -> Result<()> {
        let field = (self.field)(config);
        let Some(number) = field.number() else { return Ok(()) };
        let out_of = |range| Error::Setting { field: self.key, range, value: field.show() };
        match (self.range, number) {
            (Range::AtLeastOne, Number::Integer(0)) => Err(out_of("at least 1")),
            // Beyond this, config.toml could not hold it.
            (_, Number::Integer(n)) if n > i64::MAX as u64 => Err(out_of("at most 2^63 - 1")),
            (Range::Positive, Number::Real(x)) if !(x.is_finite() && x > 0.0) => {
                Err(out_of("finite and above 0"))
            }
            _ => Ok(()),
        }
    }
}

/// The legal values of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Range {
    Any,
    AtLeastOne,
    Positive,
}

pub(crate) enum Number {
    Integer(u64),
    Real(f64),
}

/// The place of a value that can be read and shown as text.
pub(crate) trait Field {
    fn read(&mut self, text: &str) -> std::result::Result<(), String>;
    fn show(&self) -> String;
    fn number(&self) -> Option<Number> {
        None
    }
    /// What it can be, where that is a list.
    fn names(&self) -> Vec<&'static str> {
        Vec::new()
    }
}

impl Field for f64 {
    fn read(&mut self, text: &str) -> std::result::Result<(), String> {
        *self = text.parse().map_err(|error| format!("{error}"))?;
        Ok(())
    }

    /// Without hundreds of zeros.
    fn show(&self) -> String {
        match self.abs() {
            1e-4..1e7 | 0.0 => self.to_string(),
            _ => format!("{self:e}"),
        }
    }

    fn number(&self) -> Option<Number> {
        Some(Number::Real(*self))
    }
}

/// Types that are written as they are parsed, and the number that each is.
macro_rules! fields {
    ($($type:ty $(= $number:expr)?),+ $(,)?) => {$(
        impl Field for $type {
            fn read(&mut self, text: &str) -> std::result::Result<(), String> {
                *self = text.parse().map_err(|error| format!("{error}"))?;
                Ok(())
            }

            fn show(&self) -> String {
                self.to_string()
            }

            $(fn number(&self) -> Option<Number> {
                let number: fn(Self) -> Number = $number;
                Some(number(*self))
            })?
        }
    )+};
}

fields! {
    usize = |n| Number::Integer(n as u64),
    u64 = Number::Integer,
    bool,
    String,
    Binarization,
}

impl Field for Estimator {
    fn read(&mut self, text: &str) -> std::result::Result<(), String> {
        *self = text.parse().map_err(|error| format!("{error}"))?;
        Ok(())
    }

    fn show(&self) -> String {
        self.to_string()
    }

    fn names(&self) -> Vec<&'static str> {
        Self::ALL.map(Self::name).into()
    }
}

impl Field for Code {
    fn read(&mut self, text: &str) -> std::result::Result<(), String> {
        *self = text.parse()?;
        Ok(())
    }

    fn show(&self) -> String {
        self.to_string()
    }

    fn names(&self) -> Vec<&'static str> {
        Self::NAMES.to_vec()
    }
}

impl Field for PathBuf {
    fn read(&mut self, text: &str) -> std::result::Result<(), String> {
        *self = text.into();
        Ok(())
    }

    fn show(&self) -> String {
        self.display().to_string()
    }
}

impl<T: Field + Default> Field for Option<T> {
    fn read(&mut self, text: &str) -> std::result::Result<(), String> {
        self.get_or_insert_default().read(text)
    }

    fn show(&self) -> String {
        self.as_ref().map_or_else(String::new, Field::show)
    }

    fn number(&self) -> Option<Number> {
        self.as_ref()?.number()
    }
}

impl Field for Vec<usize> {
    fn read(&mut self, text: &str) -> std::result::Result<(), String> {
        let parts = text.split(',').filter(|part| !part.is_empty());
        let numbers: std::result::Result<_, std::num::ParseIntError> =
            parts.map(str::parse).collect();
        *self = numbers.map_err(|_| "expected whole numbers, such as 512,256")?;
        Ok(())
    }

    fn show(&self) -> String {
        self.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
    }
}

/// Names as the file has them.
macro_rules! named_fields {
    ($($type:ty: $names:expr),+ $(,)?) => {$(
        impl Field for $type {
            fn names(&self) -> Vec<&'static str> {
                $names.to_vec()
            }

            fn read(&mut self, text: &str) -> std::result::Result<(), String> {
                *self = from_name(text)?;
                Ok(())
            }

            fn show(&self) -> String {
                let value = toml::Value::try_from(*self).ok();
                value.and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
            }
        }
    )+};
}

named_fields! {
    OptimizerKind: ["adam", "radam"],
    LearningRateSchedule: ["constant", "linear", "cosine"],
    Precision: ["f32", "bf16"],
    LogitsActivation: ["linear", "relu"],
    Likelihood: Likelihood::NAMES,
}

/// The name of a kind, with its defaults, or a table of TOML.
impl Field for NetworkConfig {
    fn read(&mut self, text: &str) -> std::result::Result<(), String> {
        *self = match text.starts_with('{') {
            true => text.parse::<toml::Value>().and_then(toml::Value::try_into),
            false => toml::Value::String(text.to_owned()).try_into(),
        }
        .map_err(|error| error.message().to_owned())?;
        Ok(())
    }

    fn show(&self) -> String {
        self.name().to_owned()
    }

    fn names(&self) -> Vec<&'static str> {
        Self::NAMES.to_vec()
    }
}

fn from_name<T: DeserializeOwned>(text: &str) -> std::result::Result<T, String> {
    let value = toml::Value::String(text.to_owned());
    value.try_into().map_err(|error: toml::de::Error| error.message().to_owned())
}

/// Declares a section of the configuration: its struct, its defaults and its settings.
///
/// A line is `/// Meaning`, `field: type = default`, then where it applies the flag (`"name" <VALUE>`, or `off "name"`
/// for one that sets `false`), `range` with its [`Range`], and `; may_change = true` for what a resume may set anew.
macro_rules! section {
    (
        $(#[$meta:meta])*
        $Section:ident in $section:ident as $table:ident {$(
            #[doc = $help:literal]
            $(#[$attribute:meta])*
            $field:ident: $type:ty = $default:expr
                $(, $flag:literal $value:literal)?
                $(, off $off:literal)?
                $(, range $range:ident)?
                $(; may_change = $may_change:literal)?
        ),+ $(,)?}
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $Section {$(
            #[doc = $help]
            $(#[$attribute])*
            pub $field: $type,
        )+}

        impl Default for $Section {
            fn default() -> Self {
                Self { $($field: $default),+ }
            }
        }

        const $table: &[Setting] = &[$(Setting {
            key: concat!(stringify!($section), ".", stringify!($field)),
            help: $help,
            flag: [$(Some(($flag, Some($value))),)? $(Some(($off, None)),)? None][0],
            range: [$(Range::$range,)? Range::Any][0],
            may_change: [$($may_change,)? false][0],
            field: |config| &mut config.$section.$field,
        }),+];
    };
}

pub(crate) use section;
