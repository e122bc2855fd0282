//! `SHA256SUMS`: the checksums of a checkpoint's other files, as `sha256sum -c` reads them.

use std::collections::BTreeMap;
use std::fmt::{Display, Formatter};

use serde::Deserialize;
use sha2::{Digest, Sha256};

/// File names and their SHA-256 in hexadecimal digits.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Sums(BTreeMap<String, String>);

impl Sums {
    pub(crate) fn add(&mut self, file: &str, bytes: &[u8]) {
        self.0.insert(file.to_owned(), hex_sha256(bytes));
    }

    /// What is wrong with a file of these bytes.
    pub(crate) fn check(&self, file: &str, bytes: &[u8]) -> Result<(), String> {
        match self.0.get(file) {
            Some(sum) if *sum == hex_sha256(bytes) => Ok(()),
            _ => Err("its SHA-256 is not the one that was kept with it".to_owned()),
        }
    }

    /// The checksums in a `SHA256SUMS`. It must be as [`Display`] writes it.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(bytes).map_err(|e| e.to_string())?;
        let pairs = text.lines().filter_map(|line| line.split_once("  "));
        let sums = Self(pairs.map(|(sum, file)| (file.to_owned(), sum.to_owned())).collect());
        match sums.to_string() == text {
            true => Ok(sums),
            false => Err("it is not what was written".to_owned()),
        }
    }

    /// Those of format 1: `state.json` held the others' checksums and ended with its own, taken while that one was empty.
    pub(crate) fn of_format_1(state: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Fields {
            sha256: BTreeMap<String, String>,
        }
        let text = std::str::from_utf8(state).ok()?;
        let (start, end) = text.rsplit_once("\"checksum\": \"")?;
        let checksum = end.strip_suffix("\"\n}")?;
        let unsigned = format!("{start}\"checksum\": \"\"\n}}");
        let Fields { mut sha256 } = serde_json::from_str(text).ok()?;
        sha256.insert("state.json".to_owned(), hex_sha256(state));
        (hex_sha256(unsigned.as_bytes()) == checksum).then_some(Self(sha256))
    }
}

impl Display for Sums {
    fn fmt(&self, f: &mut Formatter) -> std::fmt::Result {
        self.0.iter().try_for_each(|(file, sum)| writeln!(f, "{sum}  {file}"))
    }
}

fn hex_sha256(bytes: &[u8]) -> String {
    catvae_data::hex(&Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_of_format_1_with_a_flipped_bit_has_no_checksums() {
        let folder = "tests/goldens/run-format-1/checkpoints/step-000000004/state.json";
        let state = std::fs::read(folder).unwrap();
        let sums = Sums::of_format_1(&state).unwrap();
        assert_eq!(sums.0.len(), 3);
        for at in 0..state.len() {
            let mut flipped = state.clone();
            flipped[at] ^= 1 << (at % 8);
            assert_eq!(Sums::of_format_1(&flipped), None, "byte {at}");
        }
    }
}
