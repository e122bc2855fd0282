//! Sweeps: cells that do not depend on who trains them, tables from the folders alone.

#![allow(
    clippy::unwrap_used,
    reason = "a test ends at the first thing that is not as it should be"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

/// Kills of an ordinary test run; `CATVAE_KILLS` asks for more.
const KILLS: usize = 6;
/// Twelve cells of a few hundred weights.
const GRID: &str = "--train-images 60 --test-images 20 --hidden 8 --latents 2 --categories 3 --batch-size 10 --epochs 3 \
    --checkpoint-every 2 --temperature 0.5,1 --estimator gumbel-softmax,reinmax --seed 0..2";

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn sweep(&self, line: &str) -> Command {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("catvae"));
        command.current_dir(self.0.path()).arg("sweep").args(line.split_whitespace());
        command
    }

    /// Runs a sweep that must succeed, and returns its table.
    fn ok(&self, line: &str) -> String {
        stdout(self.sweep(line).output().unwrap())
    }

    /// The grid by one worker, in the folder `one`.
    fn by_one(&self) -> String {
        self.ok(&format!("{GRID} --workers 1 --out one"))
    }

    /// Every cell of `out` is that of `one`, bit for bit, but for times.
    fn assert_as_by_one(&self, out: &str) {
        let names = cells(&self.path("one"));
        assert_eq!(names.len(), 12);
        for name in &names {
            let [one, other] = ["one", out].map(|out| trained(&self.path(out).join(name)));
            assert!(one == other, "{out}/{name} differs");
        }
    }
}

