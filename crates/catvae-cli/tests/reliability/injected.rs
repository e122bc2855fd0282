//! Every system call that could lose something fails once: the run goes on to the same end.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use crate::place::{
    Place, TINY, assert_metrics_are_whole, can, leftovers, load_whole, newest_step, stderr,
};

/// What may fail, and how. A question mark: not every processor has the call.
const FAULTS: [(&str, &[&str]); 19] = [
    ("?mkdir", &["ENOSPC", "EACCES"]),
    ("?mkdirat", &["ENOSPC", "EACCES"]),
    ("?rename", &["EIO", "ENOSPC", "EACCES"]),
    ("?renameat", &["EIO", "ENOSPC", "EACCES"]),
    ("?unlink", &["EIO", "EACCES"]),
    ("unlinkat", &["EIO", "EACCES"]),
    ("?rmdir", &["EIO", "EACCES"]),
    ("?open", &["EIO", "EACCES"]),
    ("openat", &["EIO", "EACCES", "EMFILE"]),
    ("write", &["EIO", "ENOSPC", "EAGAIN"]),
    ("ftruncate", &["EIO"]),
    ("fsync", &["EIO", "ENOSPC", "EINVAL"]),
    ("fdatasync", &["EIO", "ENOSPC"]),
    ("flock", &["ENOLCK", "EAGAIN", "EINTR"]),
    ("read", &["EIO"]),
    ("lseek", &["EIO"]),
    ("getdents64", &["EIO"]),
    ("statx", &["EIO", "EACCES"]),
    ("clone3", &["EAGAIN"]),
];

const FRESH: &str = "--train-images 64 --epochs 2 --checkpoint-every 10";
const RESUMED: &str = "--resume --train-images 64 --epochs 2";

/// Where the system keeps what is not ours.
const ELSEWHERE: [&str; 6] = ["/sys/", "/proc/", "/etc/", "/lib", "/usr/", "/dev/"];

/// The calls of the main thread, which does all the writing: for each, which ones are about files of ours, counted
/// from 1.
fn calls(place: &Place, line: &str) -> BTreeMap<String, Vec<usize>> {
    let names: Vec<_> = FAULTS.iter().map(|(call, _)| *call).collect();
    let trace = format!("trace={}", names.join(","));
    let strace = ["strace", "-f", "-qq", "-y", "-s", "0", "-o", "trace", "-e", &trace];
    let output = place.started_by(&strace, line).output().unwrap();
    assert!(output.status.success(), "{line}: {}", stderr(&output));
    let trace = fs::read_to_string(place.path("trace")).unwrap();
    let main = trace.split_whitespace().next().unwrap();
    let mut counts = BTreeMap::<&str, usize>::new();
    let mut calls = BTreeMap::<String, Vec<usize>>::new();
    for call in trace.lines().filter_map(|line| line.strip_prefix(main)) {
        let Some((name, arguments)) = call.trim_start().split_once('(') else { continue };
        let nth = counts.entry(name).or_default();
        *nth += 1;
        if !ELSEWHERE.iter().any(|place| arguments.contains(place)) {
            calls.entry(name.to_owned()).or_default().push(*nth);
        }
    }
    calls
}

/// Every call of a command, or one of each kind, with every error that it may have.
fn faults(place: &Place, line: &str, every: bool) -> Vec<(String, usize, &'static str)> {
    let calls = calls(place, line);
    let mut faults = Vec::new();
    for (call, errors) in FAULTS {
        let call = call.trim_start_matches('?');
        let all = calls.get(call).map_or(&[][..], Vec::as_slice);
        let middle = all.get(all.len() / 2..).and_then(|half| half.get(..1)).unwrap_or_default();
        for &nth in if every { all } else { middle } {
            faults.extend(errors.iter().map(|error| (call.to_owned(), nth, *error)));
        }
    }
    faults
}

