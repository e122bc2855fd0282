//! What must hold of any text in the place of a configuration file: an error, or a configuration
//! that survives being written and read again.

use catvae_train::TrainConfig;

pub(crate) fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(config) = TrainConfig::from_toml(text) {
        let written = config.to_toml().expect("a configuration that was read can be written");
        assert_eq!(TrainConfig::from_toml(&written).as_ref(), Ok(&config), "{written}");
    }
}
