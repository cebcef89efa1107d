//! Python with packages at pinned versions: made once, by pip, in the user's cache.

use std::path::{Path, PathBuf};

use pulse::stack::cache::Cache;
use pulse::stack::fetch::FetchError;
use pulse::stack::{Launch, Process};

const ADVICE: &str = "pip fetches it from PyPI, or from the index that ~/.config/pip names; where \
    python3 has no venv, deploy/bootstrap.sh says what is missing";

/// The interpreter of an environment of that name with these requirements.
///
/// # Panics
/// When it cannot be made.
pub async fn python(name: &'static str, requirements: &str) -> PathBuf {
    let cache = Cache::of_user().unwrap();
    let is_whole = |folder: &Path| {
        let held = std::fs::read_to_string(folder.join("requirements.txt"));
        held.is_ok_and(|held| held == requirements)
    };
    let fill = async |draft: &Path| {
        let wanted = draft.join("wanted.txt");
        write(&wanted, requirements)?;
        let venv = Launch::new("python3", draft.join("venv.log"));
        run(name, venv.args(["-m", "venv"]).arg(draft)).await?;
        let pip = Launch::new(draft.join("bin/python"), draft.join("pip.log"));
        let install = ["-m", "pip", "install", "--quiet", "--requirement"];
        run(name, pip.args(install).arg(wanted)).await?;
        // Last: it says that the environment is whole.
        write(&draft.join("requirements.txt"), requirements)
    };
    let tell = |text: &str| eprintln!("{text}");
    let folder = cache.install(name, is_whole, &tell, fill).await;
    folder.unwrap().join("bin/python")
}

/// What a script says, run to its end with these arguments.
///
/// # Panics
/// When it does not end well.
pub fn run_script(python: &Path, script: &Path, arguments: &[&str]) -> String {
    let mut command = std::process::Command::new(python);
    let output = command.arg(script).args(arguments).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (said, complaint) = (text(&output.stdout), text(&output.stderr));
    let script = script.display();
    assert!(
        output.status.success(),
        "{script} {arguments:?}: {said}{complaint}"
    );
    said
}

async fn run(what: &'static str, tool: Launch) -> Result<(), FetchError> {
    let tool: Process = tool.spawn()?;
    match tool.exited().await.success() {
        true => Ok(()),
        false => Err(FetchError::Refused {
            what,
            complaint: tool.last_words(),
            advice: ADVICE,
        }),
    }
}

fn write(path: &Path, text: &str) -> Result<(), FetchError> {
    std::fs::write(path, text).map_err(|source| FetchError::Cache {
        path: path.to_owned(),
        source,
    })
}
