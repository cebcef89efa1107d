//! What no file may say: where it once lay on somebody's machine, from which server packages came,
//! and how the project is made. Licences and schemas of others are theirs.

use super::repository::{File, assert_none, files};

/// Texts that only one machine knows, and servers whose names change from place to place; each is
/// cut in two so that this file does not say it.
const PLACES: [(&str, &str); 10] = [
    ("/wo", "rk/"),
    ("/ro", "ot/"),
    ("registry.", "npmjs.org"),
    ("repo1.", "maven.org"),
    ("repo.maven.", "apache.org"),
    ("py", "pi.org"),
    ("pythonho", "sted.org"),
    ("static.cra", "tes.io"),
    ("index.cra", "tes.io"),
    ("proxy.", "golang.org"),
];

/// Words about how the project is made, cut in two likewise; whole words, in these letters.
const MAKERS: [(&str, &str); 10] = [
    ("A", "I"),
    ("LL", "M"),
    ("GP", "T"),
    ("Cla", "ude"),
    ("Anth", "ropic"),
    ("OpenA", "I"),
    ("Copi", "lot"),
    ("sub", "agent"),
    ("age", "nts"),
    ("co-authored", "-by"),
];

fn violations(text: &str) -> Vec<String> {
    let mut found = vec![];
    for (at, line) in text.lines().enumerate() {
        let place = PLACES
            .iter()
            .map(|(a, b)| [*a, *b].concat())
            .find(|place| line.contains(place));
        let maker = MAKERS
            .iter()
            .map(|(a, b)| [*a, *b].concat())
            .find(|word| says(line, word));
        let what = place.or(maker);
        found.extend(what.map(|what| format!("line {} says {what:?}", at + 1)));
    }
    found
}

/// True when the line holds the word, with no letter or digit beside it.
fn says(line: &str, word: &str) -> bool {
    let is_free = |c: Option<char>| !c.is_some_and(char::is_alphanumeric);
    line.match_indices(word).any(|(at, _)| {
        is_free(line[..at].chars().next_back()) && is_free(line[at + word.len()..].chars().next())
    })
}

fn is_ours(file: &File) -> bool {
    !file.path.starts_with("tests/fixtures/") && file.path != "Cargo.lock"
}

#[test]
fn files_speak_of_the_project_alone() {
    let mut found = vec![];
    for file in files().iter().filter(|file| is_ours(file)) {
        let broken = violations(&file.text);
        found.extend(broken.iter().map(|what| format!("{}: {what}", file.path)));
    }
    assert_none(found);
}

#[test]
fn what_may_not_be_said_is_seen() {
    for (a, b) in PLACES.iter().chain(&MAKERS) {
        let line = format!("fine\nsee {a}{b} there");
        assert_eq!(
            violations(&line),
            [format!("line 2 says {:?}", [*a, *b].concat())]
        );
    }
    let fine = "MAIN, AIM, user agent, framework, homework, artwork/x";
    assert_eq!(violations(fine), [""; 0]);
}
