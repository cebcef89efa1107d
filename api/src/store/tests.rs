//! The store by itself: what is kept, what is refused, and what a comparison mends. What needs
//! brokers is in the tests of the whole (`tests/tests/store`).

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;

use fastrand::Rng;
use runtime::config::Secret;
use runtime::control::Published;
use rusqlite::Connection;
use schemas::control::{ControlKey, Definition, Kind, Tenant};
use schemas::time::EventTime;

use super::*;

/// Nobody listens there: these tests need no brokers.
fn nowhere() -> KafkaConfig {
    KafkaConfig::plaintext("127.0.0.1:1")
}

async fn open(folder: &Path) -> Result<Store, OpenError> {
    let control = ControlConfig::new(Secret::new("a secret of this test"));
    Store::open(folder, &nowhere(), &control, &Metrics::default()).await
}

/// A store that has taken an empty topic over.
async fn opened(folder: &Path) -> Store {
    let store = open(folder).await.unwrap();
    if !*store.shared.is_open.borrow() {
        let take_over =
            |sql: &mut Connection| compare::take_over(&mut Change::of(sql), &compare::Topic::new());
        store.database.run(take_over).await.unwrap();
        store.shared.is_open.send_replace(true);
    }
    store
}

fn key(tenant: &str) -> ControlKey {
    ControlKey {
        tenant: tenant.parse().unwrap(),
        kind: Kind::Tenant,
        id: "self".into(),
    }
}

fn named(name: &str) -> Definition {
    Definition::Tenant(Tenant::new(name))
}

async fn put(store: &Store, tenant: &str, name: &str) -> Row {
    let (key, definition) = (key(tenant), named(name));
    let make = move |change: &mut Change<'_>| change.put(&key, &definition);
    store.commit::<_, StoreError>(make).await.unwrap().0
}

async fn outbox(store: &Store) -> Vec<(i64, String, i64, bool)> {
    let head = store.database.run(|sql| outbox::head(sql)).await.unwrap();
    let rows = head.changes.into_iter();
    rows.map(|(number, change)| {
        let is_there = change.body.is_some();
        (number, change.key.to_string(), change.version, is_there)
    })
    .collect()
}

#[tokio::test]
async fn versions_go_on_through_a_deletion_and_nothing_is_written_twice() {
    let folder = tempfile::tempdir().unwrap();
    let store = opened(folder.path()).await;
    assert_eq!(put(&store, "acme", "Acme").await.version, 1);
    assert_eq!(put(&store, "acme", "Acme").await.version, 1);
    assert_eq!(put(&store, "acme", "Acme Ltd").await.version, 2);
    let delete = |change: &mut Change<'_>| change.delete(&key("acme"));
    let (gone, _) = store.commit::<_, StoreError>(delete).await.unwrap();
    assert_eq!(gone.unwrap().version, 2);
    let (gone, _) = store.commit::<_, StoreError>(delete).await.unwrap();
    assert_eq!(gone, None);
    assert_eq!(put(&store, "acme", "Acme again").await.version, 4);
    let name = || "acme/tenant/self".to_owned();
    let expect = [
        (1, name(), 1, true),
        (2, name(), 2, true),
        (3, name(), 3, false),
        (4, name(), 4, true),
    ];
    assert_eq!(outbox(&store).await, expect);
}

#[tokio::test]
async fn a_change_that_fails_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let store = opened(folder.path()).await;
    let make = |change: &mut Change<'_>| {
        change.put(&key("acme"), &named("Acme"))?;
        Err::<(), _>(StoreError::Closed)
    };
    assert!(store.commit(make).await.is_err());
    assert_eq!(outbox(&store).await, []);
    let look = |change: &Change<'_>| change.row(&key("acme"));
    assert_eq!(store.read::<_, StoreError>(look).await.unwrap(), None);
    // Its number was not used up either: the next change has it.
    assert_eq!(put(&store, "acme", "Acme").await.outbox_number, 1);
}

#[tokio::test]
async fn what_is_not_published_is_kept_through_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    let store = opened(folder.path()).await;
    put(&store, "acme", "Acme").await;
    drop(store);
    let store = open(folder.path()).await.unwrap();
    let expect = [(1, "acme/tenant/self".to_owned(), 1, true)];
    assert_eq!(outbox(&store).await, expect);
    assert_eq!(*store.shared.published.borrow(), 0);
    // Saying it again waits for what is still on its way.
    let make = |change: &mut Change<'_>| change.put(&key("acme"), &named("Acme"));
    let (_, ticket) = store.commit::<_, StoreError>(make).await.unwrap();
    assert_eq!(ticket, Ticket(1));
}

#[tokio::test]
async fn nothing_is_changed_before_the_topic_was_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await.unwrap();
    let make = |change: &mut Change<'_>| change.put(&key("acme"), &named("Acme"));
    let error = store.commit::<_, StoreError>(make).await.unwrap_err();
    assert!(matches!(error, StoreError::NotTakenOver));
}

