# `make help` lists what there is. Everything runs from .venv, which `make setup` fills from requirements.lock.
SHELL := /bin/sh
.DEFAULT_GOAL := help
VENV := .venv
BIN := $(VENV)/bin
# The first Python that is new enough; `make PYTHON=/path/to/python3.12 setup` chooses another.
PYTHON ?= $(shell for name in python3 python3.13 python3.12 python3.11; do \
	$$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$name && break; done)
STAMP := $(VENV)/installed
# Test files that run at a time, each side over servers of its own: many tests wait more than they compute.
JOBS ?= 2
OPTIONS := $(if $(filter-out 0,$(KAFKA)),--kafka) $(if $(filter-out 0,$(S3)),--s3)

.PHONY: help setup demo dev test test-full coverage mutations lint format bench bench-ingest bench-rating bench-usage stop clean lock

help: ## What can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 22

setup: $(STAMP) ## Install what requirements.lock pins into .venv

# The stamp is written last: a broken-off installation is simply done again.
$(STAMP): requirements.lock
	@test -n "$(PYTHON)" || { echo "error: Python 3.11 or newer is needed and none is on PATH: install it from https://www.python.org/downloads, or name one: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "error: $(PYTHON) has no venv module: install it (Debian: apt install python3-venv)" >&2; exit 1; }
	@echo "Installing into $(VENV) what requirements.lock pins (once; a minute or two)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off --require-hashes -r requirements.lock \
		> $(VENV)/install.log 2>&1 & pid=$$!; seconds=0; \
		while kill -0 $$pid 2>/dev/null; do sleep 1; seconds=$$((seconds + 1)); \
		if [ $$((seconds % 15)) -eq 0 ]; then echo "  $$seconds s: $$(tail -n 1 $(VENV)/install.log | cut -c 1-90)"; fi; done; \
		wait $$pid || { tail -n 20 $(VENV)/install.log >&2; \
		echo "error: the installation failed; the lines above say why, $(VENV)/install.log has all of it" >&2; exit 1; }
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation --editable .
	@touch $(STAMP)

demo: setup ## Twelve months of billing on the real stack (KAFKA=1 and S3=1 add a broker and an S3 server)
	@$(BIN)/durabill demo $(OPTIONS)

dev: setup ## The whole stack with API and workers, until Ctrl-C
	@$(BIN)/durabill dev $(OPTIONS)

test: setup ## Lint, types, import contracts and all tests against the real servers
	@$(BIN)/python -m deploy.embedded.prepare
	@$(MAKE) --no-print-directory lint
	@$(BIN)/python -m pytest -n $(JOBS) --dist loadfile $(TESTS)

test-full: setup ## All tests, with the long fault runs
	@FAULTS_LONG=1 $(MAKE) --no-print-directory test

coverage: setup ## Branch coverage of billing/ by the tests that need no server
	@$(BIN)/python -m coverage run -m pytest -q tests/unit tests/simulation tests/scenarios
	@$(BIN)/python -m coverage report

# mutmut is installed when it is needed: it is no part of what runs or tests the product.
mutations: setup ## Change billing/ in one place at a time, and see whether a test notices (FILES="billing/prices.py ...")
	@$(BIN)/python -c 'import mutmut' 2>/dev/null || $(BIN)/python -m pip install --disable-pip-version-check --quiet mutmut==3.8.1
	@$(BIN)/python -m tests.mutations $(FILES) $(MUTATIONS)

lint: setup ## Lint, types and import contracts
	@$(BIN)/ruff check .
	@$(BIN)/mypy --strict .
	@$(BIN)/lint-imports

format: setup ## Let ruff set the layout of the code
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench-usage: setup ## Measure reads of stored usage: one customer, a close of 10,000, bytes on disk
	@$(BIN)/python -m bench.usage $(BENCH)

bench-rating: setup ## Measure the rules alone: invoices a second, and simulated years
	@$(BIN)/python -m bench.rating $(BENCH)
	@$(BIN)/python -m bench.simulate

bench: setup ## Measure billing runs, commands, webhooks and recovery, with 1 and 2 worker processes
	@$(BIN)/python -m deploy.embedded.prepare temporal
	@$(BIN)/python -m bench.billing_run --sandbox off $(BENCH)
	@$(BIN)/python -m bench.billing_run --sandbox off --processes 2 --no-catch-up $(BENCH)
	@$(BIN)/python -m bench.operating

bench-ingest: setup ## Measure the path of usage: requests, Kafka, ClickHouse, reads
	@$(BIN)/python -m deploy.embedded.prepare
	@$(BIN)/python -m bench.ingest $(BENCH)
	@$(BIN)/python -m bench.exactness

stop: ## Stop what `make demo` or `make dev` left running; the data stays
	@if [ -x $(BIN)/durabill ]; then $(BIN)/durabill dev stop; else echo "nothing is installed, so nothing runs"; fi

clean: stop ## Stop everything, then delete .durabill, .venv and caches of tools
	@rm -rf .durabill $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

lock: ## Pin the newest versions that pyproject.toml allows (needs uv)
	@command -v uv >/dev/null || { echo "error: uv is needed: see https://docs.astral.sh/uv/getting-started/installation" >&2; exit 1; }
	@uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 --upgrade --generate-hashes \
		--no-header --no-annotate --no-emit-index-url --no-emit-find-links --quiet --output-file requirements.lock
