//! The dashboard as a browser meets it: pages without script, safe against names that nobody vouches for, and large clusters.

#![allow(clippy::unwrap_used, reason = "in a test a failed step is a failed test")]

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

struct Dashboard {
    program: Child,
    address: String,
}

impl Drop for Dashboard {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

fn start(arguments: &[&str]) -> Dashboard {
    let mut program = Command::new(env!("CARGO_BIN_EXE_freeboard"))
        .arg("dashboard")
        .args(arguments)
        .args(["--listen", "127.0.0.1:0"])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dumps"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(program.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim_start_matches("http://").split('/').next().unwrap().to_owned();
    assert!(address.starts_with("127.0.0.1:"), "{line}");
    Dashboard { program, address }
}

impl Dashboard {
    fn get_as(&self, path: &str, host: &str) -> (u16, String, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head.to_lowercase(), body.to_owned())
    }

    fn get(&self, path: &str) -> String {
        let (status, _, body) = self.get_as(path, &self.address);
        assert_eq!(status, 200, "{path}");
        body
    }
}

#[test]
fn pages_need_no_script_load_nothing_and_lead_from_the_tree_to_each_address() {
    let dashboard = start(&["eks"]);
    let (status, head, front) = dashboard.get_as("/", &dashboard.address);
    assert_eq!(status, 200);
    assert!(head.contains("content-security-policy: default-src 'none'; style-src 'self';"), "{head}");
    for said in [
        "1 of 2 ranges for pods is full",
        "SubnetExhausted",
        "shop/web-wait-0",
        "100.00 %",
        "/range/subnet-0000000000000b001",
    ] {
        assert!(front.contains(said), "{said} is not in {front}");
    }
    let map = dashboard.get("/range/subnet-0000000000000b001");
    assert_eq!(map.matches("<a class=\"cell").count(), 256);
    assert!(map.contains("66 pod") && map.contains("112 free"), "{map}");
    let zoomed = dashboard.get("/range/subnet-0000000000000b001/10.0.65.16_28");
    assert_eq!(zoomed.matches("<th scope=\"row\">10.0.65.").count(), 16);
    assert!(zoomed.contains("shop/web-"), "{zoomed}");
    for page in [&front, &map, &zoomed, &dashboard.get("/nodes")] {
        for banned in ["<script", " style=", " onclick", "http://", "https://"] {
            assert!(!page.contains(banned), "{banned} in {page}");
        }
        assert!(
            page.contains("<html lang=\"en\">")
                && page.contains("<main id=\"main\">")
                && page.matches("<h1>").count() == 1
        );
    }
    assert_eq!(dashboard.get_as("/range/no-such", &dashboard.address).0, 404);
    assert_eq!(dashboard.get_as("/range/subnet-0000000000000b001/10.9.0.0_28", &dashboard.address).0, 404);
}

#[test]
fn other_sites_names_are_not_answered_and_other_addresses_not_listened_on() {
    let dashboard = start(&["eks"]);
    assert_eq!(dashboard.get_as("/", "evil.example").0, 421);
    assert_eq!(dashboard.get_as("/", "localhost:8061").0, 200);
    let output = Command::new(env!("CARGO_BIN_EXE_freeboard"))
        .args(["dashboard", "--listen", "0.0.0.0:0", "eks"])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dumps"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("expected a loopback address"));
}

fn described(text: &str) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("cluster.yaml");
    std::fs::write(&file, text).unwrap();
    (directory, file)
}

#[test]
fn hostile_names_stay_text() {
    let evil = "<script>alert(1)</script>'\\\"&";
    let (_directory, file) = described(&format!(
        "cluster: \"{evil}\"\nvpcs: [{{ id: \"{evil}\", blocks: [10.0.0.0/16] }}]\n\
         subnets: [{{ id: \"{evil}\", cidr: 10.0.0.0/24, free_addresses: 251 }}]\n"
    ));
    let dashboard = start(&["--described", &file.to_string_lossy()]);
    let front = dashboard.get("/");
    assert!(!front.contains("<script"), "{front}");
    assert!(front.contains("&lt;script&gt;alert(1)&lt;/script&gt;&#39;&quot;&amp;"), "{front}");
    let link = front.split("href=\"/range/").nth(1).unwrap().split('"').next().unwrap();
    assert!(dashboard.get(&format!("/range/{link}")).contains("&lt;script&gt;"));
}

