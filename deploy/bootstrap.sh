#!/usr/bin/env bash
# Makes sure that this machine can build and run PulseStream; `make up` and `make test` begin here.
#
# When all is there it says nothing and takes a fraction of a second. As root on Debian or Ubuntu it
# installs what is missing. For anybody else it names all that is missing and the one command that
# installs it, and ends with 1.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# What a first `make up` or `make test` takes.
build_mb=6000 # compiled code and the crates' sources: an estimate, on the safe side
cache_mb=900  # measured: Kafka and ClickHouse 633, what Maven and npm keep of them 236
data_mb=1000  # room to run
memory_mb=3500

own_servers='bring your own Kafka and ClickHouse: set PULSE_KAFKA_BROKERS to host:port and PULSE_CLICKHOUSE_URL to http(s)://host:port'
rustup_script="curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs"
rustup_options='-s -- -y --profile minimal --default-toolchain none'
toolchain=$(sed -n 's/^channel *= *"\(.*\)"/\1/p' rust-toolchain.toml)
PATH="$PATH:${CARGO_HOME:-$HOME/.cargo}/bin"

say() { printf 'bootstrap: %s\n' "$*" >&2; }
fail() { say "$@"; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

# True when Kafka and ClickHouse are the user's own, so that only Rust has to run here.
servers_are_elsewhere() { [[ -n ${PULSE_KAFKA_BROKERS:-} && -n ${PULSE_CLICKHOUSE_URL:-} ]]; }

check_system() {
    local system
    system="$(uname -s) on $(uname -m)"
    [[ $system == Linux* ]] || fail "PulseStream runs on Linux, in a virtual machine as well; this" \
        "is $system"
    servers_are_elsewhere && return
    [[ $system == 'Linux on x86_64' ]] || fail "the local Kafka and ClickHouse are for Linux on" \
        "x86_64; on $system, $own_servers"
    [[ $(getconf GNU_LIBC_VERSION 2>/dev/null) == glibc* ]] || fail "the local ClickHouse needs" \
        "glibc, which this Linux has not; here, $own_servers"
}

java_is_current() {
    have java || return 1
    local version
    # "17.0.15", "21", and "1.8.0" for Java 8.
    version=$(java -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p;' | head -n 1)
    [[ ${version:-0} -ge 17 ]]
}

# rustup, which brings the pinned Rust, or a Rust from elsewhere that is new enough.
cargo_is_there() {
    have cargo || return 1
    have rustup && return
    local minor
    minor=$(rustc --version 2>/dev/null | sed -n 's/^rustc 1\.\([0-9]*\)\..*/\1/p')
    [[ ${minor:-0} -ge $(cut -d. -f2 <<<"$toolchain") ]]
}

# Prints what is missing, one per line: the thing, a tab, the Debian package that has it.
missing() {
    local tool
    for tool in cc:build-essential c++:build-essential make:build-essential perl:perl \
        pkg-config:pkg-config; do
        have "${tool%%:*}" || printf '%s\t%s\n' "${tool%%:*}" "${tool##*:}"
    done
    cargo_is_there || have curl || printf 'curl\tcurl ca-certificates\n'
    pkg-config --exists openssl 2>/dev/null || printf 'the headers of OpenSSL\tlibssl-dev\n'
    pkg-config --exists zlib 2>/dev/null || printf 'the headers of zlib\tzlib1g-dev\n'
    servers_are_elsewhere && return
    for tool in setpriv:util-linux openssl:openssl mvn:maven; do
        have "${tool%%:*}" || printf '%s\t%s\n' "${tool%%:*}" "${tool##*:}"
    done
    java_is_current || printf 'Java 17 or later\t%s\n' "$(java_package)"
    # For the tests, whose stock clients pip brings.
    python3 -c 'import ensurepip, venv' 2>/dev/null || printf 'venv of Python 3\tpython3-venv\n'
    # Only to fetch the library that is used where there is no ClickHouse.
    have clickhouse || { have node && have npm; } || printf 'Node.js with npm\tnodejs npm\n'
}

java_package() {
    local release
    for release in 17 21 25; do
        if apt-cache show "openjdk-$release-jre-headless" >/dev/null 2>&1; then
            printf 'openjdk-%s-jre-headless' "$release"
            return
        fi
    done
    printf 'default-jre-headless'
}

available_mb() {
    local folder=$1
    while [[ ! -d $folder ]]; do folder=$(dirname "$folder"); done
    df -Pm "$folder" | awk 'NR == 2 { print $4 }'
}

check_room() {
    local target=${CARGO_TARGET_DIR:-target} need_mb=$data_mb
    local cache=${PULSE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/pulsestream}
    [[ -d $target/debug ]] || need_mb=$((need_mb + build_mb))
    [[ -d $cache ]] || servers_are_elsewhere || need_mb=$((need_mb + cache_mb))
    local free_mb
    free_mb=$(available_mb "$target")
    [[ $free_mb -ge $need_mb ]] || fail "this needs $need_mb MB of free disk for $target and $cache;" \
        "there are $free_mb MB"
    # Said the first time, before anything is fetched.
    [[ -d $target/debug ]] || say "this takes up to $need_mb MB of disk, of which $free_mb MB are free"
    [[ -r /proc/meminfo ]] || return 0
    local total_mb
    total_mb=$(awk '$1 == "MemTotal:" { print int($2 / 1024) }' /proc/meminfo)
    [[ $total_mb -ge $memory_mb ]] || fail "this needs a machine with $memory_mb MB of memory;" \
        "this one has $total_mb MB"
}

install_packages() {
    local log
    log=$(mktemp)
    say "installing: $*"
    if ! {
        apt-get update &&
            DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=120 \
                install -y --no-install-recommends "$@"
    } >"$log" 2>&1 </dev/null; then
        tail -n 15 "$log" >&2
        fail "apt-get could not install: $* (its log: $log)"
    fi
    rm -f "$log"
}

fail_for_rust() {
    fail "Rust $toolchain is missing and its installer cannot be reached from here: install rustup" \
        "by hand (https://rustup.rs), then run this again"
}

install_rustup() {
    say "installing Rust with rustup"
    local script
    script=$(sh -c "$rustup_script" 2>/dev/null </dev/null) || fail_for_rust
    # shellcheck disable=SC2086 # Several options.
    sh $rustup_options <<<"$script" >/dev/null 2>&1 || fail_for_rust
    hash -r
}

# Into the user's own folder, so anybody may.
install_toolchain() {
    have rustup || return 0
    ! rustup toolchain list 2>/dev/null | grep -q "^$toolchain" || return 0
    say "installing Rust $toolchain"
    rustup toolchain install "$toolchain" --profile minimal --component rustfmt \
        --component clippy >/dev/null 2>&1 </dev/null || fail_for_rust
}

check_system
check_room

lacking=$(missing)
if [[ -n $lacking && $EUID -eq 0 ]] && have apt-get; then
    # Before the first update apt may know no package at all; then the list is better the second time.
    apt-cache show util-linux >/dev/null 2>&1 || apt-get update >/dev/null 2>&1 || true
    mapfile -t wanted < <(missing | cut -f2 | tr ' ' '\n' | sort -u)
    install_packages "${wanted[@]}"
    lacking=$(missing)
    [[ -z $lacking ]] || fail "still missing: $(cut -f1 <<<"$lacking" | paste -sd, -)"
fi

if [[ $EUID -eq 0 && -z $lacking ]]; then
    cargo_is_there || install_rustup
elif [[ -n $lacking ]] || ! cargo_is_there; then
    names=$(cut -f1 <<<"$lacking")
    command=
    if [[ -n $lacking ]]; then
        packages=$(cut -f2 <<<"$lacking" | tr ' ' '\n' | sort -u | paste -sd' ' -)
        command="sudo apt-get update && sudo apt-get install -y $packages"
        have apt-get || command="(your system's packages of what Debian calls $packages)"
    fi
    if ! cargo_is_there; then
        names="${names:+$names$'\n'}Rust $toolchain"
        command="${command:+$command && }$rustup_script | sh $rustup_options"
    fi
    say "missing: $(paste -sd, - <<<"$names" | sed 's/,/, /g')"
    fail "this installs it: $command"
fi
install_toolchain
