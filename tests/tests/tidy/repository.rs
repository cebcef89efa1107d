//! The files of the repository.

use std::path::{Path, PathBuf};

/// What is built, fetched or kept by tools, and never ours.
const SKIPPED: [&str; 6] = ["target", ".git", ".pulse", ".env", "node_modules", "dist"];

/// A file, by its path from the repository's root.
pub(crate) struct File {
    pub(crate) path: String,
    pub(crate) text: String,
}

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every text file; what is no UTF-8 is none.
pub(crate) fn files() -> Vec<File> {
    let mut paths = vec![];
    walk(&root(), &mut paths);
    paths.sort();
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).ok()?;
        let path = path.strip_prefix(root()).ok()?.to_str()?.to_owned();
        Some(File { path, text })
    };
    paths.into_iter().filter_map(read).collect()
}

/// Every file whose name ends so.
pub(crate) fn files_named(end: &str) -> Vec<File> {
    let files: Vec<File> = files()
        .into_iter()
        .filter(|file| file.path.ends_with(end))
        .collect();
    assert!(
        !files.is_empty(),
        "no file ends in {end}: nothing would be checked"
    );
    files
}

fn walk(folder: &Path, paths: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name();
        if SKIPPED.iter().any(|skipped| name == *skipped) {
            continue;
        }
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => walk(&entry.path(), paths),
            kind if kind.is_file() => paths.push(entry.path()),
            _ => {}
        }
    }
}

/// Fails with all that breaks a rule.
#[track_caller]
pub(crate) fn assert_none(violations: Vec<String>) {
    assert!(
        violations.is_empty(),
        "{} in all:\n{}",
        violations.len(),
        violations.join("\n")
    );
}
