//! Starts a test stack, prints `<folder> <pid> <pid>` and holds it until it is killed: the victim
//! of the test that nothing is left behind by `kill -9`.

use std::io::Write;

use pulse::stack::TestStack;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let stack = TestStack::start().await?;
    let (folder, kafka, clickhouse) = (
        stack.folder().display(),
        stack.kafka.pid(),
        stack.clickhouse.pid(),
    );
    println!("{folder} {kafka} {clickhouse}");
    std::io::stdout().flush()?;
    std::future::pending::<()>().await;
    Ok(())
}
