//! A damaged checkpoint is found, whatever the damage, and the one before it is used.

use std::fs;
use std::path::Path;
use std::process::Command;

use catvae_train::untrusted::CheckpointFiles;
use catvae_train::{Error, RunDir};

use crate::tiny;

const FILES: [&str; 4] = ["model.safetensors", "optimizer.safetensors", "state.json", "SHA256SUMS"];

/// Makes sure that the checkpoint before is taken, with one warning that names this one.
fn assert_found(run: &RunDir, newest: &Path, what: &str) {
    let mut warnings = Vec::new();
    let loaded = tiny::load(&tiny::config(), run, |e| warnings.push(e.to_string()));
    let loaded = loaded.unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(loaded.position.step, 2 * tiny::STEPS_PER_EPOCH, "{what} was not noticed");
    assert_eq!(warnings.len(), 1, "{what}: {warnings:?}");
    assert!(warnings[0].contains(&newest.display().to_string()), "{what}: {warnings:?}");
}

fn whole_run(dir: &Path) -> (RunDir, std::path::PathBuf) {
    let run = RunDir::new(dir);
    tiny::run_until(&tiny::config(), &run, u64::MAX);
    let newest = run.checkpoints().list().unwrap()[0].1.clone();
    (run, newest)
}

#[test]
fn every_truncation_and_every_flipped_bit_of_every_file_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let (run, newest) = whole_run(dir.path());
    let files = CheckpointFiles::read(&newest).unwrap();
    let mut n_damages = 0;
    for file in FILES {
        let path = newest.join(file);
        let good = fs::read(&path).unwrap();
        let mut try_damage = |bytes: &[u8], what: String| {
            let mut files = files.clone();
            *match file {
                "model.safetensors" => &mut files.model,
                "optimizer.safetensors" => &mut files.optimizer,
                "state.json" => &mut files.state,
                _ => &mut files.sums,
            } = bytes.to_vec();
            match files.parse(&tiny::config().model) {
                Err(Error::DamagedCheckpoint { .. }) => (),
                other => panic!("{what}: {other:?}"),
            }
            // On the disk only now and then: that takes a hundred times as long.
            if n_damages % 50 == 0 {
                fs::write(&path, bytes).unwrap();
                assert_found(&run, &newest, &what);
            }
            n_damages += 1;
        };
        for len in 0..good.len() {
            try_damage(&good[..len], format!("{file} cut to {len} of {} bytes", good.len()));
        }
        let text = ["state.json", "SHA256SUMS"].contains(&file);
        for at in 0..good.len() {
            // All bits of the text, whose every character has a meaning, and one of each number.
            let bits = if text { 0..8 } else { at as u32 % 8..at as u32 % 8 + 1 };
            for bit in bits {
                let mut flipped = good.clone();
                flipped[at] ^= 1 << bit;
                try_damage(&flipped, format!("{file} with bit {bit} of byte {at} flipped"));
            }
        }
        let mut longer = good.clone();
        longer.push(0);
        fs::write(&path, longer).unwrap();
        assert_found(&run, &newest, &format!("{file} with a byte more"));
        fs::remove_file(&path).unwrap();
        assert_found(&run, &newest, &format!("{file} removed"));
        fs::create_dir(&path).unwrap();
        assert_found(&run, &newest, &format!("{file} replaced by a folder"));
        fs::remove_dir(&path).unwrap();
        fs::write(&path, &good).unwrap();
        n_damages += 3;
    }
    eprintln!("{n_damages} damages, all found");
    assert!(n_damages > 10_000, "{n_damages}");
    let whole = tiny::load(&tiny::config(), &run, |e| panic!("{e}")).unwrap();
    assert_eq!(whole.position.step, 3 * tiny::STEPS_PER_EPOCH);
}

#[test]
fn sha256sum_verifies_a_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let (_, newest) = whole_run(dir.path());
    let check = Command::new("sha256sum").args(["-c", "SHA256SUMS"]).current_dir(newest).output();
    let Ok(check) = check else { return eprintln!("SKIPPED: sha256sum is not installed") };
    let said = String::from_utf8(check.stdout).unwrap();
    assert!(check.status.success() && said.lines().count() == 3, "{said}");
}

#[test]
fn a_file_larger_than_the_model_needs_is_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let (run, newest) = whole_run(dir.path());
    for file in ["model.safetensors", "optimizer.safetensors", "state.json", "SHA256SUMS"] {
        let path = newest.join(file);
        let bytes = fs::read(&path).unwrap();
        // A terabyte of zeros, of which the disk holds none.
        fs::File::options().write(true).open(&path).unwrap().set_len(1 << 40).unwrap();
        assert_found(&run, &newest, file);
        fs::write(&path, bytes).unwrap();
    }
}

#[test]
fn files_of_another_checkpoint_are_no_substitute() {
    let dir = tempfile::tempdir().unwrap();
    let (run, newest) = whole_run(dir.path());
    let before = run.checkpoints().list().unwrap()[1].1.clone();
    for file in FILES {
        let good = fs::read(newest.join(file)).unwrap();
        fs::copy(before.join(file), newest.join(file)).unwrap();
        assert_found(&run, &newest, &format!("{file} of the checkpoint before"));
        fs::write(newest.join(file), good).unwrap();
    }
}

#[test]
fn when_all_are_damaged_each_is_named_and_nothing_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let (run, _) = whole_run(dir.path());
    for (_, path) in run.checkpoints().list().unwrap() {
        tiny::damage(&path);
    }
    let error = tiny::load(&tiny::config(), &run, |_| ()).unwrap_err().to_string();
    for step in ["step-000000009", "step-000000006", "step-000000003"] {
        assert!(error.contains(step), "{error}");
    }
    assert_eq!(tiny::steps(&run), [9, 6, 3]);
}
