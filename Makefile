PYTHON ?= python3
BIN := .venv/bin
DEMO := .demo
DEMO_PLAYLISTS ?= 10000
# Data for the benchmarks. Default: a synthetic world.
DATA ?=

.PHONY: install demo test lint bench test-faults test-chaos test-deploy test-compose test-browser constraints clean help
.DEFAULT_GOAL := help

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

install: .venv/installed ## install all pinned dependencies into .venv

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt pip
	PIP_BUILD_CONSTRAINT=constraints.txt $(BIN)/pip install --constraint constraints.txt --editable '.[dev]'
	@touch $@

$(DEMO)/world: | .venv/installed
	$(BIN)/python -m trainer synthesize --playlists $(DEMO_PLAYLISTS) $@

$(DEMO)/models/CURRENT: | $(DEMO)/world
	$(BIN)/python -m trainer train $(DEMO)/world --models $(DEMO)/models --profile small

demo: $(DEMO)/models/CURRENT ## train on a synthetic world and serve the model on port 8000
	SEGUE_MODELS=$(DEMO)/models $(BIN)/python -m service

test: install ## run the tests
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 --dist worksteal

lint: install ## check formatting, style and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: install ## run the benchmarks; DATA=... for your own playlists
	$(BIN)/python benchmarks/bench_engine.py $(DATA)
	$(BIN)/python benchmarks/bench_http.py $(DATA)
	$(BIN)/python benchmarks/bench_growth.py
	$(BIN)/python benchmarks/bench_overload.py $(DATA)
	$(BIN)/python benchmarks/bench_soak.py $(DATA)

test-faults: install ## kill retrains and fill the disk; published versions must survive (5 minutes)
	$(BIN)/python -m pytest -s tests/faults.py

test-chaos: install ## stress a running service: load, reloads, kills, hostile clients (25 minutes)
	$(BIN)/python -m pytest -s --exitfirst tests/chaos/reload.py tests/chaos/hostile.py tests/chaos/access.py tests/chaos/contract.py

test-deploy: install ## check dashboard, alerts, manifests and compose files with their own tools
	$(BIN)/python -m pytest tests/deploy.py

test-compose: install ## start the containers, send requests, stop them
	$(BIN)/python -m pytest --verbose --exitfirst tests/compose.py

test-browser: install ## drive the page at / in a real Chromium
	$(BIN)/python -m pytest tests/browser.py

constraints: ## update the pinned versions
	rm -rf .venv
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --upgrade pip setuptools wheel
	$(BIN)/pip install --editable '.[dev]'
	{ sed -n '/^#/p' constraints.txt; $(BIN)/pip freeze --all --exclude-editable | sort -f; } > .venv/constraints.txt
	mv .venv/constraints.txt constraints.txt

clean: ## remove the files that other targets create
	rm -rf .venv $(DEMO) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .schemathesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
