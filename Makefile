# One command each; every target makes the virtual environment itself when it is missing.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# What a target needs is installed first: for running, or for developing (the same and the tools).
RUN := $(VENV)/.installed
DEV := $(VENV)/.installed-dev
DEPLOY := $(VENV)/.installed-deploy
INSTALL := $(BIN)/python tools/install.py
# Tests wait for servers, databases and processes: two at once leave two cores idle for a good part of the time.
WORKERS ?= 3
# Compiled files are kept, whatever the caller prefers: a hundred processes of the tests would each compile everything anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo dev test coverage test-slow deploy-check deploy-tools lint types types-of-tests format check-defs bench clean env

help:  ## what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(RUN)  ## synchronise made-up systems (catalogue, folder, edge stores, Plytix, МойСклад) and print what happened
	$(BIN)/imagesync demo

dev: $(RUN)  ## Dagster UI, daemon and sandboxes on one home; stays up until Ctrl-C
	$(BIN)/imagesync dev

test: $(DEV)  ## every test but the slow ones
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m "not slow and not deploy" --durations=20

coverage: $(DEV)  ## the same tests with coverage, which takes half as long again or more (by file: htmlcov/index.html)
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m "not slow and not deploy" --durations=20 --cov --cov-report=html

test-slow: $(DEV)  ## the slow tests: kill -9, large catalogues, fresh processes
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m "slow and not deploy" --durations=20

deploy-check: $(DEPLOY)  ## judge everything in deploy/ with its own tools; as root also build the image and run it
	$(BIN)/python -m pytest --durations=10 imagesync_pipelines_tests/deployment

deploy-tools: $(DEPLOY)  ## install what deploy-check judges with

lint: $(DEV)  ## format, style, types, import rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	@$(MAKE) --no-print-directory --jobs 2 --output-sync types types-of-tests

types:
	$(BIN)/mypy

types-of-tests:
	$(BIN)/mypy --config-file imagesync_pipelines_tests/mypy.ini

format: $(DEV)  ## let ruff format and fix
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

check-defs: $(DEV)  ## Dagster loads the definitions, with no setting and no database
	$(BIN)/dg check defs
	$(BIN)/dg list defs
	$(BIN)/dagster definitions validate

bench: $(DEV)  ## measure, beside rivals and the commit before, in one run (make bench NAMES="small edge": only these)
	$(BIN)/python -m benchmarks.run $(NAMES)

env: $(RUN)  ## the variables that Dagster's own commands need
	@$(BIN)/imagesync env

clean:  ## stop the embedded database and remove what we made in IMAGESYNC_HOME, after asking (make clean YES=--yes: without)
	@if [ -x $(BIN)/imagesync ]; then $(BIN)/imagesync clean $(YES); else echo "nothing to clean"; fi

$(RUN): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("imagesync needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Try: make PYTHON=python3.11") if sys.version_info < (3, 11) else None'
	@echo "Making the virtual environment in $(VENV) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(INSTALL) requirements.lock --editable
	@touch $@

$(DEV): $(RUN) requirements-dev.lock
	@echo "Adding the tools for tests and lint to $(VENV) ..."
	@$(INSTALL) requirements-dev.lock
	@touch $@

$(DEPLOY): $(DEV) deploy/check.lock
	@echo "Adding the tools that judge deploy/ to $(VENV) ..."
	@$(INSTALL) deploy/check.lock
	@touch $@
