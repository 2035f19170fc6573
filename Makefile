# One command each; every target makes the virtual environment itself when it is missing.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
WORKERS ?= 2

.PHONY: help demo dev test test-slow lint format bench clean env

help:  ## what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(STAMP)  ## synchronise made-up systems (catalogue, edge stores, Plytix, МойСклад) and print what happened
	$(BIN)/imagesync demo

dev: $(STAMP)  ## Dagster UI, daemon and sandboxes on one home; stays up until Ctrl-C
	$(BIN)/imagesync dev

test: $(STAMP)  ## every test but the slow ones, with coverage (by file: htmlcov/index.html)
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m "not slow" --durations=20 --cov --cov-report=html

test-slow: $(STAMP)  ## the slow tests: kill -9, large catalogues, fresh processes
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m slow --durations=20

lint: $(STAMP)  ## format, style, types, import rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP)  ## let ruff format and fix
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(STAMP)  ## measure, beside rivals, in one run
	$(BIN)/python -m benchmarks.run

env: $(STAMP)  ## the variables that Dagster's own commands need
	@$(BIN)/imagesync env

clean:  ## stop the embedded database and remove IMAGESYNC_HOME
	@if [ -x $(BIN)/imagesync ]; then $(BIN)/imagesync clean; else echo "nothing to clean"; fi

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("imagesync needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Try: make PYTHON=python3.11") if sys.version_info < (3, 11) else None'
	@echo "Making the virtual environment in $(VENV) (about a minute) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@
