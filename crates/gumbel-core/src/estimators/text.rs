//! Estimators as text: `gumbel-rao:draws=100`.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

use super::Estimator;

/// Why a text names no estimator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseEstimatorError {
    /// There is no estimator of this name.
    #[error("there is no estimator {name:?}; there are {}", names().join(", "))]
    UnknownName {
        /// What was written.
        name: String,
    },
    /// The estimator has no parameter of this name.
    #[error("{estimator} has no parameter {name:?}; {}", parameters_of(estimator))]
    UnknownParameter {
        /// The estimator's name.
        estimator: &'static str,
        /// What stood before the `=`.
        name: String,
    },
    /// The parameter's value is no number, or out of its range.
    #[error("{parameter} must be {must}, but is {value:?}")]
    InvalidValue {
        /// The parameter's name.
        parameter: String,
        /// What stood after the `=`.
        value: String,
        /// The range it must lie in.
        must: &'static str,
    },
}

/// What is read from a file: a text, or a table of the name and its parameters.
#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "an estimator is a name, as \"reinmax\", or a table, as { name = \"rloo\", samples = 4 }"
)]
pub(super) enum Form {
    Text(String),
    Table {
        name: String,
        #[serde(flatten)]
        parameters: BTreeMap<String, Number>,
    },
}

/// A parameter in a table.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Number {
    Whole(u64),
    Real(f64),
    Text(String),
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(value) => value.fmt(f),
            Self::Real(value) => value.fmt(f),
            Self::Text(value) => value.fmt(f),
        }
    }
}

impl Estimator {
    /// The estimator of a name, with its default parameters.
    fn named(name: &str) -> Result<Self, ParseEstimatorError> {
        let found = Self::ALL.into_iter().find(|e| e.name() == name);
        found.ok_or_else(|| ParseEstimatorError::UnknownName { name: name.to_owned() })
    }

    /// With a parameter that is checked; `-` and `_` are the same in its name.
    fn with(mut self, name: &str, text: &str) -> Result<Self, ParseEstimatorError> {
        let invalid = |must| ParseEstimatorError::InvalidValue {
            parameter: name.to_owned(),
            value: text.to_owned(),
            must,
        };
        let estimator = self.name();
        match self.set(&name.replace('-', "_"), text) {
            None => {
                return Err(ParseEstimatorError::UnknownParameter {
                    estimator,
                    name: name.to_owned(),
                });
            }
            Some(parsed) => parsed.map_err(invalid)?,
        }
        match self.check() {
            Ok(()) => Ok(self),
            Err(crate::Error::InvalidParameter { must, .. }) => Err(invalid(must)),
            Err(_) => Err(invalid("between 1e-30 and 1e30")),
        }
    }

    /// `name=value` for each parameter.
    fn written(self) -> String {
        let written = self.parameters().into_iter();
        let written = written.map(|(name, value)| format!("{}={value}", name.replace('_', "-")));
        written.collect::<Vec<_>>().join(",")
    }
}

fn names() -> [&'static str; Estimator::ALL.len()] {
    Estimator::ALL.map(Estimator::name)
}

/// What to write instead of a parameter that does not exist.
fn parameters_of(estimator: &str) -> String {
    match Estimator::named(estimator).map(Estimator::written) {
        Ok(written) if !written.is_empty() => format!("write {estimator}:{written}"),
        _ => format!("write {estimator} alone"),
    }
}

impl FromStr for Estimator {
    type Err = ParseEstimatorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let Some((name, parameters)) = text.split_once(':') else {
            return Self::named(text);
        };
        parameters.split(',').try_fold(Self::named(name)?, |estimator, parameter| {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            estimator.with(name, value)
        })
    }
}

impl fmt::Display for Estimator {
    /// The name, with the parameters where they are not the default.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self.written() {
            written if !Self::ALL.contains(self) => write!(f, ":{written}"),
            _ => Ok(()),
        }
    }
}

