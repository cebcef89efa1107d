//! Each cell of the table: who, where, how, and what must come.

use api::routes::{Entry, Needs, TABLE};
use tests::http::Answer;

use crate::credentials::{Carrier, Verdict, Who, verdict};
use crate::place::Place;
use crate::rows::{About, Door, ROWS, Row};

/// Headers that differ from answer to answer and tell of nobody but who asks. A body's length
/// follows from the body.
const PASSING: [&str; 3] = ["date", "ratelimit", "content-length"];

/// The status that must come.
pub(crate) fn expected(row: &Row, needs: Needs, door: Door, who: Who) -> u16 {
    if !row.doors.contains(&door) {
        return 404;
    }
    match verdict(who, needs) {
        Verdict::Unknown => 401,
        Verdict::Forbidden => 403,
        Verdict::Own => row.own,
        Verdict::Foreign => row.foreign,
    }
}

/// What remains of an answer when the thing that was asked about has no name and nothing a time.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Bare {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

impl Bare {
    pub(crate) fn status(&self) -> u16 {
        self.status
    }

    pub(crate) fn of(answer: &Answer, x: &str) -> Self {
        let bare = |text: &str| match x {
            "" => without_times(text),
            x => without_times(&text.replace(x, "{x}")),
        };
        let headers = answer.headers.iter();
        let headers = headers.filter(|(name, _)| !PASSING.contains(&name.as_str()));
        Self {
            status: answer.status,
            headers: headers
                .map(|(name, value)| (name.clone(), bare(value)))
                .collect(),
            body: bare(&answer.text()),
        }
    }
}

/// The text with each RFC 3339 instant as `{time}`.
fn without_times(text: &str) -> String {
    const FORM: &[u8] = b"0000-00-00T00:00:00";
    let is_one = |at: usize| {
        text.as_bytes()
            .get(at..at + FORM.len())
            .is_some_and(|found| {
                let mut pairs = found.iter().zip(FORM);
                pairs.all(|(found, form)| match form {
                    b'0' => found.is_ascii_digit(),
                    other => found == other,
                })
            })
    };
    let (mut bare, mut at) = (String::new(), 0);
    while let Some(letter) = text[at..].chars().next() {
        if is_one(at) {
            at += FORM.len();
            let rest = text[at..].find(|c: char| !c.is_ascii_digit() && c != '.' && c != 'Z');
            at += rest.unwrap_or(text.len() - at);
            bare.push_str("{time}");
        } else {
            bare.push(letter);
            at += letter.len_utf8();
        }
    }
    bare
}

#[test]
fn times_are_left_out_and_nothing_else() {
    let text = r#"{"a":"2026-01-02T03:04:05.123Z","b":"2026-01-02","c":"é"}"#;
    let bare = r#"{"a":"{time}","b":"2026-01-02","c":"é"}"#;
    assert_eq!(without_times(text), bare);
}

/// One cell.
struct Cell<'a> {
    place: &'a Place,
    row: &'a Row,
    needs: Needs,
    door: Door,
    who: Who,
    carrier: Carrier,
}