fn stdout(output: Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{:?}: {stderr}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// The names of the runs in a folder.
fn cells(out: &Path) -> Vec<String> {
    let entries = fs::read_dir(out).unwrap().flatten();
    let runs = entries.filter(|entry| entry.path().join("config.toml").is_file());
    let mut names: Vec<_> = runs.map(|run| run.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// All that training computed: the metrics without times, and the last checkpoint.
fn trained(run: &Path) -> (Vec<serde_json::Value>, [Vec<u8>; 2]) {
    let metrics = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let metrics = metrics.lines().map(|line| {
        let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
        for key in ["train_seconds", "step_ms", "images_per_second"] {
            line.as_object_mut().unwrap().remove(key).unwrap();
        }
        line
    });
    let last = run.join("checkpoints/step-000000018");
    let files = ["model.safetensors", "optimizer.safetensors"];
    (metrics.collect(), files.map(|file| fs::read(last.join(file)).unwrap()))
}

#[test]
fn cells_and_table_do_not_depend_on_the_number_of_workers() {
    let place = Place::new();
    let table = place.by_one();
    assert_eq!(table.lines().filter(|line| line.contains(" ± ")).count(), 4 + 1, "{table}");
    for (out, flags) in [("two", "--workers 2"), ("eight", "--workers 8 --threads 2")] {
        assert_eq!(place.ok(&format!("{GRID} {flags} --out {out}")), table);
        place.assert_as_by_one(out);
    }
    assert_eq!(cells(&place.path("one"))[0], "estimator=gumbel-softmax,temperature=0.5,seed=0");
    // Nothing is trained twice, and more epochs are those of a run that had them from the beginning.
    let step =
        |n: u32| format!("one/estimator=reinmax,temperature=1,seed=2/checkpoints/step-0000000{n}");
    let written = |n| fs::metadata(place.path(&step(n))).unwrap().modified().unwrap();
    let before = written(18);
    assert_eq!(place.by_one(), table);
    assert_eq!(written(18), before);
    let longer = GRID.replace("--epochs 3", "--epochs 4");
    assert_eq!(
        place.ok(&format!("{longer} --out one")),
        place.ok(&format!("{longer} --out fresh"))
    );
    let model = |out: &str| {
        let file = format!("{}/model.safetensors", step(24)).replace("one", out);
        fs::read(place.path(&file)).unwrap()
    };
    assert!(model("one") == model("fresh"));
}

#[test]
fn shards_and_ranks_merge_to_the_same_table() {
    let place = Place::new();
    let table = place.by_one();
    // Two places without a shared folder.
    for i in 0..2 {
        place.ok(&format!("{GRID} --shard {i}/2 --out part{i}"));
        assert_eq!(cells(&place.path(&format!("part{i}"))).len(), 6);
    }
    let merged = place.ok("--merge part0 part1");
    assert_eq!(merged, table);
    assert_eq!(place.ok("--merge part1 part0 --csv"), place.ok("--merge one --csv"));
    assert!(place.ok("--merge part0").contains("missing"));
    // What is known of the folders alone.
    fs::remove_file(place.path("one/sweep.toml")).unwrap();
    assert_eq!(place.ok("--merge one"), table);

    // Ranks of launchers: parts of one folder.
    let launched = |variables: &[(&str, &str)]| {
        let mut command = place.sweep(&format!("{GRID} --shard auto --out ranks"));
        stdout(command.envs(variables.iter().copied()).output().unwrap());
    };
    launched(&[("OMPI_COMM_WORLD_RANK", "0"), ("OMPI_COMM_WORLD_SIZE", "4")]);
    launched(&[("PMI_RANK", "1"), ("PMI_SIZE", "4")]);
    launched(&[("SLURM_PROCID", "2"), ("SLURM_STEP_NUM_TASKS", "4")]);
    launched(&[("RANK", "3"), ("WORLD_SIZE", "4")]);
    place.assert_as_by_one("ranks");
    let array = ["ID", "MIN", "MAX", "COUNT"].map(|name| format!("SLURM_ARRAY_TASK_{name}"));
    for id in ["3", "5"] {
        launched(&[(&array[0], id), (&array[1], "3"), (&array[2], "5"), (&array[3], "2")]);
    }
    let output = place.sweep(&format!("{GRID} --shard auto")).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && stderr.contains("--shard i/n"), "{stderr}");
}

#[test]
fn killed_at_random_moments_the_cells_are_those_of_one_worker() {
    let n_kills = std::env::var("CATVAE_KILLS").map_or(KILLS, |n| n.parse().unwrap());
    let place = Place::new();
    place.by_one();
    let start = || -> Child {
        let mut command = place.sweep(&format!("{GRID} --workers 2 --out killed"));
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    let n_done = || match fs::read_dir(place.path("killed")) {
        Ok(_) => cells(&place.path("killed")).len(),
        Err(_) => 0,
    };
    let (mut random, mut n_inside) = (17_u64, 0);
    for _ in 0..n_kills {
        let mut child = start();
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        std::thread::sleep(Duration::from_millis(20 + (random >> 33) % 150));
        n_inside += usize::from(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(n_inside > 0, "every sweep was faster than its kill");
    eprintln!("{n_inside} of {n_kills} kills came in time; {} of 12 cells had begun", n_done());
    // Two processes at once, of which one is killed: the other takes what is left, or the next does.
    let mut victim = start();
    let survivor = start();
    std::thread::sleep(Duration::from_millis(60));
    victim.kill().unwrap();
    victim.wait().unwrap();
    assert!(survivor.wait_with_output().unwrap().status.success());
    let table = place.ok(&format!("{GRID} --workers 2 --out killed"));
    assert_eq!(table, place.ok("--merge one"));
    place.assert_as_by_one("killed");
}

#[cfg(unix)]
#[test]
fn ctrl_c_saves_every_cell_and_the_same_command_goes_on() {
    let place = Place::new();
    let long = "--train-images 60 --test-images 20 --hidden 8 --latents 2 --categories 3 --batch-size 10 --seed 0,1 \
        --workers 2 --out long";
    let mut command = place.sweep(&format!("{long} --epochs 1000000 --checkpoint-every 0"));
    // A shell that started the tests in the background has INT ignored, and TERM not.
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let begun = |seed: u32| {
        let file = place.path(&format!("long/seed={seed}/metrics.jsonl"));
        fs::metadata(file).is_ok_and(|file| file.len() > 0)
    };
    let limit = std::time::Instant::now() + Duration::from_secs(120);
    while !(begun(0) && begun(1)) {
        assert!(std::time::Instant::now() < limit, "nothing is trained");
        std::thread::sleep(Duration::from_millis(5));
    }
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(143), "{stderr}");
    assert!(stderr.contains("the same command goes on"), "{stderr}");
    assert_eq!(stderr.matches("stopped; saved").count(), 2, "{stderr}");
    let epochs = |seed: u32| {
        let text =
            fs::read_to_string(place.path(&format!("long/seed={seed}/metrics.jsonl"))).unwrap();
        text.lines().count()
    };
    let more = epochs(0).max(epochs(1)) + 1;
    place.ok(&format!("{long} --epochs {more} --checkpoint-every 0"));
    assert_eq!([epochs(0), epochs(1)], [more; 2]);
}

#[test]
fn a_cell_that_diverges_is_marked_and_not_tried_again() {
    let place = Place::new();
    let line = "--train-images 60 --test-images 20 --hidden 8 --latents 2 --categories 3 --batch-size 10 --epochs 2 \
        --optimizer adam --lr 1e-3,1e30 --out runs";
    let table = place.ok(line);
    assert!(
        table.lines().any(|row| row.starts_with("lr=1000000") && row.contains("1 diverged")),
        "{table}"
    );
    let why = fs::read_to_string(place.path("runs/lr=1e30/diverged.txt")).unwrap();
    assert!(why.contains("the run is stopped"), "{why}");
    let output = place.sweep(line).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("0 of 2 cells trained"));
    let rows = place.ok(&format!("{line} --json"));
    let rows: Vec<serde_json::Value> =
        rows.lines().map(|row| serde_json::from_str(row).unwrap()).collect();
    assert_eq!((&rows[0]["diverged"], &rows[1]["diverged"]), (&0.into(), &1.into()));
}

#[test]
fn the_grid_of_the_published_table_has_its_cells() {
    let place = Place::new();
    let grid = concat!(env!("CARGO_MANIFEST_DIR"), "/../../experiments/reinmax-table.toml");
    let cells = place.ok(&format!("{grid} --dry-run"));
    assert_eq!(cells.lines().count(), 6 * 6 * 10);
    assert_eq!(cells.lines().next(), Some("st-gumbel-softmax-8x4,seed=0"));
    // A shard of a part of it.
    let some = place.ok(&format!("{grid} --dry-run --seed 0..2 --shard 1/4"));
    assert_eq!(some.lines().count(), 27);
}

#[test]
fn other_settings_and_slips_are_refused_before_anything_is_trained() {
    let place = Place::new();
    let small = "--train-images 60 --test-images 20 --hidden 8 --latents 2 --categories 3 --epochs 1 --out runs";
    place.ok(&format!("{small} --seed 0..1"));
    let failed = |line: &str, code: i32| {
        let output = place.sweep(line).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{stderr}");
        stderr
    };
    let error = failed(&format!("{small} --seed 0..2 --lr 0.5"), 1);
    assert!(error.contains("training.learning_rate") && error.contains("--out"), "{error}");
    assert_eq!(cells(&place.path("runs")).len(), 2);
    let error = failed(&format!("{small} --lr 0.1,x"), 2);
    assert!(error.contains("'x' for '--lr"), "{error}");
    assert!(failed("--shard 2/2", 2).contains("0/4 to 3/4"));
    let error = failed("grid.toml", 1);
    assert!(error.contains("grid.toml"), "{error}");
    assert_eq!(
        place.ok("--tau 1,2 --seed 3 --dry-run"),
        "temperature=1,seed=3\ntemperature=2,seed=3\n"
    );
}
