//! Doors for the fuzz targets: checkpoints as bytes, and a way past the checksums, which random
//! bytes never fit. Not a part of the interface.

use std::path::Path;

use candle_core::Device;
use catvae_model::ModelConfig;

use crate::checkpoint::{MODEL, OPTIMIZER, STATE, hex_sha256, parse, signed};
use crate::{LoadedCheckpoint, Result};

/// The three files of a checkpoint.
#[derive(Clone, Debug)]
pub struct CheckpointFiles {
    /// `state.json`.
    pub state: Vec<u8>,
    /// `model.safetensors`.
    pub model: Vec<u8>,
    /// `optimizer.safetensors`.
    pub optimizer: Vec<u8>,
}

impl CheckpointFiles {
    /// Checks and parses the files as those of a folder are.
    ///
    /// # Errors
    /// As [`crate::Checkpoints::load_newest`] has for one checkpoint.
    pub fn parse(&self, config: &ModelConfig) -> Result<LoadedCheckpoint> {
        parse(Path::new("checkpoint"), config, &Device::Cpu, |file| {
            Ok(match file {
                MODEL => self.model.clone(),
                OPTIMIZER => self.optimizer.clone(),
                _ => self.state.clone(),
            })
        })
    }

    /// Makes the checksums in `state.json` fit the files, wherever it has places for them.
    pub fn sign(&mut self) {
        let Ok(mut text) = String::from_utf8(self.state.clone()) else { return };
        for (file, bytes) in [(MODEL, &self.model), (OPTIMIZER, &self.optimizer)] {
            text = with_value(&text, file, &hex_sha256(bytes));
        }
        self.state = match text.rsplit_once("\"checksum\": \"") {
            Some((start, _)) => signed(&format!("{start}\"checksum\": \"\"\n}}")).into_bytes(),
            None => text.into_bytes(),
        };
    }

    /// Reads a folder.
    ///
    /// # Errors
    /// A file is missing.
    pub fn read(folder: &Path) -> std::io::Result<Self> {
        let read = |file: &str| std::fs::read(folder.join(file));
        Ok(Self { state: read(STATE)?, model: read(MODEL)?, optimizer: read(OPTIMIZER)? })
    }
}

/// The text with the string after `"key": ` replaced.
fn with_value(text: &str, key: &str, value: &str) -> String {
    let key = format!("\"{key}\": \"");
    match text.split_once(&key).and_then(|(start, rest)| Some((start, rest.split_once('"')?.1))) {
        Some((start, end)) => format!("{start}{key}{value}\"{end}"),
        None => text.to_owned(),
    }
}
