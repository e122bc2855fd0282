//! What the program did not write, it neither replaces nor removes.

use std::fs;
use std::os::unix::fs::{FileTypeExt, symlink};
use std::process::{Command, Stdio};

use crate::place::{Place, TINY, load_whole, stderr};

fn fails(place: &Place, line: &str) -> String {
    let output = place.catvae(line).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{line}: {}", stderr(&output));
    stderr(&output)
}

#[test]
fn a_fresh_run_refuses_a_folder_with_remains_of_another() {
    let place = Place::new();
    place.ok(&format!("{TINY} --epochs 2"));
    let run = place.run();
    let before = (fs::read(run.path().join("metrics.jsonl")).unwrap(), load_whole(&run).path);
    fs::remove_file(run.config_path()).unwrap();
    let error = fails(&place, &format!("{TINY} --epochs 1 --seed 9"));
    assert!(error.contains("run/checkpoints") && error.contains("--out"), "{error}");
    assert_eq!(fs::read(run.path().join("metrics.jsonl")).unwrap(), before.0);
    assert!(before.1.is_dir() && run.path().join("checkpoints/best").is_dir());

    fs::remove_dir_all(run.path().join("checkpoints")).unwrap();
    let error = fails(&place, &format!("{TINY} --epochs 1"));
    assert!(error.contains("run/metrics.jsonl"), "{error}");
    assert_eq!(fs::read(run.path().join("metrics.jsonl")).unwrap(), before.0);
}

#[test]
fn a_save_removes_no_folder_that_holds_anything_else_than_a_checkpoint() {
    let place = Place::new();
    place.ok(&format!("{TINY} --epochs 1"));
    let checkpoints = place.path("run/checkpoints");
    let foreign = ["step-999999/weights.bin", "step-1/notes.txt", ".incoming-mine/draft"]
        .map(|name| checkpoints.join(name));
    for file in &foreign {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, "weights").unwrap();
    }
    // A file with a checkpoint's name.
    fs::write(checkpoints.join("step-999"), "").unwrap();
    place.ok(&format!("{TINY} --resume --epochs 3 --keep-checkpoints 1"));
    for file in &foreign {
        assert_eq!(fs::read(file).unwrap(), b"weights", "{} is gone", file.display());
    }
    assert!(checkpoints.join("step-999").is_file());
    assert!(!checkpoints.join("step-000000128").exists());
}

#[test]
fn a_link_in_a_run_folder_leads_to_no_write_outside_it() {
    let place = Place::new();
    fs::write(place.path("victim"), "precious").unwrap();
    fs::create_dir(place.path("run")).unwrap();
    symlink("../victim", place.path("run/.lock")).unwrap();
    let error = fails(&place, &format!("{TINY} --epochs 1"));
    assert!(error.contains("run/.lock"), "{error}");
    fs::remove_file(place.path("run/.lock")).unwrap();
    symlink("../victim", place.path("run/config.toml.incoming")).unwrap();
    place.ok(&format!("{TINY} --epochs 1"));
    assert!(place.path("run/config.toml").symlink_metadata().unwrap().is_file());
    assert_eq!(fs::read(place.path("victim")).unwrap(), b"precious");
}

#[test]
fn a_result_is_written_into_a_device_or_pipe_and_through_a_link() {
    let place = Place::new();
    place.ok(&format!("{TINY} --epochs 1"));
    // A pipe stands for /dev/null, which only a superuser could replace.
    assert!(Command::new("mkfifo").arg(place.path("pipe")).status().unwrap().success());
    let reader = Command::new("cat")
        .arg(place.path("pipe"))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    place.ok("sample run --out pipe");
    assert!(reader.wait_with_output().unwrap().stdout.starts_with(b"\x89PNG"));
    assert!(place.path("pipe").symlink_metadata().unwrap().file_type().is_fifo());

    fs::write(place.path("target.png"), "old").unwrap();
    symlink("target.png", place.path("link.png")).unwrap();
    symlink("new.npz", place.path("dangling.npz")).unwrap();
    place.ok("reconstruct run --out link.png");
    place.ok("encode run --out dangling.npz");
    for (link, target) in [("link.png", "target.png"), ("dangling.npz", "new.npz")] {
        assert!(place.path(link).symlink_metadata().unwrap().is_symlink(), "{link}");
        assert!(fs::metadata(place.path(target)).unwrap().len() > 100, "{target}");
    }
    fs::create_dir(place.path("folder")).unwrap();
    let error = fails(&place, "sample run --out folder");
    assert!(error.contains("folder"), "{error}");
}

#[test]
fn a_pipe_in_the_place_of_a_file_is_an_error_and_nobody_waits_for_it() {
    let place = Place::new();
    place.ok(&format!("{TINY} --epochs 1"));
    let resume = format!("{TINY} --resume --epochs 2");
    for (file, line) in [
        ("run/checkpoints/step-000000128/state.json", "evaluate run"),
        ("run/checkpoints/step-000000128/model.safetensors", "evaluate run"),
        ("run/checkpoints/step-000000128/optimizer.safetensors", &resume),
        ("run/metrics.jsonl", &resume),
        ("run/.lock", &resume),
        ("run/config.toml", "sample run --out s.png"),
        ("codes.npz", "decode run --codes codes.npz --out d.png"),
    ] {
        let [file, aside] = [file, "aside"].map(|name| place.path(name));
        let was_there = fs::rename(&file, &aside).is_ok();
        assert!(Command::new("mkfifo").arg(&file).status().unwrap().success());
        let output = place.started_by(&["timeout", "20"], line).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}: {}", file.display(), stderr(&output));
        assert!(stderr(&output).contains("regular file"), "{}", stderr(&output));
        fs::remove_file(&file).unwrap();
        if was_there {
            fs::rename(&aside, &file).unwrap();
        }
    }
}

#[test]
fn what_a_stranger_wrote_does_not_steer_the_terminal() {
    let place = Place::new();
    place.ok(&format!("{TINY} --epochs 1"));
    let config = place.run().config_path();
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("\"tiny\"", "\"\\u001b]0;pwned\\u0007\"")).unwrap();
    let error = fails(&place, "evaluate run --data-dir data");
    assert!(error.contains("pwned") && !error.contains(['\u{1b}', '\u{7}']), "{error:?}");
}
