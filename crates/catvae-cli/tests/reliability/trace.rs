//! A checkpoint survives power loss: the system calls that make it so, in their order.

use std::collections::HashMap;
use std::fs;

use crate::place::{Place, TINY, can, stderr};

/// The calls of a trace, whole: what another thread's calls cut in two is put together.
fn calls(trace: &str) -> Vec<String> {
    let mut begun = HashMap::new();
    let mut calls = Vec::new();
    for line in trace.lines() {
        let Some((pid, call)) = line.split_once(' ') else { continue };
        let call = call.trim_start();
        if let Some(start) = call.strip_suffix(" <unfinished ...>") {
            begun.insert(pid, start);
        } else if let Some((_, end)) = call.split_once(" resumed>") {
            calls.push(format!("{}{end}", begun.remove(pid).unwrap_or_default()));
        } else {
            calls.push(call.to_owned());
        }
    }
    calls
}

#[test]
fn files_and_folders_are_synced_before_the_rename_and_the_parent_after_it() {
    if !can("the order of system calls", &["strace", "-o", "/dev/null", "true"]) {
        return;
    }
    let place = Place::new();
    let strace =
        ["strace", "-f", "-y", "-s", "0", "-o", "trace", "-e", "trace=mkdir,rename,fsync,unlinkat"];
    let output = place.started_by(&strace, &format!("{TINY} --epochs 2")).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let calls = calls(&fs::read_to_string(place.path("trace")).unwrap());
    let from = |start: usize, what: &str| {
        let found = calls[start..].iter().position(|c| c.contains(what) && c.ends_with("= 0"));
        found
            .map(|at| start + at)
            .unwrap_or_else(|| panic!("no `{what}` after call {start} of:\n{}", calls.join("\n")))
    };

    // A new folder's entry is on the disk before anything in it counts.
    let made = from(0, "mkdir(\"run/checkpoints\"");
    let synced = from(made, "/run>)");
    assert!(synced < from(0, "rename(\"run/checkpoints/.incoming-"));

    for name in ["step-000000128", "step-000000256", "best"] {
        let begun = from(0, &format!("mkdir(\"run/checkpoints/.incoming-{name}\""));
        let renamed = from(begun, &format!("rename(\"run/checkpoints/.incoming-{name}\""));
        let mut at = begun;
        for part in
            ["/model.safetensors", "/optimizer.safetensors", "/state.json", "/SHA256SUMS", ""]
        {
            let file_synced = from(at, &format!("checkpoints/.incoming-{name}{part}>)"));
            assert!(at < file_synced && file_synced < renamed, "{name}{part}");
            at = file_synced;
        }
        let parent_synced = from(renamed, "/run/checkpoints>)");
        // Nothing comes between that could count on it.
        assert_eq!(parent_synced, renamed + 1, "{}", calls[renamed + 1]);
    }
}
