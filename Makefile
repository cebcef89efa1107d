# One command each; `make up ARGS='--feed sim'` hands arguments on to `pulse up`.
.DEFAULT_GOAL := help
.PHONY: help up down test soak check bench bench-peers bench-gateways fmt clean programs roles

# rustup's programs may be on no PATH yet when it was installed a moment ago.
export PATH := $(PATH):$(or $(CARGO_HOME),$(HOME)/.cargo)/bin
export CARGO_TARGET_DIR ?= $(CURDIR)/target
PULSE := $(CARGO_TARGET_DIR)/debug/pulse

help:
	@echo 'make up           start everything and stream; ARGS go to `pulse up`'
	@echo 'make down         stop what `make up ARGS=--detach` started'
	@echo 'make test         every test, long ones in a short form'
	@echo 'make soak         every test, long ones whole'
	@echo 'make check        what CI runs: formatting, clippy, docs, tests'
	@echo 'make bench        the figures of docs/benchmarks.md'
	@echo 'make bench-peers  the same job on other engines, beside ours'
	@echo 'make bench-gateways  ingest over HTTP on other engines, beside ours'
	@echo 'make fmt clean'

up: roles
	@exec $(PULSE) up $(ARGS)

down:
	@exec $(PULSE) down $(ARGS)

# The programs first: the tests start them as processes. Then Kafka and ClickHouse, so that no
# test's patience is spent on fetching them.
test: programs
	$(CARGO_TARGET_DIR)/debug/fetch-stack
	.ci/tests --workspace --no-fail-fast

soak: programs
	$(CARGO_TARGET_DIR)/debug/fetch-stack
	PULSE_SOAK=1 PROPTEST_CASES=20000 .ci/tests --workspace --no-fail-fast

check:
	.ci/run

# One program per group of figures; `make bench BENCHES=codec` runs one of them.
BENCHES ?= $(basename $(notdir $(wildcard benches/src/bin/*.rs)))

bench: programs
	cargo build --release --workspace --bins
	@set -e; for name in $(BENCHES); do \
		printf '\n== %s\n' "$$name"; $(CARGO_TARGET_DIR)/release/$$name $(ARGS); \
	done

bench-peers: programs
	@test -x benches/peers.sh || { echo 'benches/peers.sh is not there' >&2; exit 1; }
	benches/peers.sh $(ARGS)

bench-gateways: programs
	benches/gateways.sh $(ARGS)

fmt:
	cargo fmt --all

clean:
	cargo clean

programs:
	@deploy/bootstrap.sh
	cargo build --workspace --bins

# What `make up` starts, without what only tests and benches need: a first start waits for less. It
# is built as a part of the workspace, so that its dependencies have the features that were tested.
ROLES := pulse pulse-clickhouse-server pulse-coinbase pulse-metrics pulse-clickhouse \
	pulse-gateway pulse-api
roles:
	@deploy/bootstrap.sh
	cargo build --workspace $(ROLES:%=--bin %)