#[test]
fn five_thousand_nodes_have_a_map_and_a_list() {
    let mut text = String::from(
        "cluster: large\nvpcs: [{ id: vpc-1, blocks: [10.0.0.0/16] }]\nsubnets: [{ id: subnet-1, zone: a, cidr: 10.0.0.0/16, free_addresses: 60531 }]\nnodes:\n",
    );
    for node in 0..5_000 {
        let address = format!("10.0.{}.{}", node / 200 + 1, node % 200 + 4);
        writeln!(text, "  - {{ name: node-{node}, zone: a, instance_type: m5.large, address: {address}, pods: 11 }}")
            .unwrap();
    }
    let (_directory, file) = described(&text);
    let dashboard = start(&["--described", &file.to_string_lossy()]);
    assert!(dashboard.get("/").contains("5,000 nodes, 55,000 pods with an address"));
    assert_eq!(dashboard.get("/range/subnet-1").matches("<a class=\"cell").count(), 4_096);
    assert_eq!(dashboard.get("/nodes").matches("<th scope=\"row\">").count(), 5_000);
}

/// The widths of a telephone, a tablet and a desk.
const WIDTHS: [u32; 3] = [360, 768, 1_280];

/// Runs axe on a page in Chromium, and gives what it finds wrong. The script is written into a copy of the page, because the page's
/// own policy would not let it run.
fn violations(page: &str, style: &str, axe: &str, width: u32) -> Vec<String> {
    let directory = tempfile::tempdir().unwrap();
    let copy = directory.path().join("page.html");
    let told = "axe.run().then((result) => { const all = result.violations.map((one) => one.id + \": \" + one.nodes[0].html); \
                document.body.textContent = \"AXE\" + JSON.stringify({ passes: result.passes.length, violations: all }) + \"END\"; });";
    let page = page
        .replace("<link rel=\"stylesheet\" href=\"/style.css\">", &format!("<style>{style}</style>"))
        .replace("</body>", &format!("<script>{axe}</script><script>{told}</script></body>"));
    std::fs::write(&copy, page).unwrap();
    let output = Command::new("chromium")
        // Nothing of it may look for anything on a network.
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"])
        .args(["--disable-component-update", "--host-resolver-rules=MAP * ~NOTFOUND", "--virtual-time-budget=20000"])
        .arg(format!("--user-data-dir={}", directory.path().join("profile").display()))
        .arg(format!("--window-size={width},900"))
        .arg("--dump-dom")
        .arg(format!("file://{}", copy.display()))
        .output()
        .expect("chromium is missing: run `cargo xtask tools`");
    let text = String::from_utf8_lossy(&output.stdout).replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    let found = text.split_once("AXE").and_then(|(_, rest)| rest.split_once("END"));
    let found = found.unwrap_or_else(|| panic!("axe did not end: {}", String::from_utf8_lossy(&output.stderr)));
    let found: serde_json::Value = serde_json::from_str(found.0).unwrap();
    assert!(found["passes"].as_u64().unwrap() > 20, "{found}");
    found["violations"].as_array().unwrap().iter().map(|one| one.as_str().unwrap().to_owned()).collect()
}

#[test]
fn axe_finds_no_violation_at_three_widths() {
    let file = std::env::var_os("FREEBOARD_AXE").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.cache/axe/node_modules/axe-core/axe.min.js"),
        PathBuf::from,
    );
    let axe = std::fs::read_to_string(&file);
    let axe = axe.unwrap_or_else(|error| panic!("{}: {error}: run `cargo xtask tools`", file.display()));
    let dashboard = start(&["eks"]);
    let style = dashboard.get("/style.css");
    let pages = ["/", "/range/subnet-0000000000000b001"].map(|path| (path, dashboard.get(path)));
    let mut wrong = Vec::new();
    for width in WIDTHS {
        for (path, page) in &pages {
            let found = violations(page, &style, &axe, width);
            wrong.extend(found.into_iter().map(|one| format!("{path} at {width}: {one}")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let broken = pages[0].1.replace("<html lang=\"en\">", "<html>");
    assert!(!violations(&broken, &style, &axe, WIDTHS[0]).is_empty(), "a page without a language must not pass");
}
