//! A test waits for what must come about: no test sleeps, and `runtime::testing` alone paces looks.

use super::repository::{assert_none, files_named};

const SLEEPS: [&str; 2] = [concat!("thread::", "sleep("), concat!("time::", "sleep(")];

fn is_test(path: &str) -> bool {
    format!("/{path}").contains("/tests/")
        || path.starts_with("tests/")
        || path.ends_with("/tests.rs")
}

fn sleeps(text: &str) -> Vec<String> {
    let lines = text.lines().enumerate();
    let broken = lines.filter(|(_, line)| SLEEPS.iter().any(|sleep| line.contains(sleep)));
    broken
        .map(|(at, _)| format!("line {} sleeps", at + 1))
        .collect()
}

#[test]
fn no_test_sleeps() {
    let files = files_named(".rs").into_iter();
    let found = files.filter(|file| is_test(&file.path)).flat_map(|file| {
        let found = sleeps(&file.text).into_iter();
        found
            .map(move |what| format!("{}: {what}", file.path))
            .collect::<Vec<_>>()
    });
    assert_none(found.collect());
}

#[test]
fn a_sleep_is_seen() {
    let text = "fn f() {\n    std::thread::SLEEP(WAIT);\n    tokio::time::SLEEP(WAIT).await;\n}";
    let found = sleeps(&text.replace("SLEEP", "sleep"));
    assert_eq!(found, ["line 2 sleeps", "line 3 sleeps"]);
    assert_eq!(sleeps("waker.sleep(wait);"), [""; 0]);
    for (path, expect) in [
        ("tests/src/topic.rs", true),
        ("processors/tests/simulation/main.rs", true),
        ("pulse/src/stack/cache/tests.rs", true),
        ("runtime/src/testing.rs", false),
        ("benches/src/bin/line.rs", false),
    ] {
        assert_eq!(is_test(path), expect, "{path}");
    }
}
