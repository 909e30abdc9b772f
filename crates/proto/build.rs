//! Compiles the `.proto` files without a protoc on the machine.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = "../../proto";
    let files = [
        "callmeter/worker/v1/worker.proto",
        "callmeter/fleet/v1/fleet.proto",
    ];
    let descriptors = protox::compile(files, [root])?;
    tonic_prost_build::configure()
        // The method `Connect` would clash with a generated constructor; callers bring a channel.
        .build_transport(false)
        // Messages that carry secrets get a redacting Debug in src/redact.rs.
        .skip_debug([
            "callmeter.worker.v1.Account",
            "callmeter.worker.v1.Tls",
            "callmeter.fleet.v1.CreateWorkerResponse",
            "callmeter.fleet.v1.RegenerateTokenResponse",
        ])
        .compile_fds(descriptors)?;
    println!("cargo::rerun-if-changed={root}");
    Ok(())
}