impl Cell<'_> {
    async fn ask(&self, x: &str) -> Answer {
        let (where_to, how) = ((self.row, self.door), (self.who, self.carrier));
        self.place.ask(where_to, how, x).await
    }

    fn name(&self) -> String {
        let (row, door, who, carrier) = (self.row, self.door, self.who, self.carrier);
        format!(
            "{} {} at {door:?} by {who:?} in {carrier:?}",
            row.method, row.path
        )
    }

    /// What is wrong with it.
    async fn check(&self) -> Vec<String> {
        let status = expected(self.row, self.needs, self.door, self.who);
        let is_served = self.row.doors.contains(&self.door);
        let is_own = is_served && verdict(self.who, self.needs) == Verdict::Own;
        let mut wrong = vec![];
        let (there, nowhere) = self.place.pair(self.row.about);
        if is_own && self.needs != Needs::Nothing {
            let x = match self.uses_up() {
                true => self.place.fresh(self.row).await,
                false => there,
            };
            let answer = self.ask(&x).await;
            self.judge(&answer, status, &mut wrong);
            self.clean_up(&answer, &self.place.own.key, &x).await;
            return wrong;
        }
        let about_there = self.ask(&there).await;
        self.judge(&about_there, status, &mut wrong);
        let foreign = &self.place.foreign.key;
        self.clean_up(&about_there, foreign, &there).await;
        let bare = Bare::of(&about_there, &there);
        if self.row.about != About::Nothing {
            let other = self.ask(&nowhere).await;
            self.clean_up(&other, foreign, &nowhere).await;
            let other = Bare::of(&other, &nowhere);
            self.compare(&bare, &other, "one that nobody has", &mut wrong);
        }
        if self.is_said_to_everybody(status) {
            let nobody = Cell {
                who: Who::Nobody,
                carrier: Carrier::Header,
                ..*self
            };
            let nobody = Bare::of(&nobody.ask(&there).await, &there);
            self.compare(&bare, &nobody, "what nobody hears", &mut wrong);
        }
        wrong
    }

    /// True where everybody hears the same, whatever key comes along: a key that was good once is
    /// like one that never was. An origin is another matter.
    fn is_said_to_everybody(&self, status: u16) -> bool {
        let is_served = self.row.doors.contains(&self.door);
        let is_alike = self.needs == Needs::Nothing || status == 401 || !is_served;
        is_alike && self.who.origin().is_none()
    }

    fn compare(&self, found: &Bare, other: &Bare, what: &str, wrong: &mut Vec<String>) {
        if found != other {
            wrong.push(format!(
                "{}: {found:?} and of {what}: {other:?}",
                self.name()
            ));
        }
    }

    fn judge(&self, answer: &Answer, status: u16, wrong: &mut Vec<String>) {
        let name = self.name();
        if answer.status != status {
            let text = answer.text();
            wrong.push(format!(
                "{name}: {status} must come, and {} did: {text}",
                answer.status
            ));
        }
        let media_type = answer.header("content-type").unwrap_or_default();
        let error_type = match self.row.path.starts_with("/registry") {
            true => "application/vnd.schemaregistry.v1+json",
            false => "application/problem+json",
        };
        if answer.status >= 400 && media_type != error_type {
            wrong.push(format!("{name}: an error as {media_type}"));
        }
        let is_page = self.who == Who::Public && answer.status < 300;
        let may_be_read = is_page || self.row.method == "OPTIONS";
        if !may_be_read && answer.header("access-control-allow-origin").is_some() {
            wrong.push(format!("{name}: another origin's page may read it"));
        }
    }

    /// True where asking leaves the thing gone, or made.
    fn uses_up(&self) -> bool {
        let is_made = self.row.method == "POST" && self.row.own == 201;
        let is_thing = matches!(self.row.about, About::Meter | About::Feed | About::Key);
        let is_rotated = self.row.path.ends_with("/rotate");
        is_thing && (self.row.method == "DELETE" || is_made) && !is_rotated
    }

    /// Takes back what was made, so that the next cell finds all as it was.
    async fn clean_up(&self, answer: &Answer, key: &str, x: &str) {
        if answer.status != 201 {
            return;
        }
        let path = match self.row.about {
            About::Meter => format!("/api/v1/meters/{x}"),
            About::Feed => format!("/api/v1/feeds/{x}"),
            _ => format!(
                "/api/v1/auth/keys/{}",
                answer.json()["id"].as_str().unwrap()
            ),
        };
        self.place.delete(&path, key).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_answers_everybody_as_the_table_says() {
    let place = Place::open().await;
    let (mut wrong, mut count) = (vec![], 0);
    for row in ROWS {
        let entry: &Entry = TABLE
            .iter()
            .find(|entry| (entry.method, entry.path) == (row.method, row.path))
            .unwrap();
        for door in Door::ALL {
            for who in Who::ALL {
                for carrier in Carrier::of(who, entry.needs) {
                    let cell = Cell {
                        place: &place,
                        row,
                        needs: entry.needs,
                        door,
                        who,
                        carrier: *carrier,
                    };
                    wrong.extend(cell.check().await);
                    count += 1;
                }
            }
        }
    }
    println!("{count} cells");
    assert!(
        wrong.is_empty(),
        "{} of {count}:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    place.is_as_it_was().await;
    place.tells_nobody();
    let mut installation = place.installation;
    installation.stop_all().await;
}
