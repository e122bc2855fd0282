//! Temperatures that change with the training step.

use serde::{Deserialize, Serialize};

use super::{LEAST, MOST};
use crate::{Error, Result};

/// The temperature as a function of the training step.
///
/// Deserialising checks the fields; a schedule written out in code is checked by [`TemperatureSchedule::checked`].
///
/// # Example
/// ```
/// use gumbel_core::TemperatureSchedule;
///
/// // Jang et al. 2017: τ = max(0.5, e^(-r t)), updated every 1000 steps.
/// let schedule = TemperatureSchedule::Exponential { init: 1.0, rate: 3e-5, min: 0.5, every: 1000 }.checked()?;
/// assert_eq!(schedule.at(999), 1.0);
/// assert_eq!(schedule.at(1000), (-0.03f64).exp());
/// assert_eq!(schedule.at(1_000_000), 0.5);
/// # Ok::<(), gumbel_core::Error>(())
/// ```
#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Debug)]
#[serde(tag = "kind", rename_all = "snake_case", try_from = "Unchecked")]
pub enum TemperatureSchedule {
    /// The same temperature throughout.
    Constant {
        /// The temperature.
        value: f64,
    },
    /// A straight line from `init` to `end` over `steps` steps, then `end`.
    Linear {
        /// The temperature at step 0.
        init: f64,
        /// The temperature from step `steps` on.
        end: f64,
        /// The length of the line, in steps.
        steps: u64,
    },
    /// Half a cosine from `init` to `end` over `steps` steps, then `end`.
    Cosine {
        /// The temperature at step 0.
        init: f64,
        /// The temperature from step `steps` on.
        end: f64,
        /// The length of the half wave, in steps.
        steps: u64,
    },
    /// `max(min, init · e^(-rate · step))`, evaluated at every `every`-th step and held in between.
    Exponential {
        /// The temperature at step 0.
        init: f64,
        /// The decay per step, `r`.
        rate: f64,
        /// The bound the temperature does not fall below.
        min: f64,
        /// How many steps a value is held.
        every: u64,
    },
}

impl TemperatureSchedule {
    /// The schedule itself, if all its fields are in range.
    ///
    /// # Errors
    /// [`Error::InvalidSchedule`] naming the first field that is not.
    pub fn checked(self) -> Result<Self> {
        match self {
            Self::Constant { value } => positive("value", value)?,
            Self::Linear { init, end, steps } | Self::Cosine { init, end, steps } => {
                positive("init", init)?;
                positive("end", end)?;
                at_least_one("steps", steps)?;
            }
            Self::Exponential { init, rate, min, every } => {
                positive("init", init)?;
                positive("min", min)?;
                at_least_one("every", every)?;
                if !(rate.is_finite() && rate >= 0.0) {
                    return Err(Error::InvalidSchedule {
                        field: "rate",
                        value: rate,
                        must: "finite and >= 0",
                    });
                }
            }
        }
        Ok(self)
    }

    /// The temperature for a step; the first step is 0.
    pub fn at(&self, step: u64) -> f64 {
        match *self {
            Self::Constant { value } => value,
            Self::Linear { init, end, steps } => {
                let done = progress(step, steps);
                init * (1.0 - done) + end * done
            }
            Self::Cosine { init, end, steps } => {
                let done = progress(step, steps);
                end + (init - end) * 0.5 * (1.0 + (std::f64::consts::PI * done).cos())
            }
            Self::Exponential { init, rate, min, every } => {
                let held = step - step % every.max(1);
                (init * (-rate * held as f64).exp()).max(min)
            }
        }
    }
}

/// The part of the way that is done, in [0, 1].
fn progress(step: u64, steps: u64) -> f64 {
    if step >= steps { 1.0 } else { step as f64 / steps as f64 }
}

fn positive(field: &'static str, value: f64) -> Result<()> {
    if (LEAST..=MOST).contains(&value) {
        Ok(())
    } else {
        Err(Error::InvalidSchedule { field, value, must: "between 1e-30 and 1e30" })
    }
}

