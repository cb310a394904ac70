//! The size of a function's package.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use flate2::Compression;
use flate2::write::DeflateEncoder;

/// What a zip file has besides the compressed bytes of one file called `bootstrap`: its local header, its entry in the
/// directory, and the directory's end.
const ZIP_OVERHEAD: usize = (30 + "bootstrap".len()) + (46 + "bootstrap".len()) + 22;

/// The bytes of the zip file that deploys this executable, compressed as zip programs do by default.
///
/// # Errors
///
/// If it cannot be read.
pub fn zip_size(executable: &Path) -> io::Result<u64> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(&fs::read(executable)?)?;
    Ok((encoder.finish()?.len() + ZIP_OVERHEAD) as u64)
}
