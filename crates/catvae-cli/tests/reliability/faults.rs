//! Full disks, folders that cannot be written to, that vanish, or that two processes want.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use catvae_train::RunDir;

use crate::place::{
    Place, TINY, assert_metrics_are_whole, can, leftovers, load_whole, newest_step, stderr,
};

/// Lets no file grow beyond 4096 bytes. Left alone, the signal of this limit would end the program.
const SMALL_FILES: [&str; 4] = ["sh", "-c", "ulimit -f 8 && exec \"$@\"", "small-files"];

/// The error names the newest checkpoint that is there.
fn assert_names_last_checkpoint(error: &str, run: &str, step: u64) {
    let words = format!("Last good checkpoint: {run}/checkpoints/step-{step:09}");
    assert!(error.lines().any(|line| line.ends_with(&words)), "{words} is missing: {error}");
}

#[test]
fn a_metrics_line_that_does_not_fit_is_taken_back_and_the_run_resumes_with_room() {
    let place = Place::new();
    let output = place.started_by(&SMALL_FILES, &format!("{TINY} --epochs 1000")).output().unwrap();
    let error = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("error: cannot write run/metrics.jsonl: File too large"), "{error}");
    let run = place.run();
    assert_metrics_are_whole(run.path());
    let n_lines = run.metrics().read().unwrap().len();
    let checkpoint = load_whole(&run);
    assert_names_last_checkpoint(&error, "run", checkpoint.position.step);
    assert!(n_lines > 3 && checkpoint.position.epochs_done == n_lines, "{n_lines} lines");
    place.ok(&format!("{TINY} --resume --epochs {}", n_lines + 2));
    assert_metrics_are_whole(run.path());
    assert_eq!(run.metrics().read().unwrap().len(), n_lines + 2);
}

#[test]
fn a_checkpoint_that_does_not_fit_leaves_the_one_before_and_nothing_half_written() {
    let place = Place::new();
    let wide = TINY.replace("--hidden 3", "--hidden 80");
    place.ok(&format!("{wide} --epochs 1"));
    let run = place.run();
    let before = newest_step(&run);
    let line = format!("{wide} --resume --epochs 3");
    let output = place.started_by(&SMALL_FILES, &line).output().unwrap();
    let error = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("model.safetensors: File too large"), "{error}");
    assert_eq!(leftovers(&run), Vec::<String>::new());
    assert_eq!(load_whole(&run).position.step, before);
    assert_names_last_checkpoint(&error, "run", before);
    assert_metrics_are_whole(run.path());
    place.ok(&format!("{wide} --resume --epochs 3"));
}

#[test]
fn a_full_disk_is_said_and_costs_no_checkpoint() {
    let mount = "mount -t tmpfs -o size=256k tmpfs";
    let probe = format!("d=$(mktemp -d) && {mount} $d");
    if !can("a full disk", &["unshare", "--mount", "sh", "-c", &probe]) {
        return;
    }
    let place = Place::new();
    fs::create_dir(place.path("disk")).unwrap();
    // The file system ends with the shell; what is on it is copied out before that.
    let script = format!("{mount} disk && \"$@\"; code=$?; cp -r disk/run run; exit $code");
    let line = format!("{} --epochs 10000", TINY.replace("--out run", "--out disk/run"));
    let starter = ["unshare", "--mount", "sh", "-c", &script, "small-disk"];
    let output = place.started_by(&starter, &line).output().unwrap();
    let error = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("No space left on device"), "{error}");
    let run = place.run();
    assert_eq!(leftovers(&run), Vec::<String>::new());
    assert_metrics_are_whole(run.path());
    let saved = load_whole(&run).position;
    assert_names_last_checkpoint(&error, "disk/run", saved.step);
    // With room again, the run goes on.
    place.ok(&format!("{TINY} --resume --epochs {}", saved.epochs_done + 1));
}

#[test]
fn a_read_only_folder_is_said_and_nothing_is_changed() {
    let place = Place::new();
    place.ok(&format!("{TINY} --epochs 1"));
    let run = place.run();
    let folders = [run.path().join("checkpoints"), run.path().to_owned()];
    let allow = |mode| {
        for folder in &folders {
            fs::set_permissions(folder, fs::Permissions::from_mode(mode)).unwrap();
        }
    };
    allow(0o555);
    // Permissions do not bind a superuser, unless it gives up its privileges.
    let is_bound = fs::write(run.path().join("probe"), "").is_err();
    let starter: &[&str] = if is_bound { &[] } else { &["setpriv", "--bounding-set=-all"] };
    if is_bound || can("a read-only folder", &["setpriv", "--bounding-set=-all", "true"]) {
        let output =
            place.started_by(starter, &format!("{TINY} --resume --epochs 2")).output().unwrap();
        let error = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(error.contains("Permission denied") && error.contains("run/"), "{error}");
        load_whole(&run);
        assert_metrics_are_whole(run.path());
        // Reading needs no right to write.
        let sample = place.started_by(starter, "sample run --out sample.png").output().unwrap();
        assert!(sample.status.success(), "{}", stderr(&sample));
        // Without the right to read, it is not said to be no run.
        fs::set_permissions(run.path(), fs::Permissions::from_mode(0o000)).unwrap();
        let evaluation = place.started_by(starter, "evaluate run").output().unwrap();
        fs::set_permissions(run.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let error = stderr(&evaluation);
        assert!(
            error.contains("Permission denied") && !error.contains("no config.toml"),
            "{error}"
        );
    }
    allow(0o755);
    place.ok(&format!("{TINY} --resume --epochs 2"));
}

#[test]
fn a_file_in_a_folders_place_is_named() {
    let place = Place::new();
    place.ok(&format!("{TINY} --epochs 1"));
    fs::remove_dir_all(place.path("run/checkpoints")).unwrap();
    fs::write(place.path("run/checkpoints"), "").unwrap();
    let output = place.catvae(&format!("{TINY} --resume --epochs 2")).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("run/checkpoints: "), "{}", stderr(&output));
}

