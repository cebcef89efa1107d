//! What a process counts, as its `/metrics` says it.

/// The samples of one answer.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Samples(Vec<Sample>);

/// One line of it.
#[derive(Clone, PartialEq, Debug)]
struct Sample {
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
}

impl Samples {
    /// Reads the lines that can be read; the others are nobody's.
    pub fn read(text: &str) -> Self {
        Self(text.lines().filter_map(Sample::read).collect())
    }

    /// The sum of all samples of that name which have these labels; `None` when there are none.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let mut values = self
            .matching(name, labels)
            .map(|sample| sample.value)
            .peekable();
        values.peek()?;
        Some(values.sum())
    }

    fn matching<'a>(
        &'a self,
        name: &'a str,
        labels: &'a [(&'a str, &'a str)],
    ) -> impl Iterator<Item = &'a Sample> {
        self.0
            .iter()
            .filter(move |sample| sample.name == name && sample.has(labels))
    }
}

impl Sample {
    fn read(line: &str) -> Option<Self> {
        if line.starts_with('#') {
            return None;
        }
        let (head, rest) = match line.find('{') {
            Some(at) => {
                let (labels, end) = labels(&line[at + 1..])?;
                ((line[..at].to_owned(), labels), &line[at + 1 + end..])
            }
            None => {
                let (name, rest) = line.split_once(' ')?;
                ((name.to_owned(), Vec::new()), rest)
            }
        };
        let value = rest.split_ascii_whitespace().next()?.parse().ok()?;
        Some(Self {
            name: head.0,
            labels: head.1,
            value,
        })
    }

    fn has(&self, labels: &[(&str, &str)]) -> bool {
        let is_there = |(name, value): &(&str, &str)| {
            self.labels
                .iter()
                .any(|(key, found)| key == name && found == value)
        };
        labels.iter().all(is_there)
    }
}

/// Labels up to the closing brace, and where the text behind it begins.
fn labels(text: &str) -> Option<(Vec<(String, String)>, usize)> {
    let mut labels = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches(',');
        if let Some(after) = rest.strip_prefix('}') {
            return Some((labels, text.len() - after.len()));
        }
        let (name, quoted) = rest.split_once("=\"")?;
        let (value, length) = unquote(quoted)?;
        labels.push((name.to_owned(), value));
        rest = &quoted[length..];
    }
}

/// The text up to the closing quote, and where the rest begins.
fn unquote(text: &str) -> Option<(String, usize)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return Some((value, at + 1)),
            '\\' => match characters.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"# HELP pulse_records Records of `events` by fate.
# TYPE pulse_records gauge
pulse_records{tenant="demo",fate="late"} 3
pulse_records{tenant="other",fate="late"} 4
pulse_records{fate="in",tenant="demo"} 100
odd{path="a\"b,c}d\\n\n"} 1
pulse_commit_ms 2.5
broken{a="b 7
no value
# EOF
"#;

    #[test]
    fn samples_are_summed_by_name_and_labels() {
        let samples = Samples::read(TEXT);
        let sum = |name, labels| samples.sum(name, labels);
        assert_eq!(sum("pulse_records", &[("fate", "late")]), Some(7.0));
        assert_eq!(
            sum("pulse_records", &[("fate", "late"), ("tenant", "demo")]),
            Some(3.0)
        );
        assert_eq!(sum("pulse_records", &[("fate", "counted")]), None);
        assert_eq!(sum("pulse_commit_ms", &[]), Some(2.5));
        assert_eq!(sum("odd", &[("path", "a\"b,c}d\\n\n")]), Some(1.0));
        assert_eq!(sum("broken", &[]), None);
        assert_eq!(Samples::read("").sum("pulse_commit_ms", &[]), None);
    }
}