#[tokio::test]
async fn one_process_has_a_store_and_nobody_else_reads_it() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("of/the/api");
    let store = open(&place).await.unwrap();
    let error = open(&place).await.err().unwrap().to_string();
    assert!(error.contains("in use by another process"), "{error}");
    drop(store);
    let store = opened(&place).await;
    put(&store, "acme", "Acme").await;
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&place), 0o700);
    for entry in std::fs::read_dir(&place).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}

#[tokio::test]
async fn a_backup_is_of_one_moment_and_restored_without_its_outbox() {
    let folder = tempfile::tempdir().unwrap();
    let (place, file) = (folder.path().join("api"), folder.path().join("backup"));
    let store = opened(&place).await;
    put(&store, "acme", "Acme").await;
    store.backup(&file).await.unwrap();
    let again = store.backup(&file).await.unwrap_err();
    assert!(matches!(again, BackupError::Exists(_)));
    put(&store, "acme", "Acme later").await;
    put(&store, "shop", "Shop").await;

    let in_use = restore(&file, &place).unwrap_err();
    assert!(
        matches!(in_use, BackupError::Open(OpenError::InUse { .. })),
        "{in_use}"
    );
    drop(store);
    restore(&file, &place).unwrap();
    let store = open(&place).await.unwrap();
    let look = |change: &Change<'_>| change.every_row();
    let rows = store.read::<_, StoreError>(look).await.unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].definition().unwrap(), Some(named("Acme")));
    assert_eq!(outbox(&store).await, []);
    assert!(
        *store.shared.is_open.borrow(),
        "it does not take the topic over again"
    );
}

#[tokio::test]
async fn what_is_no_backup_is_not_restored() {
    let folder = tempfile::tempdir().unwrap();
    let (place, file) = (folder.path().join("api"), folder.path().join("backup"));
    drop(opened(&place).await);
    let missing = restore(&file, &place).unwrap_err();
    assert!(matches!(missing, BackupError::NotOne { .. }), "{missing}");
    std::fs::write(&file, "a shopping list").unwrap();
    let text = restore(&file, &place).unwrap_err();
    assert!(matches!(text, BackupError::NotOne { .. }), "{text}");
    std::fs::remove_file(&file).unwrap();
    Connection::open(&file)
        .unwrap()
        .execute_batch("CREATE TABLE t (a)")
        .unwrap();
    let other = restore(&file, &place).unwrap_err();
    assert!(matches!(other, BackupError::NotOne { .. }), "{other}");
    opened(&place).await;
}

/// A topic as those who follow it see it: a record counts when its version is higher.
#[derive(Default)]
struct Followed(compare::Topic);

impl Followed {
    /// Takes the outbox in, every record of which must count.
    fn publish(&mut self, sql: &Connection, seed: u64) -> i64 {
        let head = outbox::head(sql).unwrap();
        let Some(last) = head.changes.last().map(|(number, _)| *number) else {
            return head.last_number;
        };
        for (_, change) in head.changes {
            let held = self.0.get(&change.key).map_or(0, |held| held.version);
            assert!(
                change.version > held,
                "seed {seed}: {change:?} is behind {held}"
            );
            let published = Published {
                version: change.version,
                changed_at: change.changed_at,
                body: change.body,
            };
            self.0.insert(change.key, published);
        }
        outbox::forget(sql, last).unwrap();
        self.publish(sql, seed)
    }
}

fn fresh() -> Connection {
    let mut sql = Connection::open_in_memory().unwrap();
    migrations::apply(&mut sql, Path::new("memory")).unwrap();
    sql
}

fn copy_of(sql: &Connection) -> Connection {
    let mut copy = Connection::open_in_memory().unwrap();
    let backup = rusqlite::backup::Backup::new(sql, &mut copy).unwrap();
    backup.step(-1).unwrap();
    drop(backup);
    copy
}

fn live(sql: &Connection) -> BTreeMap<ControlKey, String> {
    let rows = Change::of(sql).every_row().unwrap().into_iter();
    rows.filter_map(|row| Some((row.key, row.body?))).collect()
}

fn change_at_random(sql: &Connection, random: &mut Rng) {
    let key = key(["a", "b", "c", "d"][random.usize(..4)]);
    let mut change = Change::of(sql);
    match random.u8(..4) {
        0 => drop(change.delete(&key).unwrap()),
        _ => drop(
            change
                .put(&key, &named(["x", "y", "z"][random.usize(..3)]))
                .unwrap(),
        ),
    }
}

