//! Faults together, defaults, ranges, and secrets that are never printed.

use super::*;

const COUNT: Key = Key {
    name: "PULSE_COUNT",
    default: Some("4"),
    doc: "How many.",
};
const NAME: Key = Key {
    name: "PULSE_NAME",
    default: None,
    doc: "Who.",
};
const PASSWORD: Key = Key {
    name: "PULSE_PASSWORD",
    default: None,
    doc: "Whisper it.",
};

fn env(pairs: &[(&str, &str)]) -> Environment {
    Environment::of(pairs.iter().copied())
}

#[test]
fn all_faults_are_reported_together_and_without_values() {
    let mut env = env(&[("PULSE_COUNT", "hunter2")]);
    let count = env.number::<u32>(&COUNT, 1..=8);
    let name = env.text(&NAME);
    let password = env.secret(&PASSWORD);
    assert!(count.is_none() && name.is_none() && password.is_none());
    let error = env.finish(count).unwrap_err();
    let names: Vec<_> = error.faults.iter().map(|fault| fault.name).collect();
    assert_eq!(names, ["PULSE_COUNT", "PULSE_NAME", "PULSE_PASSWORD"]);
    assert!(!error.to_string().contains("hunter2"), "{error}");
}

#[test]
fn defaults_ranges_and_empty_values() {
    assert_eq!(env(&[]).number::<u32>(&COUNT, 1..=8), Some(4));
    assert_eq!(
        env(&[("PULSE_COUNT", " ")]).number::<u32>(&COUNT, 1..=8),
        Some(4)
    );
    assert_eq!(
        env(&[("PULSE_COUNT", "8")]).number::<u32>(&COUNT, 1..=8),
        Some(8)
    );
    assert_eq!(
        env(&[("PULSE_COUNT", "9")]).number::<u32>(&COUNT, 1..=8),
        None
    );
    assert_eq!(env(&[]).optional::<u32>(&NAME), Some(None));
}

#[test]
fn secrets_come_from_files_and_are_never_printed() {
    let file = std::env::temp_dir().join(format!("pulse-secret-{}", std::process::id()));
    std::fs::write(&file, "hunter2\n").unwrap();
    let secret = env(&[("PULSE_PASSWORD_FILE", file.to_str().unwrap())]).secret(&PASSWORD);
    std::fs::remove_file(&file).unwrap();
    let secret = secret.unwrap();
    assert_eq!(secret.reveal(), "hunter2");
    assert!(!format!("{secret:?} {:?}", Some(&secret)).contains("hunter2"));
    assert!(
        env(&[("PULSE_PASSWORD_FILE", "/nonexistent/secret")])
            .secret(&PASSWORD)
            .is_none()
    );
}

#[test]
fn a_secret_that_is_given_twice_is_refused_without_its_value() {
    let mut env = env(&[
        ("PULSE_PASSWORD", "hunter2"),
        ("PULSE_PASSWORD_FILE", "/nonexistent/hunter3"),
    ]);
    let secret = env.secret(&PASSWORD);
    assert_eq!(
        env.finish(secret).unwrap_err().to_string(),
        "1 setting(s) cannot be used\n  \
         PULSE_PASSWORD: is set and PULSE_PASSWORD_FILE too: leave one of them out"
    );
}

#[test]
fn what_would_be_ignored_is_refused_by_name_and_without_its_value() {
    let mut env = env(&[
        ("PULSE_NAME", "hunter2"),
        ("PULSE_PASSWORD_FILE", "hunter3"),
    ]);
    assert_eq!(env.refuse_ignored(&[COUNT], "nobody counts"), Some(()));
    let ignored = env.refuse_ignored(&[COUNT, NAME, PASSWORD], "nobody asks");
    assert_eq!(
        env.finish(ignored).unwrap_err().to_string(),
        "2 setting(s) cannot be used\n  \
         PULSE_NAME: would be ignored: nobody asks\n  \
         PULSE_PASSWORD: its file would be ignored: nobody asks"
    );
}

#[test]
fn every_key_is_well_formed_and_unique() {
    let mut seen = std::collections::HashSet::new();
    for (_, keys) in table() {
        for key in keys {
            let is_known = ["PULSE_", "OTEL_"]
                .iter()
                .any(|of| key.name.starts_with(of));
            assert!(is_known, "{}", key.name);
            assert!(
                key.doc.ends_with('.') && key.doc.len() > 10,
                "{}: {}",
                key.name,
                key.doc
            );
            assert!(seen.insert(key.name), "{} is listed twice", key.name);
        }
    }
}
