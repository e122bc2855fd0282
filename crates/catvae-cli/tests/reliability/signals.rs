//! Ctrl-C, SIGTERM and their like. How fast the first one is obeyed is measured and printed, not asserted.

use std::time::Instant;

use crate::place::{
    Place, TINY, assert_metrics_are_whole, load_whole, newest_step, send, stderr, wait_until,
};

/// Whether programs that this one starts hear a signal. `nohup`, and a shell that starts a command in the background, have
/// it ignored.
fn is_heard(signal: &str, number: u32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    let is_heard = mask >> (number - 1) & 1 == 0;
    if !is_heard {
        eprintln!("SKIPPED: SIG{signal} is ignored here");
    }
    is_heard
}

#[test]
fn the_first_signal_saves_the_very_step_and_the_run_goes_on_from_it() {
    for (signal, code) in [("TERM", 143), ("INT", 130), ("HUP", 129), ("XCPU", 152)] {
        if !is_heard(signal, code as u32 - 128) {
            continue;
        }
        let place = Place::new();
        let run = place.run();
        let mut child = place.catvae(&format!("{TINY} --epochs 1000000")).spawn().unwrap();
        wait_until(&mut child, || run.metrics().read().is_ok_and(|epochs| !epochs.is_empty()));
        let start = Instant::now();
        send(signal, &child);
        let output = child.wait_with_output().unwrap();
        eprintln!("SIG{signal}: saved and ended after {:.3} s", start.elapsed().as_secs_f64());
        assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
        let step = load_whole(&run).position.step;
        let said = format!("saved run/checkpoints/step-{step:09}");
        assert!(stderr(&output).contains(&said), "{said}: {}", stderr(&output));
        assert_metrics_are_whole(run.path());
        let epochs = load_whole(&run).position.epochs_done + 1;
        place.ok(&format!("{TINY} --resume --epochs {epochs}"));
    }
}

#[test]
fn a_signal_is_obeyed_in_the_middle_of_a_step_that_takes_long() {
    if !is_heard("TERM", 15) {
        return;
    }
    let place = Place::new();
    // A linear system of 3,000 categories is solved for each of 2,048 latents: a step takes many minutes.
    let slow = "train --dataset tiny --data-dir data --hidden 3 --latents 4 --categories 3000 --batch-size 512 --estimator \
                fini --no-unrelaxed --out run";
    let mut child = place.catvae(slow).spawn().unwrap();
    wait_until(&mut child, || place.run().holds_run());
    std::thread::sleep(std::time::Duration::from_secs(1));
    let start = Instant::now();
    send("TERM", &child);
    let output = child.wait_with_output().unwrap();
    eprintln!("in mid-step: saved and ended after {:.3} s", start.elapsed().as_secs_f64());
    assert_eq!(output.status.code(), Some(143), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("saved run/checkpoints/step-000000000"),
        "{}",
        stderr(&output)
    );
    assert_eq!(load_whole(&place.run()).position.step, 0);
}

#[test]
fn what_was_saved_in_mid_step_goes_on_to_the_same_bits() {
    if !is_heard("TERM", 15) {
        return;
    }
    let place = Place::new();
    // Steps of about a second: the signal does not wait for the end of one.
    let line = "train --dataset tiny --data-dir data --hidden 3 --latents 2 --categories 400 --batch-size 64 --train-images \
                192 --epochs 1 --estimator fini --out";
    place.ok(&format!("{line} whole"));
    let mut child = place.catvae(&format!("{line} run")).spawn().unwrap();
    wait_until(&mut child, || place.run().holds_run());
    send("TERM", &child);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(143), "{}", stderr(&output));
    let saved = load_whole(&place.run()).position.step;
    eprintln!("saved after {saved} of 3 steps");
    place.ok("train --out run --resume");
    let weights = |run: &str| {
        let checkpoint = load_whole(&catvae_train::RunDir::new(place.path(run)));
        assert_eq!(checkpoint.position.step, 3);
        std::fs::read(checkpoint.path.join("model.safetensors")).unwrap()
    };
    assert!(weights("run") == weights("whole"));
}

#[test]
fn the_second_signal_ends_the_run_at_once() {
    if !is_heard("INT", 2) {
        return;
    }
    // Both arrive before the program can do anything, in an order that is the kernel's. One of them alone would
    // save a checkpoint. So would both, in the rare case that two threads hear them in the same instant.
    let ended_at_once = (0..5).any(|_| {
        let place = Place::new();
        let mut child = place.catvae(&format!("{TINY} --epochs 1000000")).spawn().unwrap();
        wait_until(&mut child, || place.run().holds_run());
        for signal in ["STOP", "INT", "TERM", "CONT"] {
            send(signal, &child);
        }
        let output = child.wait_with_output().unwrap();
        assert!(matches!(output.status.code(), Some(130 | 143)), "{}", stderr(&output));
        !stderr(&output).contains("saved")
    });
    assert!(ended_at_once);
}

#[test]
#[cfg(target_os = "linux")]
fn signals_that_were_ignored_at_the_start_stay_ignored() {
    let place = Place::new();
    // As `nohup` starts a program, and a script one in the background.
    let starter = ["sh", "-c", "trap '' HUP INT && exec \"$@\"", "ignoring"];
    let line = format!("{TINY} --epochs 1000000 --checkpoint-every 1");
    let mut child = place.started_by(&starter, &line).spawn().unwrap();
    for signal in ["HUP", "INT", "HUP", "INT"] {
        place.wait_for_checkpoint_after(newest_step(&place.run()), &mut child);
        send(signal, &child);
    }
    place.wait_for_checkpoint_after(newest_step(&place.run()) + 5, &mut child);
    send("TERM", &child);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(143), "{}", stderr(&output));
}
