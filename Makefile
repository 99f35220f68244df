# `make help` lists the verbs. Everything is set up on first use: `make run` or `make test` alone do on a fresh machine.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
LOCK := containers/requirements.lock
NATIVE_SOURCES := $(shell find ops/cc -type f 2>/dev/null)
EXAMPLE_SOURCES := $(wildcard examples/*/*.cc)

# make run: the user's own log, config and run directory; ARGS goes to the command as it stands (here and in test).
INPUT ?=
RUN_DIR ?=
CONFIG ?= $(if $(INPUT),,pipelines/configs/demo.yaml)
ARGS ?=

# make images: the images to build; ENGINE, BASE, TAG and PUSH are explained in containers/build-image.
FLAVOURS ?= cpu

# make test, test-all: processes that run tests, each with fixtures of its own; the tests of a file stay together. 0: this process alone.
WORKERS ?= 2

# make fuzz: how long each fuzzer runs.
SECONDS ?= 60

.PHONY: help install run test test-all fuzz lint format bench compile picture images lock clean

help:  ## List the verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(VENV)/.project  ## Make .venv with the locked requirements and this project, editable

$(VENV)/.requirements: $(LOCK)
	@command -v $(PYTHON) >/dev/null || { echo "error: $(PYTHON) is not there; install Python 3.11, or give PYTHON=/path/to/python3.11" >&2; exit 1; }
	@command -v g++ >/dev/null || { echo "error: g++ is not there (hnswlib and the native ops are compiled); on Debian: apt-get install g++" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	  || { echo "error: $(PYTHON) cannot make virtual environments; on Debian: apt-get install python3.11-venv" >&2; exit 1; }
	@$(PYTHON) -c 'import os, sys, sysconfig; sys.exit(not os.path.isfile(sysconfig.get_path("include") + "/Python.h"))' \
	  || { echo "error: $(PYTHON) has no headers (hnswlib is compiled); on Debian: apt-get install python3.11-dev" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r $(LOCK)
	@touch $@

$(VENV)/.project: $(VENV)/.requirements pyproject.toml $(wildcard CMakeLists.txt) $(NATIVE_SOURCES)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --editable .
	@touch $@

run: install  ## Run the pipeline on a generated log, or on INPUT=log.csv.gz (also RUN_DIR= CONFIG= ARGS=)
	$(BIN)/nann pipeline run $(if $(INPUT),--input "$(INPUT)") $(if $(RUN_DIR),--run-dir "$(RUN_DIR)") $(if $(CONFIG),--config "$(CONFIG)") $(ARGS)

test: install  ## Run the quick tests (ARGS= goes to pytest)
	NANN_REQUIRE_NATIVE=1 TF_CPP_MIN_LOG_LEVEL=2 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -m "not slow" $(ARGS)

test-all: install  ## Run all tests, the slow ones too
	NANN_REQUIRE_NATIVE=1 TF_CPP_MIN_LOG_LEVEL=2 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile $(ARGS)

fuzz: install  ## Fuzz the native parsers for SECONDS= each, and keep what reaches new code (needs clang)
	$(BIN)/python tests/ops/fuzz/fuzz.py --seconds $(SECONDS) --keep

lint: install  ## Check style, formatting, types and layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(if $(NATIVE_SOURCES),$(BIN)/clang-format --dry-run -Werror $(filter %.cc %.h %.cu,$(NATIVE_SOURCES)))
	$(if $(EXAMPLE_SOURCES),$(BIN)/clang-format --style=file:ops/cc/.clang-format --dry-run -Werror $(EXAMPLE_SOURCES))

format: install  ## Format the sources
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(if $(NATIVE_SOURCES),$(BIN)/clang-format -i $(filter %.cc %.h %.cu,$(NATIVE_SOURCES)))
	$(if $(EXAMPLE_SOURCES),$(BIN)/clang-format --style=file:ops/cc/.clang-format --dry-run -Werror $(EXAMPLE_SOURCES))

bench: install  ## Run the benchmarks, one after the other
	@for file in benchmarks/*.py; do [ -e "$$file" ] || continue; echo "== $$file"; TF_CPP_MIN_LOG_LEVEL=2 $(BIN)/python "$$file"; done

compile: install  ## Compile the DAG for Kubeflow Pipelines into build/training.yaml
	$(BIN)/nann pipeline compile --output build/training.yaml

picture: install  ## Draw docs/pipeline.svg from the compiled DAG
	$(BIN)/nann pipeline compile --output build/training.yaml --picture docs/pipeline.svg

images:  ## Build and try the container images with podman or docker (FLAVOURS="cpu gpu", PUSH=registry/name)
	@for flavour in $(FLAVOURS); do containers/build-image $$flavour; done

lock:  ## Resolve the requirements anew into containers/*.lock
	PYTHON=$(PYTHON) containers/make-lock

clean:  ## Remove what was built (.venv, build, caches), not what was run (runs)
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +
