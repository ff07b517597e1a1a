# Two commands need nothing but Python 3.11, make and a package index: `make start` and `make test`.
PYTHON ?= python3.11
BIN := .venv/bin
UV_VERSION := 0.13.9
ATHERIS_VERSION := 3.0.0
export UV_PROJECT_ENVIRONMENT := .venv
export UV_PYTHON := $(CURDIR)/.venv/bin/python

.PHONY: start dev test test-unit test-long check types format lint docs dist bench fuzz audit clean setup

start: setup  ## Set up, and run the server in the foreground.
	@$(BIN)/bers start

dev: setup  ## The same, in development mode.
	@$(BIN)/bers dev

test: setup check  ## Everything that has to hold.
	$(BIN)/pytest -n 4 --dist worksteal

test-unit: setup  ## The quick part: no processes, no real time.
	$(BIN)/pytest -q tests/unit tests/builtin

test-long: setup  ## Full counts: the fault tests with hundreds of kills, rules in real minutes.
	BERS_TEST_LONG=1 $(BIN)/pytest -n 4 --dist worksteal

check: lint types

lint: setup
	$(BIN)/ruff format --check
	$(BIN)/ruff check

types: setup
	$(BIN)/mypy
	$(BIN)/basedpyright
	$(BIN)/basedpyright -p plugins/contrib/bers-emit  # For Python 3.9, on which it runs, too.

format: setup  ## Put code and generated docs in order.
	$(BIN)/ruff format
	$(BIN)/ruff check --fix
	$(BIN)/python -m tests.docs.generate

docs: setup  ## Write the generated reference again.
	$(BIN)/python -m tests.docs.generate

dist: setup  ## Build this project's own wheels.
	$(BIN)/uv build --all-packages --wheel --out-dir dist -q

bench: setup  ## Figures of the hot path, on this machine.
	$(BIN)/python tests/bench/hot_path.py --events 300000 --series 40
	$(BIN)/python tests/bench/hot_path.py --events 300000 --series 1000

fuzz: setup  ## Look for inputs that break us, by coverage: SECONDS for each target.
	$(BIN)/uv pip install --quiet atheris==$(ATHERIS_VERSION)
	for target in decoding binary webhooks configuration stream journal units; do \
		$(BIN)/python tests/fuzz/coverage_guided.py $$target --seconds $(or $(SECONDS),60) || exit 1; done

audit: setup  ## Known vulnerabilities of what is installed; it needs the network, and says so where there is none.
	@$(BIN)/python tests/audit.py

setup: .venv/.ready

.venv/.ready: pyproject.toml $(wildcard plugins/contrib/*/pyproject.toml)
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || python3 -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@$(BIN)/uv sync --quiet --all-packages --inexact
	@touch $@

clean:
	rm -rf .venv dist
