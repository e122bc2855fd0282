//! Whether a file is what it should be: unpacked on the way, never all in memory.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use anyhow::{Context, Result};
use flate2::bufread::GzDecoder;
use sha2::{Digest, Sha256};

use super::catalogue::{Checksum, DataFile};

/// How a file is kept, which its name says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    Raw,
    Gzip,
}

/// What a look at a file found.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The checksum is the published one.
    Sound,
    /// Header and length are right, but the published checksum is of another packing; why.
    Unknown(String),
    /// It is not the file; the reason.
    Damaged(String),
}

/// Judges a file.
///
/// # Errors
/// When it cannot be read; a damaged file is a verdict.
pub(super) fn verify(path: &Path, file: &DataFile, packing: Packing) -> Result<Verdict> {
    judge(path, file, packing).with_context(|| format!("cannot read {}", path.display()))
}

fn judge(path: &Path, file: &DataFile, packing: Packing) -> io::Result<Verdict> {
    let mut reader = BufReader::new(Hashing::new(File::open(path)?));
    let starts_as_gzip = reader.fill_buf()?.starts_with(&[0x1F, 0x8B]);
    match packing {
        Packing::Raw if starts_as_gzip => {
            Ok(Verdict::Damaged("it is packed by gzip and its name does not end in .gz".to_owned()))
        }
        Packing::Gzip if !starts_as_gzip => Ok(Verdict::Damaged("it is not gzip".to_owned())),
        Packing::Raw => {
            let content = match content(&mut reader, file)? {
                Ok(content) => content,
                Err(wrong) => return Ok(Verdict::Damaged(wrong)),
            };
            Ok(compare(file, &content, None))
        }
        Packing::Gzip => {
            let mut decoder = GzDecoder::new(reader);
            let content = match content(&mut decoder, file) {
                Ok(Ok(content)) => content,
                Ok(Err(wrong)) => return Ok(Verdict::Damaged(wrong)),
                Err(error) if is_about_the_bytes(&error) => {
                    return Ok(Verdict::Damaged(format!("it does not unpack: {error}")));
                }
                Err(error) => return Err(error),
            };
            let mut reader = decoder.into_inner();
            if !reader.fill_buf()?.is_empty() {
                return Ok(Verdict::Damaged(
                    "something follows after the end of the gzip data".to_owned(),
                ));
            }
            Ok(compare(file, &content, Some(&reader.into_inner().hex())))
        }
    }
}

/// The SHA-256 of the unpacked bytes, once header and length are right; else what is wrong.
fn content(reader: &mut impl Read, file: &DataFile) -> io::Result<Result<String, String>> {
    let expected = file.header();
    let mut header = vec![0; expected.len()];
    if let Err(error) = reader.read_exact(&mut header) {
        return match error.kind() {
            io::ErrorKind::UnexpectedEof => Ok(Err("it ends within its header".to_owned())),
            _ => Err(error),
        };
    }
    if header != expected {
        return Ok(Err(format!("its header is {header:02x?} where {expected:02x?} belongs")));
    }
    let items = file.unpacked_bytes() - expected.len() as u64;
    let mut rest = Hashing::new(reader.take(items + 1));
    rest.hash.update(&header);
    let found = io::copy(&mut rest, &mut io::sink())?;
    match found.cmp(&items) {
        std::cmp::Ordering::Equal => Ok(Ok(rest.hex())),
        std::cmp::Ordering::Less => Ok(Err(format!("it holds {found} of {items} values"))),
        std::cmp::Ordering::Greater => Ok(Err(format!("it holds more than its {items} values"))),
    }
}

fn compare(file: &DataFile, content: &str, gzip: Option<&str>) -> Verdict {
    match file.checksum {
        Checksum::Content(expected) if content == expected => Verdict::Sound,
        Checksum::Content(expected) => Verdict::Damaged(format!(
            "its unpacked bytes have the SHA-256 {content} where {expected} belongs"
        )),
        Checksum::Gzip(expected) => match gzip {
            Some(gzip) if gzip == expected => Verdict::Sound,
            Some(gzip) => Verdict::Unknown(format!(
                "header and length are right, but its SHA-256 is {gzip} where {expected} is published: \
                 someone packed it anew, or it is another data set"
            )),
            None => Verdict::Unknown(
                "header and length are right; the published checksum is of the .gz".to_owned(),
            ),
        },
    }
}

