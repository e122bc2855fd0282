//! Output that cannot be written: a result is then a failure, a warning is not.

use std::fs::OpenOptions;
use std::process::Stdio;

use crate::place::{Place, TINY, load_whole, stderr};

fn full() -> Stdio {
    OpenOptions::new().write(true).open("/dev/full").unwrap().into()
}

#[test]
#[cfg(target_os = "linux")]
fn a_result_that_cannot_be_printed_is_a_failure() {
    let place = Place::new();
    place.ok(&format!("{TINY} --epochs 1"));
    for line in ["evaluate run --json", "evaluate run", "sample run --out s.png"] {
        let output = place.catvae(line).stdout(full()).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{line}: {}", stderr(&output));
        assert!(stderr(&output).contains("No space left"), "{line}: {}", stderr(&output));
    }
    let output = place.catvae(&format!("{TINY} --resume --epochs 2")).stdout(full()).output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    // The run itself is whole.
    assert_eq!(load_whole(&place.run()).position.epochs_done, 2);
}

#[test]
fn training_goes_on_when_nobody_reads_its_lines() {
    let place = Place::new();
    let mut child =
        place.catvae(&format!("{TINY} --epochs 2")).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(load_whole(&place.run()).position.epochs_done, 2);
}

#[test]
#[cfg(target_os = "linux")]
fn a_warning_that_cannot_be_printed_ends_nothing() {
    let place = Place::new();
    place.ok(&format!("{TINY} --epochs 1"));
    let line = format!("{TINY} --resume --epochs 2");
    assert!(place.catvae(&line).stderr(full()).output().unwrap().status.success());
    let folder = load_whole(&place.run()).path;
    std::fs::remove_file(folder.join("model.safetensors")).unwrap();
    let status = place.catvae("evaluate run").stderr(full()).output().unwrap().status;
    assert!(status.success());
    let status = place.catvae("evaluate nowhere").stderr(full()).output().unwrap().status;
    assert_eq!(status.code(), Some(1));
}

#[test]
fn without_threads_the_program_makes_do_with_its_own() {
    let starter = ["prlimit", "--nproc=1", "setpriv", "--reuid=65534", "--clear-groups"];
    let place = Place::new();
    place.ok(&format!("{TINY} --epochs 1"));
    let probe = [&starter[..], &["true"]].concat();
    if !crate::place::can("a limit to threads", &probe) {
        return;
    }
    let output = place.started_by(&starter, "--version").output().unwrap();
    if !output.status.success() {
        eprintln!("SKIPPED: another user cannot start the program here");
        return;
    }
    let output = place.started_by(&starter, "temperature --out /dev/null").output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
}
