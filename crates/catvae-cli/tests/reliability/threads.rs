//! The number of threads is no part of the result, not even when it changes in mid-run.

use std::fs;

use crate::place::{Place, load_whole, stderr};

#[test]
fn a_training_that_no_memory_can_hold_is_refused_before_its_folder_is_made() {
    let place = Place::new();
    // 2^28 logits for each of 100 images, with what belongs to them: a third of a terabyte.
    let line = "train --dataset tiny --data-dir data --latents 134217728 --categories 2 --hidden 1 --out run";
    let output = place.catvae(line).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("GiB of memory"), "{}", stderr(&output));
    assert!(!place.run().path().exists());
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    // Wide enough to be shared among threads.
    let line = "train --train-images 150 --test-images 50 --hidden 96,48 --latents 3 --categories 2 --batch-size 100";
    let place = Place::new();
    let train = |threads: &str, words: &str| {
        let mut command = place.catvae(&format!("{line} {words}"));
        if !threads.is_empty() {
            command.env("RAYON_NUM_THREADS", threads);
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{words}: {}", stderr(&output));
    };
    for variant in [
        "--estimator gumbel-softmax --binarization dynamic:3",
        "--estimator st-gumbel-softmax --optimizer radam",
        "--estimator reinmax --schedule cosine --temperature-steps 4",
        "--estimator rebar --clip-gradient-norm 5",
        "--estimator rloo --binarization threshold",
        "--estimator enumeration --binarization static:1",
    ] {
        let name = variant.split_whitespace().nth(1).unwrap();
        train("1", &format!("{variant} --epochs 2 --out {name}-one"));
        train("", &format!("{variant} --epochs 1 --threads 2 --out {name}-two"));
        train("3", &format!("--resume --epochs 2 --out {name}-two"));
        let [one, two] = ["one", "two"].map(|end| {
            let run = catvae_train::RunDir::new(place.path(&format!("{name}-{end}")));
            let folder = load_whole(&run).path;
            let evaluations: Vec<_> =
                run.metrics().read().unwrap().iter().map(|m| m.test_neg_elbo).collect();
            let files = ["model.safetensors", "optimizer.safetensors"];
            (files.map(|file| fs::read(folder.join(file)).unwrap()), evaluations)
        });
        assert!(one == two, "{variant}: {:?} against {:?}", one.1, two.1);
    }
}

#[test]
fn a_number_of_threads_beyond_reason_is_refused_by_name() {
    let place = Place::new();
    let line = "temperature --out t.png";
    for (flag, variable, words) in [
        (" --threads 65536", None, "--threads is 65536, but at most"),
        ("", Some("1000000"), "RAYON_NUM_THREADS is 1000000, but at most"),
        ("", Some("abc"), "RAYON_NUM_THREADS is \"abc\", but must be a number of threads"),
    ] {
        let mut command = place.catvae(&format!("{line}{flag}"));
        command.env_remove("RAYON_NUM_THREADS").envs(variable.map(|v| ("RAYON_NUM_THREADS", v)));
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        assert!(stderr(&output).contains(words), "{words}: {}", stderr(&output));
    }
    // The flag wins, and 0 stands for all cores.
    for (flag, variable) in [(" --threads 2", "1000000"), ("", "0"), (" --threads 64", "1")] {
        let mut command = place.catvae(&format!("{line}{flag}"));
        let output = command.env("RAYON_NUM_THREADS", variable).output().unwrap();
        assert!(output.status.success(), "{variable}: {}", stderr(&output));
    }
}
