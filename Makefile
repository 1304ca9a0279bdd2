# install: everything into .venv · demo: see it work · check: linters and types
# test: all tests · test-sdk: those that look at spans once more, on the plain SDK's
# test-public: those of messaging once more, by the NATS client's public doors alone
# stack: Jaeger, Prometheus, Collector and logs without Docker (stack-programs builds them, with Go)
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
# Tests run beside these. They pin other versions of OpenTelemetry's packages than ours, so they get
# a folder of their own and no dependencies.
CONTRIB := $(addsuffix ==0.66b1,$(addprefix opentelemetry-instrumentation-,asyncpg redis sqlalchemy)) redis==8.1.0

.PHONY: install demo test test-sdk test-public check fix bench guard stack stack-programs stack-test
install: $(STAMP)

$(STAMP): pyproject.toml glam_sdk/_internal/version.py Makefile
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

# Every area that opens spans, without the long tests of something else and those of our spans alone.
SPAN_TESTS := $(addprefix tests/unit/,api client database messaging outbox telemetry test_correlation.py) \
  $(addprefix tests/integration/messaging/test_,conformance.py publish_and_receive.py) \
  $(addprefix tests/integration/test_,database.py database_telemetry.py http_edge.py \
  http_edge_coexistence.py launcher.py otlp_export.py outbox.py shop.py third_party.py)
NO_SPANS := $(addprefix tests/unit/api/test_,envelope.py errors_to_http.py pagination.py) \
  $(addprefix tests/unit/telemetry/test_,lean_*.py log_encoding.py log_file.py log_output.py log_setup.py scrape.py)

test-sdk: $(STAMP)
	GLAM_TELEMETRY__SPAN_PIPELINE=sdk $(BIN)/python -m pytest $(SPAN_TESTS) $(patsubst %,--ignore-glob='%',$(NO_SPANS)) $(ARGS)

test-public: $(STAMP)
	TEST_PUBLIC_DOORS=1 $(BIN)/python -m pytest tests/integration/messaging tests/integration/test_outbox.py $(ARGS)

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
