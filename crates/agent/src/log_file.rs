//! A log file that is renamed when it has grown large, with a fixed number of old ones kept.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// A file that grows to a limit and is then renamed to `<name>.1`; `<name>.1` becomes `<name>.2`, and so on.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    file: File,
    length_bytes: u64,
    limit_bytes: u64,
    kept: u32,
}

impl LogFile {
    /// Opens or creates the file and its directory; further lines go to its end.
    ///
    /// # Errors
    /// When the directory or the file cannot be made or opened.
    pub fn open(path: &Path, limit_bytes: u64, kept: u32) -> io::Result<Self> {
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory)?;
        }
        let file = append(path)?;
        let length_bytes = file.metadata()?.len();
        Ok(Self { path: path.to_owned(), file, length_bytes, limit_bytes, kept })
    }

    fn rotate(&mut self) -> io::Result<()> {
        for number in (1..self.kept).rev() {
            // The first times most of them do not exist.
            let _ = std::fs::rename(self.numbered(number), self.numbered(number + 1));
        }
        std::fs::rename(&self.path, self.numbered(1))?;
        self.file = append(&self.path)?;
        self.length_bytes = 0;
        Ok(())
    }

    fn numbered(&self, number: u32) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{number}"));
        name.into()
    }
}

impl Write for LogFile {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let length = u64::try_from(line.len()).unwrap_or(u64::MAX);
        if self.length_bytes > 0 && self.length_bytes + length > self.limit_bytes {
            // A file that cannot be renamed goes on growing: a long log is better than none.
            let _ = self.rotate();
        }
        self.file.write_all(line)?;
        self.length_bytes += length;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_lines_and_a_fixed_number_of_old_files_are_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deep/ipamd.log");
        let mut log = LogFile::open(&path, 10, 2).unwrap();
        for line in
            ["one\n", "two\n", "three\n", "four\n", "five\n", "six\n", "a line longer than the limit\n", "end\n"]
        {
            log.write_all(line.as_bytes()).unwrap();
        }
        let read = |name: &str| std::fs::read_to_string(directory.path().join("deep").join(name)).unwrap();
        assert_eq!(read("ipamd.log"), "end\n");
        assert_eq!(read("ipamd.log.1"), "a line longer than the limit\n");
        assert_eq!(read("ipamd.log.2"), "six\n");
        assert!(!directory.path().join("deep/ipamd.log.3").exists());
    }

    #[test]
    fn an_existing_file_is_continued_up_to_the_limit() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ipamd.log");
        std::fs::write(&path, "12345678\n").unwrap();
        let mut log = LogFile::open(&path, 10, 5).unwrap();
        log.write_all(b"next\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "next\n");
    }
}
