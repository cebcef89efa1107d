//! ClickHouse as a process, from the library that holds its engine.
//!
//! `pulse-clickhouse-server LIBRARY --config-file=FILE`: loads `libchdb.so` and hands it a command
//! line, as its own `main` would get one, whose query opens the ports that the file names and then
//! sleeps for as long as the process lives. It ends by a signal, at any time: what the server has
//! acknowledged is in files by then, as with every `kill`.
//!
//! It is a program of its own because the engine brings its allocator, threads and signal handlers
//! along, and because a test must be able to kill it.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, OsString, c_char, c_int, c_void};
use std::os::unix::ffi::OsStringExt;
use std::process::ExitCode;

use anyhow::{Context, bail, ensure};
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW, Symbol};

/// Opens the native port last: who finds it finds HTTP as well. The sleep is one row after the
/// other, an hour each, for longer than any machine runs.
const SERVE: &str = "--query=SYSTEM START LISTEN HTTP; SYSTEM START LISTEN TCP; \
    SELECT sleepEachRow(3600) FROM numbers(100000000) \
    SETTINGS max_block_size = 1, function_sleep_max_microseconds_per_block = 0 FORMAT Null";

type QueryCommandLine = unsafe extern "C" fn(c_int, *mut *mut c_char) -> *mut c_void;
type ResultError = unsafe extern "C" fn(*mut c_void) -> *const c_char;

fn main() -> ExitCode {
    let Err(error) = serve(std::env::args_os().skip(1).collect());
    eprintln!("pulse-clickhouse-server: {error:#}");
    ExitCode::FAILURE
}

/// Serves until a signal ends the process; returning means that it could not.
fn serve(mut arguments: Vec<OsString>) -> anyhow::Result<std::convert::Infallible> {
    ensure!(
        !arguments.is_empty(),
        "usage: pulse-clickhouse-server LIBRARY --config-file=FILE"
    );
    let path = arguments.remove(0);
    // SAFETY: loading runs the library's initializers. It is the pinned, checked one, and this
    // process has no other threads and has set up nothing that they could upset.
    let library = unsafe { Library::open(Some(&path), RTLD_NOW | RTLD_LOCAL) }
        .with_context(|| format!("{} cannot be loaded", path.display()))?;
    // SAFETY: both have these signatures in chdb.h of the pinned version.
    let (query, result_error): (Symbol<QueryCommandLine>, Symbol<ResultError>) = unsafe {
        (
            library.get(b"chdb_query_cmdline\0")?,
            library.get(b"chdb_result_error\0")?,
        )
    };

    let fixed = ["--log-level=warning", "--logger.console=1", SERVE].map(OsString::from);
    let line = std::iter::once(OsString::from("clickhouse"))
        .chain(arguments)
        .chain(fixed);
    let line = line.map(|argument| CString::new(argument.into_vec()));
    let line = line
        .collect::<Result<Vec<_>, _>>()
        .context("an argument has a zero byte")?;
    // The engine may write to its arguments, as C programs may; none is read here afterwards.
    let mut line: Vec<*mut c_char> = line.into_iter().map(CString::into_raw).collect();
    let count = c_int::try_from(line.len()).context("too many arguments")?;
    line.push(std::ptr::null_mut());
    // SAFETY: `count` strings and a null, each valid until the process ends, as `main` gets them.
    let result = unsafe { query(count, line.as_mut_ptr()) };
    ensure!(!result.is_null(), "the engine gave up without a reason");
    // SAFETY: a result of this library's, not yet destroyed.
    let reason = unsafe { result_error(result) };
    ensure!(
        !reason.is_null(),
        "the engine stopped serving; its log is above"
    );
    // SAFETY: not null, so a string of the result's, which is never destroyed.
    let reason = unsafe { CStr::from_ptr(reason) }.to_string_lossy();
    bail!("{reason}")
}
