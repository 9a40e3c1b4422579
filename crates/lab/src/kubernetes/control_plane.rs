//! etcd, the API server, the scheduler and the controller manager, in the lab's own network.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};

use super::{CLUSTER, ClusterOptions, require_file};
use crate::error::LabError;
use crate::isolation::LAB_DIRECTORY;
use crate::namespace::Namespace;
use crate::network::CONTROL_PLANE_HOST;
use crate::program::{Program, ProgramOptions};

/// Where the API server listens.
pub(crate) const PORT: u16 = 6443;
/// Where etcd listens.
const ETCD: &str = "http://127.0.0.1:2379";
/// Names the directory in which kubectl remembers what the API server can do; by default it is in the person's home.
pub(crate) const CACHE_VARIABLE: &str = "KUBECACHEDIR";
/// The addresses of services: what EKS takes when the VPC is not in it.
const SERVICES: &str = "172.20.0.0/16";
/// How long a program may take to answer, on a machine that is busy.
const LIMIT: Duration = Duration::from_secs(90);
/// What stands before the point in the encoding of a public key of the curve P-256 (RFC 5480).
const P256_PUBLIC_KEY: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// The users of the API server: a name, its groups, and who it is for.
const USERS: [(&str, &str); 4] = [
    ("admin", "system:masters"),
    // One for all nodes. What may be read by which node is not what the lab is about.
    ("kubelet", "system:masters"),
    ("system:kube-scheduler", ""),
    ("system:kube-controller-manager", ""),
];

/// Where clients find the API server.
pub(crate) fn url() -> String {
    format!("https://{CONTROL_PLANE_HOST}:{PORT}")
}

/// The running control plane.
#[derive(Debug)]
pub(crate) struct ControlPlane {
    directory: PathBuf,
    kubeconfigs: Vec<PathBuf>,
    // In the order in which they are ended.
    _manager: Program,
    _scheduler: Program,
    server: Program,
    _etcd: Program,
}

impl ControlPlane {
    /// Starts the programs, and waits until the API server is ready.
    pub(crate) fn start(options: &ClusterOptions) -> Result<Self, LabError> {
        for program in ["etcd", "kube-apiserver", "kube-scheduler", "kube-controller-manager", "kubectl"] {
            require_file(&options.tools.join(program), "build it with `cargo xtask tools`")?;
        }
        let directory = PathBuf::from(LAB_DIRECTORY).join("kubernetes");
        // An earlier cluster of this lab may have left its store there.
        let emptied = match fs::remove_dir_all(&directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        };
        let prepared = emptied.and_then(|()| Secrets::write(&directory)).map_err(|source| LabError::Program {
            program: "the control plane".to_owned(),
            node: CLUSTER.to_owned(),
            problem: format!("cannot write its files to {}: {source}", directory.display()),
        })?;
        let start = |name: &str, arguments: Vec<String>| start(options, &directory, name, arguments);
        let mut etcd = start("etcd", etcd_arguments(&directory))?;
        etcd.wait_until("answer of etcd", LIMIT, || TcpStream::connect((Ipv4Addr::LOCALHOST, 2379)).is_ok())?;
        let mut server = start("kube-apiserver", server_arguments(&directory))?;
        wait_for_port(&mut server)?;
        // It listens only when its certificate is written.
        let certificate = directory.join("certs/apiserver.crt");
        let kubeconfigs = prepared
            .tokens
            .iter()
            .map(|(user, token)| write_kubeconfig(&directory, user, token, &certificate))
            .collect::<io::Result<Vec<PathBuf>>>()
            .map_err(|source| LabError::Program {
                program: "the control plane".to_owned(),
                node: CLUSTER.to_owned(),
                problem: format!("cannot write its kubeconfigs: {source}"),
            })?;
        wait_until_ready(&mut server, options, &directory, kubeconfigs.first())?;
        let kubeconfig =
            |index: usize| kubeconfigs.get(index).map(|path| path.display().to_string()).unwrap_or_default();
        let scheduler = start("kube-scheduler", scheduler_arguments(&kubeconfig(2)))?;
        let manager = start("kube-controller-manager", manager_arguments(&kubeconfig(3), &directory))?;
        Ok(Self { directory, kubeconfigs, _manager: manager, _scheduler: scheduler, server, _etcd: etcd })
    }

