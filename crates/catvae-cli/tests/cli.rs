//! The program as its users meet it: what it writes, what it says, how it ends.

#![allow(
    clippy::unwrap_used,
    reason = "a test ends at the first thing that is not as it should be"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A folder of its own for a test, and the program run in it.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("catvae"));
        command
            .current_dir(self.dir.path())
            .env_remove("CATVAE_DATA_DIR")
            .args(line.split_whitespace());
        command
    }

    fn run(&self, line: &str) -> Output {
        self.command(line).output().unwrap()
    }

    /// Runs a command that must succeed, and returns its stdout.
    fn ok(&self, line: &str) -> String {
        let output = self.run(line);
        assert!(output.status.success(), "{line}: {}", stderr(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs a command that must fail with code 1, and returns its stderr.
    fn error(&self, line: &str) -> String {
        self.refused(line, 1)
    }

    /// Runs a command that must be refused with this code, and returns its stderr.
    fn refused(&self, line: &str, code: i32) -> String {
        let output = self.run(line);
        assert_eq!(output.status.code(), Some(code), "{line}: {}", stderr(&output));
        stderr(&output)
    }
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

const SMALL: &str = "train --train-images 200 --test-images 60 --hidden 32,16 --latents 4 --categories 6 --batch-size 50";

fn metrics(run: &Path) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_run_leaves_everything_that_the_readme_promises() {
    let place = Place::new();
    let shown = place.ok(&format!("{SMALL} --epochs 2 --out run"));
    assert!(shown.contains("1/2") && shown.contains("2/2") && shown.contains("Done."), "{shown}");
    let run = place.path("run");
    for file in [
        "config.toml",
        "metrics.jsonl",
        "curves.png",
        "explorer.html",
        "events.out.tfevents.catvae",
        "samples/epoch-001.png",
        "samples/epoch-002.png",
        "reconstructions/epoch-002.png",
        "checkpoints/step-000000004/model.safetensors",
        "checkpoints/step-000000008/optimizer.safetensors",
        "checkpoints/step-000000008/state.json",
    ] {
        assert!(run.join(file).is_file(), "{file} is missing");
    }
    let epochs = metrics(&run);
    assert_eq!(epochs.len(), 2);
    for key in [
        "epoch",
        "step",
        "temperature",
        "learning_rate",
        "train_neg_elbo",
        "train_bce",
        "train_kl",
        "train_neg_elbo_unrelaxed",
        "test_neg_elbo",
        "test_bce",
        "test_kl",
        "train_seconds",
        "step_ms",
        "images_per_second",
    ] {
        assert!(epochs[1][key].is_number(), "{key} in {}", epochs[1]);
    }

    // The last epoch's test numbers come out again, and the bound lies below the negative ELBO.
    let shown = place.ok("evaluate run --importance-samples 20 --json");
    let evaluation: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(evaluation["test_neg_elbo"], epochs[1]["test_neg_elbo"]);
    assert!(evaluation["test_neg_elbo_standard_error"].as_f64().unwrap() > 0.0, "{evaluation}");
    let bound = evaluation["test_importance_weighted_bound"].as_f64().unwrap();
    assert!(bound < evaluation["test_neg_elbo"].as_f64().unwrap(), "{evaluation}");

    place.ok("sample run --rows 3 --cols 5 --out new/samples.png");
    let picture = image::open(place.path("new/samples.png")).unwrap();
    assert_eq!((picture.width(), picture.height()), ((5 * 30 + 2) * 3, (3 * 30 + 2) * 3));
    place.ok("reconstruct run --out reconstructions.png");
    place.ok("encode run --out codes.npz");
    let shown = place.ok("decode run --codes codes.npz --out decoded.png --limit 20");
    assert!(shown.contains("20 images"), "{shown}");
    let shown = place.ok("latents run --json --out latents.png");
    let latents: serde_json::Value = serde_json::from_str(&shown).unwrap();
    let kl: f64 =
        latents["latents"].as_array().unwrap().iter().map(|l| l["kl"].as_f64().unwrap()).sum();
    assert!((kl - evaluation["test_kl"].as_f64().unwrap()).abs() < 1e-4, "{kl} and {evaluation}");
    assert!(place.ok("latents run").contains("of 4 are dead"));
    let shown = place.ok("explore run run --images 7 --out new/two.html");
    assert!(shown.starts_with("file:///") && shown.ends_with("/new/two.html\n"), "{shown}");
    for (format, file) in [
        ("safetensors", "model.safetensors"),
        ("onnx", "decoder.onnx"),
        ("html", "index.html"),
        ("hf", "config.json"),
    ] {
        let shown = place.ok(&format!("export run --format {format} --out export-{format}"));
        assert!(shown.contains(file), "{shown}");
        assert!(place.path(&format!("export-{format}")).join(file).is_file(), "{file}");
    }
    place.ok("temperature --out temperature.png");
    for picture in ["latents.png", "reconstructions.png", "decoded.png", "temperature.png"] {
        assert!(image::open(place.path(picture)).unwrap().width() > 100, "{picture}");
    }
}

#[test]
fn events_are_left_out_where_they_are_not_wanted() {
    let place = Place::new();
    place.ok(&format!("{SMALL} --epochs 1 --no-tensorboard --out run"));
    let entries = fs::read_dir(place.path("run")).unwrap();
    let names: Vec<_> = entries.map(|e| e.unwrap().file_name()).collect();
    assert!(!names.iter().any(|n| n.to_string_lossy().contains("tfevents")), "{names:?}");
}

#[test]
fn the_written_configuration_repeats_the_run() {
    let place = Place::new();
    place.ok(&format!(
        "{SMALL} --epochs 1 --seed 7 --straight-through --temperature 0.7 --out first"
    ));
    place.ok("train --config first/config.toml --out second");
    let model = |run: &str| {
        fs::read(place.path(run).join("checkpoints/step-000000004/model.safetensors")).unwrap()
    };
    assert!(model("first") == model("second"));
}

#[test]
fn a_run_goes_on_longer_after_resume_and_refuses_other_settings() {
    let place = Place::new();
    place.ok(&format!("{SMALL} --epochs 2 --out whole"));
    place.ok(&format!("{SMALL} --epochs 1 --out parts"));
    let error = place.error("train --resume --out parts --lr 0.5");
    assert!(error.contains("training.learning_rate = 0.001") && error.contains("= 0.5"), "{error}");
    let error = place.error("train --resume --out parts --latents 5");
    assert!(error.contains("model.n_latents = 4"), "{error}");
    place.ok("train --resume --out parts --epochs 2");
    let model = |run: &str| {
        fs::read(place.path(run).join("checkpoints/step-000000008/model.safetensors")).unwrap()
    };
    assert!(model("whole") == model("parts"));
    assert_eq!(metrics(&place.path("parts")).len(), 2);
}

#[test]
fn a_schedule_whose_first_value_is_rounded_resumes_as_it_was_written() {
    let place = Place::new();
    // 0.2 + (0.9 - 0.2) is not 0.9.
    place.ok(&format!(
        "{SMALL} --schedule cosine --temperature 0.9 --temperature-end 0.2 --epochs 1 --out run"
    ));
    place.ok("train --resume --epochs 2 --out run");
}

#[test]
fn a_folder_that_holds_a_run_is_not_overwritten() {
    let place = Place::new();
    place.ok(&format!("{SMALL} --epochs 1 --out run"));
    let before = fs::read(place.path("run/metrics.jsonl")).unwrap();
    let error = place.error(&format!("{SMALL} --epochs 1 --out run"));
    assert!(error.contains("already holds a run") && error.contains("--resume"), "{error}");
    assert!(fs::read(place.path("run/metrics.jsonl")).unwrap() == before);
}

#[test]
fn wrong_usage_exits_with_2() {
    let place = Place::new();
    for line in ["", "train --epochs many", "train --estimator softmax", "train --resume", "sample"]
    {
        let output = place.run(line);
        assert_eq!(output.status.code(), Some(2), "{line}: {}", stderr(&output));
    }
    // Each names the flag, and what it takes.
    for (flags, expected) in [
        ("--tau 0", ["--temperature <T>", "must be > 0"]),
        ("--temperature -1", ["--temperature <T>", "-1"]),
        ("--temperature NaN", ["--temperature <T>", "NaN"]),
        ("--temperature-end 0", ["--temperature-end <T>", "must be > 0"]),
        ("--latents 0", ["--latents <N>", "n_latents must be at least 1, but is 0"]),
        ("--categories 1", ["--categories <K>", "n_categories must be at least 2, but is 1"]),
        ("--batch-size 0", ["--batch-size <N>", "training.batch_size must be at least 1"]),
        ("--epochs 0", ["--epochs <N>", "training.epochs must be at least 1"]),
        ("--lr nan", ["--lr <X>", "training.learning_rate must be finite and above 0"]),
        ("--hidden 512 256", ["unexpected argument '256'", "--hidden 512,256"]),
        ("--max-time 10", ["--max-time <TIME>", "10m"]),
        ("--resume", ["--resume RUN", "run folder"]),
        ("--resume a --out b", ["--resume RUN", "leave one out"]),
        ("--quick --out run", ["--quick", "--out"]),
    ] {
        let output = place.run(&format!("train {flags}"));
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{flags}: {said}");
        assert!(expected.iter().all(|words| said.contains(words)), "{flags}: {said}");
    }
    let error = stderr(&place.run("train --estimator softmax"));
    assert!(error.contains("st-gumbel-softmax"), "the estimators are not listed: {error}");
}

#[test]
fn a_configuration_file_that_is_wrong_is_wrong_usage() {
    let place = Place::new();
    for (text, expected) in [
        ("[training]\nepochs = 0", "training.epochs must be at least 1, but is 0"),
        ("[training]\nepoch = 3", "unknown field `epoch`"),
        ("[model]\nn_categories = 1", "n_categories must be at least 2, but is 1"),
        ("[temperature]\nkind = \"constant\"\nvalue = 0.0", "value"),
        ("estimator = \"disarm\"", "model.n_categories must be 2 for the estimator `disarm`"),
        ("[training", "line 1"),
    ] {
        fs::write(place.path("c.toml"), text).unwrap();
        for command in ["train", "tune"] {
            let said = place.refused(&format!("{command} --config c.toml --out run"), 2);
            assert!(said.contains(expected), "{text}: {said}");
        }
    }
    assert!(!place.path("run").exists());
    // What is wrong with a run that is there is not how the program was called.
    place.ok(&format!("{SMALL} --epochs 1 --out run"));
    fs::write(place.path("run/config.toml"), "[training]\nepochs = 0").unwrap();
    place.error("evaluate run");
    place.error("train --resume run");
}

#[test]
fn what_people_type_is_understood_or_told() {
    let place = Place::new();
    let said = |line: &str, code: i32| {
        let output = place.run(line);
        assert_eq!(output.status.code(), Some(code), "{line}: {}", stderr(&output));
        format!("{}{}", stdout(&output), stderr(&output))
    };
    let help = said("train --help", 0);
    for part in ["reinmax", "[alias: --tau]", "Temperature:", "Data:", "discretised-logistic"] {
        assert!(help.contains(part), "{part} is not in the help");
    }
    let tip = said("train --estimator reinmaxx", 2);
    assert!(tip.contains("reinmax"), "{tip}");
    for (typed, meant) in
        [("MNIST", "mnist"), ("minst", "mnist"), ("fashion_mnist", "fashion-mnist")]
    {
        let told = said(&format!("train --dataset {typed} --data-dir no --out x"), 1);
        assert!(told.contains(&format!("catvae download {meant}")), "{typed}: {told}");
    }

    place.ok(&format!("{SMALL} --epochs 1 --out run"));
    let shown = place.ok("evaluate run --json");
    for path in ["run/config.toml", "run/metrics.jsonl"] {
        assert_eq!(place.ok(&format!("evaluate {path} --json")), shown, "{path}");
    }
    assert!(place.ok("evaluate run/checkpoints/best").contains("This checkpoint was chosen"));
    let told = said("evaluate run/checkpoints/step-000000004", 1);
    assert!(told.contains("name the run, and --checkpoint newest or best"), "{told}");
    let told = said("sample run --out x.jpg", 1);
    assert!(told.contains(".png") && !place.path("x.jpg").exists(), "{told}");
    // Where a result goes without --out, it says.
    for (line, file) in [
        ("sample run", "run/sample.png"),
        ("reconstruct run", "run/reconstructions.png"),
        ("encode run", "run/codes.npz"),
        ("temperature", "temperature.png"),
    ] {
        assert!(place.ok(line).contains(file), "{line}");
        assert!(place.path(file).is_file(), "{file}");
    }
    let table = place.ok("estimators run --samples 16 --limit 4 --only reinmax --json");
    serde_json::from_str::<serde_json::Value>(&table).unwrap();
}

#[test]
fn a_run_has_a_name_and_a_note_and_speaks_json_or_not_at_all() {
    let place = Place::new();
    let object = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    let line = format!("{SMALL} --epochs 1 --name first");
    let output = place
        .command(&line)
        .args(["--note", "the one with few images", "--json"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let told = object(&stdout(&output));
    assert_eq!(told["run"], "runs/first");
    assert_eq!(told["note"], "the one with few images");
    assert_eq!(told["last"]["epoch"], 1);
    assert_eq!(told["checkpoint"], "runs/first/checkpoints/step-000000004");
    assert_eq!(told["best_checkpoint"], "runs/first/checkpoints/best");
    assert_eq!(object(&place.ok("show runs/first --json")), told);
    assert!(place.ok("show runs/first").contains("the one with few images"));
    // A second run of the name has a folder of its own, and a repetition another note or none.
    let output = place.run("train --config runs/first/config.toml --name first --quiet");
    assert_eq!((stdout(&output), stderr(&output)), (String::new(), String::new()));
    assert_eq!(object(&place.ok("show runs/first-2 --json"))["note"], serde_json::Value::Null);
    // The note stays where a run goes on.
    let told = object(&place.ok("train --resume runs/first --epochs 2 --json"));
    assert_eq!(
        (&told["note"], &told["last"]["epoch"]),
        (&"the one with few images".into(), &2.into())
    );
    for name in ["a/b", "..", ""] {
        let output = place.command(SMALL).args(["--name", name]).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{name}: {}", stderr(&output));
    }
}

#[test]
fn every_command_has_a_manual_page() {
    let place = Place::new();
    place.ok("man --out pages");
    let page = |name: &str| fs::read_to_string(place.path("pages").join(name)).unwrap();
    assert!(page("catvae.1").contains("catvae\\-train"), "{}", page("catvae.1"));
    assert!(page("catvae-train.1").contains("learning rate"));
    assert!(page("catvae-tune.1").contains("\\-\\-max\\-time"));
    let n_pages = fs::read_dir(place.path("pages")).unwrap().count();
    assert!(n_pages >= 19, "{n_pages} pages");
}

#[test]
fn a_run_can_be_looked_at_before_it_is_made() {
    let place = Place::new();
    let shown = place.ok(&format!("{SMALL} --tau 0.5 --no-keep-best --keep-best --print-config"));
    for part in
        ["# Step size of the optimiser\nlearning_rate = 0.001\n", "value = 0.5", "keep_best = true"]
    {
        assert!(shown.contains(part), "{part} is not in {shown}");
    }
    fs::write(place.path("c.toml"), &shown).unwrap();
    assert_eq!(place.ok("train --config c.toml --print-config"), shown);
    // What is known of a data set that is not there: 60,000 images are 600 steps an epoch.
    let shown = place.ok("train --dataset mnist --schedule cosine --epochs 2 --print-config");
    assert!(shown.contains("dataset = \"mnist\"") && shown.contains("steps = 1200"), "{shown}");
    let shown = place.ok(&format!("{SMALL} --dry-run --out run"));
    assert!(shown.contains("200 training and 60 test images") && shown.contains("--dry-run"));
    let shown = place.ok(&format!("{SMALL} --quick"));
    assert!(
        shown.contains("1/1") && shown.contains("nothing of this quick run is kept"),
        "{shown}"
    );
    // Nothing of all this is left.
    assert_eq!(fs::read_dir(place.dir.path()).unwrap().count(), 1);
    place.ok(&format!("{SMALL} --device auto --epochs 1 --out run"));
    assert!(place.error(&format!("{SMALL} --dry-run --out run")).contains("already holds a run"));
}

#[test]
fn a_run_stops_when_its_time_is_up_and_goes_on() {
    let place = Place::new();
    let output = place.run(&format!("{SMALL} --epochs 2 --max-time 0s --out run"));
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("go on with: catvae train --resume run"),
        "{}",
        stderr(&output)
    );
    assert!(place.ok("train --resume run").contains("Done."));
    place.ok(&format!("{SMALL} --epochs 2 --out straight"));
    let model = "checkpoints/step-000000008/model.safetensors";
    let read = |run: &str| fs::read(place.path(run).join(model)).unwrap();
    assert!(read("run") == read("straight"));
}

#[test]
fn a_run_that_gets_no_better_stops_early() {
    let place = Place::new();
    let line =
        format!("{SMALL} --validation-images 50 --lr 0.2 --epochs 40 --early-stop 2 --out run");
    let shown = place.ok(&line);
    assert!(shown.contains("stopped early") && shown.contains("Done."), "{shown}");
    let objectives: Vec<f64> = metrics(&place.path("run"))
        .iter()
        .map(|epoch| epoch["validation_neg_elbo"].as_f64().unwrap())
        .collect();
    assert!(objectives.len() < 40);
    let (before, after) = objectives.split_at(objectives.len() - 2);
    let best = before.iter().copied().fold(f64::INFINITY, f64::min);
    assert!(after.iter().all(|&objective| objective >= best), "{objectives:?}");
    let output = place.run(&format!("{SMALL} --early-stop 2 --out other"));
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("--validation-images"), "{}", stderr(&output));
}

#[test]
#[cfg(not(any(feature = "cuda", feature = "metal")))]
fn a_gpu_that_there_is_not_is_no_cpu() {
    let place = Place::new();
    let error = place.error("train --device gpu --out run");
    assert!(error.contains("without a GPU") && error.contains("--features cuda"), "{error}");
}

#[test]
fn bad_settings_are_named() {
    let place = Place::new();
    for (flags, expected) in [
        ("--temperature-end 0.1", "--temperature-end does not go with this schedule"),
        ("--dataset nothing", "nothing"),
    ] {
        let error =
            place.error(&format!("train --train-images 50 --test-images 10 {flags} --out run"));
        assert!(error.starts_with("error: ") && error.contains(expected), "{flags}: {error}");
        assert!(!place.path("run/config.toml").exists(), "{flags} left a run behind");
    }
}

#[test]
fn a_dataset_that_is_not_there_names_the_places_and_the_download() {
    let place = Place::new();
    let error = place.error("train --dataset mnist --data-dir elsewhere --out run");
    assert!(error.contains("elsewhere") && error.contains("catvae download mnist"), "{error}");
}

#[test]
fn an_unknown_field_of_a_configuration_file_is_named() {
    let place = Place::new();
    fs::write(place.path("c.toml"), "[training]\nepoch = 3\n").unwrap();
    let error = place.refused("train --config c.toml --out run", 2);
    assert!(
        error.contains("c.toml") && error.contains("line 2") && error.contains("epoch"),
        "{error}"
    );
}

#[test]
#[cfg(not(feature = "cuda"))]
fn a_device_that_is_not_built_in_says_how_to_build_it() {
    let place = Place::new();
    let error = place.error("train --device cuda --out run");
    assert!(error.contains("--features cuda"), "{error}");
}

#[test]
fn missing_and_unwritable_run_folders_are_errors() {
    let place = Place::new();
    assert!(place.error("evaluate nowhere").contains("nowhere is not a run folder"));
    fs::write(place.path("file"), "").unwrap();
    let error = place.error(&format!("{SMALL} --epochs 1 --out file/run"));
    assert!(error.contains("cannot create file/run"), "{error}");
}

#[test]
fn codes_that_do_not_fit_are_named() {
    let place = Place::new();
    place.ok(&format!("{SMALL} --epochs 1 --out run"));
    place.ok(&format!("{SMALL} --latents 5 --epochs 1 --out wider"));
    place.ok("encode wider --out codes.npz");
    let error = place.error("decode run --codes codes.npz --out decoded.png");
    assert!(error.contains("(60, 5), but the run's codes have 4 numbers"), "{error}");
    let error = place.error("decode run --codes run/config.toml --out decoded.png");
    assert!(error.contains("not an .npz file"), "{error}");
}

#[test]
#[cfg(unix)]
fn a_signal_in_the_middle_of_an_epoch_leaves_a_checkpoint_that_resumes() {
    // The other signals are tested with the reliability.
    let place = Place::new();
    // Long enough to be interrupted, whatever the machine.
    let line = "train --train-images 5000 --test-images 20 --hidden 32 --epochs 1000 --batch-size 2 --out run";
    let mut child = place
        .command(line)
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    while !place.path("run/config.toml").exists() {
        assert_eq!(child.try_wait().unwrap(), None, "the run ended before the signal");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    std::thread::sleep(std::time::Duration::from_millis(300));
    let kill = Command::new("kill").arg("-TERM").arg(child.id().to_string()).status();
    assert!(kill.unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(143), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("go on with: catvae train --resume run"),
        "{}",
        stderr(&output)
    );
    let checkpoints: Vec<_> = fs::read_dir(place.path("run/checkpoints")).unwrap().collect();
    assert_eq!(checkpoints.len(), 1);
    place.ok("evaluate run");
}

#[test]
fn a_folder_of_images_is_trained_on_and_the_digits_lie_in_none() {
    let place = Place::new();
    let dataset = catvae_data::digits_with(3, 30, 10);
    catvae_data::write_folder(&place.path("mine/letters"), &dataset).unwrap();
    let tiny = "train --hidden 4 --latents 2 --categories 2 --epochs 1";
    let shown = place.ok(&format!("{tiny} --data-dir mine/letters"));
    assert!(shown.contains("letters: 30 training and 10 test images"), "{shown}");
    assert!(place.path("runs/letters/config.toml").is_file());
    place.ok("evaluate runs/letters --data-dir mine");

    for line in [
        format!("{tiny} --data-dir nowhere --out x"),
        format!("{tiny} --dataset digits --data-dir mine/letters --out x"),
    ] {
        let error = place.error(&line);
        assert!(error.contains("nowhere") || error.contains("--data-dir"), "{line}: {error}");
        assert!(!place.path("x").exists(), "{line}");
    }
    place.ok(&format!("{SMALL} --epochs 1 --out run"));
    for line in [
        "evaluate run --data-dir mine/letters",
        "reconstruct run --data-dir mine/letters --out r.png",
        "encode run --data-dir mine/letters --out c.npz",
        "train --resume --epochs 2 --out run --data-dir mine/letters",
        "train --config run/config.toml --out x --data-dir mine/letters",
    ] {
        let error = place.error(line);
        assert!(error.contains("digits") && error.contains("--data-dir"), "{line}: {error}");
    }
}

#[test]
fn a_resume_to_fewer_epochs_than_are_done_is_refused() {
    let place = Place::new();
    place.ok(&format!("{SMALL} --epochs 3 --out run"));
    let config = fs::read(place.path("run/config.toml")).unwrap();
    let error = place.error("train --resume --out run --epochs 2");
    assert!(error.contains("training.epochs must be at least 3"), "{error}");
    assert_eq!(fs::read(place.path("run/config.toml")).unwrap(), config);
    let shown = place.ok("train --resume --out run");
    assert!(shown.contains("all 3 epochs are done") && shown.contains("--epochs"), "{shown}");
    assert!(!shown.contains("Done."), "{shown}");
}

#[test]
fn enumeration_of_too_many_codes_is_refused_before_a_run_folder_is_made() {
    let place = Place::new();
    let error = place.refused("train --estimator enumeration --train-images 50 --out run", 2);
    for part in ["enumeration", "10^30", "16384", "--latents", "--categories"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert!(!place.path("run").exists());
}

#[test]
fn a_run_whose_test_objective_is_not_finite_fails() {
    let place = Place::new();
    // One step, whose own loss is that of the model before it.
    let line = format!("{SMALL} --batch-size 200 --lr 1e11 --epochs 1 --no-unrelaxed --out run");
    let error = place.error(&line);
    assert!(error.contains("the test objective is inf at step 1 (epoch 1)"), "{error}");
    for flag in ["--lr", "--temperature", "--clip-gradient-norm"] {
        assert!(error.contains(flag), "{flag}: {error}");
    }
    let metrics = fs::read_to_string(place.path("run/metrics.jsonl")).unwrap_or_default();
    assert!(!metrics.contains("null"), "{metrics}");
}

#[test]
fn weights_that_are_not_finite_are_never_kept() {
    let place = Place::new();
    // The step's loss and gradient are finite; what it makes of the weights is not.
    let line = "--lr 1e300 --epochs 3 --checkpoint-every 1 --keep-checkpoints 1 --eval-every 0";
    let error = place.error(&format!("{SMALL} {line} --out run"));
    assert!(error.contains("not finite at step 1: this model is not kept"), "{error}");
    let checkpoints = fs::read_dir(place.path("run/checkpoints")).into_iter().flatten();
    assert_eq!(checkpoints.count(), 0);
}

/// The bytes of the array `codes` of an `.npz` file as `encode` writes it.
fn codes(path: &Path) -> Vec<i64> {
    catvae_data::codes::read_codes(path, 4, usize::MAX).unwrap()
}

#[test]
fn codes_and_reconstructions_are_of_the_images_as_the_model_was_trained_on_them() {
    let place = Place::new();
    place.ok(&format!("{SMALL} --binarization threshold --epochs 2 --out run"));
    place.ok("encode run --out codes.npz");
    place.ok("reconstruct run --out binary.png");
    // The same model on the grey images.
    let config = fs::read_to_string(place.path("run/config.toml")).unwrap();
    fs::write(place.path("run/config.toml"), config.replace("\"threshold\"", "\"grey\"")).unwrap();
    place.ok("encode run --out grey.npz");
    place.ok("reconstruct run --out grey.png");
    assert!(codes(&place.path("codes.npz")) != codes(&place.path("grey.npz")));
    let levels = |name: &str| {
        let picture = image::open(place.path(name)).unwrap().to_luma8();
        // The first image, without its frame.
        let pixels =
            (0..28 * 28).map(|i| picture.get_pixel(3 * (2 + i % 28), 3 * (2 + i / 28)).0[0]);
        pixels.collect::<std::collections::BTreeSet<_>>()
    };
    assert!(levels("grey.png").len() > 2);
    assert_eq!(levels("binary.png").into_iter().collect::<Vec<_>>(), [0, 255]);
}

#[test]
fn chains_and_subsets_train_resume_and_go_through_files_and_back() {
    let without_categories = SMALL.replace(" --categories 6", "");
    for (code, small, width, posterior) in
        [("chain", SMALL, 4, [4, 6]), ("subset:k=2,n=5", without_categories.as_str(), 8, [4, 5])]
    {
        let place = Place::new();
        let train = format!("{small} --code {code} --estimator straight-through");
        place.ok(&format!("{train} --epochs 2 --out run"));
        place.ok(&format!("{train} --epochs 1 --out again"));
        place.ok("train --resume --epochs 2 --out again");
        let weights = |run: &str| {
            let all = fs::read_dir(place.path(run).join("checkpoints")).unwrap();
            let last =
                all.map(|entry| entry.unwrap().path()).filter(|p| !p.ends_with("best")).max();
            fs::read(last.unwrap().join("model.safetensors")).unwrap()
        };
        assert!(weights("run") == weights("again"), "{code}");
        assert!(!place.path("run/explorer.html").exists());

        let object =
            |line: &str| -> serde_json::Value { serde_json::from_str(&place.ok(line)).unwrap() };
        let measured = object("evaluate run --importance-samples 20 --json");
        let last = &metrics(&place.path("run"))[1];
        assert_eq!(measured["test_neg_elbo"], last["test_neg_elbo"]);
        let nats = |key: &str| measured[key].as_f64().unwrap();
        assert!(nats("test_importance_weighted_bound") < nats("test_neg_elbo"), "{measured}");
        let latents = object("latents run --json");
        let kl = latents["kl"].as_f64().unwrap();
        assert!((kl - nats("test_kl")).abs() < 1e-4, "{kl} {measured}");

        place.ok("sample run --out samples.png");
        place.ok("reconstruct run --out reconstructions.png");
        let said = place.ok("encode run --posterior --out codes.npz");
        assert!(said.contains(&format!("codes (60, {width})")), "{said}");
        let path = place.path("codes.npz");
        let codes = catvae_data::codes::read_codes(&path, width, usize::MAX).unwrap();
        assert!(codes.iter().all(|&n| (0..posterior[1]).contains(&n)), "{codes:?}");
        assert_eq!(codes.len(), 60 * width);
        place.ok("decode run --codes codes.npz --out decoded.png");
        place.ok("encode run --sampled --out sampled.npz");

        let error = place.error("explore run");
        assert!(error.contains(&format!("codes of categories, not `{code}`")), "{error}");
        let error = place.error("export run --format onnx");
        assert!(error.contains(&format!("codes of categories, not `{code}`")), "{error}");
        place.ok("export run --format hf --out hub");
        assert!(place.path("hub/model.safetensors").exists());
        assert!(!fs::read_to_string(place.path("hub/README.md")).unwrap().contains("onnx"));
        let error = place.refused(&format!("{train} --estimator reinmax --out other"), 2);
        assert!(error.contains("choose one of: gumbel-softmax, st-gumbel-softmax"), "{error}");
    }
    let place = Place::new();
    let error = place.refused(&format!("{without_categories} --code subset:k=5,n=5 --out run"), 2);
    assert!(error.contains("from 1 to n - 1"), "{error}");
    let error = place.refused(&format!("{SMALL} --code subset:k=2,n=5 --out run"), 2);
    assert!(error.contains("model.n_categories must be left out for subsets"), "{error}");
    assert!(error.contains("(--categories)"), "{error}");
    // Six codes of each of two subsets: all of them can be visited.
    place.ok(&format!(
        "{without_categories} --latents 2 --code subset:k=2,n=4 --estimator enumeration --epochs 1 --out run"
    ));
    let table = place.ok("estimators run --limit 4 --samples 20");
    assert!(table.contains("2 subsets of 2 of 4 items"), "{table}");
}

#[test]
fn a_shape_of_images_that_does_not_fit_the_model_is_refused() {
    let place = Place::new();
    place.ok(&format!("{SMALL} --epochs 1 --out run"));
    let config = fs::read_to_string(place.path("run/config.toml")).unwrap();
    for shape in ["[28, 0]", "[1, 1]", "[4294967296, 4294967296]"] {
        let (before, provenance) = config.split_once("[provenance]").unwrap();
        let changed = format!("{before}[provenance]{}", provenance.replace("[28, 28]", shape));
        assert!(changed != config);
        fs::write(place.path("run/config.toml"), changed).unwrap();
        let error = place.error("sample run --out s.png");
        assert!(error.contains("provenance.image_shape"), "{shape}: {error}");
    }
}

#[test]
fn a_length_beyond_counting_does_not_wrap_the_schedule() {
    let place = Place::new();
    // Four steps each: 2^64 + 4 in all.
    let epochs = (1_u64 << 62) + 1;
    let mut child = place
        .command(&format!("{SMALL} --epochs {epochs} --schedule linear --out run"))
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    while !place.path("run/config.toml").exists() && child.try_wait().unwrap().is_none() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let config = fs::read_to_string(place.path("run/config.toml")).unwrap();
    assert!(config.contains(&format!("steps = {}", i64::MAX)), "{config}");
}

#[test]
#[cfg(unix)]
fn the_command_to_go_on_with_is_quoted() {
    let place = Place::new();
    let child = place
        .command(
            "train --train-images 5000 --test-images 20 --hidden 32 --epochs 1000 --batch-size 2",
        )
        .args(["--out", "it's a run"])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    while !place.path("it's a run/config.toml").exists() {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    std::thread::sleep(std::time::Duration::from_millis(200));
    Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(stderr(&output).contains(r"--resume 'it'\''s a run'"), "{}", stderr(&output));
}

#[test]
fn a_folder_of_pictures_is_trained_on_and_unseen_images_are_encoded() {
    let place = Place::new();
    let digits = catvae_data::digits_with(4, 35, 6);
    for (i, class) in digits.train.labels().unwrap().iter().enumerate() {
        let dir = place.path("own/photos").join(class.to_string());
        fs::create_dir_all(&dir).unwrap();
        let pixels = digits.train.image(i).to_vec();
        let picture = image::GrayImage::from_raw(28, 28, pixels).unwrap();
        picture.save(dir.join(format!("{i}.png"))).unwrap();
    }
    let shown = place.ok(
        "train --dataset own/photos --hidden 8 --latents 4 --categories 3 --batch-size 10 --epochs 1",
    );
    assert!(shown.contains("photos: 30 training and 5 test images"), "{shown}");
    let run = "runs/photos";
    place.ok(&format!("evaluate {run}"));

    // The run's own images have labels; a file of images has none.
    catvae_data::write_idx_images(&place.path("unseen"), &digits.test).unwrap();
    let shown = place.ok(&format!("encode {run} --out own.npz"));
    assert!(shown.contains("codes (5, 4) and labels (5)"), "{shown}");
    let shown = place.ok(&format!("encode {run} --images unseen --out unseen.npz"));
    assert!(shown.contains("codes (6, 4) as int64"), "{shown}");
    assert_eq!(codes(&place.path("unseen.npz")).len(), 6 * 4);
    place.ok(&format!("reconstruct {run} --images own/photos --out r.png"));
    let shown = place.ok(&format!("evaluate {run} --images own/photos/1"));
    assert!(shown.contains("given images, model of step 3"), "{shown}");
    // The same images in two formats are the same to the model.
    catvae_data::write_idx_images(&place.path("all"), &digits.train).unwrap();
    let measured = |images: &str| {
        let shown = place.ok(&format!("evaluate {run} --images {images} --json"));
        serde_json::from_str::<serde_json::Value>(&shown).unwrap()["n_images"].clone()
    };
    assert_eq!(measured("all"), 35);
    assert_eq!(measured("own/photos"), 35);

    image::GrayImage::new(30, 20).save(place.path("wide.png")).unwrap();
    for (images, part) in [
        ("wide.png", "images of 20x30 pixels, but this model was trained on 28x28"),
        ("nowhere", "no images in nowhere"),
        ("runs/photos/checkpoints", "no images in runs/photos/checkpoints"),
    ] {
        for command in ["encode", "reconstruct", "evaluate"] {
            let out = if command == "evaluate" { "" } else { "--out x" };
            let error = place.error(&format!("{command} {run} --images {images} {out}"));
            assert!(error.contains(part), "{images}: {error}");
        }
    }
}

#[test]
#[cfg(not(feature = "hub"))]
fn the_hub_needs_a_build_with_it() {
    let error = Place::new().error("train --dataset hub:mnist --out run");
    assert!(error.contains("--features hub"), "{error}");
}

#[test]
fn list_puts_the_best_run_first_and_names_what_differs() {
    let place = Place::new();
    place.ok(&format!("{SMALL} --epochs 2 --out runs/a"));
    place.ok(&format!("{SMALL} --epochs 1 --seed 1 --tau 0.7 --out runs/deep/b"));
    fs::create_dir_all(place.path("runs/no-run")).unwrap();
    let table = place.ok("list");
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[1].starts_with("runs/a ") && lines[1].contains("2/2"), "{table}");
    assert!(
        lines[2].starts_with("runs/deep/b ") && lines[2].ends_with("training.seed=1"),
        "{table}"
    );
    assert!(lines[2].contains("temperature.value=0.7") && !table.contains("n_latents"), "{table}");
    let test = metrics(&place.path("runs/a"))[1]["test_neg_elbo"].as_f64().unwrap();
    assert!(lines[1].contains(&format!("{test:.2}")), "{table}");
    let csv = place.ok("list runs/a runs/deep --csv");
    assert_eq!(csv.lines().count(), 1 + 2 + 1, "{csv}");
    let first = place.ok("list --json").lines().next().unwrap().to_owned();
    let first: serde_json::Value = serde_json::from_str(&first).unwrap();
    assert_eq!(first["last"]["test_neg_elbo"].as_f64(), Some(test));
    assert_eq!(first["settings"]["model.n_latents"], "4");
    assert!(place.error("list runs/no-run").contains("holds no run"));
    assert!(place.error("list nowhere").contains("cannot read nowhere"));
}

#[test]
fn validation_images_choose_the_best_and_are_shown_everywhere() {
    let place = Place::new();
    let shown =
        place.ok(&format!("{SMALL} --epochs 2 --validation-images 50 --eval-draws 2 --out run"));
    assert!(
        shown.contains("150 training, 50 validation and") && shown.contains("   validation   "),
        "{shown}"
    );
    assert!(shown.contains("was chosen on the validation images"), "{shown}");
    let epochs = metrics(&place.path("run"));
    // The lines of the epochs that became checkpoints/best say by which images.
    assert_eq!(epochs[0]["best_on"], "validation");
    let better =
        epochs[1]["validation_neg_elbo"].as_f64() < epochs[0]["validation_neg_elbo"].as_f64();
    assert_eq!(epochs[1].get("best_on").is_some(), better);
    for part in ["validation", "test"] {
        let shown = place.ok(&format!("evaluate run --part {part} --json"));
        let evaluation: serde_json::Value = serde_json::from_str(&shown).unwrap();
        let key = format!("{part}_neg_elbo");
        assert!(evaluation[&key].is_number() && evaluation.get("chosen_on").is_none(), "{shown}");
        assert_eq!(evaluation[&key], epochs[1][&key]);
    }
    let shown = place.ok("evaluate run --part train --draws 1 --checkpoint best --json");
    let evaluation: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(
        (&evaluation["n_images"], &evaluation["chosen_on"]),
        (&150.into(), &"validation".into())
    );
    let list = place.ok("list run");
    assert!(
        list.contains("best validation") && list.contains("chosen on the validation images"),
        "{list}"
    );

    let shown = place.ok(&format!("{SMALL} --epochs 1 --out plain"));
    assert!(shown.contains("was chosen on the test images"), "{shown}");
    let shown = place.ok("evaluate plain --checkpoint best");
    assert!(shown.contains("chosen on these test images"), "{shown}");
    assert!(place.ok("list plain").contains("on the test images"));
    assert!(
        place.error("evaluate plain --part validation").contains("without --validation-images")
    );
    let error = place.error(&format!("{SMALL} --validation-images 200 --out none"));
    assert!(error.contains("200 validation images cannot be taken out of 200"), "{error}");
}

#[test]
fn a_run_is_told_and_runs_are_compared_by_what_differs_besides_the_seed() {
    let place = Place::new();
    for (name, more) in [("a", "--seed 1"), ("b", "--seed 2"), ("c", "--tau 0.5")] {
        place.ok(&format!("{SMALL} --epochs 2 {more} --out runs/{name}"));
    }
    let told = place.ok("show runs/c/checkpoints");
    for part in [
        "temperature.value",
        "0.5",
        "last, epoch 2",
        "chosen on the test images",
        "catvae evaluate",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let object: serde_json::Value = serde_json::from_str(&place.ok("show runs/c --json")).unwrap();
    assert_eq!(object["last"]["epoch"], 2);
    assert!(object["bytes"].as_u64().unwrap() > 10_000 && object["gap"].is_number(), "{object}");
    assert_eq!(object["changed"]["temperature.value"], "0.5");
    assert!(object["changed"].get("training.batch_size").is_some());
    assert!(object["changed"].get("training.learning_rate").is_none(), "{object}");

    let table = place.ok("compare runs --out compared.png");
    assert_eq!(
        table.lines().filter(|line| line.starts_with("temperature.value=")).count(),
        2,
        "{table}"
    );
    assert!(image::open(place.path("compared.png")).is_ok());
    let rows: Vec<serde_json::Value> = place
        .ok("compare runs --json")
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let row = rows.iter().find(|row| row["group"] == "temperature.value=1.0").unwrap();
    let tests: Vec<f64> = ["a", "b"]
        .map(|name| {
            let epochs = metrics(&place.path(&format!("runs/{name}")));
            epochs
                .iter()
                .map(|m| m["test_neg_elbo"].as_f64().unwrap())
                .fold(f64::INFINITY, f64::min)
        })
        .into();
    let column = &row["columns"]["best_test"];
    assert!((column["mean"].as_f64().unwrap() - f64::midpoint(tests[0], tests[1])).abs() < 1e-9);
    let sd = (tests[0] - tests[1]).abs() / 2_f64.sqrt();
    assert!((column["sd"].as_f64().unwrap() - sd).abs() < 1e-9);
    assert_eq!(place.ok("compare runs --csv").lines().count(), 1 + 3);
}

#[test]
fn a_collapse_is_said_once_and_a_run_that_learns_hears_nothing() {
    let place = Place::new();
    let small = SMALL.replace("--batch-size 50", "--batch-size 4");
    // So large a step kills every ReLU.
    let output = place.run(&format!("{small} --epochs 12 --logits relu --lr 0.5 --out dead"));
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(
        stderr(&output).matches("the codes carry nothing").count(),
        1,
        "{}",
        stderr(&output)
    );
    let output = place.run(&format!("{small} --epochs 12 --out alive"));
    assert!(!stderr(&output).contains("the codes carry nothing"), "{}", stderr(&output));
}

#[test]
fn a_folder_that_is_a_file_and_other_images_than_those_of_a_run_say_what_to_do() {
    let place = Place::new();
    fs::write(place.path("taken"), "a file").unwrap();
    let message = place.error(&format!("{SMALL} --epochs 1 --out taken"));
    assert!(message.contains("taken: there is a file of that name: choose another"), "{message}");
    assert_eq!(fs::read(place.path("taken")).unwrap(), b"a file");

    place.ok(&format!("{SMALL} --epochs 1 --out run"));
    let message = place.error("train --config run/config.toml --train-images 100 --out other");
    assert!(message.contains("without [provenance]"), "{message}");
}

#[test]
fn a_run_with_too_many_codes_to_enumerate_says_what_fits() {
    let place = Place::new();
    place.ok("train --train-images 100 --test-images 50 --epochs 1 --hidden 16 --batch-size 50 --out run");
    let message = place.error("estimators run");
    assert!(message.contains("4 latents of 8 categories have 4,096"), "{message}");
    assert!(message.contains("1e30"), "{message}");
}
