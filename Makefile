# Two commands need nothing prepared but Python 3.11+ and make:
#   make demo   trains four optimizers on real digits and draws their learning curves
#   make test   runs the tests that are not slow
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test test-all lint types floors wheel check setup clean

demo: setup
	$(BIN)/widevalley compare digits --seeds 3

# Without the slow ones, which `make test-all` adds.
test: setup
	$(BIN)/pytest -n auto -m "not slow"

test-all: setup
	$(BIN)/pytest -n auto

lint: setup
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

floors: setup
	$(BIN)/lint-imports

wheel: setup
	$(BIN)/python -m build --no-isolation --outdir dist .

check: lint types floors wheel test-all

setup: $(READY)

# torch comes first and pinned: any other release would pull several GB of CUDA builds in.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "widevalley needs Python 3.11 or later; choose one with: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) dist runs .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
