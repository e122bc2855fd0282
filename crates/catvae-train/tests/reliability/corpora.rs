//! The fuzz targets' seeds, and every crash they ever found, once in every test run.

#[path = "../../../../fuzz/checks/checkpoint.rs"]
mod checkpoint;
#[path = "../../../../fuzz/checks/codes.rs"]
mod codes;
#[path = "../../../../fuzz/checks/config.rs"]
mod config;
#[path = "../../../../fuzz/checks/idx.rs"]
mod idx;

use std::path::Path;

/// Feeds a target its corpus, and each entry cut and changed in a few places.
fn pass(target: &str, check: fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let mut n_entries = 0;
    for entry in std::fs::read_dir(&corpus).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        check(&bytes);
        for i in 0..40 {
            let at = bytes.len() * i / 40;
            check(&bytes[..at]);
            if let Some(byte) = bytes.get(at) {
                for change in [1_u8, 0x80, 0xff] {
                    let mut changed = bytes.clone();
                    changed[at] = byte ^ change;
                    check(&changed);
                }
            }
        }
        n_entries += 1;
    }
    assert!(n_entries >= 8, "{} holds {n_entries} entries only", corpus.display());
}

#[test]
fn no_idx_file_of_the_corpus_breaks_the_reader() {
    pass("idx", idx::check);
}

#[test]
fn no_file_of_codes_of_the_corpus_breaks_the_reader() {
    pass("codes", codes::check);
}

#[test]
fn no_configuration_of_the_corpus_breaks_the_reader() {
    pass("config", config::check);
}

#[test]
fn no_checkpoint_of_the_corpus_breaks_the_loader() {
    pass("checkpoint", checkpoint::check);
}
