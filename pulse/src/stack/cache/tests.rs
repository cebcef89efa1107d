//! Where the cache is; a thing in it was fetched once, and whole.

use super::*;

use std::sync::atomic::{AtomicUsize, Ordering};

use runtime::testing::eventually;

fn holds_thing(folder: &Path) -> bool {
    folder.join("thing").is_file()
}

async fn put_thing(folder: &Path) -> Result<(), FetchError> {
    std::fs::write(folder.join("thing"), "whole").unwrap();
    Ok(())
}

fn silent(_: &str) {}

#[track_caller]
fn check(variables: &[(&str, &str)], expect: &str) {
    let cache = Cache::of(&mut Environment::of(variables.iter().copied())).unwrap();
    assert_eq!(cache.root(), Path::new(expect));
}

#[test]
fn the_nearest_setting_says_where_it_is() {
    check(&[("HOME", "/home/ada")], "/home/ada/.cache/pulsestream");
    check(
        &[("HOME", "/home/ada"), ("XDG_CACHE_HOME", "/big")],
        "/big/pulsestream",
    );
    check(&[("HOME", "/home/ada"), ("PULSE_CACHE", "/mine")], "/mine");
    let none = Cache::of(&mut Environment::of([("USER", "ada")]));
    assert!(matches!(none, Err(FetchError::NoCache)));
}

#[tokio::test]
async fn a_thing_is_fetched_once_even_by_many_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::at(folder.path().join("not/there/yet"));
    let fills = AtomicUsize::new(0);
    let waits = AtomicUsize::new(0);
    let waiting = |_: &str| {
        waits.fetch_add(1, Ordering::SeqCst);
    };
    let fetch = || {
        cache.install("thing", holds_thing, &waiting, async |draft| {
            fills.fetch_add(1, Ordering::SeqCst);
            // The others get their turn here, and must not take it.
            eventually("the others wait", async || {
                match waits.load(Ordering::SeqCst) {
                    2 => Ok(()),
                    count => Err(format!("{count} wait")),
                }
            })
            .await;
            put_thing(draft).await
        })
    };
    let (first, second, third) = tokio::join!(fetch(), fetch(), fetch());
    assert_eq!(first.unwrap(), second.unwrap());
    assert_eq!(third.unwrap(), cache.root().join("thing"));
    assert_eq!(fills.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn what_failed_or_was_torn_leaves_nothing_and_is_fetched_again() {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::at(folder.path());
    let failed = cache
        .install("thing", holds_thing, &silent, async |draft| {
            put_thing(draft).await?;
            Err(FetchError::NoCache)
        })
        .await;
    assert!(matches!(failed, Err(FetchError::NoCache)));
    let empty = cache
        .install("thing", holds_thing, &silent, async |_| Ok(()))
        .await;
    assert!(matches!(
        empty,
        Err(FetchError::Incomplete { what: "thing" })
    ));
    assert!(!folder.path().join("thing").exists() && !folder.path().join("thing.draft").exists());

    // A fetch that was killed half-way, and a thing that somebody damaged.
    std::fs::create_dir(folder.path().join("thing.draft")).unwrap();
    std::fs::create_dir(folder.path().join("thing")).unwrap();
    let place = cache
        .install("thing", holds_thing, &silent, put_thing)
        .await
        .unwrap();
    assert!(holds_thing(&place));
}
