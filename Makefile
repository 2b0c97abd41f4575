# Two commands on a fresh machine: `make demo`, `make test`. Set-up is part of both.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
WORKERS ?= 2

.PHONY: help setup demo test test-tools bench-peers bench docs lint format soak lock clean

help: ## Show what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | sort

setup: $(STAMP) ## Make .venv with .venv/bin/chronicle

$(STAMP): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version) if sys.version_info < (3, 11) else None'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	$(BIN)/python -m compileall -q chronicle
	touch $(STAMP)

demo: setup ## Run the whole system for some seconds and show what came out
	$(BIN)/chronicle demo

lint: setup ## Check style, types and layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint ## Run the whole suite
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup -m "not soak"

test-tools: ## Install what some tests use when it is there: strace (Debian, as root), versitygw (Go); never fails
	@command -v strace >/dev/null || { test "$$(id -u)" = 0 && command -v apt-get >/dev/null && \
		apt-get update -qq && apt-get install -y -qq --no-install-recommends strace >/dev/null; } || \
		echo "strace was not installed; the tests that use it are skipped" >&2

	@command -v versitygw >/dev/null || test -x "$$HOME/go/bin/versitygw" || { command -v go >/dev/null && \
		go install github.com/versity/versitygw/cmd/versitygw@latest >/dev/null 2>&1; } || \
		echo "versitygw was not installed; the tests on it are skipped" >&2

bench-peers: setup ## Install what the queue is measured beside (Debian, as root; PyPI); never fails
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check "redis>=5" "nats-py>=2.6" || \
		echo "the Python clients were not installed; Redis Streams and NATS are skipped" >&2
	@{ test "$$(id -u)" = 0 && command -v apt-get >/dev/null && apt-get update -qq && \
		apt-get install -y -qq --no-install-recommends redis-server nats-server maven openjdk-17-jdk-headless \
		>/dev/null; } || echo "the servers and Maven were not installed; their peers are skipped" >&2

soak: setup ## Run what takes long: kills by the hundred, fuzzing
	$(BIN)/python -m pytest -m soak
	CHRONICLE_HYPOTHESIS=soak $(BIN)/python -m pytest -n $(WORKERS) tests/property

bench: setup ## Measure; one JSON line a figure
	$(BIN)/python tools/bench.py all --json

docs: setup ## Write the API reference, docs/api.md, from the docstrings
	$(BIN)/python tools/api_reference.py

format: setup ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: ## Renew requirements.lock from pyproject.toml
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-annotate --no-header --quiet -o requirements.lock

clean: ## Remove the environment and caches
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