impl TryFrom<Form> for Estimator {
    type Error = ParseEstimatorError;

    fn try_from(form: Form) -> Result<Self, Self::Error> {
        match form {
            Form::Text(text) => text.parse(),
            Form::Table { name, parameters } => {
                let default = Self::named(&name)?;
                parameters
                    .iter()
                    .try_fold(default, |e, (name, value)| e.with(name, &value.to_string()))
            }
        }
    }
}

impl From<Estimator> for String {
    fn from(estimator: Estimator) -> Self {
        estimator.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_estimator_survives_text_and_serde() {
        let others = [
            Estimator::DecoupledStraightThrough { backward_tau: 0.7 },
            Estimator::GappedStraightThrough { gap: 0.1 + 0.2 },
            Estimator::GumbelRao { draws: 100 },
            Estimator::ReinMaxRao { draws: 1 },
            Estimator::Rloo { samples: 2 },
        ];
        for estimator in Estimator::ALL.into_iter().chain(others) {
            assert_eq!(estimator.to_string().parse(), Ok(estimator));
            let json = serde_json::to_string(&estimator).unwrap();
            assert_eq!(json, format!("\"{estimator}\""));
            assert_eq!(serde_json::from_str::<Estimator>(&json).unwrap(), estimator);
        }
        assert_eq!(others[2].to_string(), "gumbel-rao:draws=100");
    }

    #[test]
    fn tables_are_read_too() {
        let read = |json: &str| serde_json::from_str::<Estimator>(json);
        for (table, estimator) in [
            (r#"{ "name": "gumbel-rao", "draws": 100 }"#, Estimator::GumbelRao { draws: 100 }),
            (r#"{ "name": "gumbel-rao" }"#, Estimator::GumbelRao { draws: 10 }),
            (
                r#"{ "name": "decoupled-straight-through", "backward_tau": 2 }"#,
                Estimator::DecoupledStraightThrough { backward_tau: 2.0 },
            ),
            (
                r#"{ "name": "gapped-straight-through", "gap": 0.25 }"#,
                Estimator::GappedStraightThrough { gap: 0.25 },
            ),
        ] {
            assert_eq!(read(table).unwrap(), estimator);
        }
        let error = |json: &str| read(json).unwrap_err().to_string();
        assert!(error(r#"{ "name": "rloo", "draws": 3 }"#).contains("write rloo:samples=4"));
        assert!(error(r#"{ "name": "rloo", "samples": 1.5 }"#).contains("must be a whole number"));
        assert!(error(r#"{ "name": "reimax" }"#).contains("there are gumbel-softmax"));
        assert!(error("7").contains("an estimator is a name"));
    }

    #[test]
    fn defaults_are_written_without_parameters_and_names_differ() {
        for estimator in Estimator::ALL {
            assert_eq!(estimator.to_string(), estimator.name());
        }
        let mut sorted = names().to_vec();
        sorted.sort();
        sorted.dedup();
        assert_eq!(sorted.len(), Estimator::ALL.len());
    }

    #[test]
    fn errors_say_what_to_write_instead() {
        let error = |text: &str| text.parse::<Estimator>().unwrap_err().to_string();
        assert!(error("reimax").contains("there are gumbel-softmax, st-gumbel-softmax"));
        assert!(error("rloo:draws=3").ends_with("write rloo:samples=4"));
        assert!(error("fini:tau=1").ends_with("write fini alone"));
        assert_eq!(error("rloo:samples=1"), "samples must be at least 2, but is \"1\"");
        for bad in [
            "gumbel-rao:draws=0",
            "gumbel-rao:draws",
            "gapped-straight-through:gap=-1",
            "decoupled-straight-through:backward-tau=nan",
            "rloo:",
            "",
        ] {
            assert!(bad.parse::<Estimator>().is_err(), "{bad}");
        }
    }
}
