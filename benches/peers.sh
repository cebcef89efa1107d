#!/usr/bin/env bash
# The peers' windowing job on Kafka Streams, on Flink, on the hand-tuned ceiling and on ours: one
# broker, one run, medians and ratios.
#
# benches/peers.sh [--bytes events|own|both] [--runs N] [--engines 'ours ceiling ks flink']
#
# events: every engine reads our Events; the peers' decoders are exchanged for ones that do.
# own:    each peer reads the shorter records that it was written for, and ours its Events: the
#         comparison that favours the peers.
#
# The peers lie in ../shared/peers, or where PULSE_PEERS says. They are worked on in a copy, under
# the target folder.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
peers=${PULSE_PEERS:-$root/../shared/peers}
target=${CARGO_TARGET_DIR:-$root/target}
work=$target/peers
bytes=events runs=3 engines='ours ceiling ks flink'
rows=203970 digests='48f7527eabc6ff36 8708f9081defc247'

say() { printf '%s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

while [ $# -gt 0 ]; do
  case $1 in
    --bytes) bytes=$2 ;;
    --runs) runs=$2 ;;
    --engines) engines=$2 ;;
    *) fail "unknown argument $1: see the head of $0" ;;
  esac
  shift 2
done
case $bytes in both) forms='events own' ;; events | own) forms=$bytes ;; *) fail "--bytes $bytes" ;; esac
[ -d "$peers" ] || fail "the peers are not there: $peers (PULSE_PEERS names another folder)"
for tool in cargo java javac mvn python3; do
  command -v "$tool" >/dev/null || fail "$tool is needed and not on PATH"
done

# --- build -----------------------------------------------------------------------------------------

# A copy of the peers as they are, and one whose decoders read our Events.
copy() {
  mkdir -p "$work/$1"
  cp -r "$peers/." "$work/$1/"
  chmod -R u+w "$work/$1"
  # The copy lies inside our workspace and is not of it.
  printf '\n[workspace]\n' >>"$work/$1/ceiling/Cargo.toml"
}

adapt() {
  local read='r.eventId = i.str(); r.at = i.vlong(); r.product = i.str(); r.side = (int) i.vlong(); r.price = i.dec(); r.size = i.dec(); r.tradeId = i.vlong();'
  local ours='PulseEvent e = PulseEvent.read(b); r.eventId = e.eventId; r.at = e.at; r.product = e.product; r.side = e.side; r.price = e.price; r.size = e.size; r.tradeId = e.tradeId;'
  local file
  for file in "$1/kafka-streams/src/main/java/KsPeer.java" "$1/flink/src/FlinkPeer.java"; do
    grep -qF "$read" "$file" || fail "$file reads a trade otherwise than expected: adapt $0"
    python3 - "$file" "$read" "$ours" <<'PY'
import sys
path, old, new = sys.argv[1:]
text = open(path).read()
open(path, "w").write(text.replace(old, new))
PY
  done
  file=$1/ceiling/src/lib.rs
  grep -q '^pub fn decode_trade(' "$file" || fail "$file has no decode_trade: adapt $0"
  sed -i 's/^pub fn decode_trade(/pub fn decode_own_trade(/' "$file"
  cat "$root/benches/peers/ceiling-event.rs.in" >>"$file"
}

jars() {
  [ -d "$work/jars-$1/lib" ] && return
  say "fetching the jars of $1"
  mkdir -p "$work/jars-$1"
  cp "$peers/$1/pom.xml" "$work/jars-$1/"
  (cd "$work/jars-$1" && mvn -q -B dependency:copy-dependencies -DoutputDirectory=lib.part)
  mv "$work/jars-$1/lib.part" "$work/jars-$1/lib"
}

# compile FORM FOLDER SOURCE: the class files of one Java peer.
compile() {
  ln -sfn "$work/jars-$2/lib" "$work/$1/$2/lib"
  local sources=("$work/$1/$2/$3")
  [ "$1" = events ] && sources+=("$root/benches/peers/PulseEvent.java")
  javac -nowarn -d "$work/$1/$2/out" -cp "$work/jars-$2/lib/*" "${sources[@]}"
}

build() {
  local form program
  rm -rf "$work/events" "$work/own"
  jars kafka-streams
  jars flink
  for form in $forms; do
    copy "$form"
    [ "$form" = own ] || adapt "$work/$form"
    compile "$form" kafka-streams src/main/java/KsPeer.java
    compile "$form" flink src/FlinkPeer.java
    say "building the ceiling ($form)"
    CARGO_TARGET_DIR=$work/ceiling cargo build -q --release \
      --manifest-path "$work/$form/ceiling/Cargo.toml" --bin engine --bin digest --bin gen
    mkdir -p "$work/$form/bin"
    for program in engine digest gen; do cp "$work/ceiling/release/$program" "$work/$form/bin/"; done
  done
  if ! "$work/venv/bin/python" -c 'import confluent_kafka' 2>/dev/null; then
    python3 -m venv "$work/venv"
    "$work/venv/bin/pip" install -q confluent-kafka
  fi
  cargo build -q --release --manifest-path "$root/Cargo.toml" --workspace --bin windows
}

# --- run -------------------------------------------------------------------------------------------

engine() { # FORM ENGINE TOPIC
  local name=$1-$2 arguments=()
  case $2 in
    ours) "$target/release/windows" --brokers "$brokers" --broker-pid "$pid" --runs 1 | sed "s/^/$name: /"
          return ;;
    ceiling) arguments=(rust "$1" 1 "$brokers" "$pid" "$3" "$work/$1/bin" "$work/run" "$python"
               --threads 1 --commit-ms 50) ;;
    ks) arguments=(ks "$1" 1 "$brokers" "$pid" "$3" "$work/$1/bin" "$work/run" "$python"
               threads=1 store=memory commit=100) ;;
    flink) arguments=(flink "$1" 1 "$brokers" "$pid" "$3" "$work/$1/bin" "$work/run" "$python"
               parallelism=1 checkpoint=1000) ;;
    *) fail "unknown engine $2" ;;
  esac
  ROWS=$rows "$work/$1/run.sh" "${arguments[@]}" | sed "s/^/$name: /"
}

build
python=$work/venv/bin/python
results=$work/results.txt
: >"$results"
coproc SERVER { exec "$target/release/windows" --serve 1; }
server=$SERVER_PID
trap 'kill "$server" 2>/dev/null || true' EXIT
say 'starting a broker with the trades on it'
while read -r line <&"${SERVER[0]}"; do
  say "$line"
  case $line in SERVING*) read -r _ brokers pid events_topic <<<"$line"; break ;; esac
done
[ -n "${brokers:-}" ] || fail 'the broker did not come up'
case " $forms " in *' own '*)
  "$python" "$peers/adm.py" "$brokers" create trades 4 message.timestamp.type=LogAppendTime
  "$work/own/bin/gen" --brokers "$brokers" --topic trades | tee -a "$results" ;;
esac
for _ in $(seq "$runs"); do
  for form in $forms; do
    topic=$events_topic
    [ "$form" = events ] || topic=trades
    for name in $engines; do
      [ "$form-$name" = own-ours ] && [ "$forms" != own ] && continue
      engine "$form" "$name" "$topic" | tee -a "$results"
    done
  done
done
"$python" "$root/benches/peers/ratios.py" "$results" $digests
