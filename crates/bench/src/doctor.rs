//! `freeboard doctor` on a large log of an agent, beside `grep -c` of ten patterns on the same file.
#![expect(clippy::print_stdout, reason = "the figures are for a person")]

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use serde::Serialize;
use serde_json::Value;

use crate::doctor_log::{self, Written};
use crate::freeboard;
use crate::report::Computer;
use crate::run;

/// What grep looks for: words that a person who knows the agent well would try.
const PATTERNS: [&str; 10] = [
    "InsufficientFreeAddressesInSubnet",
    "InsufficientCidrBlocks",
    "no available IP/Prefix addresses",
    "AttachmentLimitExceeded",
    "RequestLimitExceeded",
    "UnauthorizedOperation",
    "Failed to CreateNetworkInterface",
    "Force removing eni",
    "error while retrieving eniconfig",
    "failed ipam state recovery",
];
/// How often each is run; the fastest counts, because everything else is the machine's.
const ROUNDS: usize = 5;
/// How often the memory of a running program is looked at.
const LOOK: Duration = Duration::from_millis(5);
/// Megabytes of the log in a second of processor time.
const WANTED_MEGABYTES_PER_SECOND: f64 = 300.0;
/// Resident memory at most.
const WANTED_MEGABYTES: f64 = 100.0;

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// What it was run on.
    pub computer: Computer,
    /// The log.
    pub log_megabytes: f64,
    /// Lines in the log.
    pub log_lines: u64,
    /// `freeboard doctor`.
    pub doctor: Reading,
    /// `grep -c` of ten patterns, in the C locale.
    pub grep: Reading,
}

/// How a program read the log.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Reading {
    /// From its start to its end.
    pub wall_seconds: f64,
    /// Processor time, of the user and of the kernel.
    pub processor_seconds: f64,
    /// Megabytes of the log in a second of processor time.
    pub megabytes_per_second: f64,
    /// The most memory that it had.
    pub resident_megabytes: f64,
}

/// Measures, prints, writes the figures.
///
/// # Errors
/// When a figure cannot be taken, doctor finds something else than what was written, or a target is missed.
pub fn bench(megabytes: u64, output: &Path) -> Result<()> {
    let directory = output.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    let (log, written) = log(directory, megabytes)?;
    let program = freeboard::program()?;
    let mut doctor: Option<Reading> = None;
    let mut grep: Option<Reading> = None;
    // In turns, so that both have the same machine.
    for _ in 0..ROUNDS {
        let mut command = Command::new(&program);
        command.args(["doctor", "--output", "json"]).arg(&log);
        let (reading, said) = measure(command, written.bytes, Some(1))?;
        check(&said, &written)?;
        doctor = Some(faster(doctor, reading));
        let mut command = Command::new("grep");
        command.env("LC_ALL", "C").arg("-c").args(PATTERNS.iter().flat_map(|pattern| ["-e", pattern])).arg(&log);
        grep = Some(faster(grep, measure(command, written.bytes, None)?.0));
    }
    let (Some(doctor), Some(grep)) = (doctor, grep) else { bail!("nothing was measured") };
    let figures = Figures {
        computer: run::computer()?,
        log_megabytes: megabytes_of(written.bytes),
        log_lines: written.lines,
        doctor,
        grep,
    };
    let text = serde_json::to_string_pretty(&figures).context("cannot write the figures")?;
    std::fs::write(output, text + "\n").with_context(|| format!("cannot write {}", output.display()))?;
    figures.print();
    println!("figures: {}", output.display());
    figures.judge()
}

/// Writes the log.
fn log(directory: &Path, megabytes: u64) -> Result<(PathBuf, Written)> {
    let path = directory.join(format!("ipamd-{megabytes}.log"));
    let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    let mut output = BufWriter::with_capacity(1 << 20, file);
    let written = doctor_log::write(&mut output, megabytes * 1_000_000, 1).context("cannot write the log")?;
    output.flush().context("cannot write the log")?;
    Ok((path, written))
}