    /// Kills the API server.
    pub(crate) fn stop_server(&mut self) -> Result<(), LabError> {
        self.server.kill().map(drop)
    }

    /// Starts the API server anew, with the files and the store that it had.
    pub(crate) fn start_server(&mut self, options: &ClusterOptions) -> Result<(), LabError> {
        self.server = start(options, &self.directory, "kube-apiserver", server_arguments(&self.directory))?;
        wait_for_port(&mut self.server)?;
        wait_until_ready(&mut self.server, options, &self.directory, self.kubeconfigs.first())
    }

    /// The administrator's kubeconfig.
    pub(crate) fn kubeconfig(&self) -> &Path {
        self.kubeconfigs.first().map_or(Path::new(""), PathBuf::as_path)
    }

    /// The kubeconfig of the nodes, as text; a node cannot see the control plane's files.
    pub(crate) fn node_kubeconfig(&self) -> io::Result<String> {
        fs::read_to_string(self.kubeconfigs.get(1).map_or(Path::new(""), PathBuf::as_path))
    }

    /// Where its files are.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }
}

/// Starts one of the programs in the lab's own network.
fn start(options: &ClusterOptions, directory: &Path, name: &str, arguments: Vec<String>) -> Result<Program, LabError> {
    let host = Namespace::current("control-plane")?;
    let executable = options.tools.join(name);
    let log = directory.join(format!("{name}.log"));
    Program::start(&host, &ProgramOptions { executable, arguments, environment: Vec::new(), log })
}

fn wait_for_port(server: &mut Program) -> Result<(), LabError> {
    let listens = || TcpStream::connect((CONTROL_PLANE_HOST, PORT)).is_ok();
    server.wait_until("port of the API server", LIMIT, listens).map(drop)
}

fn wait_until_ready(
    server: &mut Program,
    options: &ClusterOptions,
    directory: &Path,
    kubeconfig: Option<&PathBuf>,
) -> Result<(), LabError> {
    let kubectl = options.tools.join("kubectl");
    let is_ready = || {
        let mut ask = std::process::Command::new(&kubectl);
        ask.args(["get", "--raw", "/readyz"])
            .env("KUBECONFIG", kubeconfig.map_or(Path::new(""), PathBuf::as_path))
            .env(CACHE_VARIABLE, directory.join("cache"));
        ask.output().is_ok_and(|answer| answer.status.success())
    };
    server.wait_until("ready API server", LIMIT, is_ready).map(drop)
}

fn etcd_arguments(directory: &Path) -> Vec<String> {
    vec![
        format!("--data-dir={}", directory.join("etcd").display()),
        format!("--listen-client-urls={ETCD}"),
        format!("--advertise-client-urls={ETCD}"),
        "--listen-peer-urls=http://127.0.0.1:2380".to_owned(),
        // Nothing in the lab outlives it.
        "--unsafe-no-fsync".to_owned(),
        "--log-level=warn".to_owned(),
    ]
}

fn server_arguments(directory: &Path) -> Vec<String> {
    let at = |name: &str| directory.join(name).display().to_string();
    vec![
        format!("--etcd-servers={ETCD}"),
        format!("--cert-dir={}", at("certs")),
        format!("--secure-port={PORT}"),
        format!("--advertise-address={CONTROL_PLANE_HOST}"),
        format!("--token-auth-file={}", at("tokens.csv")),
        "--authorization-mode=RBAC".to_owned(),
        format!("--service-cluster-ip-range={SERVICES}"),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        format!("--service-account-signing-key-file={}", at("accounts.key")),
        format!("--service-account-key-file={}", at("accounts.pub")),
        "--allow-privileged=true".to_owned(),
        // The lab has no DNS that knows the nodes' names.
        "--kubelet-preferred-address-types=InternalIP".to_owned(),
    ]
}

fn scheduler_arguments(kubeconfig: &str) -> Vec<String> {
    vec![format!("--kubeconfig={kubeconfig}"), "--leader-elect=false".to_owned()]
}

