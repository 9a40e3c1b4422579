//! Walks files, directories and the standard input, and hands each piece to its reader.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::collector::{Collector, Evidence};
use crate::piece;

/// Files of one call that are read.
const MOST_FILES: usize = 1_000_000;

/// Why nothing could be read.
#[derive(Debug, thiserror::Error)]
pub enum GatherError {
    /// A path that was named does not exist or may not be read.
    #[error("cannot read {path}: {source}")]
    Unreadable {
        /// The path.
        path: String,
        /// The reason.
        source: io::Error,
    },
}

/// Told while reading.
pub trait Progress {
    /// The files are known, and how large they are together.
    fn found(&mut self, files: usize, bytes: u64);
    /// A file is begun.
    fn begin(&mut self, file: &str);
    /// So many more bytes of a file were read, as they lie on the disk.
    fn advance(&mut self, bytes: u64);
}

/// Reads everything that the paths name; `-` is the standard input. A file inside a directory that may not be read is noted;
/// one that was named itself is an error.
///
/// # Errors
/// [`GatherError::Unreadable`].
pub fn gather(paths: &[PathBuf], stdin: &mut dyn Read, progress: &mut dyn Progress) -> Result<Evidence, GatherError> {
    let mut collector = Collector::new();
    let mut files = Vec::new();
    let mut wants_stdin = false;
    for path in paths {
        if path.as_os_str() == "-" {
            wants_stdin = true;
            continue;
        }
        let unreadable = |source| GatherError::Unreadable { path: path.display().to_string(), source };
        let metadata = fs::metadata(path).map_err(unreadable)?;
        if metadata.is_dir() {
            walk(&mut collector, path, &mut files).map_err(unreadable)?;
        } else {
            File::open(path).map_err(unreadable)?;
            files.push((path.clone(), metadata.len()));
        }
    }
    progress.found(files.len(), files.iter().map(|(_, bytes)| bytes).sum());
    for (path, bytes) in files {
        let name: Arc<str> = path.to_string_lossy().into();
        progress.begin(&name);
        match File::open(&path) {
            Ok(file) => {
                let mut counted = Counted { file, progress, left: bytes };
                piece::read(&mut collector, &name, &mut counted);
                let left = counted.left;
                progress.advance(left);
            }
            Err(error) => collector.not_understood(&name, format!("cannot be opened: {error}")),
        }
    }
    if wants_stdin {
        progress.begin("-");
        piece::read(&mut collector, &"-".into(), stdin);
    }
    Ok(collector.finish())
}

/// The regular files below a directory, in order of their names. Links are not followed, so that there is no circle.
fn walk(collector: &mut Collector, top: &Path, files: &mut Vec<(PathBuf, u64)>) -> io::Result<()> {
    let mut waiting = vec![top.to_path_buf()];
    let mut is_top = true;
    while let Some(directory) = waiting.pop() {
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if is_top => return Err(error),
            Err(error) => {
                collector.not_understood(&directory.to_string_lossy().into(), format!("cannot be opened: {error}"));
                continue;
            }
        };
        is_top = false;
        let paths: BTreeSet<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        let mut directories = Vec::new();
        for path in paths {
            let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
            if metadata.is_dir() {
                directories.push(path);
            } else if metadata.is_file() && files.len() < MOST_FILES {
                files.push((path, metadata.len()));
            } else if metadata.is_symlink() {
                collector.not_understood(&path.to_string_lossy().into(), "a symbolic link: not followed");
            }
        }
        waiting.extend(directories.into_iter().rev());
    }
    Ok(())
}

struct Counted<'a> {
    file: File,
    progress: &'a mut dyn Progress,
    left: u64,
}

impl Read for Counted<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(into)?;
        let bytes = u64::try_from(read).unwrap_or(0);
        self.left = self.left.saturating_sub(bytes);
        self.progress.advance(bytes);
        Ok(read)
    }
}

/// Reads one more piece, for example an answer of a program that was asked for it, under the name that it is cited by.
pub fn read_piece(collector: &mut Collector, name: &str, input: &mut dyn Read) {
    piece::read(collector, &name.into(), input);
}