/// Runs a program that reads so many bytes to its end.
fn measure(mut command: Command, bytes: u64, code: Option<i32>) -> Result<(Reading, String)> {
    let name = command.get_program().to_string_lossy().into_owned();
    let before = processor_time()?;
    let started = Instant::now();
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().with_context(|| format!("cannot start {name}"))?;
    let resident_megabytes = watch(&mut child)?;
    let output = child.wait_with_output().with_context(|| format!("cannot wait for {name}"))?;
    let wall = started.elapsed();
    let processor = processor_time()?.saturating_sub(before);
    ensure!(code.is_none() || output.status.code() == code, "{name} ended with {}", output.status);
    let reading = Reading {
        wall_seconds: wall.as_secs_f64(),
        processor_seconds: processor.as_secs_f64(),
        megabytes_per_second: megabytes_of(bytes) / processor.as_secs_f64(),
        resident_megabytes,
    };
    Ok((reading, String::from_utf8_lossy(&output.stdout).into_owned()))
}

/// Waits until a program ends, and gives the most memory that it was seen with. It writes less than a pipe holds.
fn watch(child: &mut Child) -> Result<f64> {
    let path = format!("/proc/{}/status", child.id());
    let mut most = 0.0_f64;
    while child.try_wait().context("cannot wait")?.is_none() {
        let status = std::fs::read_to_string(&path).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
        most = most.max(kibibytes.unwrap_or(0.0) * 1024.0 / 1e6);
        std::thread::sleep(LOOK);
    }
    Ok(most)
}

/// Processor time of all programs that were started and have ended.
fn processor_time() -> Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).context("cannot ask for the processor time")?;
    let of = |value: nix::sys::time::TimeVal| {
        Duration::from_secs(u64::try_from(value.tv_sec()).unwrap_or(0))
            + Duration::from_micros(u64::try_from(value.tv_usec()).unwrap_or(0))
    };
    Ok(of(usage.user_time()) + of(usage.system_time()))
}

/// What was found is what was written: each refusal is counted, and nothing else is broken.
fn check(said: &str, written: &Written) -> Result<()> {
    let said: Value = serde_json::from_str(said).context("doctor's answer is no JSON")?;
    let findings = said["findings"].as_array().context("doctor's answer has no findings")?;
    let first = findings.first().context("doctor found nothing")?;
    ensure!(first["id"] == "SubnetExhausted", "the first finding is {}", first["id"]);
    let counted = first["figures"].as_array().into_iter().flatten();
    let times = counted.filter_map(|figure| figure["value"].as_u64()).max().unwrap_or(0);
    ensure!(times >= written.refusals, "{times} refusals were counted of {}", written.refusals);
    ensure!(said["read"]["bytes"] == written.bytes, "{} bytes were read", said["read"]["bytes"]);
    Ok(())
}

fn faster(known: Option<Reading>, new: Reading) -> Reading {
    known.filter(|known| known.processor_seconds < new.processor_seconds).unwrap_or(new)
}

#[expect(clippy::cast_precision_loss, reason = "a few gigabytes at most")]
fn megabytes_of(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

impl Figures {
    fn print(&self) {
        println!("a log of {:.0} MB, {} lines; one processor", self.log_megabytes, self.log_lines);
        println!("{:<34} {:>9} {:>11} {:>10}", "", "MB/s", "processor", "memory");
        for (name, reading) in [("freeboard doctor", self.doctor), ("grep -c of ten patterns", self.grep)] {
            println!(
                "{name:<34} {:>9.0} {:>9.2} s {:>7.1} MB",
                reading.megabytes_per_second, reading.processor_seconds, reading.resident_megabytes
            );
        }
        let ratio = self.doctor.megabytes_per_second / self.grep.megabytes_per_second;
        println!("doctor looks for a hundred and fifty patterns and explains them, {ratio:.2} times as fast");
    }

    fn judge(&self) -> Result<()> {
        let mut missed = Vec::new();
        if self.doctor.megabytes_per_second < WANTED_MEGABYTES_PER_SECOND {
            missed.push(format!(
                "{:.0} MB/s are below {WANTED_MEGABYTES_PER_SECOND:.0}",
                self.doctor.megabytes_per_second
            ));
        }
        if self.doctor.resident_megabytes > WANTED_MEGABYTES {
            missed.push(format!("{:.0} MB of memory are above {WANTED_MEGABYTES:.0}", self.doctor.resident_megabytes));
        }
        ensure!(missed.is_empty(), "{}", missed.join("; "));
        Ok(())
    }
}
