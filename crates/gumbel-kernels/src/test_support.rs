//! What the tests of several modules share.

/// Values in [-1, 1) that depend on the seed only.
pub(crate) fn values(len: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9) | 1;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state as i32 as f32 / 2f32.powi(31)
        })
        .collect()
}

/// A buffer between guards of a value that no kernel writes.
pub(crate) struct Guarded {
    buffer: Vec<f32>,
}

const GUARD: usize = 40;
const CANARY: f32 = 12345.678;

impl Guarded {
    pub(crate) fn new(len: usize) -> Self {
        Guarded { buffer: vec![CANARY; len + 2 * GUARD] }
    }

    /// The values between the guards.
    pub(crate) fn get(&mut self) -> &mut [f32] {
        let end = self.buffer.len() - GUARD;
        &mut self.buffer[GUARD..end]
    }

    /// The values, once both guards are found intact.
    #[track_caller]
    pub(crate) fn finish(self) -> Vec<f32> {
        let end = self.buffer.len() - GUARD;
        let mut guards = self.buffer[..GUARD].iter().chain(&self.buffer[end..]);
        assert!(guards.all(|&value| value == CANARY), "written outside the output");
        self.buffer[GUARD..end].to_vec()
    }
}
