# Everything a developer runs. `make` alone lists the commands.
#
# The first command that needs it creates .venv and installs the project into it; a later one does so again only when
# pyproject.toml has changed.

# The first of these that is new enough is used; `make PYTHON=/path/to/python …` names another.
PYTHON ?= python3 python3.14 python3.13 python3.12 python3.11
CORES  ?= $(shell getconf _NPROCESSORS_ONLN)
BIN    := .venv/bin

# Hundreds of interpreters are started, each of which would compile everything again.
unexport PYTHONDONTWRITEBYTECODE

# Tests are handed out one by one, the longest first. Of all of them one more runs at once than there are cores, since
# those with processes wait for much of their time.
PYTEST  = $(BIN)/pytest --dist load --maxschedchunk 1

.DEFAULT_GOAL := help
.PHONY: help run test test-fast explore soak check format bench clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile

run: .venv/run.stamp ## count the words of Python's standard library on 4 workers
	@$(BIN)/elastic run scenarios/word_count.yaml

test: .venv/dev.stamp ## run all tests (under six minutes on 4 cores)
	$(PYTEST) -n $$(($(CORES) + 1))

test-fast: .venv/dev.stamp ## run the tests that are not slow (under a minute)
	$(PYTEST) -n $(CORES) -m "not slow and not cluster" --hypothesis-profile fast

explore: .venv/dev.stamp ## look for what no test has met: new examples, new moments, a new order (some minutes)
	$(PYTEST) -n $(CORES) -m "not cluster" --hypothesis-profile explore --randomly-seed=$${SEED:-$$(date +%s)}

soak: .venv/dev.stamp ## kill processes of a program over DStreams for five minutes (SOAK_S=3600: for an hour)
	SOAK_S=$${SOAK_S:-300} SOAK_SEED=$${SOAK_SEED:-$$(date +%s)} $(BIN)/pytest -q -n 0 tests/cluster/test_soak.py

check: .venv/dev.stamp ## lint, format, types, layer rule
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/pytest -q tests/unit/test_layers.py

format: .venv/dev.stamp ## format the code, and fix what can be fixed by itself
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

bench: .venv/dev.stamp ## measure (QUICK=1: some rows, in under two minutes; BENCH=name: only that row)
	$(BIN)/python -m benchmarks $(if $(QUICK),--quick) $(if $(BENCH),--only "$(BENCH)")

clean: ## remove what the commands above have made
	rm -rf .venv .elastic .hypothesis .mypy_cache .pytest_cache .ruff_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Debian's Python has no ensurepip: there the venv is made without pip, and filled with the pip of outside.
define install
	@test "$$(uname -s)" = Linux || test "$$(uname -s)" = Darwin || { \
		echo "This runs on Linux and macOS, not on $$(uname -s). On Windows, use WSL 2."; exit 2; }
	@python=$$(for p in $(PYTHON); do \
		"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$p"; break; }; done); \
	test -n "$$python" || { \
		echo "Python 3.11 or newer is needed; tried: $(PYTHON). Install one, or name it: make PYTHON=/path/to/python"; \
		exit 2; }; \
	test -x $(BIN)/python || { echo "creating .venv with $$python"; \
		"$$python" -m venv .venv >/dev/null 2>&1 || "$$python" -m venv --clear --without-pip .venv; } && \
	echo "installing $(1) into .venv" && \
	if $(BIN)/python -m pip --version >/dev/null 2>&1; then pip="$(BIN)/python -m pip"; \
		else pip="$$python -m pip --python $(BIN)/python"; fi && \
	$$pip install --quiet --disable-pip-version-check --editable "$(1)"
	@touch $@
endef

.venv/run.stamp: pyproject.toml
	$(call install,.)

.venv/dev.stamp: pyproject.toml
	$(call install,.[dev])
	@touch .venv/run.stamp
