//! Kernel settings under /proc/sys, read before they are written: writing some of them waits for the routing lock.

use std::fs;
use std::io;

use crate::DatapathError;

/// The value of a setting, for example of `net/ipv4/ip_forward`, without its line end; none when the kernel has no such
/// setting.
///
/// # Errors
/// [`DatapathError::Io`] when it cannot be read.
pub fn read(setting: &str) -> Result<Option<String>, DatapathError> {
    match fs::read_to_string(path(setting)) {
        Ok(value) => Ok(Some(value.trim_end().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(DatapathError::io(format!("read the kernel setting {setting}"))(error)),
    }
}

/// Makes `value` the value of a setting; says whether anything had to be written. A setting that the kernel does not have is
/// passed over.
///
/// # Errors
/// [`DatapathError::Io`] when it cannot be read or written.
pub fn ensure(setting: &str, value: &str) -> Result<bool, DatapathError> {
    match read(setting)? {
        Some(current) if current != value => {
            fs::write(path(setting), value)
                .map_err(DatapathError::io(format!("set the kernel setting {setting} to {value}")))?;
            Ok(true)
        }
        Some(_) | None => Ok(false),
    }
}

fn path(setting: &str) -> String {
    format!("/proc/sys/{setting}")
}
