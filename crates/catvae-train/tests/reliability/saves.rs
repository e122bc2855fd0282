//! Which checkpoints stay: the newest k, and never less than one that can be loaded.

use std::fs;

use catvae_train::{EpochMetrics, Outcome, RunDir};

use crate::tiny;

#[test]
fn over_a_hundred_saves_the_newest_k_stay_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let run = RunDir::new(dir.path());
    let mut config = tiny::config();
    config.training.epochs = 40;
    config.training.checkpoint_every = 1;
    config.training.keep_checkpoints = 4;
    config.training.eval_every = 0;
    tiny::run_until(&config, &run, u64::MAX);
    assert_eq!(tiny::steps(&run), [120, 119, 118, 117]);
    let mut names: Vec<_> = fs::read_dir(dir.path().join("checkpoints"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "best")
        .collect();
    names.sort();
    let expected = ["step-000000117", "step-000000118", "step-000000119", "step-000000120"];
    assert_eq!(names, expected);
}

#[test]
fn newer_ones_that_are_damaged_never_push_out_the_one_that_can_be_loaded() {
    let dir = tempfile::tempdir().unwrap();
    let run = RunDir::new(dir.path());
    let mut config = tiny::config();
    config.training.checkpoint_every = 1;
    config.training.keep_checkpoints = 3;
    tiny::run_until(&config, &run, 8);
    assert_eq!(tiny::steps(&run), [8, 7, 6]);
    for (_, path) in &run.checkpoints().list().unwrap()[..2] {
        tiny::damage(path);
    }
    // The run goes on from step 6 and may keep a single checkpoint: this must be its own.
    config.training.keep_checkpoints = 1;
    assert!(matches!(tiny::run_until(&config, &run, 7), Outcome::Stopped { .. }));
    assert_eq!(tiny::steps(&run), [7]);
    let loaded = tiny::load(&config, &run, |e| panic!("{e}")).unwrap();
    assert_eq!(loaded.position.step, 7);
}

#[test]
fn a_checkpoint_that_was_moved_for_one_that_never_came_is_used_and_put_back() {
    let dir = tempfile::tempdir().unwrap();
    let run = RunDir::new(dir.path());
    let mut config = tiny::config();
    config.training.keep_checkpoints = 1;
    tiny::run_until(&config, &run, 5);
    // What a crash between the two renames leaves.
    let folder = dir.path().join("checkpoints");
    let outgoing = folder.join(".outgoing-step-000000005");
    fs::rename(folder.join("step-000000005"), &outgoing).unwrap();
    fs::create_dir(folder.join(".incoming-step-000000005")).unwrap();
    fs::write(folder.join(".incoming-step-000000005/model.safetensors"), "half").unwrap();
    let loaded = tiny::load(&config, &run, |e| panic!("{e}")).unwrap();
    assert_eq!(loaded.position.step, 5);

    // A save that fails puts it back and keeps it.
    fs::create_dir_all(folder.join(".incoming-step-000000007")).unwrap();
    tiny::run_until(&config, &run, 7);
    assert_eq!(tiny::steps(&run), [7]);
    assert!(!outgoing.exists());
}

#[test]
fn a_save_that_fails_leaves_the_checkpoints_before_and_no_leftovers() {
    let dir = tempfile::tempdir().unwrap();
    let run = RunDir::new(dir.path());
    let mut config = tiny::config();
    config.training.checkpoint_every = 1;
    tiny::run_until(&config, &run, 4);
    let before = tiny::steps(&run);
    // A file where the folder of the next checkpoint would be written.
    let folder = dir.path().join("checkpoints");
    fs::write(folder.join(".incoming-step-000000005"), "in the way").unwrap();
    let locked = run.lock().unwrap();
    let checkpoint = tiny::load(&config, &run, |e| panic!("{e}")).unwrap();
    let mut trainer =
        catvae_train::Trainer::resume(config.clone(), checkpoint, candle_core::Device::Cpu)
            .unwrap();
    let error = trainer
        .run(&tiny::dataset(), &locked, &mut |_| std::ops::ControlFlow::Continue(()))
        .unwrap_err()
        .to_string();
    assert!(error.contains("step-000000005"), "{error}");
    drop(locked);
    assert_eq!(tiny::steps(&run), before);
    tiny::load(&config, &run, |e| panic!("{e}")).unwrap();
}

#[test]
fn the_best_is_kept_besides_and_survives_a_resume() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = tiny::config();
    config.training.epochs = 12;
    config.training.keep_checkpoints = 1;
    // Steps so large that the objective does not fall all the time.
    config.training.learning_rate = 0.8;
    let best_of = |run: &RunDir| {
        let epochs = run.metrics().read().unwrap();
        let best = epochs
            .iter()
            .min_by(|a, b| a.test_neg_elbo.partial_cmp(&b.test_neg_elbo).unwrap())
            .unwrap()
            .step;
        let kept = run.checkpoints().load_best(&config.model, &candle_core::Device::Cpu).unwrap();
        assert_eq!(kept.position.step, best);
        (best, fs::read(kept.path.join("model.safetensors")).unwrap())
    };
    let whole = RunDir::new(dir.path().join("whole"));
    tiny::run_until(&config, &whole, u64::MAX);
    let (best, bytes) = best_of(&whole);
    assert!(
        best < 12 * tiny::STEPS_PER_EPOCH,
        "the last epoch is the best: the test shows nothing"
    );
    let stopped = RunDir::new(dir.path().join("stopped"));
    for stop_at in [best - 1, best + 1, u64::MAX] {
        tiny::run_until(&config, &stopped, stop_at);
    }
    assert_eq!(best_of(&stopped), (best, bytes));

    // With validation images it is chosen on them, and evaluating there or not on the test images moves no weight.
    let mut runs = Vec::new();
    for test in [true, false] {
        let mut config = config.clone();
        config.data.n_validation = Some(2);
        (config.training.test, config.training.eval_draws) = (test, 3);
        let run = RunDir::new(dir.path().join(format!("validation, {test}")));
        for stop_at in [7, u64::MAX] {
            tiny::run_until(&config, &run, stop_at);
        }
        let epochs = run.metrics().read().unwrap();
        assert!(epochs.iter().all(|m| m.test_neg_elbo.is_some() == test));
        let lowest = |pick: fn(&EpochMetrics) -> Option<f64>| {
            let best = epochs.iter().min_by(|a, b| pick(a).partial_cmp(&pick(b)).unwrap());
            best.unwrap().step
        };
        let best = lowest(|m| m.validation_neg_elbo);
        assert!(!test || best != lowest(|m| m.test_neg_elbo), "they agree: it shows nothing");
        let kept = run.checkpoints().load_best(&config.model, &candle_core::Device::Cpu).unwrap();
        assert_eq!(kept.position.step, best);
        let objectives: Vec<_> =
            epochs.iter().map(|m| (m.train_neg_elbo, m.validation_neg_elbo)).collect();
        runs.push((best, objectives, fs::read(kept.path.join("model.safetensors")).unwrap()));
    }
    assert!(runs[0] == runs[1]);

    config.training.keep_best = false;
    let without = RunDir::new(dir.path().join("without"));
    tiny::run_until(&config, &without, u64::MAX);
    let error =
        without.checkpoints().load_best(&config.model, &candle_core::Device::Cpu).unwrap_err();
    assert!(error.to_string().contains("best holds no checkpoint"), "{error}");
}
