//! From the log to a step at work: state as of *S*, replay to the committed position, the clock.

use schemas::ids::Offset;
use schemas::time::BrokerTime;
use schemas::wire::{Reader, avro};

use super::log::{Committed, Log, LogError};
use super::metadata::CommitMetadata;
use super::partition::Partition;
use crate::fate::Fate;
use crate::step::{Output, Place, SHELL_KEY, StateError, Step};

/// Where a flush stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ShellState {
    /// *S*: the first record that is not in the state.
    pub(super) state_at: Offset,
    /// The partition's clock at *S*.
    pub(super) clock: BrokerTime,
    /// The control offset of the definitions in force.
    pub(super) control_at: Offset,
}

const FORMAT: u8 = 1;
const STATE_KEY: [u8; 2] = [SHELL_KEY, b's'];
const DEFINITIONS_KEY: [u8; 2] = [SHELL_KEY, b'd'];

/// Puts *S*, and the definitions where they changed, on the state stream.
pub(super) fn write_shell_state<S: Step>(
    out: &mut Output,
    place: &Place,
    state: &ShellState,
    definitions: Option<&S::Definitions>,
) {
    let partition = Some(place.partition);
    if let Some(definitions) = definitions {
        let json = serde_json::to_vec(definitions);
        let json = json.expect("definitions hold nothing that JSON cannot say");
        out.put(
            S::STATE,
            partition,
            |k| k.extend(DEFINITIONS_KEY),
            |v| {
                v.push(FORMAT);
                v.extend_from_slice(&json);
            },
        );
    }
    out.put(
        S::STATE,
        partition,
        |k| k.extend(STATE_KEY),
        |v| {
            v.push(FORMAT);
            avro::put_long(v, state.state_at);
            avro::put_long(v, state.clock.as_ms());
            avro::put_long(v, state.control_at);
        },
    );
}

fn read_shell_state(value: &[u8]) -> Result<ShellState, StateError> {
    let [FORMAT, body @ ..] = value else {
        return Err(StateError::new("another format"));
    };
    let mut r: Reader<'_> = Reader::new(body);
    let mut next = || {
        r.long("shell state")
            .map_err(|error| StateError::new(error.to_string()))
    };
    Ok(ShellState {
        state_at: next()?,
        clock: BrokerTime::from_ms(next()?),
        control_at: next()?,
    })
}

/// What the state stream held.
struct Found<S: Step> {
    step: S,
    shell: Option<ShellState>,
    definitions: Option<S::Definitions>,
}

/// Restores a partition, or begins it.
///
/// # Errors
/// [`Fate::Retry`] when the broker did not answer, or when the state that it shows is not yet that
/// of the committed position; [`Fate::Halt`] when it can never fit.
pub(super) fn partition<S: Step, L: Log>(
    log: &mut L,
    place: &Place,
    committed: Option<Committed>,
    current: (&S::Definitions, Offset),
    output_bytes_max: usize,
) -> Result<Partition<S>, LogError> {
    let partition_count = log.partition_count(place)?;
    let found = read_state::<S, L>(log, place, partition_count)?;
    let Some(committed) = committed else {
        return begin(log, place, found, current, output_bytes_max);
    };
    let metadata: CommitMetadata = committed
        .metadata
        .parse()
        .map_err(|error| halt(place, &error))?;
    let (shell, definitions) = match (found.shell, found.definitions) {
        (Some(shell), Some(definitions)) if shell.state_at == metadata.state_at => {
            (shell, definitions)
        }
        (shell, _) => return Err(mismatch::<S>(place, shell, &metadata)),
    };
    let mut step = found.step;
    step.finish_restore(&definitions)
        .map_err(|error| halt(place, &error))?;
    step.advance(shell.clock, &mut Output::default());
    let mut reached = shell.clock;
    let mut scratch = Output::default();
    log.replay(place, shell.state_at, committed.offset, &mut |record| {
        reached = reached.max(record.appended_at);
        step.advance(reached, &mut scratch);
        step.observe_one(record, &mut scratch);
        scratch.clear();
    })?;
    step.advance(metadata.clock, &mut scratch);
    let begun = (definitions, shell.control_at);
    Ok(Partition {
        clock: metadata.clock,
        // Ticks may have come before records that were replayed without them; what is older than
        // the committed clock must not be observed before a flush.
        ticked: Some(metadata.clock),
        state_at: Some(metadata.state_at),
        batch: Some(metadata.batch),
        ..Partition::new(place, step, begun, committed.offset, output_bytes_max)
    })
}

/// A partition that nothing was ever committed of.
fn begin<S: Step, L: Log>(
    log: &mut L,
    place: &Place,
    found: Found<S>,
    (definitions, control_at): (&S::Definitions, Offset),
    output_bytes_max: usize,
) -> Result<Partition<S>, LogError> {
    if found.shell.is_some() {
        let reason = "there is state, but no committed position: the group's offsets have expired \
                      or were deleted; the runbook says how to begin anew";
        return Err(halt(place, &StateError::new(reason)));
    }
    let next = log.beginning(place)?;
    let mut step = found.step;
    step.redefine(definitions, &mut Output::default());
    let begun = (definitions.clone(), control_at);
    Ok(Partition::new(place, step, begun, next, output_bytes_max))
}

/// The state topic does not show the state that the commit speaks of, yet or at all.
fn mismatch<S: Step>(
    place: &Place,
    shell: Option<ShellState>,
    metadata: &CommitMetadata,
) -> LogError {
    LogError {
        act: "restore",
        reason: format!(
            "{}[{}]: the state is of position {:?}, and the commit speaks of {}",
            place.tenant.topic(S::STATE),
            place.partition,
            shell.map(|shell| shell.state_at),
            metadata.state_at,
        ),
        fate: Fate::Retry,
    }
}

fn read_state<S: Step, L: Log>(
    log: &mut L,
    place: &Place,
    partition_count: i32,
) -> Result<Found<S>, LogError> {
    let mut found = Found {
        step: S::new(place, partition_count),
        shell: None,
        definitions: None,
    };
    let mut fault = None;
    log.restore(place, &mut |key, value| {
        if fault.is_none() {
            fault = take_state(&mut found, key, value).err();
        }
    })?;
    match fault {
        Some(error) => Err(halt(place, &error)),
        None => Ok(found),
    }
}

fn take_state<S: Step>(
    found: &mut Found<S>,
    key: &[u8],
    value: Option<&[u8]>,
) -> Result<(), StateError> {
    if key == STATE_KEY {
        found.shell = value.map(read_shell_state).transpose()?;
        return Ok(());
    }
    if key == DEFINITIONS_KEY {
        let Some([FORMAT, json @ ..]) = value else {
            return Err(StateError::new("definitions of another format"));
        };
        let definitions = serde_json::from_slice(json);
        found.definitions = Some(definitions.map_err(|error| StateError::new(error.to_string()))?);
        return Ok(());
    }
    found.step.restore(key, value)
}

fn halt(place: &Place, error: &dyn std::fmt::Display) -> LogError {
    LogError {
        act: "restore",
        reason: format!(
            "tenant {} partition {}: {error}",
            place.tenant, place.partition
        ),
        fate: Fate::Halt,
    }
}
