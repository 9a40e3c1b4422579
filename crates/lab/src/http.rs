//! Asking a program on a node over its loopback, as `curl` would.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use crate::error::LabError;
use crate::machine::Machine;

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(10);

impl Machine {
    /// The body of `GET http://localhost:<port><path>` on the node.
    ///
    /// # Errors
    /// When nothing listens there, or the answer is not 200.
    pub fn get(&self, port: u16, path: &str) -> Result<String, LabError> {
        let failed = |problem: String| LabError::Program {
            program: format!("GET http://localhost:{port}{path}"),
            node: self.name.clone(),
            problem,
        };
        let answer = self.namespace().run(|| ask(port, path))?.map_err(|error| failed(error.to_string()))?;
        match answer.split_once("\r\n\r\n") {
            Some((head, body)) if head.lines().next().is_some_and(|line| line.contains(" 200")) => Ok(body.to_owned()),
            _ => Err(failed(format!("answered {answer:?}"))),
        }
    }
}

fn ask(port: u16, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    // HTTP/1.0: the end of the answer is the end of the connection.
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
