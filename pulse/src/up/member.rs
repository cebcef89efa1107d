//! A process that `pulse up` keeps: a server of the stack, or a program of ours.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use crate::stack::{ClickHouse, Kafka, Launch, Port, Process};

/// How long a program may take to end its work in order: more than it gives itself.
const STOP_MAX: Duration = Duration::from_secs(15);

/// The exit code of a program whose settings cannot be used.
const EXIT_CONFIG: i32 = 78;

/// A process that is kept.
pub enum Member {
    /// The broker.
    Kafka(Box<Kafka>),
    /// The database.
    ClickHouse(Box<ClickHouse>),
    /// A program of ours.
    Program(Program),
}

/// A program of ours.
pub struct Program {
    launch: Launch,
    process: Process,
    /// Its ports stay ours while it is down.
    _ports: Vec<Port>,
}

/// What is to be done about a process that ended without being told to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Nothing helps: it would end the same way again.
    Failed(String),
    /// Start it again.
    Again(String),
}

impl Program {
    /// Starts it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(launch: Launch, ports: Vec<Port>) -> anyhow::Result<Self> {
        let process = launch.spawn()?;
        Ok(Self {
            launch,
            process,
            _ports: ports,
        })
    }
}

impl Member {
    /// Its process.
    pub fn process(&self) -> &Process {
        match self {
            Self::Kafka(kafka) => kafka.process(),
            Self::ClickHouse(clickhouse) => clickhouse.process(),
            Self::Program(program) => &program.process,
        }
    }

    /// Starts it again after it ended; for a server, until it answers.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        match self {
            Self::Kafka(kafka) => Ok(kafka.restart().await?),
            Self::ClickHouse(clickhouse) => Ok(clickhouse.restart().await?),
            Self::Program(program) => {
                program.process = program.launch.spawn()?;
                Ok(())
            }
        }
    }

    /// Stops it in order, or kills it when that takes too long.
    pub async fn stop(&self) -> ExitStatus {
        match self {
            Self::Kafka(kafka) => kafka.stop().await,
            Self::ClickHouse(clickhouse) => clickhouse.stop().await,
            Self::Program(program) => program.process.stop(STOP_MAX).await,
        }
    }
}

/// What is to be done about the end of a process.
pub fn verdict(status: ExitStatus) -> Verdict {
    match (status.code(), status.signal()) {
        (Some(EXIT_CONFIG), _) => Verdict::Failed("its settings cannot be used".into()),
        (Some(code), _) => Verdict::Again(format!("ended with {code}")),
        (None, Some(signal)) => Verdict::Again(format!("was ended by signal {signal}")),
        (None, None) => Verdict::Again("ended".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_that_would_come_again_is_told_from_others() {
        let exit = |code: i32| ExitStatus::from_raw(code << 8);
        let again = |text: &str| Verdict::Again(text.into());
        assert_eq!(verdict(exit(0)), again("ended with 0"));
        assert_eq!(verdict(exit(1)), again("ended with 1"));
        assert_eq!(
            verdict(ExitStatus::from_raw(9)),
            again("was ended by signal 9")
        );
        assert!(matches!(verdict(exit(78)), Verdict::Failed(_)));
    }
}
