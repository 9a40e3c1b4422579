//! Container images, written file by file: no engine, no registry, no base image.
//!
//! An image is a docker archive with one layer, which `ctr -n k8s.io images import` and every other tool reads.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

use crate::{command, programs};

/// The agent's image; the manifests in deploy/ name it.
const AGENT: &str = "localhost/freeboard-agent:latest";
/// The controller's image, likewise.
const CONTROLLER: &str = "localhost/freeboard-controller:latest";
/// What holds a pod's namespaces; the configuration of the lab's containerd names it.
const PAUSE: &str = "localhost/pause:1";
/// A program trusts whom the machine that builds the image trusts; the AWS endpoints' certificates are among them.
const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Builds the programs in release, unless `programs` says where they are already, and writes the images beside them.
pub(crate) fn write_all(programs: Option<&Path>) -> Result<()> {
    let programs = match programs {
        Some(directory) => directory.to_path_buf(),
        None => {
            programs::build()?;
            command::step("build freeboard-pause, static", || {
                programs::build_static("freeboard-pause", "freeboard-pause")
            })?;
            programs::directory()
        }
    };
    let images = directory(&programs);
    command::step(&format!("write the images into {}", images.display()), || {
        fs::create_dir_all(&images).with_context(|| format!("cannot create {}", images.display()))?;
        write_agent(&programs, &images.join("freeboard-agent.tar"))?;
        write_controller(&programs, &images.join("freeboard-controller.tar"))?;
        write_pause(&programs, &images.join("pause.tar"))
    })
}

/// Where the images of the programs in a directory are; the lab and the tests get it as `FREEBOARD_IMAGES`.
pub(crate) fn directory(programs: &Path) -> PathBuf {
    programs.join("images")
}

fn write_agent(programs: &Path, archive: &Path) -> Result<()> {
    let mut layer = Layer::of_program(&programs.join("freeboard-agent"))?;
    layer.file("/app/aws-cni", &programs.join("aws-cni"), 0o755)?;
    let config = json!({
        "Entrypoint": ["/app/freeboard-agent"],
        "Env": ["PATH=/app", "FREEBOARD_PLUGIN_SOURCE=/app/aws-cni"],
        "WorkingDir": "/",
    });
    write_archive(archive, AGENT, &config, layer)
}

fn write_controller(programs: &Path, archive: &Path) -> Result<()> {
    let layer = Layer::of_program(&programs.join("freeboard-controller"))?;
    let config = json!({
        "Entrypoint": ["/app/freeboard-controller"], "Env": ["PATH=/app"], "User": "65534:65534", "WorkingDir": "/",
    });
    write_archive(archive, CONTROLLER, &config, layer)
}

fn write_pause(programs: &Path, archive: &Path) -> Result<()> {
    let mut layer = Layer::new();
    layer.file("/pause", &programs.join("freeboard-pause"), 0o755)?;
    write_archive(archive, PAUSE, &json!({"Entrypoint": ["/pause"], "User": "65535:65535", "WorkingDir": "/"}), layer)
}

/// The shared libraries that a program is linked with, the dynamic linker among them, as absolute paths.
fn libraries(program: &Path) -> Result<BTreeSet<String>> {
    let listed = command::output(Command::new("ldd").arg(program))?;
    if let Some(missing) = listed.lines().find(|line| line.contains("not found")) {
        bail!("{} cannot be put into an image: {}", program.display(), missing.trim());
    }
    Ok(listed_libraries(&listed))
}

/// Lines are `libc.so.6 => /lib/…/libc.so.6 (0x…)` or `/lib64/ld-linux-x86-64.so.2 (0x…)`; the kernel's own has no path.
fn listed_libraries(listed: &str) -> BTreeSet<String> {
    let path = |line: &str| line.split_ascii_whitespace().find(|word| word.starts_with('/')).map(str::to_owned);
    listed.lines().filter_map(path).collect()
}

/// A root file system as one tar archive. Nothing in it depends on when or by whom it was made, so that the same programs
/// give the same image.
struct Layer {
    tar: Builder<Vec<u8>>,
    directories: BTreeSet<PathBuf>,
}

impl Layer {
    fn new() -> Self {
        Self { tar: Builder::new(Vec::new()), directories: BTreeSet::new() }
    }

    /// What a program needs that is linked with the machine's libraries, trusts whom the machine trusts, and looks names up.
    fn of_program(program: &Path) -> Result<Self> {
        let name = program.file_name().context("a program has a name")?.to_string_lossy();
        let mut layer = Self::new();
        layer.file(&format!("/app/{name}"), program, 0o755)?;
        for library in libraries(program)? {
            layer.file(&library, Path::new(&library), 0o755)?;
        }
        layer.file(CERTIFICATES, Path::new(CERTIFICATES), 0o644)?;
        // Names are looked up in files and in the DNS, and nowhere else.
        layer.text("/etc/nsswitch.conf", "hosts: files dns\n")?;
        layer.text("/etc/passwd", "root:x:0:0:root:/:/sbin/nologin\n")?;
        layer.directory("/tmp", 0o1777)?;
        Ok(layer)
    }

