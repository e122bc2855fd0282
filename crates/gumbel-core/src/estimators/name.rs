//! Estimators as text: `gumbel-rao:draws=100`.

use std::fmt;
use std::str::FromStr;

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
    #[error("{estimator} has no parameter {name:?}; {}", parameter_of(estimator))]
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
        parameter: &'static str,
        /// What stood after the `=`.
        value: String,
        /// The range it must lie in.
        must: &'static str,
    },
}

impl Estimator {
    /// The name without parameters.
    pub fn name(self) -> &'static str {
        match self {
            Self::GumbelSoftmax => "gumbel-softmax",
            Self::StGumbelSoftmax => "st-gumbel-softmax",
            Self::StraightThrough => "straight-through",
            Self::DecoupledStraightThrough { .. } => "decoupled-straight-through",
            Self::GappedStraightThrough { .. } => "gapped-straight-through",
            Self::GumbelRao { .. } => "gumbel-rao",
            Self::ReinMax => "reinmax",
            Self::ReinMaxRao { .. } => "reinmax-rao",
            Self::Fini => "fini",
            Self::Reinforce => "reinforce",
            Self::Rloo { .. } => "rloo",
            Self::DisArm => "disarm",
            Self::Rebar => "rebar",
            Self::Enumeration => "enumeration",
        }
    }

    /// The parameter's name and value, for the estimators that have one.
    fn parameter(self) -> Option<(&'static str, String)> {
        match self {
            Self::DecoupledStraightThrough { backward_tau } => {
                Some(("backward-tau", backward_tau.to_string()))
            }
            Self::GappedStraightThrough { gap } => Some(("gap", gap.to_string())),
            Self::GumbelRao { draws } | Self::ReinMaxRao { draws } => {
                Some(("draws", draws.to_string()))
            }
            Self::Rloo { samples } => Some(("samples", samples.to_string())),
            _ => None,
        }
    }

    fn with_parameter(self, name: &str, text: &str) -> Result<Self, ParseEstimatorError> {
        let number = |parameter, must, good: fn(f64) -> bool| match text.parse::<f64>() {
            Ok(value) if good(value) => Ok(value),
            _ => Err(ParseEstimatorError::InvalidValue { parameter, value: text.to_owned(), must }),
        };
        let count = |parameter, must, least: usize| match text.parse::<usize>() {
            Ok(value) if value >= least => Ok(value),
            _ => Err(ParseEstimatorError::InvalidValue { parameter, value: text.to_owned(), must }),
        };
        match (self, name) {
            (Self::DecoupledStraightThrough { .. }, "backward-tau") => {
                let good = |tau: f64| tau.is_finite() && tau > 0.0;
                let backward_tau = number("backward-tau", "finite and > 0", good)?;
                Ok(Self::DecoupledStraightThrough { backward_tau })
            }
            (Self::GappedStraightThrough { .. }, "gap") => {
                let gap = number("gap", "finite and >= 0", |gap| gap.is_finite() && gap >= 0.0)?;
                Ok(Self::GappedStraightThrough { gap })
            }
            (Self::GumbelRao { .. }, "draws") => {
                Ok(Self::GumbelRao { draws: count("draws", "a whole number from 1", 1)? })
            }
            (Self::ReinMaxRao { .. }, "draws") => {
                Ok(Self::ReinMaxRao { draws: count("draws", "a whole number from 1", 1)? })
            }
            (Self::Rloo { .. }, "samples") => {
                Ok(Self::Rloo { samples: count("samples", "a whole number from 2", 2)? })
            }
            _ => Err(ParseEstimatorError::UnknownParameter {
                estimator: self.name(),
                name: name.to_owned(),
            }),
        }
    }
}

fn names() -> [&'static str; Estimator::ALL.len()] {
    Estimator::ALL.map(Estimator::name)
}

/// What to write instead of a parameter that does not exist.
fn parameter_of(estimator: &str) -> String {
    let parameter =
        Estimator::ALL.into_iter().find(|e| e.name() == estimator).and_then(Estimator::parameter);
    match parameter {
        Some((name, value)) => format!("write {estimator}:{name}={value}"),
        None => format!("write {estimator} alone"),
    }
}

impl FromStr for Estimator {
    type Err = ParseEstimatorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, parameter) = match text.split_once(':') {
            Some((name, parameter)) => (name, Some(parameter)),
            None => (text, None),
        };
        let default = Self::ALL.into_iter().find(|e| e.name() == name);
        let default =
            default.ok_or_else(|| ParseEstimatorError::UnknownName { name: name.to_owned() })?;
        match parameter {
            None => Ok(default),
            Some(parameter) => {
                let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
                default.with_parameter(name, value)
            }
        }
    }
}

impl fmt::Display for Estimator {
    /// The name, with the parameter where it is not the default.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match self.parameter() {
            Some((name, value)) if !Self::ALL.contains(self) => write!(f, ":{name}={value}"),
            _ => Ok(()),
        }
    }
}

impl TryFrom<String> for Estimator {
    type Error = ParseEstimatorError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
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
        assert_eq!(error("rloo:samples=1"), "samples must be a whole number from 2, but is \"1\"");
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
