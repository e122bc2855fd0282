//! The bytes of a gzip file.

use std::io::{self, BufRead, Read};

use flate2::bufread::GzDecoder;

/// The members of a gzip file, one after another. No member may be empty, since any number of empty ones would
/// hide how little a file holds, and nothing but a member may follow a member.
pub(super) struct Members<R> {
    /// `None` only while one member is exchanged for the next.
    member: Option<GzDecoder<R>>,
    is_empty: bool,
}

impl<R: BufRead> Members<R> {
    pub(super) fn new(file: R) -> Self {
        Self { member: Some(GzDecoder::new(file)), is_empty: true }
    }
}

impl<R: BufRead> Read for Members<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.member {
            let n = member.read(buffer)?;
            if n > 0 || buffer.is_empty() {
                self.is_empty &= n == 0;
                return Ok(n);
            }
            // Here the decoder has compared the checksum.
            if self.is_empty {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a member without bytes"));
            }
            match member.get_mut().fill_buf()?.first() {
                None => return Ok(0),
                Some(0x1f) => (),
                Some(_) => {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "not a gzip member"));
                }
            }
            self.member = self.member.take().map(|member| GzDecoder::new(member.into_inner()));
            self.is_empty = true;
        }
        Ok(0)
    }
}
