//! What must hold of any bytes in the place of a checkpoint's files: an error, or a checkpoint with
//! every tensor of the model. The first byte chooses the file that the others take the place of in
//! a good checkpoint: 0 `state.json` as it is; with checksums that fit: 1 `state.json`, 2 the model,
//! 3 the optimiser.

use std::path::Path;
use std::sync::OnceLock;

use catvae_model::Model;
use catvae_train::TrainConfig;
use catvae_train::untrusted::CheckpointFiles;

pub(crate) fn check(data: &[u8]) {
    static GOOD: OnceLock<(TrainConfig, CheckpointFiles)> = OnceLock::new();
    let (config, good) = GOOD.get_or_init(|| {
        // Both users of this file lie two folders below the root, or one.
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
        let golden = "crates/catvae-train/tests/goldens/run-format-1";
        let run = root.map(|r| r.join(golden)).find(|run| run.is_dir()).expect("a checkout");
        let config = TrainConfig::read(&run.join("config.toml")).expect("the golden run");
        let folder = run.join("checkpoints/step-000000004");
        (config, CheckpointFiles::read(&folder).expect("the golden checkpoint"))
    });
    let Some((&choice, bytes)) = data.split_first() else { return };
    let mut files = good.clone();
    match choice % 4 {
        0 | 1 => files.state = bytes.to_vec(),
        2 => files.model = bytes.to_vec(),
        _ => files.optimizer = bytes.to_vec(),
    }
    if choice % 4 > 0 {
        files.sign();
    }
    if let Ok(checkpoint) = files.parse(&config.model) {
        assert_eq!(checkpoint.moments.len(), checkpoint.model.parameters().len());
    }
}
