//! `catvae import`: what comes in is what was given, and what does not fit is named.

#![allow(
    clippy::unwrap_used,
    reason = "a test ends at the first thing that is not as it should be"
)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use candle_core::Device;

const DATA: &str = "--train-images 60 --test-images 20";

fn catvae(place: &Path, line: &str) -> Output {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("catvae"));
    command.current_dir(place).env_remove("CATVAE_DATA_DIR").args(line.split_whitespace());
    command.output().unwrap()
}

fn ok(place: &Path, line: &str) -> String {
    let output = catvae(place, line);
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn error(place: &Path, line: &str) -> String {
    let output = catvae(place, line);
    assert_eq!(output.status.code(), Some(1), "{line}");
    String::from_utf8(output.stderr).unwrap()
}

fn golden() -> String {
    format!("{}/tests/goldens/tiny.pth", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn a_pytorch_file_becomes_a_run() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path();
    let sizes = "--hidden 4 --latents 2 --categories 3";
    ok(place, &format!("import {} {sizes} {DATA} --out run", golden()));
    let written = place.join("run/checkpoints/step-000000000/model.safetensors");
    let model = candle_core::safetensors::load(written, &Device::Cpu).unwrap();
    // As scripts/tiny_pth.py fills them.
    for (i, part) in ["encoder", "decoder"].into_iter().enumerate() {
        for (j, name) in ["0.weight", "0.bias", "2.weight", "2.bias"].into_iter().enumerate() {
            let name = format!("{part}.{name}");
            let found = model[&name].flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let start = 100 * (4 * i + j);
            let expected = (0..found.len()).map(|k| ((k + start) % 251) as f32 / 256.0 - 0.5);
            assert_eq!(found, expected.collect::<Vec<_>>(), "{name}");
        }
    }
    for line in ["evaluate run", "sample run", "reconstruct run", "encode run", "latents run"] {
        ok(place, line);
    }
    ok(place, "decode run --codes run/codes.npz");
    ok(place, "estimators run --samples 2 --limit 2 --only gumbel-softmax");
    ok(place, "explore run");
    ok(place, "export run --format hf");
    ok(place, "list run");
    // It can be trained on from there.
    ok(place, "train --resume --out run --epochs 1");
    ok(place, &format!("train --init-from {} {sizes} {DATA} --epochs 1 --out warm", golden()));
    let weights = |run: &str| {
        fs::read(place.join(run).join("checkpoints/step-000000001/model.safetensors")).unwrap()
    };
    assert_eq!(weights("run"), weights("warm"));
}

#[test]
fn an_exported_model_comes_back_bit_for_bit() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path();
    let network = "--network {kind=\"conv\",channels=[2],hidden=[4]} --latents 3 --categories 4";
    ok(
        place,
        &format!("train {network} --likelihood continuous-bernoulli {DATA} --epochs 1 --out run"),
    );
    ok(place, "export run --format hf --out hub");
    // The config.json beside the weights says which model they are.
    ok(place, &format!("import hub/model.safetensors {DATA} --out again"));
    ok(place, "export again --format safetensors --out out");
    let read = |path: &str| fs::read(place.join(path)).unwrap();
    assert_eq!(read("hub/model.safetensors"), read("out/model.safetensors"));
    let objective = |run: &str| {
        let shown = ok(place, &format!("evaluate {run} --json"));
        serde_json::from_str::<serde_json::Value>(&shown).unwrap()["test_neg_elbo"].clone()
    };
    assert_eq!(objective("run"), objective("again"));
    // A run can be started from another one's model too.
    ok(place, "train --init-from run --epochs 1 --train-images 60 --test-images 20 --out warm");
}

#[test]
fn what_does_not_fit_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path();
    let golden = golden();
    for (sizes, expected) in [
        ("--hidden 5 --latents 2 --categories 3", ["encoder.0.weight", "[4, 784]", "[5, 784]"]),
        ("--hidden 4,4 --latents 2 --categories 3", ["encoder.2.weight", "[6, 4]", "[4, 4]"]),
        ("--hidden , --latents 2 --categories 3", ["encoder.0.weight", "[4, 784]", "[6, 784]"]),
    ] {
        let error = error(place, &format!("import {golden} {sizes} {DATA} --out run"));
        assert!(expected.iter().all(|part| error.contains(part)), "{error}");
    }
    assert!(!place.join("run").exists());
    let sizes = "--hidden 4 --latents 2 --categories 3";
    ok(place, &format!("import {golden} {sizes} {DATA} --out run"));
    let mut tensors = candle_core::safetensors::load(
        place.join("run/checkpoints/step-000000000/model.safetensors"),
        &Device::Cpu,
    )
    .unwrap();
    let bias = tensors.remove("decoder.2.bias").unwrap();
    candle_core::safetensors::save(&tensors, place.join("less.safetensors")).unwrap();
    let said = error(place, &format!("import less.safetensors {sizes} {DATA}"));
    assert!(said.contains("decoder.2.bias"), "{said}");
    tensors.insert("decoder.2.bias".to_owned(), bias.clone());
    tensors.insert("module.head".to_owned(), bias);
    candle_core::safetensors::save(&tensors, place.join("more.safetensors")).unwrap();
    let said = error(place, &format!("import more.safetensors {sizes} {DATA}"));
    assert!(said.contains("does not have: module.head"), "{said}");

    fs::write(place.join("old.pth"), [0x80, 2, b'.']).unwrap();
    assert!(error(place, "import old.pth").contains("torch.save"));
    fs::write(place.join("text"), "weights").unwrap();
    assert!(error(place, "import text").contains("neither a safetensors file nor"));
    let mut bytes = fs::read(&golden).unwrap();
    bytes.truncate(bytes.len() / 2);
    fs::write(place.join("cut.pth"), bytes).unwrap();
    assert!(error(place, "import cut.pth").contains("cut.pth"));
    assert!(!place.join("runs").exists(), "a folder is left of what failed");
}
