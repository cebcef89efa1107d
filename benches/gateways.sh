#!/usr/bin/env bash
# Ingest over HTTP beside Bento and the plain axum ceiling: one broker, one run, the same events in
# size and number, wrk on the same cores; medians and ratios.
#
# benches/gateways.sh [--runs N] [--seconds N] [--only 100x64]
#
# The others lie in ../shared/peers, or where PULSE_PEERS says, and are built in a copy under the
# target folder. It needs Go, and wrk.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
peers=${PULSE_PEERS:-$root/../shared/peers}
target=${CARGO_TARGET_DIR:-$root/target}
work=$target/gateways

fail() { printf '%s\n' "$*" >&2; exit 1; }
[ -d "$peers" ] || fail "the peers are not there: $peers (PULSE_PEERS names another folder)"
for tool in cargo go wrk; do
  command -v "$tool" >/dev/null || fail "$tool is needed and not on PATH"
done

mkdir -p "$work"
if [ ! -x "$work/bento" ]; then
  rm -rf "$work/bento-source"
  cp -r "$peers/bento" "$work/bento-source"
  chmod -R u+w "$work/bento-source"
  (cd "$work/bento-source" && go build -o "$work/bento" .)
fi
# Its subjects are ours.
sed 's/json("product")/json("subject")/' "$peers/gateways/bento.yaml" >"$work/bento.yaml"
if [ ! -x "$work/ceiling" ]; then
  rm -rf "$work/ceiling-source"
  cp -r "$peers/ceiling" "$work/ceiling-source"
  chmod -R u+w "$work/ceiling-source"
  printf '\n[workspace]\n' >>"$work/ceiling-source/Cargo.toml"
  CARGO_TARGET_DIR=$work/ceiling-target cargo build -q --release \
    --manifest-path "$work/ceiling-source/Cargo.toml" --bin gw
  cp "$work/ceiling-target/release/gw" "$work/ceiling"
fi
cargo build -q --release --manifest-path "$root/Cargo.toml" --workspace --bins
exec "$target/release/gateway" --others "$work" "$@"
