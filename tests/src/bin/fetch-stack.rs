//! Fetches Kafka and ClickHouse where they are not there yet, and proves that they run here: so
//! that a machine which cannot run them says so once, before a hundred tests do.

use std::process::ExitCode;
use std::time::Instant;

use pulse::stack::TestStack;

#[tokio::main]
async fn main() -> ExitCode {
    let started = Instant::now();
    match TestStack::start().await {
        Ok(stack) => {
            println!(
                "Kafka at {} and ClickHouse at {} answered after {:.1} s",
                stack.kafka.brokers(),
                stack.clickhouse.url(),
                started.elapsed().as_secs_f32()
            );
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