fn manager_arguments(kubeconfig: &str, directory: &Path) -> Vec<String> {
    let at = |name: &str| directory.join(name).display().to_string();
    vec![
        format!("--kubeconfig={kubeconfig}"),
        "--leader-elect=false".to_owned(),
        "--use-service-account-credentials=true".to_owned(),
        format!("--service-account-private-key-file={}", at("accounts.key")),
        format!("--root-ca-file={}", at("certs/apiserver.crt")),
        format!("--cert-dir={}", at("manager-certs")),
    ]
}

/// What the API server is told before it starts.
struct Secrets {
    tokens: Vec<(&'static str, String)>,
}

impl Secrets {
    /// Makes a token for each user and a key for service accounts, and writes them to files that only root reads.
    fn write(directory: &Path) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        let random = SystemRandom::new();
        let refused = |_| io::Error::other("the kernel gives no random numbers");
        let mut tokens = Vec::new();
        let mut lines = String::new();
        for (user, groups) in USERS {
            let mut bytes = [0u8; 24];
            random.fill(&mut bytes).map_err(refused)?;
            let token: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            lines.push_str(&format!("{token},{user},{user},\"{groups}\"\n"));
            tokens.push((user, token));
        }
        fs::write(directory.join("tokens.csv"), lines)?;
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).map_err(refused)?;
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, document.as_ref(), &random)
            .map_err(|refused| io::Error::other(refused.to_string()))?;
        let public = [P256_PUBLIC_KEY.as_slice(), pair.public_key().as_ref()].concat();
        fs::write(directory.join("accounts.key"), pem("PRIVATE KEY", document.as_ref()))?;
        fs::write(directory.join("accounts.pub"), pem("PUBLIC KEY", &public))?;
        Ok(Self { tokens })
    }
}

/// The text form of a key (RFC 7468).
fn pem(label: &str, bytes: &[u8]) -> String {
    let encoded = STANDARD.encode(bytes);
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in encoded.as_bytes().chunks(64) {
        text.push_str(&String::from_utf8_lossy(line));
        text.push('\n');
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}

fn write_kubeconfig(directory: &Path, user: &str, token: &str, certificate: &Path) -> io::Result<PathBuf> {
    let authority = STANDARD.encode(fs::read(certificate)?);
    let config = serde_json::json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": CLUSTER, "cluster": {
            "server": url(),
            "certificate-authority-data": authority,
        }}],
        "users": [{"name": user, "user": {"token": token}}],
        "contexts": [{"name": CLUSTER, "context": {"cluster": CLUSTER, "user": user}}],
        "current-context": CLUSTER,
    });
    let path = directory.join(format!("{}.kubeconfig", user.trim_start_matches("system:")));
    fs::write(&path, format!("{config:#}\n"))?;
    Ok(path)
}

#[cfg(test)]
mod unit {
    use super::{P256_PUBLIC_KEY, Secrets, USERS, pem};
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    #[test]
    fn a_key_as_text_has_lines_of_64_characters() {
        let text = pem("PUBLIC KEY", &[7; 91]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.first(), Some(&"-----BEGIN PUBLIC KEY-----"));
        assert_eq!(lines.get(1).map(|line| line.len()), Some(64));
        assert_eq!(lines.last(), Some(&"-----END PUBLIC KEY-----"));
        assert_eq!(STANDARD.decode(lines[1..lines.len() - 1].concat()).unwrap(), [7; 91]);
    }

    #[test]
    fn every_user_has_a_token_of_its_own_and_the_public_key_belongs_to_the_private_one() {
        let directory = tempfile::tempdir().unwrap();
        let secrets = Secrets::write(directory.path()).unwrap();
        let tokens = std::fs::read_to_string(directory.path().join("tokens.csv")).unwrap();
        assert_eq!(tokens.lines().count(), USERS.len());
        assert!(secrets.tokens.iter().all(|(user, token)| tokens.contains(&format!("{token},{user},"))));
        let read = |name: &str| {
            let text = std::fs::read_to_string(directory.path().join(name)).unwrap();
            let body: String = text.lines().filter(|line| !line.starts_with("-----")).collect();
            STANDARD.decode(body).unwrap()
        };
        let (private, public) = (read("accounts.key"), read("accounts.pub"));
        let point = public.strip_prefix(&P256_PUBLIC_KEY).unwrap();
        assert_eq!(point.len(), 65);
        assert!(private.windows(point.len()).any(|window| window == point), "PKCS #8 holds the public point too");
    }
}
