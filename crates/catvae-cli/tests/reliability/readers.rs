//! Commands that read a run while it is being written.

use crate::place::{Place, TINY, load_whole, stderr};

/// Commands of an ordinary test run; `CATVAE_READS` asks for more.
const READS: usize = 40;

#[test]
fn a_run_can_be_read_at_any_moment_while_every_step_is_saved() {
    let n_reads = std::env::var("CATVAE_READS").map_or(READS, |n| n.parse().unwrap());
    let place = Place::new();
    // With one checkpoint kept, each is gone as soon as the next is there.
    let line = format!("{TINY} --epochs 1000000 --checkpoint-every 1 --keep-checkpoints 1");
    let mut child = place.catvae(&line).spawn().unwrap();
    place.wait_for_checkpoint_after(0, &mut child);
    let mut step = 0;
    for read in 0..n_reads {
        match ["evaluate run --json", "sample run --out s.png", "encode run --out c.npz"]
            .get(read % 4)
        {
            Some(line) => {
                let output = place.catvae(line).output().unwrap();
                assert!(output.status.success(), "{line}, read {read}: {}", stderr(&output));
            }
            None => {
                let config = place.run().read_config::<catvae_model::ModelConfig>().unwrap();
                let loaded = place.run().checkpoints().load_newest_model(
                    &config.model,
                    &candle_core::Device::Cpu,
                    |_| (),
                );
                let found = loaded.unwrap().position.step;
                assert!(found >= step, "{found} after {step}");
                step = found;
            }
        }
    }
    assert_eq!(child.try_wait().unwrap(), None, "the run was disturbed");
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(load_whole(&place.run()).position.step > n_reads as u64 / 4);
    eprintln!("{n_reads} reads while a run saved every step, none failed");
}
