//! A run that is killed without warning, over and over.

use std::time::Duration;

use crate::place::{Place, TINY, assert_metrics_are_whole, leftovers, load_whole, wait_until};

/// Kills of an ordinary test run; `CATVAE_KILLS` asks for more.
const KILLS: usize = 40;

/// Knuth's linear congruential generator: always the same moments, as far as a machine allows.
fn moments() -> impl FnMut(u64) -> Duration {
    let mut random = 11_u64;
    move |most| {
        random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        Duration::from_micros((random >> 33) % most)
    }
}

#[test]
fn killed_at_random_moments_no_checkpoint_is_torn_and_the_run_ends_as_if_nothing_had_been() {
    let n_kills = std::env::var("CATVAE_KILLS").map_or(KILLS, |n| n.parse().unwrap());
    let place = Place::new();
    let run = place.run();
    let mut micros = moments();
    let (mut step, mut n_inside, mut n_epochs) = (0, 0, 0);
    for kill in 0..n_kills {
        let resume = if run.holds_run() && step > 0 { " --resume" } else { "" };
        let line = format!("{TINY}{resume} --epochs 1000000 --checkpoint-every 1");
        let mut child = place.catvae(&line).spawn().unwrap();
        match kill % 4 {
            // Somewhere in the start, once there is something to lose.
            0 if step > 0 => std::thread::sleep(micros(100_000)),
            // Inside the write of a checkpoint.
            1 | 3 => {
                place.wait_for_checkpoint_after(step, &mut child);
                wait_until(&mut child, || !leftovers(&run).is_empty());
                let wait = micros(1500);
                let start = std::time::Instant::now();
                while start.elapsed() < wait {
                    std::hint::spin_loop();
                }
            }
            // Anywhere in the run.
            _ => {
                place.wait_for_checkpoint_after(step, &mut child);
                std::thread::sleep(micros(60_000));
            }
        }
        child.kill().unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), None, "{}", crate::place::stderr(&output));
        n_inside += usize::from(!leftovers(&run).is_empty());

        let checkpoint = load_whole(&run);
        assert!(checkpoint.position.step >= step, "steps were lost");
        step = checkpoint.position.step;
        n_epochs = checkpoint.position.epochs_done;
        assert_metrics_are_whole(run.path());
    }
    assert!(n_inside > n_kills / 10, "only {n_inside} kills fell inside a write");
    eprintln!(
        "{n_kills} kills, {n_inside} of them inside a write, {step} steps, no torn checkpoint"
    );

    let epochs = n_epochs + 1;
    place.ok(&format!("{TINY} --resume --epochs {epochs}"));
    assert_eq!(run.metrics().read().unwrap().len(), epochs);
    place.ok(&format!("{} --epochs {epochs}", TINY.replace("--out run", "--out whole")));
    let whole = load_whole(&catvae_train::RunDir::new(place.path("whole")));
    let killed = load_whole(&run);
    assert_eq!(killed.position.step, whole.position.step);
    for file in ["model.safetensors", "optimizer.safetensors"] {
        let [killed, whole] = [&killed, &whole].map(|c| std::fs::read(c.path.join(file)).unwrap());
        assert!(killed == whole, "{file} differs from that of an uninterrupted run");
    }
}

#[test]
fn killed_before_its_first_checkpoint_a_run_begins_again_as_if_nothing_had_been() {
    let n_kills = std::env::var("CATVAE_KILLS").map_or(KILLS, |n| n.parse().unwrap()) / 4;
    let place = Place::new();
    let run = place.run();
    // One epoch of three steps that take long: no machine comes to its checkpoint before the kill.
    let line = "train --dataset tiny --data-dir data --hidden 3 --latents 2 --categories 400 --batch-size 64 \
                --train-images 192 --epochs 1 --estimator fini --out run";
    let mut micros = moments();
    let (mut n_early, mut n_begun) = (0, 0);
    for kill in 0..n_kills {
        let resume = if run.holds_run() { " --resume" } else { "" };
        let mut child = place.catvae(&format!("{line}{resume}")).spawn().unwrap();
        if kill % 2 == 1 {
            wait_until(&mut child, || run.holds_run());
        }
        std::thread::sleep(micros(70_000));
        child.kill().unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(
            matches!(output.status.code(), None | Some(0)),
            "{}",
            crate::place::stderr(&output)
        );
        assert_metrics_are_whole(run.path());
        if run.checkpoints().list().unwrap().is_empty() {
            n_early += 1;
            n_begun += usize::from(run.holds_run());
        } else {
            std::fs::remove_dir_all(run.path()).unwrap();
        }
    }
    assert!(n_early > n_kills * 9 / 10 && n_begun > 0, "{n_early} of {n_kills} came early");
    eprintln!(
        "{n_early} kills before the first checkpoint, {n_begun} of them in a run that had begun"
    );

    let resume = if run.holds_run() { " --resume" } else { "" };
    place.ok(&format!("{line}{resume}"));
    place.ok(&line.replace("--out run", "--out whole"));
    let whole = load_whole(&catvae_train::RunDir::new(place.path("whole")));
    let killed = load_whole(&run);
    for file in ["model.safetensors", "optimizer.safetensors"] {
        let [killed, whole] = [&killed, &whole].map(|c| std::fs::read(c.path.join(file)).unwrap());
        assert!(killed == whole, "{file} differs from that of an uninterrupted run");
    }
}