    fn file(&mut self, target: &str, source: &Path, mode: u32) -> Result<()> {
        let content = fs::read(source).with_context(|| format!("cannot read {} for an image", source.display()))?;
        self.add(target, &content, mode)
    }

    fn text(&mut self, target: &str, text: &str) -> Result<()> {
        self.add(target, text.as_bytes(), 0o644)
    }

    fn directory(&mut self, target: &str, mode: u32) -> Result<()> {
        let path = PathBuf::from(target.trim_start_matches('/'));
        if path.as_os_str().is_empty() || !self.directories.insert(path.clone()) {
            return Ok(());
        }
        if let Some(parent) = path.parent() {
            self.directory(&parent.display().to_string(), 0o755)?;
        }
        let mut header = header(EntryType::Directory, 0, mode);
        self.tar.append_data(&mut header, format!("{}/", path.display()), std::io::empty())?;
        Ok(())
    }

    fn add(&mut self, target: &str, content: &[u8], mode: u32) -> Result<()> {
        if let Some(parent) = Path::new(target).parent() {
            self.directory(&parent.display().to_string(), 0o755)?;
        }
        let mut header = header(EntryType::Regular, content.len(), mode);
        self.tar.append_data(&mut header, target.trim_start_matches('/'), content)?;
        Ok(())
    }
}

fn header(kind: EntryType, length: usize, mode: u32) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(length as u64);
    header.set_mode(mode);
    header
}

/// Writes a docker archive: the layer, its configuration, and a manifest that names both.
fn write_archive(path: &Path, name: &str, config: &Value, layer: Layer) -> Result<()> {
    let layer = layer.tar.into_inner()?;
    let digest = hex::encode(Sha256::digest(&layer));
    let image = json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
        "os": "linux",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{digest}")]},
        "history": [{"created_by": "cargo xtask image"}],
    })
    .to_string();
    let (image_name, layer_name) = (format!("{}.json", hex::encode(Sha256::digest(&image))), format!("{digest}.tar"));
    let manifest = json!([{"Config": image_name, "RepoTags": [name], "Layers": [layer_name]}]).to_string();
    let mut archive = Builder::new(Vec::new());
    let parts =
        [(image_name, image.into_bytes()), (layer_name, layer), ("manifest.json".into(), manifest.into_bytes())];
    for (name, content) in parts {
        archive.append_data(&mut header(EntryType::Regular, content.len(), 0o644), name, content.as_slice())?;
    }
    let mut file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
    file.write_all(&archive.into_inner()?).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod unit {
    use std::io::Read;

    use super::{Layer, listed_libraries, write_archive};

    #[test]
    fn the_libraries_of_a_program_are_those_with_a_path() {
        let listed = "\tlinux-vdso.so.1 (0x00007ffd)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f00)\n\
                      \t/lib64/ld-linux-x86-64.so.2 (0x00007f11)\n";
        let libraries: Vec<String> = listed_libraries(listed).into_iter().collect();
        assert_eq!(libraries, ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"]);
    }

    #[test]
    fn an_archive_names_its_configuration_and_its_layer_by_their_digests() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str| {
            let mut layer = Layer::new();
            layer.text("/etc/a/b", "text").unwrap();
            layer.text("/etc/c", "more").unwrap();
            let path = directory.path().join(name);
            write_archive(&path, "localhost/x:1", &serde_json::json!({"Entrypoint": ["/x"]}), layer).unwrap();
            std::fs::read(path).unwrap()
        };
        let archive = write("first.tar");
        assert!(archive == write("second.tar"), "the same files give the same image");
        let mut names = Vec::new();
        let mut manifest = String::new();
        for entry in tar::Archive::new(archive.as_slice()).entries().unwrap() {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().display().to_string();
            if name == "manifest.json" {
                entry.read_to_string(&mut manifest).unwrap();
            }
            if name.ends_with(".tar") {
                let mut layer = Vec::new();
                entry.read_to_end(&mut layer).unwrap();
                let inside: Vec<String> = tar::Archive::new(layer.as_slice())
                    .entries()
                    .unwrap()
                    .map(|entry| entry.unwrap().path().unwrap().display().to_string())
                    .collect();
                assert_eq!(inside, ["etc/", "etc/a/", "etc/a/b", "etc/c"]);
            }
            names.push(name);
        }
        let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
        assert_eq!(manifest[0]["RepoTags"][0], "localhost/x:1");
        assert_eq!(manifest[0]["Config"], names[0].as_str());
        assert_eq!(manifest[0]["Layers"][0], names[1].as_str());
    }
}
