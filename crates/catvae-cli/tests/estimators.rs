//! `catvae estimators`: the table, the JSON and the picture of a small run.

use std::io;
use std::path::Path;
use std::process::{Command, Output};

use gumbel_core::estimators::Estimator;

fn catvae(dir: &Path, line: &str) -> io::Result<Output> {
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("catvae"));
    command.current_dir(dir).env_remove("CATVAE_DATA_DIR").args(line.split_whitespace());
    command.output()
}

#[test]
fn estimators_are_measured_against_the_exact_gradient() {
    let dir = tempfile::tempdir().unwrap();
    let train = "train --train-images 100 --test-images 10 --hidden 16 --latents 2 --categories 3 \
                 --epochs 1 --batch-size 50 --no-unrelaxed --out run";
    assert!(catvae(dir.path(), train).unwrap().status.success());
    let line = "estimators run --samples 3 --limit 5 --out table.png";
    let output = catvae(dir.path(), line).unwrap();
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for name in ["reinmax ", "gumbel-rao ", "rebar ", "fini "] {
        assert!(shown.contains(&format!("  {name}")), "{shown}");
    }
    // Two categories only, and the exact gradient itself.
    assert!(!shown.contains("disarm") && !shown.contains("enumeration"), "{shown}");

    let line = "estimators run --samples 3 --limit 5 --json --out table.svg";
    let output = catvae(dir.path(), line).unwrap();
    let table: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let figure = std::fs::read_to_string(dir.path().join("table.svg")).unwrap();
    assert!(figure.starts_with("<svg") && figure.contains(">run, τ = 1</text>"), "{figure}");
    let rows = table["estimators"].as_array().unwrap();
    // All but those two.
    assert_eq!((rows.len(), &table["n_images"]), (Estimator::ALL.len() - 2, &5.into()));
    for row in rows {
        for key in
            ["relative_bias", "bias_floor", "relative_std", "cosine", "draw_cosine", "ms_per_draw"]
        {
            assert!(row[key].is_f64(), "{key} of {row}");
        }
        let estimator: Estimator = row["estimator"].as_str().unwrap().parse().unwrap();
        assert_eq!(row.get("temperature").is_some(), estimator.has_temperature(), "{row}");
    }
    assert!(dir.path().join("table.png").metadata().unwrap().len() > 1000);

    let only =
        catvae(dir.path(), "estimators run --samples 2 --only gumbel-rao:draws=2,disarm").unwrap();
    assert_eq!(only.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&only.stderr).contains("disarm cannot be measured here"));
    let unknown = catvae(dir.path(), "estimators run --only reimax").unwrap();
    assert_eq!(unknown.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("there is no estimator"));
}
