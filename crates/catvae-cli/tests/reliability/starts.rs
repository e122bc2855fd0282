//! How a run begins, and how it begins again where it ended too early.

use std::fs;

use catvae_train::RunDir;

use crate::place::{Place, TINY, load_whole, newest_step, stderr};

#[test]
fn a_run_without_a_checkpoint_resumes_at_its_first_step() {
    let place = Place::new();
    let settings = "--epochs 2 --schedule linear --binarization dynamic:3 --seed 5";
    place.ok(&format!("{TINY} {settings}"));
    // What a run that is killed in its first epoch leaves, at the earliest and at the latest.
    for with_line in [false, true] {
        let run = RunDir::new(place.path("killed"));
        fs::create_dir_all(run.path().join("checkpoints/.incoming-step-000000128")).unwrap();
        fs::copy(place.run().config_path(), run.config_path()).unwrap();
        if with_line {
            let lines = fs::read_to_string(place.path("run/metrics.jsonl")).unwrap();
            let first = lines.split_inclusive('\n').next().unwrap();
            fs::write(run.path().join("metrics.jsonl"), first).unwrap();
        }
        let output = place.catvae("train --resume --out killed").output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        assert!(stderr(&output).contains("no checkpoint yet"), "{}", stderr(&output));
        let [whole, killed] = [place.run(), run].map(|run| load_whole(&run).path);
        for file in ["model.safetensors", "optimizer.safetensors"] {
            let [whole, killed] = [&whole, &killed].map(|c| fs::read(c.join(file)).unwrap());
            assert!(whole == killed, "{file} differs from that of the fresh run");
        }
        let configs = ["run", "killed"].map(|run| fs::read(place.path(run).join("config.toml")));
        assert_eq!(configs[0].as_ref().unwrap(), configs[1].as_ref().unwrap());
        fs::remove_dir_all(place.path("killed")).unwrap();
    }
}

#[test]
fn checkpoints_that_were_removed_are_not_taken_for_ones_that_never_were() {
    let place = Place::new();
    place.ok(&format!("{TINY} --epochs 2"));
    fs::remove_dir_all(place.path("run/checkpoints")).unwrap();
    let output = place.catvae("train --resume --out run").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("holds no checkpoint"), "{}", stderr(&output));
    assert_eq!(place.run().metrics().read().unwrap().len(), 2);
}

#[test]
fn runs_that_are_started_together_each_get_a_folder() {
    let place = Place::new();
    let line = TINY.replace("--out run", "--epochs 1");
    let children: Vec<_> = (0..4)
        .map(|seed| place.catvae(&format!("{line} --seed {seed}")).spawn().unwrap())
        .collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
    }
    for name in ["tiny", "tiny-2", "tiny-3", "tiny-4"] {
        assert_eq!(newest_step(&RunDir::new(place.path("runs").join(name))), 128, "{name}");
    }
}

#[test]
fn a_damaged_log_is_set_aside_and_the_run_goes_on() {
    for damage in [&b"\xff\xfe\x00"[..], b"\n", b"\0\0\0\n", b"{\"epoch\": null}\n"] {
        let place = Place::new();
        place.ok(&format!("{TINY} --epochs 2"));
        let log = place.path("run/metrics.jsonl");
        let mut bytes = fs::read(&log).unwrap();
        bytes.extend_from_slice(damage);
        fs::write(&log, &bytes).unwrap();
        let output = place.catvae(&format!("{TINY} --resume --epochs 3")).output().unwrap();
        assert!(output.status.success(), "{damage:?}: {}", stderr(&output));
        let epochs = place.run().metrics().read().unwrap();
        assert_eq!(epochs.iter().map(|m| m.epoch).collect::<Vec<_>>(), [1, 2, 3], "{damage:?}");
        // A torn last line is what a crash leaves, and no damage.
        let aside = place.path("run/metrics.jsonl.damaged");
        assert_eq!(aside.exists(), damage.ends_with(b"\n"), "{damage:?}");
        if aside.exists() {
            assert_eq!(fs::read(aside).unwrap(), bytes);
            assert!(stderr(&output).contains("metrics.jsonl.damaged"), "{}", stderr(&output));
        }
    }
}

#[test]
fn a_model_is_used_without_the_file_of_its_optimiser() {
    let place = Place::new();
    place.ok(&format!("{TINY} --epochs 1"));
    fs::remove_file(place.path("run/checkpoints/step-000000128/optimizer.safetensors")).unwrap();
    for line in [
        "evaluate run",
        "sample run --out s.png",
        "reconstruct run --out r.png",
        "encode run --out c.npz",
        "decode run --codes c.npz --out d.png",
    ] {
        let output = place.catvae(line).output().unwrap();
        assert!(output.status.success(), "{line}: {}", stderr(&output));
        assert_eq!(stderr(&output), "", "{line}");
    }
}
