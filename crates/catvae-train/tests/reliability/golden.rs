//! A checkpoint of format 1, written by version 0.1.0, that has to load forever; and one of a format
//! that is not known yet, that has to be refused by name.
//!
//! The run in `goldens/run-format-1` was written by `catvae train --dataset tiny --hidden 3
//! --latents 2 --categories 2 --batch-size 4 --epochs 2 --estimator rebar --optimizer radam
//! --keep-checkpoints 1` on eight images of 2x2 pixels. It is never written again: a new format gets
//! a folder of its own beside it.

use std::fs;
use std::path::{Path, PathBuf};

use catvae_model::Model;
use catvae_train::untrusted::CheckpointFiles;
use catvae_train::{OptimizerKind, RunDir, Trainer};

use crate::tiny;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/run-format-1")
}

#[test]
fn a_checkpoint_of_format_1_loads_with_every_value() {
    let run = RunDir::new(golden());
    let config = run.read_config().unwrap();
    let checkpoint = tiny::load(&config, &run, |e| panic!("{e}")).unwrap();
    assert_eq!((checkpoint.position.step, checkpoint.position.epochs_done), (4, 2));
    assert_eq!((checkpoint.noise.stream, checkpoint.noise.position), (1, 64));
    assert_eq!((checkpoint.unrelaxed_noise.stream, checkpoint.unrelaxed_noise.position), (2, 64));
    assert_eq!((checkpoint.optimizer, checkpoint.optimizer_steps), (OptimizerKind::RAdam, 4));
    let learnt = format!("{:?}", checkpoint.estimator_state);
    assert!(learnt.contains("0.12060468482651782"), "{learnt}");
    // The files' own bytes are held to their checksums; here the order and the number of tensors.
    let names: Vec<_> = checkpoint.model.parameters().iter().map(|p| p.name.clone()).collect();
    assert_eq!((names.len(), checkpoint.moments.len()), (8, 8), "{names:?}");
    assert_eq!(run.metrics().read().unwrap().len(), 2);
    Trainer::resume(config, checkpoint, candle_core::Device::Cpu).unwrap();
}

#[test]
fn a_newer_format_is_refused_by_name_and_no_older_checkpoint_is_taken_instead() {
    let dir = tempfile::tempdir().unwrap();
    let run = RunDir::new(dir.path());
    tiny::run_until(&tiny::config(), &run, u64::MAX);
    let newest = run.checkpoints().list().unwrap()[0].1.clone();
    let mut files = CheckpointFiles::read(&newest).unwrap();
    let text = String::from_utf8(files.state).unwrap();
    let text = text.replace("\"format\": 2", "\"format\": 3").replace(
        "\"version\": \"0.1.0\"",
        "\"version\": \"7.3.1\",\n  \"a field of tomorrow\": []",
    );
    files.state = text.into_bytes();
    files.sign();
    fs::write(newest.join("state.json"), &files.state).unwrap();
    fs::write(newest.join("SHA256SUMS"), &files.sums).unwrap();
    let error = tiny::load(&tiny::config(), &run, |e| panic!("{e}")).unwrap_err().to_string();
    assert!(
        error.contains("has format 3, written by version 7.3.1") && error.contains("up to 2"),
        "{error}"
    );
}
