//! The number of threads is no part of the result, not even when it changes in mid-run.

use std::fs;

use crate::place::{Place, load_whole, stderr};

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    // Wide enough to be shared among threads.
    let line = "train --train-images 150 --test-images 50 --hidden 96,48 --latents 3 --categories 2 --batch-size 100";
    let place = Place::new();
    let train = |threads: &str, words: &str| {
        let output =
            place.catvae(&format!("{line} {words}")).env("RAYON_NUM_THREADS", threads).output();
        let output = output.unwrap();
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
        train("2", &format!("{variant} --epochs 1 --out {name}-two"));
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
