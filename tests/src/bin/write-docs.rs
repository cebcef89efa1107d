//! Writes the pages that list every setting and every metric, from their declarations.

use std::path::Path;

use tests::documented;

fn main() -> std::io::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    std::fs::write(
        root.join(documented::CONFIGURATION),
        documented::configuration_page(),
    )?;
    std::fs::write(root.join(documented::METRICS), documented::metrics_page())
}
