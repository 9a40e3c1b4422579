//! Programs that run on a node: started inside its namespaces, weighed, signalled, and killed when dropped.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::error::LabError;
use crate::machine::Machine;
use crate::namespace::Namespace;

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// What to start.
#[derive(Clone, Debug)]
pub struct ProgramOptions {
    /// The executable.
    pub executable: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Its environment, added to none.
    pub environment: Vec<(String, String)>,
    /// Where, inside the node, its standard output and error go.
    pub log: PathBuf,
}

/// A running program.
#[derive(Debug)]
pub struct Program {
    name: String,
    node: Namespace,
    child: Child,
    started: Instant,
    log: PathBuf,
}

impl Machine {
    /// Starts a program on the node.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(&self, options: &ProgramOptions) -> Result<Program, LabError> {
        Program::start(self.namespace(), options)
    }

    /// Runs a command on the node to its end and returns what it printed.
    ///
    /// # Errors
    /// When it cannot be started, or fails.
    pub fn output(&self, executable: &str, arguments: &[&str]) -> Result<String, LabError> {
        let failed = |problem: String| LabError::Program {
            program: format!("{executable} {}", arguments.join(" ")),
            node: self.name.clone(),
            problem,
        };
        let output = self
            .namespace()
            .run(|| Command::new(executable).args(arguments).stdin(Stdio::null()).output())?
            .map_err(|source| failed(format!("cannot be started: {source}")))?;
        if !output.status.success() {
            return Err(failed(String::from_utf8_lossy(&output.stderr).into_owned()));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

impl Program {
    /// Starts a program inside a namespace.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(namespace: &Namespace, options: &ProgramOptions) -> Result<Self, LabError> {
        let name = options.executable.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let spawn = || -> std::io::Result<(Child, Instant)> {
            if let Some(directory) = options.log.parent() {
                std::fs::create_dir_all(directory)?;
            }
            let log = File::options().create(true).append(true).open(&options.log)?;
            let mut command = Command::new(&options.executable);
            command.args(&options.arguments).env_clear().envs(options.environment.iter().cloned());
            command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
            let started = Instant::now();
            Ok((command.spawn()?, started))
        };
        let (child, started) = namespace.run(spawn)?.map_err(|source| LabError::Program {
            program: options.executable.display().to_string(),
            node: namespace.name().to_owned(),
            problem: format!("cannot be started: {source}"),
        })?;
        Ok(Self { name, node: namespace.clone(), child, started, log: options.log.clone() })
    }

    /// Its process id, as the lab numbers processes.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// When it was started.
    #[must_use]
    pub fn started(&self) -> Instant {
        self.started
    }

    /// Waits until `condition` holds.
    ///
    /// # Errors
    /// When the program ends before, or `limit` is over; with the end of its log.
    pub fn wait_until(
        &mut self,
        what: &str,
        limit: Duration,
        mut condition: impl FnMut() -> bool,
    ) -> Result<Duration, LabError> {
        let waited = Instant::now();
        loop {
            if condition() {
                return Ok(self.started.elapsed());
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(self.problem(&format!("ended with {status} before {what}")));
            }
            if waited.elapsed() > limit {
                return Err(self.problem(&format!("no {what} after {limit:?}")));
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Waits until `path` exists on the node.
    ///
    /// # Errors
    /// As [`Program::wait_until`].
    pub fn wait_for_file(&mut self, path: &Path, limit: Duration) -> Result<Duration, LabError> {
        let node = self.node.clone();
        self.wait_until(&path.display().to_string(), limit, || node.run(|| path.exists()).unwrap_or(false))
    }

    /// Sends a signal; one to a program that has ended is lost.
    pub fn signal(&self, signal: Signal) {
        let _ = kill(Pid::from_raw(self.child.id().cast_signed()), signal);
    }

    /// Kills it at once and waits for its end.
    ///
    /// # Errors
    /// When its end cannot be waited for.
    pub fn kill(&mut self) -> Result<ExitStatus, LabError> {
        // It may have ended by itself.
        let _ = self.child.kill();
        self.child.wait().map_err(|source| self.problem(&format!("cannot be waited for: {source}")))
    }

    /// Asks it to end (SIGTERM) and waits; kills it when `patience` is over.
    ///
    /// # Errors
    /// When its end cannot be waited for.
    pub fn stop(&mut self, patience: Duration) -> Result<ExitStatus, LabError> {
        self.signal(Signal::SIGTERM);
        let asked = Instant::now();
        while asked.elapsed() < patience {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Ok(status);
            }
            std::thread::sleep(LOOK);
        }
        self.kill()
    }

    /// Resident memory in KiB, as the kernel counts it.
    #[must_use]
    pub fn resident_kibibytes(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.trim().trim_end_matches(" kB").parse().ok()
    }

    /// The last lines that it wrote to its standard output and error.
    #[must_use]
    pub fn log_tail(&self) -> String {
        let text = self.node.run(|| std::fs::read_to_string(&self.log).unwrap_or_default()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines.get(lines.len().saturating_sub(20)..).unwrap_or_default().join("\n")
    }

    fn problem(&self, what: &str) -> LabError {
        LabError::Program {
            program: self.name.clone(),
            node: self.node.name().to_owned(),
            problem: format!("{what}\n{}", self.log_tail()),
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // The lab's own end ends it anyway.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
