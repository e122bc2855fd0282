//! What is chosen among: one temperature, or two where the estimator has two.

use anyhow::{Result, bail, ensure};
use catvae_train::TrainConfig;
use gumbel_core::TemperatureSchedule;
use gumbel_core::estimators::Estimator;
use serde_json::{Value, json};

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Candidate {
    /// τ; at step 0 where it falls exponentially.
    pub(crate) temperature: f64,
    /// The temperature of the gradient, where the estimator has one of its own.
    pub(crate) backward_temperature: Option<f64>,
}

impl Candidate {
    /// What a configuration has.
    ///
    /// # Errors
    /// An estimator without a temperature; a schedule that depends on the length of the run, because a run that went
    /// on from a shorter one would not be the one that went through.
    pub(crate) fn of(config: &TrainConfig) -> Result<Self> {
        let estimator = config.estimator;
        ensure!(
            estimator.has_temperature(),
            "the estimator `{estimator}` has no temperature to tune: choose another with --estimator"
        );
        let temperature = match config.temperature {
            TemperatureSchedule::Constant { value } => value,
            TemperatureSchedule::Exponential { init, .. } => init,
            TemperatureSchedule::Linear { .. } | TemperatureSchedule::Cosine { .. } => bail!(
                "a linear or cosine schedule depends on the length of the run, and short runs would not be the beginnings of \
                 long ones: tune with --schedule constant or exponential"
            ),
        };
        ensure!(
            config.training.learning_rate_schedule.is_constant(),
            "a learning rate that falls depends on the length of the run, and short runs would not be the beginnings of long \
             ones: tune with --lr-schedule constant"
        );
        let backward_temperature = match estimator {
            Estimator::DecoupledStraightThrough { backward_tau } => Some(backward_tau),
            _ => None,
        };
        Ok(Self { temperature, backward_temperature })
    }

    /// The configuration with these temperatures.
    pub(crate) fn apply(self, config: &TrainConfig) -> TrainConfig {
        let mut config = config.clone();
        match &mut config.temperature {
            TemperatureSchedule::Exponential { init, min, .. } => {
                (*init, *min) = (self.temperature, min.min(self.temperature));
            }
            schedule => *schedule = TemperatureSchedule::Constant { value: self.temperature },
        }
        if let (Estimator::DecoupledStraightThrough { backward_tau }, Some(tau)) =
            (&mut config.estimator, self.backward_temperature)
        {
            *backward_tau = tau;
        }
        config
    }

    pub(crate) fn json(self) -> Value {
        match self.backward_temperature {
            None => json!({ "temperature": self.temperature }),
            Some(tau) => json!({ "temperature": self.temperature, "backward_temperature": tau }),
        }
    }

    /// As in the names of folders.
    pub(crate) fn name(self) -> String {
        match self.backward_temperature {
            None => format!("temperature={}", self.temperature),
            Some(tau) => format!("temperature={},backward-temperature={tau}", self.temperature),
        }
    }

    /// For people.
    pub(crate) fn shown(self) -> String {
        match self.backward_temperature {
            None => format!("τ = {}", self.temperature),
            Some(tau) => format!("τ = {}, backward {tau}", self.temperature),
        }
    }
}

/// The candidates of given temperatures, or of a grid that is even in log τ: seven between 0.2 and 2, from 1 to 4 for the
/// estimators of the ReinMax family, which are made for τ ≥ 1, and four by four where there are two.
pub(crate) fn candidates(
    default: Candidate,
    estimator: Estimator,
    temperatures: &[f64],
    backward: &[f64],
) -> Result<Vec<Candidate>> {
    let has_two = default.backward_temperature.is_some();
    ensure!(
        has_two || backward.is_empty(),
        "--backward-temperatures goes with the estimator decoupled-straight-through only"
    );
    let n = if has_two { 4 } else { 7 };
    let (low, high) = if estimator.name().starts_with("reinmax") { (1.0, 4.0) } else { (0.2, 2.0) };
    let or_grid = |given: &[f64]| match given {
        [] => grid(low, high, n),
        given => given.to_vec(),
    };
    let backward = or_grid(backward).into_iter().map(Some);
    let backward: Vec<_> = if has_two { backward.collect() } else { vec![None] };
    let mut found: Vec<Candidate> = Vec::new();
    for temperature in or_grid(temperatures) {
        for &backward_temperature in &backward {
            let candidate = Candidate { temperature, backward_temperature };
            if !found.contains(&candidate) {
                found.push(candidate);
            }
        }
    }
    ensure!(found.len() > 1, "one candidate is no choice: name several with --temperatures");
    Ok(found)
}

/// Even in log τ, in two digits.
fn grid(low: f64, high: f64, n: usize) -> Vec<f64> {
    let step = (high / low).ln() / (n - 1) as f64;
    let rounded = |x: f64| (x * 100.0).round() / 100.0;
    (0..n).map(|i| rounded(low * (step * i as f64).exp())).collect()
}

#[cfg(test)]
mod tests {
    use catvae_train::LearningRateSchedule;

    use super::*;

    #[test]
    fn grids_are_even_in_the_logarithm_and_two_dimensional_where_there_are_two() {
        let default = Candidate::of(&TrainConfig::default()).unwrap();
        let of = |estimator| candidates(default, estimator, &[], &[]).unwrap();
        let taus = |found: Vec<Candidate>| found.iter().map(|c| c.temperature).collect::<Vec<_>>();
        let found = taus(of(Estimator::GumbelSoftmax));
        assert_eq!(found, [0.2, 0.29, 0.43, 0.63, 0.93, 1.36, 2.0]);
        let found = taus(of("reinmax".parse().unwrap()));
        assert_eq!((found[0], found[6]), (1.0, 4.0));
        let estimator = Estimator::DecoupledStraightThrough { backward_tau: 1.3 };
        let mut config = TrainConfig { estimator, ..TrainConfig::default() };
        let two = Candidate::of(&config).unwrap();
        assert_eq!(two.backward_temperature, Some(1.3));
        let found = candidates(two, estimator, &[], &[0.5, 1.0]).unwrap();
        assert_eq!(found.len(), 8);
        assert_eq!(Candidate::of(&found[3].apply(&config)).unwrap(), found[3]);
        assert!(candidates(default, Estimator::GumbelSoftmax, &[1.0], &[]).is_err());
        assert!(candidates(default, Estimator::GumbelSoftmax, &[], &[1.0]).is_err());

        config.temperature = TemperatureSchedule::Cosine { init: 1.0, end: 0.5, steps: 9 };
        assert!(Candidate::of(&config).unwrap_err().to_string().contains("length of the run"));
        config.temperature = TemperatureSchedule::Constant { value: 1.0 };
        config.training.learning_rate_schedule = LearningRateSchedule::Cosine;
        assert!(Candidate::of(&config).unwrap_err().to_string().contains("--lr-schedule constant"));
        config.estimator = Estimator::Reinforce;
        assert!(Candidate::of(&config).unwrap_err().to_string().contains("no temperature"));
    }
}
