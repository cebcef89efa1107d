//! Folders that somebody cut or damaged.

use std::ops::Range;
use std::path::PathBuf;

use runtime::testing::is_soak;

use super::*;

/// A record of a folder: where it stands, and what it says.
#[derive(Clone, Debug)]
struct Known {
    file: PathBuf,
    range: Range<u64>,
    text: String,
    request: usize,
}

/// A folder of these requests, and where each record of them stands; `value` of (request, record).
fn written(
    config: &DiskLogConfig,
    requests: &[usize],
    value: impl Fn(usize, usize) -> String,
) -> Vec<Known> {
    let log = open(config);
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().unwrap();
    let mut known = vec![];
    for (request, count) in requests.iter().enumerate() {
        let texts: Vec<String> = (0..*count).map(|at| value(request, at)).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        runtime.block_on(append(&log, &texts)).unwrap();
        let last = segments(config).pop().unwrap();
        let mut end = std::fs::metadata(&last).unwrap().len();
        let mut new = vec![];
        for text in texts.iter().rev() {
            let start = end - entry::bytes_of(&[record(text.as_bytes())]);
            new.push(Known {
                file: last.clone(),
                range: start..end,
                text: (*text).to_owned(),
                request,
            });
            end = start;
        }
        known.extend(new.into_iter().rev());
    }
    known
}

fn segments(config: &DiskLogConfig) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(&config.folder).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let is_segment = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap();
        segment::index_of(name).is_some()
    };
    let mut paths: Vec<_> = paths.filter(is_segment).collect();
    paths.sort();
    paths
}

fn flip(path: &PathBuf, bit: u64) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[(bit / 8) as usize] ^= 1 << (bit % 8);
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn wherever_the_end_is_cut_off_whole_requests_are_left() {
    let folder = tempfile::tempdir().unwrap();
    let config = small(&folder);
    let known = written(&config, &[2, 1, 3, 1], |request, at| {
        format!("{request}.{at}")
    });
    let path = known[0].file.clone();
    let bytes = std::fs::read(&path).unwrap();
    for length in (0..=bytes.len()).rev() {
        // What a crash leaves may also be zeros.
        for tail in [0, 7] {
            let mut left = bytes[..length].to_vec();
            left.resize(length + tail, 0);
            std::fs::write(&path, left).unwrap();
            let is_whole = |one: &Known| {
                let ends = known.iter().filter(|other| other.request == one.request);
                ends.map(|other| other.range.end).max() <= Some(length as u64)
            };
            let expected = known.iter().filter(|one| is_whole(one));
            let expected: Vec<_> = expected.map(|one| one.text.clone()).collect();
            let (read, lost_count) = read_all(&config);
            assert_eq!(texts(&read), expected, "{length} bytes and {tail} zeros");
            assert_eq!(lost_count, 0, "{length} bytes and {tail} zeros");
        }
    }
}

/// A process that dies while it begins a segment leaves a file without a head; what stands in the
/// segment before it waits all the same.
#[tokio::test]
async fn a_segment_without_a_head_hides_nothing_that_stands_before_it() {
    for length in [0, 3, segment::HEAD_BYTES as usize] {
        let folder = tempfile::tempdir().unwrap();
        let config = small(&folder);
        let log = open(&config);
        append(&log, &["a", "b"]).await.unwrap();
        drop(log);
        let last = segments(&config).pop().unwrap();
        let name = last.file_name().unwrap().to_str().unwrap();
        let index = segment::index_of(name).unwrap();
        let begun = config.folder.join(segment::name(index + 1));
        std::fs::write(begun, vec![0; length]).unwrap();
        let log = open(&config);
        assert_eq!(log.depth().entry_count, 2, "{length} bytes");
        append(&log, &["c"]).await.unwrap();
        let published = drained(&log, |_| Outcome::Published).await;
        assert_eq!(published, ["a", "b", "c"], "{length} bytes");
    }
}

#[test]
fn damage_costs_the_entries_that_it_hits_and_no_other() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    for _ in 0..if is_soak() { 500 } else { 60 } {
        let folder = tempfile::tempdir().unwrap();
        let config = small(&folder);
        let counts: Vec<usize> = (0..random.usize(2..30))
            .map(|_| random.usize(1..6))
            .collect();
        let lengths = random.u64(..);
        let known = written(&config, &counts, |request, at| {
            let mut random = fastrand::Rng::with_seed(lengths ^ (request * 8 + at) as u64);
            format!("{request}.{at}{}", "x".repeat(random.usize(0..700)))
        });
        // The last request's end is where a crash may have cut: another test's.
        let last = known.last().unwrap().request;
        let may_hit: Vec<_> = known.iter().filter(|one| one.request != last).collect();
        let mut hit = vec![];
        for _ in 0..random.usize(1..6) {
            let one = may_hit[random.usize(..may_hit.len())];
            let bit = random.u64(one.range.start * 8..one.range.end * 8);
            if !hit.contains(&(one.text.clone(), bit)) {
                flip(&one.file, bit);
                hit.push((one.text.clone(), bit));
            }
        }
        let is_hit = |one: &Known| hit.iter().any(|(text, _)| *text == one.text);
        let expected = known.iter().filter(|one| !is_hit(one));
        let expected: Vec<_> = expected.map(|one| one.text.clone()).collect();
        let (read, lost_count) = read_all(&config);
        assert_eq!(texts(&read), expected, "hit: {hit:?}");
        assert_eq!(lost_count as usize, known.len() - expected.len());
    }
}

#[test]
fn a_stretch_of_zeros_costs_what_it_covers() {
    let folder = tempfile::tempdir().unwrap();
    let config = small(&folder);
    let value = |request: usize, _| format!("{request}{}", "x".repeat(500));
    let known = written(&config, &[1; 40], value);
    let files = segments(&config);
    assert!(files.len() > 2, "{files:?}");
    // The whole of the second segment but its head, and the middle of the first.
    let mut bytes = std::fs::read(&files[1]).unwrap();
    bytes[segment::HEAD_BYTES as usize..].fill(0);
    std::fs::write(&files[1], bytes).unwrap();
    let mut bytes = std::fs::read(&files[0]).unwrap();
    bytes[2_000..4_000].fill(0);
    std::fs::write(&files[0], bytes).unwrap();
    let is_left = |one: &&Known| {
        let is_before_or_behind = one.range.end <= 2_000 || one.range.start >= 4_000;
        one.file != files[1] && (one.file != files[0] || is_before_or_behind)
    };
    let expected: Vec<_> = known
        .iter()
        .filter(is_left)
        .map(|one| one.text.clone())
        .collect();
    let (read, lost_count) = read_all(&config);
    assert_eq!(texts(&read), expected);
    assert_eq!(lost_count as usize, known.len() - expected.len());
}

#[test]
fn a_segment_without_a_head_is_put_aside_and_the_others_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let config = small(&folder);
    let value = |request: usize, _| format!("{request}{}", "x".repeat(500));
    let known = written(&config, &[1; 40], value);
    let files = segments(&config);
    let mut bytes = std::fs::read(&files[1]).unwrap();
    bytes[..segment::HEAD_BYTES as usize].fill(0);
    std::fs::write(&files[1], bytes).unwrap();
    let others = known.iter().filter(|one| one.file != files[1]);
    let expected: Vec<_> = others.map(|one| one.text.clone()).collect();
    let (read, lost_count) = read_all(&config);
    assert_eq!(texts(&read), expected);
    assert_eq!(lost_count as usize, known.len() - expected.len());
    assert!(files[1].with_extension("unreadable").exists());
}

#[test]
fn an_entry_that_a_payload_forges_is_never_read() {
    let folder = tempfile::tempdir().unwrap();
    let config = small(&folder);
    let forged = Record {
        topic: "pulse.other.events",
        key: b"k",
        value: b"forged",
    };
    let mut payload = entry::encode(&[forged; 3]);
    // Whoever forges knows everything but the salt.
    let place = entry::Place {
        salt: 0,
        offset: segment::HEAD_BYTES + 36 + 8 + (TOPIC.len() + "shop".len()) as u64,
        number: 0,
        stored_at_ms: 0,
    };
    entry::seal(&mut payload, &place);
    let log = open(&config);
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build().unwrap();
    runtime.block_on(async {
        log.append(&[record(&payload)]).await.unwrap();
        append(&log, &["next"]).await.unwrap();
    });
    drop(log);
    let path = segments(&config).remove(0);
    flip(&path, segment::HEAD_BYTES * 8 + 40);
    let (read, lost_count) = read_all(&config);
    assert_eq!((texts(&read), lost_count), (vec!["next".to_owned()], 1));
}

#[test]
fn a_lost_position_repeats_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let config = small(&folder);
    let known = written(&config, &[1, 2], |request, at| format!("{request}.{at}"));
    std::fs::write(config.folder.join(position::NAME), b"nonsense").unwrap();
    let (read, lost_count) = read_all(&config);
    assert_eq!((read.len(), lost_count), (known.len(), 0));
}

#[test]
fn a_later_format_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let config = small(&folder);
    written(&config, &[1], |_, _| "a".into());
    let path = segments(&config).remove(0);
    let mut bytes = std::fs::read(&path).unwrap();
    for copy in bytes[..segment::HEAD_BYTES as usize].chunks_mut(64) {
        copy[8] = 9;
        let crc = crc32c::crc32c(&copy[..60]);
        copy[60..].copy_from_slice(&crc.to_le_bytes());
    }
    std::fs::write(&path, &bytes).unwrap();
    let Err(error) = recovery::open(&config.folder) else {
        panic!("it was opened");
    };
    assert!(error.to_string().contains("format 9"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
}