fn at_least_one(field: &'static str, value: u64) -> Result<()> {
    if value >= 1 {
        Ok(())
    } else {
        Err(Error::InvalidSchedule { field, value: value as f64, must: "at least 1" })
    }
}

/// The same fields before they are checked, so that a configuration file cannot hold a bad schedule.
#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
enum Unchecked {
    Constant { value: f64 },
    Linear { init: f64, end: f64, steps: u64 },
    Cosine { init: f64, end: f64, steps: u64 },
    Exponential { init: f64, rate: f64, min: f64, every: u64 },
}

impl TryFrom<Unchecked> for TemperatureSchedule {
    type Error = Error;

    fn try_from(unchecked: Unchecked) -> Result<Self> {
        match unchecked {
            Unchecked::Constant { value } => Self::Constant { value },
            Unchecked::Linear { init, end, steps } => Self::Linear { init, end, steps },
            Unchecked::Cosine { init, end, steps } => Self::Cosine { init, end, steps },
            Unchecked::Exponential { init, rate, min, every } => {
                Self::Exponential { init, rate, min, every }
            }
        }
        .checked()
    }
}

#[cfg(test)]
mod tests {
    use super::TemperatureSchedule::*;
    use super::*;

    #[test]
    fn schedules_start_at_init_and_end_at_end() {
        for schedule in
            [Linear { init: 2.0, end: 0.5, steps: 10 }, Cosine { init: 2.0, end: 0.5, steps: 10 }]
        {
            assert_eq!(schedule.at(0), 2.0);
            assert!((schedule.at(5) - 1.25).abs() < 1e-15);
            assert_eq!(schedule.at(10), 0.5);
            assert_eq!(schedule.at(11), 0.5);
            assert_eq!(schedule.at(u64::MAX), 0.5);
            assert!((0..10).all(|t| schedule.at(t) > schedule.at(t + 1)));
        }
        // Level at both ends, so it lies above the line before the middle.
        let (line, wave) =
            (Linear { init: 2.0, end: 0.5, steps: 10 }, Cosine { init: 2.0, end: 0.5, steps: 10 });
        assert!(wave.at(2) > line.at(2) && wave.at(8) < line.at(8));
    }

    #[test]
    fn exponential_holds_its_value_for_every_steps() {
        let schedule = Exponential { init: 1.0, rate: 1e-4, min: 0.5, every: 500 };
        assert_eq!(schedule.at(499), 1.0);
        assert_eq!(schedule.at(500), (-0.05f64).exp());
        assert_eq!(schedule.at(999), (-0.05f64).exp());
        assert_eq!(schedule.at(10_000), 0.5);
    }

    #[test]
    fn schedules_survive_serde_and_bad_ones_do_not_parse() {
        for schedule in [
            Constant { value: 1.0 },
            Linear { init: 2.0, end: 0.5, steps: 10 },
            Cosine { init: 2.0, end: 0.5, steps: 10 },
            Exponential { init: 1.0, rate: 1e-4, min: 0.5, every: 500 },
        ] {
            let json = serde_json::to_string(&schedule).unwrap();
            assert_eq!(serde_json::from_str::<TemperatureSchedule>(&json).unwrap(), schedule);
        }
        for bad in [
            r#"{"kind":"constant","value":0.0}"#,
            r#"{"kind":"linear","init":1.0,"end":-1.0,"steps":5}"#,
            r#"{"kind":"cosine","init":1.0,"end":0.5,"steps":0}"#,
            r#"{"kind":"exponential","init":1.0,"rate":-1.0,"min":0.5,"every":1}"#,
            r#"{"kind":"exponential","init":1.0,"rate":1.0,"min":0.5,"every":0}"#,
            r#"{"kind":"constant","value":1.0,"warmup":3}"#,
            r#"{"kind":"step","value":1.0}"#,
        ] {
            assert!(serde_json::from_str::<TemperatureSchedule>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_error_names_the_field() {
        let error =
            Exponential { init: 1.0, rate: f64::NAN, min: 0.5, every: 1 }.checked().unwrap_err();
        assert!(matches!(error, Error::InvalidSchedule { field: "rate", .. }));
    }
}
