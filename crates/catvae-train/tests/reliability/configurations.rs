//! A configuration is the same after it was written and read, whatever it holds.

use catvae_train::{RunDir, TrainConfig};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};

use crate::any_config::any_config;

#[test]
fn every_valid_configuration_survives_its_file_unchanged() {
    let dir = tempfile::tempdir().unwrap();
    let run = RunDir::new(dir.path());
    let locked = run.lock().unwrap();
    let config = Config {
        cases: 1000,
        rng_seed: RngSeed::Fixed(8),
        failure_persistence: None,
        ..Config::default()
    };
    // Syncing a file takes longer than all the rest: one in fifty goes through one.
    let cases = (any_config(), 0..50);
    let result = TestRunner::new(config).run(&cases, |(config, through_file)| {
        prop_assert!(config.check().is_ok(), "{:?}", config.check());
        let text = config.to_toml().map_err(|e| TestCaseError::fail(e.to_string()))?;
        let read = TrainConfig::from_toml(&text).map_err(TestCaseError::fail)?;
        prop_assert_eq!(&read, &config, "{}", text);
        if through_file == 0 {
            locked.write_config(&config).unwrap();
            prop_assert_eq!(run.read_config().unwrap(), config);
        }
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
}