/// Runs a command with one fault. It ends well or with an error that is told. Whether the call came and failed: many
/// such calls are made again, or cost a page or a picture only.
fn injected(place: &Place, line: &str, (call, nth, error): &(String, usize, &str)) -> bool {
    let trace = format!("trace={call}");
    let inject = format!("inject={call}:error={error}:when={nth}");
    let strace = ["strace", "-f", "-qq", "-o", "injected", "-e", &trace, "-e", &inject];
    let output = place.started_by(&strace, line).output().unwrap();
    let text = stderr(&output);
    // Before the program begins, the system loads its libraries.
    let began = !text.contains("error while loading shared libraries");
    let ended_well = matches!(output.status.code(), Some(0 | 1)) || !began;
    assert!(ended_well && !text.contains("panicked"), "{inject}: {:?}, {text}", output.status);
    // A fault may hit the message as well, but only if it is one of writing.
    let is_told = output.status.success() || !text.is_empty() || call == "write";
    assert!(is_told, "{inject}: nothing was said");
    fs::read_to_string(place.path("injected")).unwrap().contains("(INJECTED)")
}

fn copy(place: &Place, from: &str, to: &str) {
    let _ = fs::remove_dir_all(place.path(to));
    let status = Command::new("cp").arg("-r").args([place.path(from), place.path(to)]).status();
    assert!(status.unwrap().success());
}

/// Weights, moments, and what each epoch came to.
fn end(place: &Place) -> (Vec<Vec<u8>>, Vec<(u64, f64)>) {
    let checkpoint = load_whole(&place.run());
    let files = ["model.safetensors", "optimizer.safetensors"];
    let files = files.map(|file| fs::read(checkpoint.path.join(file)).unwrap());
    let epochs = place.run().metrics().read().unwrap();
    (files.into(), epochs.iter().map(|m| (m.step, m.train_neg_elbo)).collect())
}

#[test]
fn whatever_call_fails_once_nothing_is_lost_and_the_run_goes_on_to_the_same_end() {
    if !can("failing system calls", &["strace", "-o", "/dev/null", "true"]) {
        return;
    }
    let all = std::env::var("CATVAE_FAULTS").is_ok_and(|which| which == "all");
    let place = Place::new();
    place.ok(&format!("{TINY} --train-images 64 --epochs 1"));
    copy(&place, "run", "begun");
    place.ok(&format!("{TINY} {RESUMED}"));
    copy(&place, "run", "whole");
    let expected = end(&place);

    // An ordinary test run takes one fault of each kind; `CATVAE_FAULTS=all` asks for every one.
    let mut cases = Vec::new();
    for (before, line, is_ordinary) in [
        ("", format!("{TINY} {FRESH}"), false),
        ("begun", format!("{TINY} {RESUMED}"), true),
        ("whole", "evaluate run --json".to_owned(), false),
        ("whole", "sample run --out sample.png".to_owned(), false),
    ] {
        if !all && !is_ordinary {
            continue;
        }
        let _ = fs::remove_dir_all(place.path("run"));
        if !before.is_empty() {
            copy(&place, before, "run");
        }
        cases.extend(
            faults(&place, &line, all).into_iter().map(|fault| (before, line.clone(), fault)),
        );
    }
    let (mut n_faults, mut n_felt) = (0, 0);
    for (before, line, fault) in &cases {
        let _ = fs::remove_dir_all(place.path("run"));
        if !before.is_empty() {
            copy(&place, before, "run");
        }
        let run = place.run();
        n_faults += 1;
        n_felt += usize::from(injected(&place, line, fault));
        let context = format!("{line}, {fault:?}");
        assert_metrics_are_whole(run.path());
        if newest_step(&run) > 0 {
            load_whole(&run);
            place.ok("evaluate run");
        }
        place.ok(&format!("{TINY} {}", if run.holds_run() { RESUMED } else { FRESH }));
        assert!(end(&place) == expected, "another end after {context}");
        assert_eq!(leftovers(&run), Vec::<String>::new(), "after {context}");
    }
    assert!(n_felt > n_faults * 3 / 4, "only {n_felt} of {n_faults} faults were felt");
    eprintln!("{n_faults} faults, {n_felt} of them felt, nothing lost");
}
