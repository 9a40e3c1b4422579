//! The one thing of a lab that no namespace holds: control groups. A lab has one of its own in every hierarchy, below which
//! its containers are, and the outermost process removes it when everything in it has ended.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use std::{env, fs, io, thread};

/// Tells the processes of a lab the name of its control group.
pub(crate) const VARIABLE: &str = "FREEBOARD_LAB_CGROUP";
/// Where the hierarchies are mounted.
const ROOT: &str = "/sys/fs/cgroup";
/// What the name of every lab's group begins with; the process id of its outermost process follows.
const PREFIX: &str = "freeboard-lab-";
/// How long the kernel may take to let go of processes that have ended.
const PATIENCE: Duration = Duration::from_secs(5);

/// The name of the group of the lab whose outermost process has this id.
pub(crate) fn name_for(outer: u32) -> String {
    format!("{PREFIX}{outer}")
}

/// Makes a group below the lab's own in every hierarchy, and returns its path from the root of each.
///
/// # Errors
/// When the program is not in a lab, or a hierarchy cannot be written.
pub(crate) fn create(child: &str) -> io::Result<String> {
    let own = env::var(VARIABLE).map_err(|_| io::Error::other("the program is not isolated"))?;
    let path = format!("{own}/{child}");
    for hierarchy in hierarchies() {
        let mut group = hierarchy;
        for part in path.split('/') {
            let parent = group.clone();
            group.push(part);
            fs::create_dir_all(&group)?;
            inherit_processors(&parent, &group)?;
        }
    }
    Ok(format!("/{path}"))
}

/// A new group of the cpuset hierarchy has no processors and no memory, and takes no process before it has.
fn inherit_processors(parent: &Path, group: &Path) -> io::Result<()> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        if fs::read_to_string(group.join(file)).is_ok_and(|own| own.trim().is_empty()) {
            fs::write(group.join(file), fs::read_to_string(parent.join(file))?)?;
        }
    }
    Ok(())
}

/// Moves a process into a group; what it starts from then on is there too.
///
/// # Errors
/// When a hierarchy refuses it.
pub(crate) fn enter(path: &str, process: u32) -> io::Result<()> {
    for hierarchy in hierarchies() {
        fs::write(hierarchy.join(path.trim_start_matches('/')).join("cgroup.procs"), process.to_string())?;
    }
    Ok(())
}

/// The processes in a group and in all below it.
pub(crate) fn processes(path: &str) -> Vec<i32> {
    let mut found = Vec::new();
    for hierarchy in hierarchies() {
        collect_processes(&hierarchy.join(path.trim_start_matches('/')), &mut found);
    }
    found.sort_unstable();
    found.dedup();
    found
}

fn collect_processes(directory: &Path, found: &mut Vec<i32>) {
    let listed = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
    // A process that the reader's namespace does not have is shown as 0.
    found.extend(listed.lines().filter_map(|line| line.parse::<i32>().ok()).filter(|process| *process > 0));
    for child in children(directory) {
        collect_processes(&child, found);
    }
}

/// Removes the group of a lab that has ended, and those of earlier labs that were killed. A group that still has a process
/// cannot be removed, so nobody's is lost.
pub(crate) fn sweep(outer: u32) {
    let started = Instant::now();
    let own = name_for(outer);
    loop {
        let mut left = false;
        for group in hierarchies().iter().flat_map(|hierarchy| children(hierarchy)) {
            let name = group.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let Some(process) = name.strip_prefix(PREFIX) else { continue };
            if name == own || !Path::new("/proc").join(process).exists() {
                left |= remove(&group).is_err() && name == own;
            }
        }
        if !left || started.elapsed() > PATIENCE {
            return;
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// Removes a group and those below it from every hierarchy.
pub(crate) fn remove_everywhere(path: &str) -> io::Result<()> {
    hierarchies().iter().try_for_each(|hierarchy| remove(&hierarchy.join(path.trim_start_matches('/'))))
}

/// Removes a group, the groups below it first.
fn remove(group: &Path) -> io::Result<()> {
    for child in children(group) {
        remove(&child)?;
    }
    fs::remove_dir(group)
}

/// The roots of all hierarchies: that of version 2 where there is no other, those of version 1 where there are.
fn hierarchies() -> Vec<PathBuf> {
    let root = PathBuf::from(ROOT);
    if root.join("cgroup.procs").exists() {
        return vec![root];
    }
    let mut mounted = children(&root);
    mounted.retain(|directory| directory.join("cgroup.procs").exists());
    mounted
}

fn children(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let is_directory = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
    entries.filter_map(Result::ok).filter(is_directory).map(|entry| entry.path()).collect()
}
