# Two commands need nothing but Python 3.11, make and a package index: `make start` and `make test`. Where npm is there
# too, what is written for Node is tested as well.
PYTHON ?= python3.11
BIN := .venv/bin
JS := plugins/contrib/bers-emit-js
WEB := plugins/builtin/bers_builtin/dashboard/web
UV_VERSION := 0.13.9
ATHERIS_VERSION := 3.0.0
export UV_PROJECT_ENVIRONMENT := .venv
export UV_PYTHON := $(CURDIR)/.venv/bin/python
# Else every process compiles what it imports anew, which is more than half of what a start takes.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: start dev test test-unit test-long test-browser-setup check types types-basedpyright types-others format lint docs screenshots dist bench fuzz audit clean setup

start: .venv/.ready  ## Set up, and run the server in the foreground.
	@$(BIN)/bers start

dev: .venv/.ready  ## The same, in development mode.
	@$(BIN)/bers dev

test: setup check  ## Everything that has to hold.
	-@$(BIN)/pytest --collect-only -qq >/dev/null  # Once, or four workers compile everything at the same time.
	$(BIN)/pytest -n 4 --dist worksteal

test-unit: setup  ## The quick part: no processes, no real time.
	$(BIN)/pytest -q tests/unit tests/builtin

test-long: setup  ## Full counts: the fault tests with hundreds of kills, rules in real minutes.
	BERS_TEST_LONG=1 $(BIN)/pytest -n 4 --dist worksteal

test-browser-setup: setup  ## What tests in a browser need: Chromium; the program that CHROMIUM names, where it is set.
	@command -v $${CHROMIUM:-chromium} >/dev/null \
		|| { test "$$(id -u)" = 0 && command -v apt-get >/dev/null \
			&& apt-get update -qq && apt-get install -qq -y --no-install-recommends chromium >/dev/null; } \
		|| echo "There is no Chromium, and only root can install it here: tests in a browser are skipped."

check: lint types

lint: setup
	$(BIN)/ruff format --check
	$(BIN)/ruff check

types: setup
	@$(MAKE) --no-print-directory --jobs=2 types-basedpyright types-others

types-basedpyright:  # As long as all the others together, and beside them.
	$(BIN)/basedpyright

types-others:
	$(BIN)/mypy
	@if test -e $(JS)/node_modules/.ready; then npm --prefix $(JS) run --silent types; fi
	@if test -d $(WEB)/node_modules; then npm --prefix $(WEB) run --silent types; fi
	$(BIN)/basedpyright -p plugins/contrib/bers-emit  # For Python 3.9, on which it runs, too.

format: setup  ## Put code and generated docs in order.
	$(BIN)/ruff format
	$(BIN)/ruff check --fix
	$(BIN)/python -m tests.docs.generate

docs: setup  ## Write the generated reference again.
	$(BIN)/python -m tests.docs.generate

screenshots: setup  ## Make the pictures of the documentation anew, of a server that watches this project being built and tested.
	npm --prefix $(JS) run --silent build
	$(BIN)/python -m tests.browser.screenshots

dist: setup  ## Build this project's own wheels.
	$(BIN)/uv build --all-packages --wheel --out-dir dist -q

bench: setup  ## Figures of the hot path, on this machine.
	$(BIN)/python tests/bench/hot_path.py --events 300000 --series 40
	$(BIN)/python tests/bench/hot_path.py --events 300000 --series 1000
	@if test -e $(JS)/dist/cjs/package.json; then node tests/bench/emit_js.mjs 50000; fi

fuzz: setup  ## Look for inputs that break us, by coverage: SECONDS for each target.
	$(BIN)/uv pip install --quiet atheris==$(ATHERIS_VERSION)
	for target in decoding binary webhooks configuration stream journal units; do \
		$(BIN)/python tests/fuzz/coverage_guided.py $$target --seconds $(or $(SECONDS),60) || exit 1; done

audit: setup  ## Known vulnerabilities of what is installed; it needs the network, and says so where there is none.
	@$(BIN)/python tests/audit.py

setup: .venv/.ready $(JS)/node_modules/.ready

.venv/.ready: pyproject.toml $(wildcard plugins/contrib/*/pyproject.toml $(WEB)/*.js* $(WEB)/src/* $(WEB)/src/views/* $(JS)/src/browser.ts)
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || python3 -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@$(BIN)/uv sync --quiet --all-packages --inexact
	@touch $@

$(JS)/node_modules/.ready: $(JS)/package.json $(JS)/package-lock.json
	@if command -v npm >/dev/null; then npm --prefix $(JS) ci --silent && touch $@ \
		|| echo "npm could not install what $(JS) needs: its tests are skipped."; fi

clean:
	rm -rf .venv dist $(JS)/dist $(JS)/node_modules
