# Everything happens in a local virtual environment; nothing needs root, a GPU, an API key or more network than the package index.
PYTHON ?= python3
HOST   ?= 127.0.0.1
PORT   ?= 8400
BIN    := .venv/bin
PIP    := $(BIN)/python -m pip --quiet --disable-pip-version-check

COMPILE := $(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
	--custom-compile-command "make lock" --no-annotate pyproject.toml requirements/build.in

.DEFAULT_GOAL := help
.PHONY: help serve test lint types bench docs lock clean

help: ## this text
	@awk -F':.*## ' '/^[a-z]+:.*## / {printf "  make %-7s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

serve: .venv/.base ## set up if needed, then start the gateway and its page (HOST=127.0.0.1 PORT=8400)
	@$(BIN)/interlock serve --host $(HOST) --port $(PORT) $(ARGS)

test: .venv/.dev ## set up if needed, then run every test (ARGS="tests/guards -k breaker" for some)
	@$(BIN)/python -m pytest $(ARGS)

lint: .venv/.dev ## style and formatting
	@$(BIN)/ruff check .

types: .venv/.dev ## static types, strict on src
	@$(BIN)/mypy

bench: .venv/.dev ## the benchmarks, each a ratio against a named peer (ARGS=--smoke for a short run)
	@for script in benchmarks/*.py benchmarks/*/run.py; do [ -f $$script ] && echo "== $$script" && $(BIN)/python $$script $(ARGS) || exit 1; done

docs: .venv/.dev ## regenerate the generated pages of docs/ and run every code block in them
	@$(BIN)/python scripts/write_docs.py && $(BIN)/python scripts/configuration_page.py && $(BIN)/python scripts/write_examples.py && $(BIN)/python -m pytest tests/test_docs.py

lock: .venv/.base ## pin and hash the dependencies anew from pyproject.toml
	@$(PIP) install uv
	@$(COMPILE) -o requirements/base.lock
	@$(COMPILE) --extra dev -o requirements/dev.lock

clean: ## remove the virtual environment and caches
	rm -rf .venv .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis

# The package index's torch differs by platform and build, so torch is pinned by version in the `experts` extra but not hashed here.
.venv/.base: requirements/base.lock pyproject.toml
	@[ -x $(BIN)/python ] || { echo "setting up .venv (once)"; $(PYTHON) -m venv .venv; }
	@$(PIP) install --require-hashes -r requirements/base.lock
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

.venv/.dev: .venv/.base requirements/dev.lock
	@echo "installing what the tests need (once)"
	@$(PIP) install --require-hashes -r requirements/dev.lock
	@$(PIP) install torch==2.13.0
	@touch $@
