//! What processes tell of what they know: no log line and no argument has a secret in it.

use crate::place::Place;

impl Place {
    /// Fails where a log, an argument or a path of a process holds something secret.
    pub(crate) fn tells_nobody(&self) {
        let secrets = self.secrets();
        assert!(secrets.len() > 10 && secrets.iter().all(|(_, text)| text.len() > 8));
        for (name, role) in &self.installation.roles {
            let log = std::fs::read_to_string(role.process.log()).unwrap();
            assert!(log.lines().count() > 3, "{name} logs");
            let arguments = std::fs::read(format!("/proc/{}/cmdline", role.process.pid())).unwrap();
            let arguments = String::from_utf8_lossy(&arguments).into_owned();
            for (what, secret) in &secrets {
                for (place, text) in [("log", &log), ("arguments", &arguments)] {
                    let line = text.lines().find(|line| line.contains(secret.as_str()));
                    let line = line.map(|line| line.replace(secret.as_str(), "…"));
                    assert_eq!(line, None, "{name} has the {what} in its {place}");
                }
            }
        }
    }
}