/// Whether the decoder complains about what it read, and not the disk about reading.
fn is_about_the_bytes(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
    )
}

/// Hashes what passes through.
struct Hashing<R> {
    inner: R,
    hash: Sha256,
}

impl<R> Hashing<R> {
    fn new(inner: R) -> Self {
        Self { inner, hash: Sha256::new() }
    }

    fn hex(self) -> String {
        self.hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n_bytes = self.inner.read(buffer)?;
        self.hash.update(&buffer[..n_bytes]);
        Ok(n_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_data::{gzip, labels, labels_file, labels_file_by_gzip};
    use super::*;

    fn verdict(bytes: &[u8], file: &DataFile, packing: Packing) -> Verdict {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, bytes).unwrap();
        verify(&path, file, packing).unwrap()
    }

    fn damage(bytes: &[u8], packing: Packing) -> String {
        match verdict(bytes, &labels_file(), packing) {
            Verdict::Damaged(reason) => reason,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_right_content_is_sound_raw_and_however_it_is_packed() {
        let file = labels_file();
        assert_eq!(verdict(&labels(), &file, Packing::Raw), Verdict::Sound);
        for level in [0, 1, 9] {
            assert_eq!(verdict(&gzip(&labels(), level), &file, Packing::Gzip), Verdict::Sound);
        }
    }

    #[test]
    fn a_checksum_of_the_gzip_file_accepts_that_packing_only() {
        let file = labels_file_by_gzip(9);
        assert_eq!(verdict(&gzip(&labels(), 9), &file, Packing::Gzip), Verdict::Sound);
        assert!(matches!(verdict(&gzip(&labels(), 1), &file, Packing::Gzip), Verdict::Unknown(_)));
        assert!(matches!(verdict(&labels(), &file, Packing::Raw), Verdict::Unknown(_)));
    }

    #[test]
    fn a_changed_value_is_damage_although_the_shape_is_right() {
        let mut bytes = labels();
        bytes[1000] ^= 1;
        assert!(damage(&bytes, Packing::Raw).contains("SHA-256"));
        assert!(damage(&gzip(&bytes, 6), Packing::Gzip).contains("SHA-256"));
    }

    #[test]
    fn every_way_to_be_another_file_is_named() {
        let right = labels();
        assert!(damage(&[], Packing::Raw).contains("within its header"));
        assert!(damage(&right[..5], Packing::Raw).contains("within its header"));
        assert!(damage(&right[..100], Packing::Raw).contains("92 of 60000"));
        assert!(damage(&[&right[..], &[0]].concat(), Packing::Raw).contains("more than"));
        let mut other_magic = right.clone();
        other_magic[3] = 3;
        assert!(damage(&other_magic, Packing::Raw).contains("header"));
        assert!(damage(&gzip(&right, 6), Packing::Raw).contains(".gz"));

        let packed = gzip(&right, 6);
        assert!(damage(&right, Packing::Gzip).contains("not gzip"));
        assert!(damage(&[], Packing::Gzip).contains("not gzip"));
        assert!(damage(&packed[..packed.len() - 20], Packing::Gzip).contains("unpack"));
        assert!(damage(&packed[..packed.len() - 4], Packing::Gzip).contains("unpack"));
        assert!(damage(&[&packed[..], b"x"].concat(), Packing::Gzip).contains("follows"));
        let mut flipped = packed;
        let middle = flipped.len() / 2;
        flipped[middle] ^= 0x10;
        damage(&flipped, Packing::Gzip);
    }

    #[test]
    fn a_gzip_bomb_is_left_after_the_expected_length() {
        // Unpacks to a right header and then 64 MiB where 60,000 values belong.
        let mut bomb = labels_file().header();
        bomb.resize(64 << 20, 0);
        assert!(damage(&gzip(&bomb, 9), Packing::Gzip).contains("more than"));
    }

    #[test]
    fn a_missing_file_is_an_error_with_its_name() {
        let error = verify(Path::new("no-such-file"), &labels_file(), Packing::Raw).unwrap_err();
        assert!(error.to_string().contains("no-such-file"), "{error}");
    }
}
