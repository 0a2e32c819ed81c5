# Two commands need nothing prepared but Python 3.11+ and make:
#   make demo   trains four optimizers on real digits and draws their learning curves
#   make test   runs the tests that are not slow
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test test-all gpu gpu-setup docs site pictures lint types floors wheel check setup clean

demo: setup
	$(BIN)/widevalley compare digits --seeds 3

# Without the slow ones, which `make test-all` adds.
test: setup
	$(BIN)/pytest -n auto -m "not slow"

test-all: setup
	$(BIN)/pytest -n auto

# All that waits for a GPU, in MINUTES, into runs/gpu; the same command goes on where it stopped.
# `make gpu REHEARSE=1` takes every step on the processor, at a tiny size.
MINUTES ?= 30
gpu: $(if $(REHEARSE),setup,gpu-setup)
	$(if $(REHEARSE),$(VENV),$(VENV)-gpu)/bin/python benchmarks/gpu.py --minutes $(MINUTES) $(if $(REHEARSE),--rehearse --to runs/rehearsal)

# The machine's own torch, where it has one, is the one that fits its driver; where pip reaches no
# index, what the machine has must do.
gpu-setup:
	@nvidia-smi -L || { echo 'no CUDA device here; make gpu REHEARSE=1 goes without one'; exit 2; }
	$(PYTHON) -m venv --system-site-packages $(VENV)-gpu
	grep -v '^torch' constraints.txt > $(VENV)-gpu/constraints.txt
	-$(VENV)-gpu/bin/python -m pip install --quiet --constraint $(VENV)-gpu/constraints.txt --editable '.[dev]'

# Every picture of results/, from the numbers beside it.
pictures: setup
	$(BIN)/widevalley pictures results

# docs/api.md, from the docstrings of every public name; docs/findings.md, its numbers from results/;
# docs/example-report.html, the page of the digits' runs; docs/where-it-wins.png, README's picture.
docs: setup
	$(BIN)/python docs/write_api.py
	$(BIN)/python docs/write_findings.py
	$(BIN)/python docs/write_choices.py
	$(BIN)/python docs/write_report.py
	$(BIN)/python docs/write_picture.py

# The pages of docs/ and results/ as a site, site/index.html; a link that leads nowhere fails it.
site: docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

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
	rm -rf $(VENV) $(VENV)-gpu dist runs .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
