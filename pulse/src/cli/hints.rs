//! Commands to try next, as the user would have to type them here.

use std::path::{Component, Path, PathBuf};

use schemas::ids::TenantId;

use crate::installation::access::{CLICKHOUSE_READER, READER_SECRET};
use crate::installation::{DataFolder, RunFile};
use crate::up::define::key_file;
use crate::up::roles::API;

/// `pulse status`, by the path by which this program was called and with the folder that is meant.
pub fn of(folder: &DataFolder, command: &str) -> String {
    let program = std::env::args_os()
        .next()
        .map(PathBuf::from)
        .unwrap_or_else(|| "pulse".into());
    let here = std::env::current_dir().unwrap_or_default();
    spelled(&program, &here, folder, command)
}

fn spelled(program: &Path, here: &Path, folder: &DataFolder, command: &str) -> String {
    let program = short(program, here);
    let program = match program.components().next() {
        // A path that lies below, however it was spelled.
        Some(Component::Normal(_)) if program.components().count() > 1 => {
            format!("./{}", program.display())
        }
        _ => program.display().to_string(),
    };
    match folder.path() == here.join(".pulse") {
        true => format!("{program} {command}"),
        false => format!(
            "{program} {command} --data {}",
            short(folder.path(), here).display()
        ),
    }
}

/// A path as it is seen from here, where it lies below.
fn short(path: &Path, here: &Path) -> PathBuf {
    path.strip_prefix(here).unwrap_or(path).to_owned()
}

/// What to try once all is up.
pub fn after_up(folder: &DataFolder, run: &RunFile) -> String {
    let mut commands = vec![
        (of(folder, "top"), "watch the markets and the pipeline"),
        (of(folder, "status"), "see how every process is"),
    ];
    if let (Some(url), Some(tenant)) = (&run.clickhouse_url, &run.tenant) {
        commands.push((
            candles(folder, url, tenant, run.clickhouse_is_own),
            "read candles by SQL",
        ));
    }
    if let (Some(api), Some(tenant)) = (run.address_of(API), &run.tenant) {
        commands.push((post(folder, api, tenant), "send an event of your own"));
        commands.push((search(folder, api, tenant), "find it again"));
    }
    let mut text = String::from("Try, in another terminal:\n");
    for (command, what) in commands {
        text.push_str(&format!("\n  # {what}\n  {command}\n"));
    }
    text
}

/// A header with the key that `pulse up` has made.
fn key_header(folder: &DataFolder, tenant: &TenantId) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    let path = folder.join(&key_file(tenant));
    format!("-H \"X-API-Key: $(cat {})\"", short(&path, &here).display())
}

fn post(folder: &DataFolder, api: &str, tenant: &TenantId) -> String {
    let event = "{\"event_type\": \"user_action\", \"name\": \"hello\", \
                 \"source\": {\"service\": \"me\"}}";
    format!(
        "curl -s http://{api}/api/v1/ingestion/events {} -d '{event}'",
        key_header(folder, tenant)
    )
}

fn search(folder: &DataFolder, api: &str, tenant: &TenantId) -> String {
    format!(
        "curl -s 'http://{api}/api/v1/ingestion/events/search?service=me' {}",
        key_header(folder, tenant)
    )
}

fn candles(folder: &DataFolder, url: &str, tenant: &TenantId, is_own: bool) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    let user = match is_own {
        true => {
            let secret = short(&folder.join(READER_SECRET), &here);
            format!(
                "--user \"{CLICKHOUSE_READER}:$(cat {})\" ",
                secret.display()
            )
        }
        false => "--user \"$PULSE_CLICKHOUSE_USER:$PULSE_CLICKHOUSE_PASSWORD\" ".to_owned(),
    };
    let sql = format!(
        "SELECT product, window_start, open, high, low, close, volume, trades \
         FROM pulse.candles WHERE tenant = '{tenant}' AND window_ms = 60000 \
         ORDER BY window_start DESC LIMIT 10 FORMAT PrettyCompact"
    );
    format!("curl -s {user}{url} --data \"{sql}\"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use runtime::config::Environment;

    fn check(program: &str, folder: &str, expect: &str) {
        let mut env = Environment::of::<String, String>([]);
        let folder = DataFolder::find(Some(Path::new(folder)), &mut env).unwrap();
        assert_eq!(
            spelled(Path::new(program), Path::new("/home"), &folder, "top"),
            expect
        );
    }

    #[test]
    fn commands_can_be_typed_as_they_are_shown() {
        check(
            "/home/target/debug/pulse",
            "/home/.pulse",
            "./target/debug/pulse top",
        );
        check(
            "./target/debug/pulse",
            "/home/.pulse",
            "./target/debug/pulse top",
        );
        check("../bin/pulse", "/home/.pulse", "../bin/pulse top");
        check("pulse", "/home/.pulse", "pulse top");
        check(
            "/usr/bin/pulse",
            "/home/data",
            "/usr/bin/pulse top --data data",
        );
        check("pulse", "/var/data", "pulse top --data /var/data");
    }
}
