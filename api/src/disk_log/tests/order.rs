//! Who may pass by the log, and when.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

#[tokio::test]
async fn while_anything_is_unsettled_everybody_goes_behind_it() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(&small(&folder));
    assert!(matches!(log.admit().await, Admission::Through));
    append(&log, &["a"]).await.unwrap();
    let Admission::Behind(place) = log.admit().await else {
        panic!("somebody passed by");
    };
    drained_but(&log, "a").await;
    // Whoever was sent behind has not appended yet, so nobody passes him by.
    assert!(!log.is_empty());
    drop(place);
    assert!(matches!(log.admit().await, Admission::Through));
}

/// Drains until `last` is settled.
async fn drained_but(log: &DiskLog, last: &str) {
    let seen = AtomicBool::new(false);
    let outlet = Kept {
        values: Arc::default(),
        outcome: |text: &str| {
            seen.fetch_or(text == last, Ordering::SeqCst);
            Outcome::Published
        },
    };
    let shutdown = Shutdown::default();
    let settled = async {
        runtime::testing::eventually("the record is settled", async || {
            match log.depth().entry_count {
                0 => Ok(()),
                left => Err(left),
            }
        })
        .await;
        shutdown.request();
    };
    tokio::join!(log.drain(&outlet, &shutdown), settled);
    assert!(seen.load(Ordering::SeqCst));
}

/// Sends one event after the other until 100 went past the log; the last one's number.
async fn send(
    client: usize,
    log: Arc<DiskLog>,
    published: Arc<Mutex<Vec<String>>>,
    is_away: Arc<AtomicBool>,
) -> usize {
    let (mut number, mut passed) = (0, 0);
    loop {
        let text = format!("{client} {number}");
        match log.admit().await {
            Admission::Behind(_place) => append(&log, &[&text]).await.unwrap(),
            Admission::Through if is_away.load(Ordering::SeqCst) => {
                append(&log, &[&text]).await.unwrap();
            }
            Admission::Through => {
                locked(&published).push(text);
                passed += 1;
            }
        }
        if number == 50 && client == 0 {
            is_away.store(false, Ordering::SeqCst);
        }
        if passed == 100 {
            return number;
        }
        number += 1;
        tokio::task::yield_now().await;
    }
}

/// What clients send while the brokers are away and come back: each client's events in their
/// order, whichever way they go, and at last all go through, although the clients never rest.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn under_steady_load_the_log_hands_over_and_no_order_breaks() {
    const CLIENTS: usize = 16;
    let folder = tempfile::tempdir().unwrap();
    let config = DiskLogConfig {
        free_bytes_min: 0,
        ..DiskLogConfig::new(folder.path())
    };
    let log = Arc::new(open(&config));
    let published: Arc<Mutex<Vec<String>>> = Arc::default();
    let is_away = Arc::new(AtomicBool::new(true));
    let shutdown = Shutdown::default();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let (log, published) = (Arc::clone(&log), Arc::clone(&published));
            tokio::spawn(send(client, log, published, Arc::clone(&is_away)))
        })
        .collect();
    let draining = {
        let (log, published, is_away) = (Arc::clone(&log), Arc::clone(&published), is_away);
        let shutdown = shutdown.clone();
        tokio::spawn(async move {
            let outcome = move |_: &str| match is_away.load(Ordering::SeqCst) {
                true => Outcome::Retry,
                false => Outcome::Published,
            };
            let outlet = Kept {
                values: published,
                outcome,
            };
            log.drain(&outlet, &shutdown).await;
        })
    };
    let mut counts = vec![];
    for client in clients {
        counts.push(client.await.unwrap());
    }
    shutdown.request();
    draining.await.unwrap();
    assert!(log.is_empty());
    for (client, last) in counts.into_iter().enumerate() {
        let prefix = format!("{client} ");
        let published = locked(&published);
        let numbers = published
            .iter()
            .filter_map(|text| text.strip_prefix(&prefix));
        let numbers: Vec<usize> = numbers.map(|number| number.parse().unwrap()).collect();
        assert_eq!(numbers, (0..=last).collect::<Vec<_>>(), "client {client}");
    }
}

#[tokio::test]
async fn who_is_held_back_goes_behind_once_the_brokers_do_not_take_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let config = small(&folder);
    let found = recovery::open(&config.folder).unwrap();
    let shelf = Arc::new(Shelf::new(&config, vec![], found.position));
    let going = Arc::clone(&shelf).going();
    shelf.hand_over_if_near();
    let admitted = tokio::spawn(Arc::clone(&shelf).admit());
    // The task runs at the first yield, and waits then.
    tokio::task::yield_now().await;
    assert!(!admitted.is_finished());
    shelf.break_handover();
    assert!(matches!(admitted.await.unwrap(), Admission::Behind(_)));
    // After a handover that came to nothing there is none for a while.
    shelf.hand_over_if_near();
    assert!(matches!(
        Arc::clone(&shelf).admit().await,
        Admission::Behind(_)
    ));
    drop(going);
    assert!(matches!(shelf.admit().await, Admission::Through));
}

#[tokio::test]
async fn who_is_held_back_goes_through_once_the_log_is_empty() {
    let folder = tempfile::tempdir().unwrap();
    let config = small(&folder);
    let found = recovery::open(&config.folder).unwrap();
    let shelf = Arc::new(Shelf::new(&config, vec![], found.position));
    let going = Arc::clone(&shelf).going();
    shelf.hand_over_if_near();
    let admitted = tokio::spawn(Arc::clone(&shelf).admit());
    tokio::task::yield_now().await;
    assert!(!admitted.is_finished());
    drop(going);
    assert!(matches!(admitted.await.unwrap(), Admission::Through));
}

#[tokio::test]
async fn nobody_is_held_back_for_longer_than_a_handover() {
    let folder = tempfile::tempdir().unwrap();
    let config = small(&folder);
    let found = recovery::open(&config.folder).unwrap();
    let shelf = Arc::new(Shelf::new(&config, vec![], found.position));
    let _going = Arc::clone(&shelf).going();
    let begun = runtime::clock::monotonic();
    shelf.hand_over_if_near();
    assert!(matches!(shelf.admit().await, Admission::Behind(_)));
    assert!(begun.elapsed() >= shelf::HANDOVER_MAX);
}
