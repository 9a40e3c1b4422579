//! The archive that `freeboard collect` writes: it is there when it is whole, and not before.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use flate2::Compression;
use flate2::write::GzEncoder;

/// The directory inside the archive.
const DIRECTORY: &str = "freeboard-collect";

/// An archive while it is written.
pub(super) struct Archive {
    builder: tar::Builder<GzEncoder<File>>,
    /// Where it is to be.
    path: PathBuf,
    /// Where it is until it is whole.
    partial: PathBuf,
    /// When it is written, in seconds since 1970.
    seconds: u64,
    is_whole: bool,
}

impl Archive {
    /// Begins an archive, which only its owner may read.
    pub(super) fn create(path: &Path, seconds: u64) -> Result<Self> {
        if path.exists() {
            anyhow::bail!("{} exists already: name another file with --file", path.display());
        }
        let mut partial = path.as_os_str().to_owned();
        partial.push(".partial");
        let partial = PathBuf::from(partial);
        let file = open(&partial).with_context(|| format!("cannot write {}", partial.display()))?;
        let builder = tar::Builder::new(GzEncoder::new(file, Compression::default()));
        Ok(Self { builder, path: path.to_owned(), partial, seconds, is_whole: false })
    }

    /// Adds a file.
    pub(super) fn add(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let mut header = tar::Header::new_gnu();
        header.set_size(u64::try_from(bytes.len())?);
        header.set_mode(0o600);
        header.set_mtime(self.seconds);
        self.builder
            .append_data(&mut header, format!("{DIRECTORY}/{name}"), bytes)
            .with_context(|| format!("cannot write {name} into {}", self.partial.display()))
    }

    /// Ends the archive and puts it in its place; gives its size in bytes.
    pub(super) fn finish(mut self) -> Result<u64> {
        let whole = || format!("cannot write {}", self.path.display());
        self.builder.finish().with_context(whole)?;
        self.builder.get_mut().try_finish().with_context(whole)?;
        self.builder.get_mut().get_mut().flush().with_context(whole)?;
        self.builder.get_mut().get_mut().sync_all().with_context(whole)?;
        let bytes = fs::metadata(&self.partial).with_context(whole)?.len();
        fs::rename(&self.partial, &self.path).with_context(whole)?;
        self.is_whole = true;
        Ok(bytes)
    }
}

impl Drop for Archive {
    fn drop(&mut self) {
        if !self.is_whole {
            // A part of an archive is of no use, and its owner has been told why there is no more.
            let _ = fs::remove_file(&self.partial);
        }
    }
}

fn open(path: &Path) -> std::io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}
