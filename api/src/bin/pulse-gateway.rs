//! Takes events over HTTP.

use std::process::ExitCode;

use mimalloc::MiMalloc;

// Requests and records are many small pieces, made by one thread and freed by another: for
// librdkafka too, since this one takes the place of the C library's (docs/benchmarks.md).
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    runtime::service::main("pulse-gateway", api::gateway::run)
}
