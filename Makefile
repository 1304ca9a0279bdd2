# install: everything into .venv · demo: see it work · test: all tests · check: linters and types
# stack: Jaeger, Prometheus, Collector and logs without Docker (stack-programs builds them, with Go)
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
# Tests run beside these. They pin other versions of OpenTelemetry's packages than ours, so they get
# a folder of their own and no dependencies.
CONTRIB := opentelemetry-instrumentation-asyncpg==0.66b1 opentelemetry-instrumentation-sqlalchemy==0.66b1

.PHONY: install demo test check fix bench guard stack stack-programs stack-test
install: $(STAMP)

$(STAMP): pyproject.toml glam_sdk/_internal/version.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "glam_sdk needs Python 3.11 or newer, this is " + sys.version.split()[0] + ". Name one: make PYTHON=python3.12 ...")'
	@if command -v uv >/dev/null; then \
	  { [ -x $(BIN)/python ] || uv venv -q --python $(PYTHON) $(VENV); } \
	  && uv pip install -q --python $(BIN)/python -e '.[dev]' \
	  && uv pip install -q --python $(BIN)/python --no-deps --target $(VENV)/contrib $(CONTRIB); \
	else \
	  { [ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV); } \
	  && $(BIN)/python -m pip install -q --disable-pip-version-check -e '.[dev]' \
	  && $(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --upgrade --target $(VENV)/contrib $(CONTRIB); \
	fi
	@touch $@

demo: $(STAMP)
	@$(BIN)/python -m examples.demo $(if $(KEEP),--keep)

test: $(STAMP)
	$(BIN)/python -m pytest $(ARGS)

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fix: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMP)
	@$(BIN)/python -m benchmarks.http $(ARGS)

guard: $(STAMP)
	@$(BIN)/python -m benchmarks.guard

stack-programs: $(STAMP)
	@$(BIN)/python -m examples.stack build $(if $(MINUTES),--minutes $(MINUTES))

stack: $(STAMP)
	@$(BIN)/python -m examples.stack run $(if $(DATA),--data $(DATA))

stack-test: $(STAMP)
	STACK_TEST=1 $(BIN)/python -m pytest tests/stack $(ARGS)
