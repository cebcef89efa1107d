//! Requests, faults of the disk, crashes and rounds of the drain, by seed, against a vector.

use std::io;
use std::path::Path;

use runtime::testing::is_soak;

use super::medium::Medium;
use super::*;

/// What the disk does next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mood {
    Well,
    /// The next write stops after some bytes.
    Write(io::ErrorKind),
    /// The next fsync fails.
    Sync,
    /// The next cut fails, and what leads to one.
    Cut,
    /// The process dies in the next write, and nothing that it does has an effect any more.
    Dies,
    Dead,
}

struct Disk {
    mood: Mood,
    random: fastrand::Rng,
}

/// A real file whose disk has moods.
struct Moody {
    file: Box<dyn Medium>,
    disk: Arc<Mutex<Disk>>,
}

fn broken() -> io::Error {
    io::Error::from(io::ErrorKind::Other)
}

impl Medium for Moody {
    fn write(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut disk = locked(&self.disk);
        let part = disk.random.usize(..=bytes.len());
        let (error, next) = match disk.mood {
            Mood::Well | Mood::Sync => return self.file.write(bytes, offset),
            Mood::Write(kind) => (io::Error::from(kind), Mood::Well),
            Mood::Cut => (broken(), Mood::Cut),
            Mood::Dies => (broken(), Mood::Dead),
            Mood::Dead => return Err(broken()),
        };
        disk.mood = next;
        self.file.write(&bytes[..part], offset)?;
        Err(error)
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut disk = locked(&self.disk);
        match disk.mood {
            Mood::Dead => Err(broken()),
            Mood::Sync => {
                disk.mood = Mood::Well;
                Err(broken())
            }
            _ => self.file.sync(),
        }
    }

    fn cut(&mut self, bytes: u64) -> io::Result<()> {
        let mut disk = locked(&self.disk);
        match disk.mood {
            Mood::Dead => Err(broken()),
            Mood::Cut => {
                disk.mood = Mood::Well;
                Err(broken())
            }
            _ => self.file.cut(bytes),
        }
    }
}

/// What the client of a request knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Known {
    Stored,
    Refused,
    /// The process died before it answered.
    Nothing,
}

struct World {
    config: DiskLogConfig,
    random: fastrand::Rng,
    disk: Arc<Mutex<Disk>>,
    process: Option<Process>,
    /// The naive log: all requests in their order.
    requests: Vec<(Known, Vec<String>)>,
    published: Vec<String>,
}

struct Process {
    shelf: Arc<Shelf>,
    writer: Writer,
    reader: Reader,
    position: PositionFile,
}

impl World {
    fn new(seed: u64, config: DiskLogConfig) -> Self {
        let disk = Disk {
            mood: Mood::Well,
            random: fastrand::Rng::with_seed(seed ^ 1),
        };
        Self {
            config,
            random: fastrand::Rng::with_seed(seed),
            disk: Arc::new(Mutex::new(disk)),
            process: None,
            requests: vec![],
            published: vec![],
        }
    }

    fn process(&mut self) -> &mut Process {
        let (config, disk) = (&self.config, &self.disk);
        self.process.get_or_insert_with(|| {
            locked(disk).mood = Mood::Well;
            let found = recovery::open(&config.folder).unwrap();
            let shelf = Arc::new(Shelf::new(config, found.segments, found.position));
            let disk = Arc::clone(disk);
            let create = move |path: &Path| -> io::Result<Box<dyn Medium>> {
                let file = medium::create(path)?;
                let disk = Arc::clone(&disk);
                Ok(Box::new(Moody { file, disk }))
            };
            let writer = Writer::new(
                config.clone(),
                Arc::clone(&shelf),
                Figures::register(&Metrics::default()),
                Box::new(create),
                found.lock,
                found.next_index,
            );
            Process {
                reader: Reader::new(config.folder.clone(), found.position),
                position: found.position_file,
                shelf,
                writer,
            }
        })
    }

    /// Some requests that one fsync serves.
    fn append(&mut self) {
        let mut group = vec![];
        let mut answers = vec![];
        for _ in 0..self.random.usize(1..5) {
            let request = self.requests.len();
            let count = self.random.usize(1..5);
            let length = self.random.usize(0..900);
            let text = |at| format!("{request}.{at}{}", "x".repeat(length));
            let texts: Vec<String> = (0..count).map(text).collect();
            let records: Vec<_> = texts.iter().map(|text| record(text.as_bytes())).collect();
            let (reply, answer) = oneshot::channel();
            let room = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
            group.push(Request {
                bytes: entry::encode(&records),
                count: records.len() as u64,
                reply,
                going: Arc::clone(&self.process().shelf).going(),
                room,
            });
            answers.push(answer);
            self.requests.push((Known::Nothing, texts));
        }
        let first = self.requests.len() - answers.len();
        self.process().writer.commit(group);
        let is_dead = locked(&self.disk).mood == Mood::Dead;
        for (at, mut answer) in answers.into_iter().enumerate() {
            self.requests[first + at].0 = match answer.try_recv().expect("each is answered") {
                Ok(()) => Known::Stored,
                Err(_) if is_dead => Known::Nothing,
                Err(_) => Known::Refused,
            };
        }
        if is_dead {
            self.process = None;
        }
    }

    /// A round of the drain, which may end between the acknowledgement and the position.
    fn drain(&mut self) {
        let dies = self.random.u8(..5) == 0;
        let process = self.process();
        let batch = process.reader.next_batch(&process.shelf).unwrap();
        assert_eq!(batch.lost_count, 0, "nothing was damaged");
        let texts = texts(&batch.records);
        if !dies {
            process.position.write(batch.end).unwrap();
            for index in process.shelf.advance(batch.end) {
                let path = self.config.folder.join(segment::name(index));
                std::fs::remove_file(path).unwrap();
            }
        }
        self.published.extend(texts);
        if dies {
            self.process = None;
        }
    }

    fn step(&mut self) {
        let mood = match self.random.u8(..20) {
            0 => Mood::Write(io::ErrorKind::StorageFull),
            1 => Mood::Write(io::ErrorKind::Other),
            2 => Mood::Sync,
            3 => Mood::Cut,
            4 => Mood::Dies,
            _ => Mood::Well,
        };
        match self.random.u8(..3) {
            0 => self.drain(),
            _ => {
                self.process();
                locked(&self.disk).mood = mood;
                self.append();
                let mut disk = locked(&self.disk);
                if !matches!(disk.mood, Mood::Cut | Mood::Sync) {
                    disk.mood = Mood::Well;
                }
            }
        }
    }

    /// What came out, repeats left out, against what went in.
    fn judge(mut self) {
        locked(&self.disk).mood = Mood::Well;
        loop {
            self.drain();
            if self.process().shelf.is_empty() && self.process().shelf.is_settled() {
                break;
            }
        }
        let mut seen = std::collections::HashSet::new();
        let first = self.published.iter().filter(|text| seen.insert(*text));
        let first: Vec<&String> = first.collect();
        let mut expected = vec![];
        for (known, texts) in &self.requests {
            let there = texts.iter().filter(|text| first.contains(text)).count();
            match known {
                Known::Stored => assert_eq!(there, texts.len(), "a stored request is lost"),
                Known::Refused => assert_eq!(there, 0, "a refused request came back"),
                Known::Nothing => assert!(there == 0 || there == texts.len(), "half a request"),
            }
            if there > 0 {
                expected.extend(texts);
            }
        }
        assert_eq!(first, expected, "in the order in which they were stored");
    }
}

#[test]
fn whatever_the_disk_does_stored_is_stored_and_refused_is_not() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    for run in 0..if is_soak() { 300 } else { 30 } {
        println!("run {run}");
        let folder = tempfile::tempdir().unwrap();
        let mut world = World::new(seed.wrapping_add(run), small(&folder));
        for _ in 0..60 {
            world.step();
        }
        world.judge();
    }
}
