//! What the fabric lets through between the VPC and its neighbours: the internet may answer, never open.

use std::io;

use freeboard_datapath::nft::{BaseChain, Chain, ChainKind, Hook, NftSocket, Rule, Table};

/// In the calling thread's namespace, drops every forwarded packet that comes in on `link` and does not belong to a
/// connection that was opened from the other side.
pub(crate) fn refuse_new_connections_from(link: &str) -> io::Result<()> {
    let rule =
        Rule::new("the internet opens no connection").input_interface(link).connection_is_new_or_invalid().drop();
    let base = BaseChain { kind: ChainKind::Filter, hook: Hook::Forward, priority: 0 };
    let chain = Chain { name: "forward".to_owned(), base: Some(base), rules: vec![rule] };
    let table = Table { name: "freeboard-lab".to_owned(), sets: Vec::new(), chains: vec![chain] };
    NftSocket::open().and_then(|mut socket| socket.ensure(&table)).map(|_| ()).map_err(io::Error::other)
}
