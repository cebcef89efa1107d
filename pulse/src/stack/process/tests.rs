//! Children that end, are killed, and leave a log behind.

use super::*;

use runtime::testing::until;

fn script(folder: &Path, text: &str) -> Launch {
    Launch::new("sh", folder.join("log")).arg("-c").arg(text)
}

/// Waits until `path` holds a line, as a sign of life from a child.
fn line_of(path: &Path) -> String {
    let mut text = String::new();
    until(|| {
        text = std::fs::read_to_string(path).unwrap_or_default();
        text.ends_with('\n')
    });
    text.trim().to_owned()
}

fn is_alive(pid: u32) -> bool {
    let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !matches!(
        state
            .rsplit(") ")
            .next()
            .and_then(|rest| rest.chars().next()),
        None | Some('Z')
    )
}

#[track_caller]
fn assert_dies(pid: u32) {
    until(|| !is_alive(pid));
}

#[tokio::test]
async fn output_goes_to_the_log_and_the_status_is_told() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("log"), "of an earlier run\n").unwrap();
    let launch = script(folder.path(), "echo $GREETING; echo oops >&2; pwd; exit 3");
    let process = launch.env("GREETING", "hello").folder("/").spawn().unwrap();
    assert_eq!(process.exited().await.code(), Some(3));
    assert!(!process.is_running());
    assert_eq!(process.log_tail(10), "hello\noops\n/");
    assert_eq!(process.log_tail(1), "/");
    assert!(
        process
            .last_words()
            .starts_with("sh ended with 3; its log ends:\nhello")
    );
}

#[tokio::test]
async fn stop_is_polite_first_and_kills_what_does_not_listen() {
    let folder = tempfile::tempdir().unwrap();
    let ready = folder.path().join("ready");
    let polite = script(
        folder.path(),
        "trap 'exit 7' TERM; echo > ready; while :; do sleep 0.01; done",
    );
    let polite = polite.folder(folder.path()).spawn().unwrap();
    line_of(&ready);
    polite.freeze();
    assert_eq!(polite.stop(Duration::from_secs(20)).await.code(), Some(7));

    std::fs::remove_file(&ready).unwrap();
    let deaf = script(
        folder.path(),
        "trap '' TERM; echo > ready; while :; do sleep 0.01; done",
    );
    let deaf = deaf.folder(folder.path()).spawn().unwrap();
    line_of(&ready);
    assert_eq!(deaf.stop(Duration::from_millis(50)).await.signal(), Some(9));
    // Harmless once it is gone.
    deaf.terminate();
    assert_eq!(deaf.kill9().await.signal(), Some(9));
}

#[test]
fn dropping_kills_the_whole_group() {
    let folder = tempfile::tempdir().unwrap();
    let launch = script(folder.path(), "sleep 600 & echo $! > grandchild; wait");
    let process = launch.folder(folder.path()).spawn().unwrap();
    let grandchild = line_of(&folder.path().join("grandchild")).parse().unwrap();
    assert!(is_alive(process.pid()) && is_alive(grandchild));
    let pid = process.pid();
    drop(process);
    assert!(
        !Path::new(&format!("/proc/{pid}")).exists(),
        "reaped before drop returns"
    );
    assert_dies(grandchild);
}

#[test]
fn a_child_outlives_the_thread_that_launched_it() {
    let folder = tempfile::tempdir().unwrap();
    let launch = script(folder.path(), "echo > ready; exec sleep 600").folder(folder.path());
    let launch = launch.orphan(Orphan::IsKilled);
    let process = std::thread::spawn(move || launch.spawn().unwrap())
        .join()
        .unwrap();
    line_of(&folder.path().join("ready"));
    // Had its life been bound to that thread, SIGKILL would have been first.
    process.terminate();
    let status = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(process.exited());
    assert_eq!(status.signal(), Some(15));
}

#[tokio::test]
async fn a_missing_program_is_told_in_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let launch = Launch::new("no-such-program-of-pulse", folder.path().join("log"));
    let process = launch.spawn().unwrap();
    assert_eq!(process.exited().await.code(), Some(127));
    assert!(process.log_tail(5).contains("no-such-program-of-pulse"));

    let direct = launch.orphan(Orphan::GoesOn).spawn();
    assert!(matches!(direct, Err(LaunchError::Spawn { .. })));
}

#[tokio::test]
async fn a_log_is_held_for_as_long_as_its_process_lives() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("not/there/yet/log");
    let tenure = Tenure::take(&log, Duration::ZERO).await.unwrap();
    let launch = Launch::new("sh", &log).args(["-c", "echo here; exec sleep 600"]);
    let process = launch.holding(tenure).spawn().unwrap();
    assert_eq!(line_of(&log), "here");
    let taken = Tenure::take(&log, Duration::from_millis(50)).await;
    assert!(matches!(taken, Err(TenureError::Taken { .. })));

    let patient = Tenure::take(&log, Duration::from_secs(20));
    let (tenure, _) = tokio::join!(patient, process.kill9());
    drop(tenure.unwrap());
    Tenure::take(&log, Duration::ZERO).await.unwrap();
}

#[tokio::test]
async fn a_large_log_is_put_aside_at_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("role.log");
    std::fs::write(&log, vec![b'x'; 17 * 1024 * 1024]).unwrap();
    let process = Launch::new("echo", &log).arg("small").spawn().unwrap();
    process.exited().await;
    assert_eq!(std::fs::read_to_string(&log).unwrap(), "small\n");
    let aside = folder.path().join("role.old.log").metadata().unwrap();
    assert_eq!(aside.len(), 17 * 1024 * 1024);
}
