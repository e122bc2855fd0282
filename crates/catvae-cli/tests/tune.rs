//! `catvae tune` as people use it: what it leaves, and that a tuning that was cut off comes to the same table.

#![allow(clippy::unwrap_used, reason = "the helpers of tests stop at what fails")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Kills of an ordinary test run; `CATVAE_KILLS` asks for more.
const KILLS: usize = 5;

const TUNE: &str = "tune --train-images 200 --test-images 40 --hidden 16 --latents 3 --categories 4 --batch-size 50 \
                    --epochs 2 --seeds 2 --temperatures 0.3,0.8,2 --tau 0.8 --out t";

fn catvae(place: &Path, line: &str) -> Output {
    let words = line.split_whitespace();
    Command::new(env!("CARGO_BIN_EXE_catvae")).args(words).current_dir(place).output().unwrap()
}

fn ok(place: &Path, line: &str) -> String {
    let output = catvae(place, line);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{line}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

fn newest_model(run: &Path) -> Vec<u8> {
    let folders = fs::read_dir(run.join("checkpoints")).unwrap().map(|entry| entry.unwrap().path());
    let steps = folders.filter(|path| path.file_name().unwrap() != "best");
    fs::read(steps.max().unwrap().join("model.safetensors")).unwrap()
}

#[test]
fn a_tuning_that_was_cut_off_comes_to_the_same_table() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path();
    let table = ok(place, TUNE);
    for part in [
        "chosen",
        "Take τ = ",
        "elaxed",
        "Confirmed on the test images with 3 fresh seeds",
        "Next: ",
    ] {
        assert!(table.contains(part), "{part}: {table}");
    }
    let found: serde_json::Value =
        serde_json::from_slice(&fs::read(place.join("t/tune.json")).unwrap()).unwrap();
    assert_eq!(found["rungs"][0]["candidates"].as_array().unwrap().len(), 3);
    assert_eq!(found["sentences"].as_array().unwrap().len(), 3);
    assert_eq!(found["default"]["temperature"], 0.8);
    assert!(place.join("t/tune.png").is_file());

    // A trial that was promoted is the run that goes straight through, and never saw the test images.
    let chosen = found["chosen"]["temperature"].as_f64().unwrap();
    let trial = place.join(format!("t/temperature={chosen},seed=0"));
    let config = trial.join("config.toml");
    ok(place, &format!("train --config {} --out straight", config.display()));
    assert_eq!(newest_model(&place.join("straight")), newest_model(&trial));
    let metrics = fs::read_to_string(trial.join("metrics.jsonl")).unwrap();
    assert!(
        metrics.contains("validation_neg_elbo") && !metrics.contains("test_neg_elbo"),
        "{metrics}"
    );

    // Cut off: two trials are missing, and the confirmation has not begun.
    fs::remove_dir_all(place.join("t/temperature=0.3,seed=1")).unwrap();
    for entry in fs::read_dir(place.join("t")).unwrap().map(|entry| entry.unwrap()) {
        if entry.file_name().to_string_lossy().starts_with("confirm") {
            fs::remove_dir_all(entry.path()).unwrap();
        }
    }
    let best = fs::read(place.join("t/best.toml")).unwrap();
    fs::remove_dir_all(&trial).unwrap();
    assert_eq!(ok(place, TUNE), table);
    assert_eq!(fs::read(place.join("t/best.toml")).unwrap(), best);
    // With all runs there, nothing is trained.
    assert_eq!(ok(place, TUNE), table);

    ok(place, "train --config t/best.toml --epochs 1 --out best");
    let error = catvae(place, &TUNE.replace("--tau 0.8", "--schedule cosine"));
    let error = String::from_utf8_lossy(&error.stderr).into_owned();
    assert!(error.contains("depends on the length of the run"), "{error}");
}

#[test]
fn killed_at_any_moment_and_repeated_a_tuning_comes_to_the_same_files() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path();
    // All epochs fit into this time, so that the plan does not depend on how fast it goes.
    let line =
        |out: &str| format!("{TUNE} --max-time 1h").replace("--out t", &format!("--out {out}"));
    let start = Instant::now();
    let table = ok(place, &line("t"));
    let whole = start.elapsed();
    let plan = fs::read_to_string(place.join("t/plan.json")).unwrap();
    assert!(plan.contains("\"epochs\":2"), "{plan}");

    let n_kills = std::env::var("CATVAE_KILLS").map_or(KILLS, |n| n.parse().unwrap());
    let (mut state, mut n_killed) = (7_u64, 0);
    for _ in 0..n_kills {
        let line = line("killed");
        let mut child = Command::new(env!("CARGO_BIN_EXE_catvae"))
            .args(line.split_whitespace())
            .current_dir(place)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Knuth's generator: up to two thirds of the time that the whole takes.
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        std::thread::sleep(Duration::from_secs_f64(
            whole.as_secs_f64() * (state >> 40) as f64 / (1 << 24) as f64 * 2.0 / 3.0,
        ));
        n_killed += usize::from(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(n_killed > 0, "none was alive when it was killed");
    assert_eq!(ok(place, &line("killed")).replace("killed/", "t/"), table);
    for file in ["tune.json", "best.toml"] {
        let [one, other] = ["t", "killed"].map(|out| fs::read(place.join(out).join(file)).unwrap());
        assert!(one == other, "{file} differs");
    }

    // As JSON, it is the file; and a time in which nothing fits is refused with one that would do.
    let json = ok(place, &format!("{} --json", line("t")));
    let file = fs::read(place.join("t/tune.json")).unwrap();
    let [json, file] = [json.as_bytes(), &file]
        .map(|text| serde_json::from_slice::<serde_json::Value>(text).unwrap());
    assert_eq!(json, file);
    let output = catvae(place, &line("t").replace("1h", "0.01s"));
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && error.contains("give --max-time 1m"), "{error}");
}

#[test]
fn an_estimator_with_two_temperatures_is_searched_in_both() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path();
    let line = TUNE.replace(
        "--temperatures 0.3,0.8,2",
        "--estimator decoupled-straight-through:backward_tau=1 --temperatures 0.3,0.8 --backward-temperatures 0.5,1,2",
    );
    let table = ok(place, &line);
    assert!(
        table.contains("τ = 0.3, backward 0.5") && table.contains("τ = 0.8, backward 2"),
        "{table}"
    );
    let found: serde_json::Value =
        serde_json::from_slice(&fs::read(place.join("t/tune.json")).unwrap()).unwrap();
    assert_eq!(found["rungs"][0]["candidates"].as_array().unwrap().len(), 6);
    let best = fs::read_to_string(place.join("t/best.toml")).unwrap();
    let chosen = found["chosen"]["backward_temperature"].as_f64().unwrap();
    assert!(best.contains("decoupled-straight-through"), "{best}");
    assert!(best.contains(&format!("backward_tau = {chosen}")), "{best}");
    assert!(place.join("t/tune.png").is_file());
}
