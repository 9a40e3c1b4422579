//! Compiles the protobuf files; protox does it in Rust, so no `protoc` is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files = protox::compile(["cni_backend.proto", "node_agent.proto"], ["proto"])?;
    let services = std::env::var_os("CARGO_FEATURE_SERVICES").is_some();
    tonic_prost_build::configure()
        .build_client(services)
        .build_server(services)
        .include_file("wire.rs")
        .compile_fds(files)?;
    Ok(())
}
