# QuickKub: every task by name. `make` alone lists them.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
WORKERS ?= 2
COMPILE := $(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes \
	--no-header --no-emit-index-url --no-annotate --quiet

# A machine may have Python 3.11 or later under its plain name only.
ifeq ($(shell command -v $(PYTHON) 2>/dev/null),)
PYTHON := python3
endif

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-long check bench bench-long fix lock clean

help: ## List what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(INSTALLED) ## Install everything into .venv; does nothing when that is done

$(INSTALLED): requirements-dev.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("QuickKub needs Python 3.11 or later" if sys.version_info < (3, 11) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements-dev.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	touch $@

demo: setup ## Run the whole path on loopback (ONCE=1 ends with an exit code, FRESH=1 starts over)
	$(BIN)/quickkub demo $(if $(ONCE),--once) $(if $(FRESH),--fresh)

test: setup ## Run every test on throw-away servers (WORKERS=2)
	$(BIN)/python -m pytest -n $(WORKERS)

test-long: setup ## Run the ledger's tests with many more rounds, and every fault of every provider (half an hour)
	QUICKKUB_TESTS_LONG=1 $(BIN)/python -m pytest -n $(WORKERS) tests/ledger tests/matrix

check: setup ## Format, lint, types, import contracts, migrations
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m pytest -q tests/test_architecture.py tests/test_schema.py tests/test_deployment.py

bench: setup ## Measure ledger and API against their goals, ten minutes (BENCH_JSON=file)
	$(BIN)/python -m benchmarks $(if $(BENCH_JSON),--json $(BENCH_JSON))

bench-long: setup ## The same at ten million entries and for minutes, half an hour
	$(BIN)/python -m benchmarks long $(if $(BENCH_JSON),--json $(BENCH_JSON))

fix: setup ## Format, and mend what can be mended without thinking
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lock: setup ## Pin the newest releases into requirements*.txt
	$(BIN)/python -m pip install --quiet uv
	$(COMPILE) --upgrade --output-file requirements.txt
	$(COMPILE) --upgrade --group dev --constraints requirements.txt --output-file requirements-dev.txt

clean: ## Remove the installation and caches; data in .quickkub stays
	rm -rf $(VENV) *.egg-info build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
