//! Doors for the fuzz targets: checkpoints as bytes, and a way past the checksums, which random
//! bytes never fit. Not a part of the interface.

use std::path::Path;

use candle_core::Device;
use catvae_model::ModelConfig;

use crate::checkpoint::{MODEL, OPTIMIZER, STATE, SUMS, parse};
use crate::sums::Sums;
use crate::{LoadedCheckpoint, Result};

/// The files of a checkpoint.
#[derive(Clone, Debug)]
pub struct CheckpointFiles {
    /// `state.json`.
    pub state: Vec<u8>,
    /// `model.safetensors`.
    pub model: Vec<u8>,
    /// `optimizer.safetensors`.
    pub optimizer: Vec<u8>,
    /// `SHA256SUMS`.
    pub sums: Vec<u8>,
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
                STATE => self.state.clone(),
                _ => self.sums.clone(),
            })
        })
    }

    /// Makes the checksums fit the files.
    pub fn sign(&mut self) {
        let mut sums = Sums::default();
        let files = [(MODEL, &self.model), (OPTIMIZER, &self.optimizer), (STATE, &self.state)];
        files.into_iter().for_each(|(file, bytes)| sums.add(file, bytes));
        self.sums = sums.to_string().into_bytes();
    }

    /// Reads a folder; one of format 1 has no `SHA256SUMS`, and gets them.
    ///
    /// # Errors
    /// A file is missing.
    pub fn read(folder: &Path) -> std::io::Result<Self> {
        let read = |file: &str| std::fs::read(folder.join(file));
        let (state, model, optimizer) = (read(STATE)?, read(MODEL)?, read(OPTIMIZER)?);
        let mut files = Self { state, model, optimizer, sums: Vec::new() };
        match read(SUMS) {
            Ok(sums) => files.sums = sums,
            Err(_) => files.sign(),
        }
        Ok(files)
    }
}
