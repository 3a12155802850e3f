# Two commands are all it takes after a clone: `make demo` and `make test`. Each sets up what it needs in .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The processes that run the tests, a file in one of them; with 0 pytest's own runs all, and -s and --pdb do what they should.
JOBS ?= 2
# Touched when everything is installed, so that a changed dependency is installed and an unchanged one costs nothing.
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help setup demo test conformance bench bench-stores bench-codecs fuzz lint proto

help:
	@echo "make demo          start Envoy, Gatehouse, an MCP server and two models; ONCE=1 runs the tour and ends"
	@echo "make test          run the tests, those through a real Envoy and in a Chromium too; ARGS='-k name' for pytest, JOBS=0"
	@echo "make conformance   run the official MCP suite through Envoy; it needs npm, once"
	@echo "make bench         measure against Envoy alone, its mcp filter and a Go no-op; QUICK=1, RECORD=1, PROFILE=1"
	@echo "make bench-stores  what an operation on a store takes; ARGS='--redis --folder /var/tmp'"
	@echo "make bench-codecs  what reading an event, a request or a message costs in Python; ARGS='--only chat --json'"
	@echo "make fuzz          fuzz what reads bytes from outside, a minute; SECONDS=600, ARGS='--only sse --seed 1'"
	@echo "make lint          ruff, mypy and the import contracts"
	@echo "make proto         generate ext_proc/wire/pb from proto/"
	@echo "make setup         only install; PYTHON=python3.12 chooses the interpreter"

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "There is no $(PYTHON) here: install Python 3.11 or newer, or run make PYTHON=/path/to/python3." >&2; exit 1; }
	@$(PYTHON) scripts/preflight.py
	@echo "Setting up $(VENV), once: about 100 MB, a minute or two."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --no-input --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: setup
	@$(BIN)/gatehouse demo $(if $(ONCE),--once) $(ARGS)

test: setup
	$(BIN)/python -m pytest --ignore=tests/conformance -n $(JOBS) --dist loadfile --no-loadscope-reorder $(ARGS)

# Apart from the other tests, for it installs the suite from npm.
conformance: setup
	@tests/conformance/setup
	$(BIN)/python -m pytest tests/conformance $(ARGS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Not a test: minutes long, and only meaningful on a machine that does nothing else.
bench: setup
	@$(BIN)/python -m tests.bench $(if $(QUICK),--quick) $(if $(RECORD),--record) $(if $(PROFILE),--profile) $(ARGS)

# A minute. Also only meaningful on a machine that does nothing else.
bench-stores: setup
	@$(BIN)/python -m tests.bench.stores $(ARGS)

# Under a minute. Its ratios hold on a busy machine too.
bench-codecs: setup
	@$(BIN)/python -m tests.bench.codecs $(ARGS)

# atheris comes with a libFuzzer of its own, for Linux on x86-64. It is installed only for this, in the version that there
# is for this Python; where there is none, inputs are changed by chance alone.
fuzz: setup
	@$(BIN)/python -c 'import atheris' 2>/dev/null || \
	    $(BIN)/python -m pip install --quiet --no-input --disable-pip-version-check --retries 1 --timeout 10 --only-binary atheris 'atheris>=3.0' || \
	    echo "atheris cannot be installed here: fuzzing goes on without it."
	@$(BIN)/python -m tests.fuzz $(if $(SECONDS),--seconds $(SECONDS)) $(ARGS)

proto: setup
	$(BIN)/python proto/generate.py