/// What somebody else wrote to the topic, or what it lost.
fn harm_at_random(topic: &mut Followed, random: &mut Rng) {
    let key = key(["a", "b", "c", "d", "e"][random.usize(..5)]);
    let version = topic.0.get(&key).map_or(0, |held| held.version) + random.i64(1..4);
    let body = random.bool().then(|| named("foreign").body());
    let published = Published {
        version,
        changed_at: EventTime::from_us(0),
        body,
    };
    match random.u8(..3) {
        0 => drop(topic.0.remove(&key)),
        _ => drop(topic.0.insert(key, published)),
    }
}

/// Whatever the topic and the store went through, one comparison makes the topic say what the store
/// says, under versions that count; the next one finds nothing to do.
#[test]
fn the_store_wins_over_the_topic_also_when_it_is_older() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = Rng::with_seed(seed);
    for _ in 0..300 {
        let (mut sql, mut topic) = (fresh(), Followed::default());
        let mut backup = copy_of(&sql);
        for _ in 0..random.usize(1..40) {
            match random.u8(..12) {
                0 => backup = copy_of(&sql),
                1 => {
                    sql = copy_of(&backup);
                    sql.execute("DELETE FROM outbox", []).unwrap();
                    settle(&sql, &mut topic, seed);
                }
                2 => {
                    harm_at_random(&mut topic, &mut random);
                    settle(&sql, &mut topic, seed);
                }
                _ => {
                    change_at_random(&sql, &mut random);
                    topic.publish(&sql, seed);
                }
            }
            let said = topic.0.iter();
            let said = said.filter_map(|(key, held)| Some((key.clone(), held.body.clone()?)));
            assert_eq!(live(&sql), said.collect(), "seed {seed}");
        }
    }
}

/// What the courier does each minute.
fn settle(sql: &Connection, topic: &mut Followed, seed: u64) {
    let drained = topic.publish(sql, seed);
    let findings = compare::look(&Change::of(sql), &topic.0, drained).unwrap();
    compare::mend(&mut Change::of(sql), &topic.0, &findings, drained).unwrap();
    let drained = topic.publish(sql, seed);
    let findings = compare::look(&Change::of(sql), &topic.0, drained).unwrap();
    let count = compare::mend(&mut Change::of(sql), &topic.0, &findings, drained);
    assert_eq!(count.unwrap(), 0, "seed {seed}");
}

/// A change that comes between reading the topic and comparing is no difference: publishing it
/// again would begin a meter's windows anew.
#[test]
fn what_is_on_its_way_is_no_difference() {
    let (sql, mut topic) = (fresh(), Followed::default());
    Change::of(&sql).put(&key("a"), &named("x")).unwrap();
    let drained = topic.publish(&sql, 0);
    Change::of(&sql).put(&key("a"), &named("y")).unwrap();
    Change::of(&sql).put(&key("b"), &named("y")).unwrap();
    let findings = compare::look(&Change::of(&sql), &topic.0, drained).unwrap();
    assert_eq!(findings.differences, []);
    let drained = outbox::head(&sql).unwrap().last_number;
    let findings = compare::look(&Change::of(&sql), &topic.0, drained).unwrap();
    assert_eq!(findings.differences.len(), 2);
    // One that is changed between the look and the mending is left alone as well.
    Change::of(&sql).put(&key("a"), &named("z")).unwrap();
    let count = compare::mend(&mut Change::of(&sql), &topic.0, &findings, drained);
    assert_eq!(count.unwrap(), 1);
}

/// A later release writes a field that an earlier one left out: that is no other definition.
#[test]
fn texts_that_say_the_same_are_no_difference() {
    let (sql, mut topic) = (fresh(), compare::Topic::new());
    Change::of(&sql).put(&key("a"), &named("x")).unwrap();
    let published = Published {
        version: 7,
        changed_at: EventTime::from_us(0),
        body: Some(r#"{"name": "x"}"#.into()),
    };
    topic.insert(key("a"), published);
    let findings = compare::look(&Change::of(&sql), &topic, 1).unwrap();
    assert_eq!(findings.differences, []);
    compare::mend(&mut Change::of(&sql), &topic, &findings, 1).unwrap();
    let row = Change::of(&sql).put(&key("a"), &named("y")).unwrap();
    assert_eq!(row.version, 8, "its version goes on behind the topic's");
}

#[test]
fn settings_say_what_can_be() {
    let read = |pairs: &[(&str, &str)]| {
        let mut env = Environment::of(pairs.iter().copied());
        let settings = StoreSettings::read(&mut env);
        env.finish(settings)
    };
    let settings = read(&[]).unwrap();
    assert_eq!(settings.registration, Registration::Closed);
    let open = read(&[("PULSE_REGISTRATION", "open"), ("PULSE_API_DATA", "/x")]).unwrap();
    assert_eq!(open.registration, Registration::Open);
    assert_eq!(open.folder, Path::new("/x"));
    assert!(read(&[("PULSE_REGISTRATION", "yes")]).is_err());
}
