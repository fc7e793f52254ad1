# make run   the whole loop on real data        make test   the tests
# make ui    Dagster (3000) and MLflow (5000)   make check  everything a reviewer would ask for
# make up    the same, in containers            make down   ends them

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: run test ui up down check format lint types contracts lock \
  bench-serving bench-lineage bench-release bench-drift bench-detection bench-estimates

run: $(READY)
	$(BIN)/mlops demo

ui: $(READY)
	$(BIN)/mlops ui

# Everything in containers: ARGS=--without-registry builds every image from Debian's packages.
up: $(READY)
	docker/stack.sh up $(ARGS)

down:
	docker/stack.sh down $(ARGS)

test: $(READY)
	$(BIN)/python -m pytest -n 2 --dist loadscope --no-loadscope-reorder $(ARGS)

# Beside its peers, each in an environment of its own; some 25 minutes on an idle machine.
bench-serving: $(READY)
	$(BIN)/python -m benchmarks.serving $(ARGS)

bench-lineage: $(READY)
	$(BIN)/python -m benchmarks.lineage

bench-release: $(READY)
	$(BIN)/python -m benchmarks.release $(ARGS)

bench-drift: $(READY)
	$(BIN)/python -m benchmarks.drift $(ARGS)

bench-detection: $(READY)
	$(BIN)/python -m benchmarks.detection $(ARGS)

bench-estimates: $(READY)
	$(BIN)/python -m benchmarks.estimates $(ARGS)

check: $(READY) lint types contracts test

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(READY)
	$(BIN)/mypy

contracts: $(READY)
	$(BIN)/lint-imports

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The lock holds the whole closure, so pip need not resolve it again.
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else f"Python 3.11 to 3.13 is needed, not {v[0]}.{v[1]}: make PYTHON=python3.12 ...")'
	@echo "Making $(VENV) from requirements.lock (once; a few minutes) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(READY)

# Needs uv. Universal: one resolution for every supported Python and platform.
lock:
	uv pip compile pyproject.toml --group dev --universal --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --no-header --quiet -o requirements.lock