#[test]
fn a_folder_that_vanishes_ends_the_run_and_no_other_is_begun_in_its_place() {
    let place = Place::new();
    let line = format!("{TINY} --epochs 1000000 --checkpoint-every 1");
    let mut child = place.catvae(&line).spawn().unwrap();
    place.wait_for_checkpoint_after(5, &mut child);
    fs::rename(place.path("run"), place.path("moved")).unwrap();
    let output = child.wait_with_output().unwrap();
    let error = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("the run folder run was removed or replaced"), "{error}");
    assert!(!place.path("run/config.toml").exists());
    let moved = RunDir::new(place.path("moved"));
    let step = load_whole(&moved).position.step;
    assert!(step > 5);
    // The folder may have gone after a checkpoint was in its place and before it was reported.
    let (_, named) = error.split_once("Last good checkpoint: run/").unwrap();
    let named = named.lines().next().unwrap();
    assert!(place.path("moved").join(named).is_dir(), "{error}");
    assert_metrics_are_whole(Path::new(moved.path()));
    let epochs = load_whole(&moved).position.epochs_done + 1;
    place.ok(&format!("{} --resume --epochs {epochs}", TINY.replace("--out run", "--out moved")));
}

#[test]
fn a_second_process_is_refused_until_the_first_is_dead() {
    let place = Place::new();
    let mut first = place.catvae(&format!("{TINY} --epochs 1000000")).spawn().unwrap();
    place.wait_for_checkpoint_after(0, &mut first);
    for line in [format!("{TINY} --resume --epochs 2"), format!("{TINY} --epochs 2")] {
        let output = place.catvae(&line).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(
            stderr(&output).contains("another process is training into run"),
            "{}",
            stderr(&output)
        );
    }
    assert_eq!(first.try_wait().unwrap(), None, "the first was disturbed");
    first.kill().unwrap();
    first.wait().unwrap();
    let epochs = load_whole(&place.run()).position.epochs_done + 1;
    place.ok(&format!("{TINY} --resume --epochs {epochs}"));
}

#[test]
fn where_folders_cannot_be_synced_or_files_locked_a_run_is_still_trained() {
    if !can("failing system calls", &["strace", "-o", "/dev/null", "true"]) {
        return;
    }
    let place = Place::new();
    let folders = ["-P", ".", "-P", "run", "-P", "run/checkpoints"];
    for (inject, paths, warning) in [
        ("inject=flock:error=ENOLCK", &[][..], "has no locks"),
        ("inject=flock:error=ENOSYS", &[], "has no locks"),
        ("inject=fsync:error=EINVAL", &folders, ""),
    ] {
        fs::create_dir_all(place.path("run/checkpoints")).unwrap();
        fs::remove_dir_all(place.path("run")).unwrap();
        let strace = [&["strace", "-f", "-qq", "-o", "trace", "-e", inject], paths].concat();
        let output = place.started_by(&strace, &format!("{TINY} --epochs 1")).output().unwrap();
        assert!(output.status.success(), "{inject}: {}", stderr(&output));
        assert!(stderr(&output).contains(warning), "{inject}: {}", stderr(&output));
        assert!(fs::read_to_string(place.path("trace")).unwrap().contains("INJECTED"), "{inject}");
        load_whole(&place.run());
    }
}

#[test]
fn a_best_checkpoint_that_cannot_be_moved_is_replaced_all_the_same() {
    if !can("failing system calls", &["strace", "-o", "/dev/null", "true"]) {
        return;
    }
    let place = Place::new();
    place.ok(&format!("{TINY} --epochs 1"));
    // What an overlay says of a folder that lies in a lower layer.
    let strace = [
        "strace",
        "-f",
        "-qq",
        "-o",
        "trace",
        "-P",
        "run/checkpoints/best",
        "-e",
        "inject=rename:error=EXDEV:when=1",
    ];
    let line = format!("{TINY} --resume --epochs 2");
    let output = place.started_by(&strace, &line).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(fs::read_to_string(place.path("trace")).unwrap().contains("INJECTED"));
    place.ok("evaluate run --checkpoint best");
    assert_eq!(leftovers(&place.run()), Vec::<String>::new());
}
