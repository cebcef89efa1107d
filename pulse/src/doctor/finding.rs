//! One thing that was looked at.

use serde::Serialize;

/// How bad it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// As it should be.
    Ok,
    /// It works, and could be better.
    Warning,
    /// It does not work.
    Error,
}

/// One thing that was looked at.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub check: &'static str,
    /// How bad it is.
    pub level: Level,
    /// What was found.
    pub found: String,
    /// How to mend it, where there is something to mend.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
}

impl Finding {
    /// As it should be.
    pub fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self {
            check,
            level: Level::Ok,
            found: found.into(),
            mend: None,
        }
    }

    /// It works, and could be better.
    pub fn warning(check: &'static str, found: impl Into<String>, mend: impl Into<String>) -> Self {
        let (found, mend) = (found.into(), Some(mend.into()));
        Self {
            check,
            level: Level::Warning,
            found,
            mend,
        }
    }

    /// It does not work.
    pub fn error(check: &'static str, found: impl Into<String>, mend: impl Into<String>) -> Self {
        let (found, mend) = (found.into(), Some(mend.into()));
        Self {
            check,
            level: Level::Error,
            found,
            mend,
        }
    }
}

/// The findings for people: a line each, and a second one with how to mend it.
pub fn to_text(findings: &[Finding]) -> String {
    let width = findings
        .iter()
        .map(|finding| finding.check.len())
        .max()
        .unwrap_or(0);
    let mut text = String::new();
    for finding in findings {
        let word = match finding.level {
            Level::Ok => "ok     ",
            Level::Warning => "warning",
            Level::Error => "ERROR  ",
        };
        text.push_str(&format!(
            "{word}  {:width$}  {}\n",
            finding.check, finding.found
        ));
        if let Some(mend) = &finding.mend {
            text.push_str(&format!("         {:width$}  -> {mend}\n", ""));
        }
    }
    let count = |level| {
        findings
            .iter()
            .filter(|finding| finding.level == level)
            .count()
    };
    let (errors, warnings) = (count(Level::Error), count(Level::Warning));
    text.push_str(&match (errors, warnings) {
        (0, 0) => "\nnothing is wrong\n".to_owned(),
        (errors, warnings) => format!("\nerrors: {errors}, warnings: {warnings}\n"),
    });
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_comes_with_its_remedy() {
        let findings = [
            Finding::ok("memory", "23 GB"),
            Finding::warning("ports", "9092 is taken", "the next free one is used"),
            Finding::error(
                "java",
                "is missing",
                "apt-get install -y default-jre-headless",
            ),
        ];
        insta::assert_snapshot!(to_text(&findings), @r"
        ok       memory  23 GB
        warning  ports   9092 is taken
                         -> the next free one is used
        ERROR    java    is missing
                         -> apt-get install -y default-jre-headless

        errors: 1, warnings: 1
        ");
        assert!(to_text(&findings[..1]).ends_with("nothing is wrong\n"));
    }
}
