# Everything a person or CI runs. Prerequisites: Python 3.11 or newer, cargo, make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=

.PHONY: help demo test test-cluster fuzz sim-long plan-proof lint format proto bench-rust bench-acn bench-acn-environment check-rust-deep build clean
.DEFAULT_GOAL := help

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 18

demo: build ## a charging network on this machine, live in the terminal
	$(BIN)/loadstar demo $(ARGS)

test: lint ## everything CI checks
	cargo test --workspace --exclude loadstar-core-python --release --quiet
	$(BIN)/pytest $(ARGS)

test-cluster: build ## two nodes on a Ray cluster of this machine, killed, frozen and drained
	$(BIN)/pytest -m cluster $(ARGS)

sim-long: build ## a thousand days of the deterministic world, with every fault
	$(BIN)/python -m controlplane.sim.long $(ARGS)

fuzz: build ## a million spoilt frames through the codec, ten thousand through sockets
	$(BIN)/python -m controlplane.sim.fuzz $(ARGS)

plan-proof: build ## thousands of random horizons planned beside HiGHS
	$(BIN)/python -m controlplane.bench.plan_proof $(ARGS)

lint: build ## style, types, import rules, contracts of generated files
	$(BIN)/ruff check controlplane tests benches
	$(BIN)/ruff format --check controlplane tests benches
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/buf lint
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --quiet -- -D warnings

format: build ## bring the code into the agreed form
	$(BIN)/ruff check --fix controlplane tests benches
	$(BIN)/ruff format controlplane tests benches
	cargo fmt --all

proto: build ## generate controlplane/api/v1 from proto/
	$(BIN)/python -m controlplane.api.generate

bench-rust: ## criterion benches of the core
	cargo bench --package loadstar-core

check-rust-deep: ## the core with checked arithmetic, and a part of it under Miri (nightly)
	RUSTFLAGS="-C overflow-checks=on -C debug-assertions=on" cargo test --package loadstar-core \
		--release --quiet --target-dir target/checked
	rustup --quiet component add --toolchain nightly miri rust-src
	MIRIFLAGS=-Zmiri-disable-isolation cargo +nightly miri test --package loadstar-core \
		--test allocation --quiet --target-dir target/miri

bench-acn: ## inside ACN-Sim: rounds under too small a transformer, plans under a tariff
	@benches/acn/run $(ARGS)

build: $(VENV)/built ## the environment in .venv with the Rust extension

$(VENV)/ready: requirements.lock
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
	touch $@

RUST_SOURCES := $(shell find rust_core -name '*.rs' -o -name Cargo.toml) Cargo.toml Cargo.lock
$(VENV)/built: $(VENV)/ready pyproject.toml $(RUST_SOURCES)
	PIP_QUIET=1 $(BIN)/maturin develop --release --locked --quiet
	touch $@

# ACN-Sim brings packages that Loadstar does not want, and this bench needs of Loadstar only the core.
ACN_VENV := benches/acn/.venv
bench-acn-environment: $(ACN_VENV)/built

$(ACN_VENV)/ready: benches/acn/requirements.txt
	$(PYTHON) -m venv $(ACN_VENV)
	$(ACN_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	touch $@

$(ACN_VENV)/built: $(ACN_VENV)/ready pyproject.toml $(RUST_SOURCES)
	rm -rf $(ACN_VENV)/wheels
	$(ACN_VENV)/bin/maturin build --release --locked --quiet --interpreter $(ACN_VENV)/bin/python --out $(ACN_VENV)/wheels
	$(ACN_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --force-reinstall $(ACN_VENV)/wheels/*.whl
	touch $@

clean: ## remove what was built
	rm -rf $(VENV) $(ACN_VENV) target
