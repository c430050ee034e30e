# Every target builds the environment it needs: Python 3.11 or newer, git and make are enough.

PYTHON ?= python3
VENV ?= .venv
WORKERS ?= 2
SEED ?= 0
MODELS ?= plugins/miniworld/src/preimage_miniworld/models

BIN := $(VENV)/bin
PLUGINS := $(sort $(dir $(wildcard plugins/*/pyproject.toml)))
PACKAGES := preimage $(notdir $(patsubst %/,%,$(dir $(wildcard plugins/*/src/*/__init__.py))))
INSTALLED := $(VENV)/installed
RUFF_PATHS := $(wildcard framework plugins tests docs examples benchmarks)

.DEFAULT_GOAL := help
.PHONY: help venv demo test lint types bench docs wheels miniworld study clean

help:
	@echo "make demo       recover the prompts of three bundled pictures and write a page about it"
	@echo "make test       all tests and the examples in the docstrings"
	@echo "make lint       ruff: rules and format"
	@echo "make types      mypy, strict: the host and every plugin"
	@echo "make bench      measure, and print the tables of the documentation"
	@echo "make docs       build the documentation into site/"
	@echo "make wheels     build the wheels of the host and of every plugin into dist/"
	@echo "make study      compare six methods on twenty pictures of the mini world, and write a report; can be resumed"
	@echo "make miniworld  train the mini world's models again, two at a time: SEED=1 MODELS=build/models, if not those here"
	@echo "make clean      remove everything that these have made, the environment included"

venv: $(INSTALLED)

# Host and plugins are installed by one command, so that they satisfy each other, and without build
# isolation, so that one hatchling serves them all. Editable metadata is a snapshot: a changed entry point
# or dependency needs a new installation, hence the prerequisites.
$(INSTALLED): pyproject.toml constraints.txt $(PLUGINS:%=%pyproject.toml)
	@$(PYTHON) -c 'import sys; v = sys.version_info; \
	    sys.exit(0 if v >= (3, 11) else "Preimage needs Python 3.11 or newer and %s is %d.%d: " \
	    "name another one, for example make PYTHON=python3.12." % (sys.executable, v[0], v[1]))'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt pip hatchling editables
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation -c constraints.txt \
	    --group dev -e . $(PLUGINS:%=-e ./%)
	@touch $@

demo: $(INSTALLED)
	$(BIN)/python examples/demo.py

# One thread a worker: with more, workers wait for each other and everything takes longer.
test: $(INSTALLED)
	OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false $(BIN)/python -m pytest -p no:cacheprovider --doctest-modules \
	    -n $(WORKERS) --dist loadfile --durations 10 tests framework $(PLUGINS:%=%src)

lint: $(INSTALLED)
	$(BIN)/ruff check $(RUFF_PATHS)
	$(BIN)/ruff format --check $(RUFF_PATHS)

types: $(INSTALLED)
	$(BIN)/mypy $(PACKAGES:%=-p %)
	$(BIN)/mypy $(wildcard examples/*.py) docs/generate.py

bench: $(INSTALLED)
	for script in benchmarks/*.py; do echo "$$script"; $(BIN)/python "$$script" || exit 1; done

docs: $(INSTALLED)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

wheels: $(INSTALLED)
	rm -rf dist
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation -w dist . \
	    $(PLUGINS:%=./%)
	@ls -l dist

# The same command goes on where an earlier one was stopped. One thread a process: with more, they wait for each other.
study: $(INSTALLED)
	OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false $(BIN)/preimage compare miniworld:held-out:20 \
	    --recipes benchmarks/study/*.toml --seeds 2 --equalise candidates --budget 8000 --workers $(WORKERS) \
	    --out build/study --progress

# The same command goes on where an earlier one was stopped.
miniworld: $(INSTALLED)
	$(BIN)/python -m preimage_miniworld.training all --seed $(SEED) --models $(MODELS) --workers $(WORKERS)

clean:
	rm -rf $(VENV) build demo dist site .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +
