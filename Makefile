# From a fresh clone: `make demo` shows visavis at work, `make test` tests it. Needs Python 3.10 or newer and make.
# Without make: see README.md. PYTHON=python3.12 make demo uses another Python, VENV=folder another environment.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PYTEST_WORKERS ?= auto

.PHONY: help demo test test-slow check bench clean

help:
	@echo "make demo        install, fetch the models, name faces in sample photos -> demo-output/"
	@echo "make test        the fast tests (minutes)"
	@echo "make test-slow   the slow tests"
	@echo "make check       ruff, mypy --strict, import-linter"
	@echo "make bench       speed and memory, side by side with other packages -> docs/benchmarks.md"
	@echo "make clean       remove the environment and demo-output/"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "visavis needs Python 3.10 or newer; set PYTHON=")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"

# One stamp a set of packages, so that a second run installs nothing and needs no network.
$(VENV)/.installed: pyproject.toml | $(BIN)/python
	@echo "installing visavis and what it needs into $(VENV): about a minute, longer on a slow line"
	@$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/.installed-%: pyproject.toml $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --group $*
	@touch $@

demo: $(VENV)/.installed
	$(BIN)/visavis demo --out demo-output

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest -n $(PYTEST_WORKERS) --dist loadfile

test-slow: $(VENV)/.installed-test
	$(BIN)/python -m pytest -m slow

check: $(VENV)/.installed-check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.installed-bench
	$(BIN)/python benchmarks/run.py

clean:
	rm -rf $(VENV) demo-output
