"""Prove what a log line looks like, whoever logs it (contract, section 7)."""

from __future__ import annotations

import logging
import subprocess
import sys
import warnings
from datetime import datetime

import pytest
import structlog
from opentelemetry import context as otel
from opentelemetry import trace
from structlog.testing import capture_logs

import glam_sdk
from glam_sdk.context import with_correlation_id, with_request_id
from glam_sdk.telemetry import stdlib_logging
from glam_sdk.telemetry.logs import get_logger, pipeline
from glam_sdk.telemetry.stdlib_logging import mark_logged
from tests.unit.telemetry.conftest import decode


def by_structlog(event, /, **fields):
    get_logger("orders.api").warning(event, **fields)


def by_stdlib(event, /, *, exc_info=None, **fields):
    logging.getLogger("orders.api").warning(event, extra=fields, exc_info=exc_info)


def by_structlog_itself(event, /, **fields):
    structlog.get_logger("orders.api").warning(event, **fields)


EVERY_WAY = pytest.mark.parametrize("log", [by_structlog, by_stdlib, by_structlog_itself])


@pytest.fixture
def ids():
    """Work with a request id and a correlation id."""
    token = otel.attach(with_request_id("req_1", with_correlation_id("corr_1")))
    yield
    otel.detach(token)


@EVERY_WAY
def test_a_line_has_the_keys_of_the_contract(telemetry, ids, log):
    """Both ways of logging give the same line, down to the order of its keys."""
    with glam_sdk.span("work") as span:
        log("order.placed", order_id=7)
    entry = decode(telemetry.lines[-1])
    assert datetime.fromisoformat(entry.pop("timestamp")).utcoffset().total_seconds() == 0
    context = span.get_span_context()
    assert entry == {
        "level": "warning",
        "message": "order.placed",
        "logger": "orders.api",
        "service": "test",
        "environment": "dev",
        "trace_id": trace.format_trace_id(context.trace_id),
        "span_id": trace.format_span_id(context.span_id),
        "trace_flags": f"{context.trace_flags:02x}",
        "correlation_id": "corr_1",
        "request_id": "req_1",
        "order_id": 7,
    }


@EVERY_WAY
def test_trace_ids_are_there_only_inside_a_span(telemetry, log):
    """A line outside any work claims no trace, not even one it was given."""
    log("alone", trace_id="made up", request_id="given")
    entry = decode(telemetry.lines[-1])
    assert "trace_id" not in entry
    assert (entry["extra_trace_id"], entry["request_id"]) == ("made up", "given")


@EVERY_WAY
def test_our_names_are_not_overwritten(telemetry, ids, log):
    """A field of the same name as one of ours is kept beside it."""
    given = {
        "timestamp": 1,
        "level": 2,
        "logger": 3,
        "service": 4,
        "environment": 5,
        "request_id": 6,
        "exception": 7,
        "event": 8,
        "correlation_id": "corr_1",
    }
    log("taken", **given)
    entry = decode(telemetry.lines[-1])
    assert (entry["level"], entry["logger"], entry["service"]) == ("warning", "orders.api", "test")
    assert (entry["message"], entry["request_id"]) == ("taken", "req_1")
    assert {k: v for k, v in entry.items() if k.startswith("extra_")} == {
        f"extra_{key}": value for key, value in given.items() if key != "correlation_id"
    }


@EVERY_WAY
def test_fields_named_like_parameters_are_fields(telemetry, log):
    """No field name collides with how the logger is written."""
    log("named", method="GET", self=1, key="k", chain=2, write=3)
    entry = decode(telemetry.lines[-1])
    assert (entry["method"], entry["self"], entry["key"], entry["write"]) == ("GET", 1, "k", 3)


@EVERY_WAY
def test_secrets_are_hidden(telemetry, log):
    """Keys decide, at any depth; a URL loses its password in any text."""
    log("tried https://u:s3cret@h/", password="s3cret", body={"card": {"cvv": 1}})
    entry = decode(telemetry.lines[-1])
    assert "s3cret" not in str(entry)
    assert entry["body"] == {"card": {"cvv": "REDACTED:cvv"}}


@EVERY_WAY
def test_an_exception_is_data_and_text(telemetry, log):
    """Type and message can be searched; the text has the causes and groups."""
    failure = ExceptionGroup("several", [ValueError("one"), OSError("two")])
    failure.__cause__ = KeyError("inner")
    log("failed", exc_info=failure)
    entry = decode(telemetry.lines[-1])
    assert entry["exception.type"] == "ExceptionGroup"
    assert entry["exception.message"] == "several (2 sub-exceptions)"
    for part in ("KeyError: 'inner'", "direct cause", "ValueError: one", "OSError: two"):
        assert part in entry["exception"]


def test_the_exception_being_handled_is_found(telemetry):
    """``exception`` and ``exc_info=True`` need no argument; without an exception they add none."""
    log = get_logger("x")
    try:
        int("no")
    except ValueError:
        log.exception("one")
        log.warning("two", exc_info=True)
    log.exception("three")  # noqa: LOG004 - that there is none is the case to prove
    log.warning("four", exc_info=(None, None, None))
    kinds = [entry.get("exception.type") for entry in telemetry.logs()]
    assert kinds == ["ValueError", "ValueError", None, None]


@pytest.mark.parametrize(
    ("message", "args", "shown"),
    [
        ("%s of %d", ("a", 2), "a of 2"),
        ("%d", ("a",), '%d ["a"]'),
        ("100%", (), "100%"),
        ("%(a)s", ({"a": 1},), "1"),
        ({"not": "text"}, (), '{"not":"text"}'),
        (None, (), "null"),
    ],
)
def test_a_message_is_filled_in_or_shown_as_it_is(telemetry, message, args, shown):
    """A wrong placeholder costs neither the line nor the caller."""
    record = logging.LogRecord("x", logging.WARNING, "f.py", 1, message, args, None)
    stdlib_logging.ChainHandler().handle(record)
    get_logger("x").warning(message, *args)
    assert [entry["message"] for entry in telemetry.logs()] == [shown, shown]


def test_bound_fields_are_on_every_line(telemetry):
    """``get_logger`` and ``bind`` keep fields; a field of the line itself wins."""
    log = get_logger("x", shop="a").bind(page=1)
    log.warning("one")
    log.warning("two", page=2)
    assert [(e["shop"], e["page"]) for e in telemetry.logs()] == [("a", 1), ("a", 2)]


def test_levels_have_one_name_each(telemetry):
    """Synonyms are written by their one name."""
    log, std = get_logger("x"), logging.getLogger("x")
    for name in ("warn", "error", "exception", "critical", "fatal"):
        getattr(log, name)("structlog")
    for number in (25, logging.ERROR, 99):
        std.log(number, "stdlib")
    assert [entry["level"] for entry in telemetry.logs()] == [
        *("warning", "error", "error", "critical", "critical"),
        *("info", "error", "critical"),
    ]


def test_a_disabled_level_costs_no_work(telemetry):
    """Nothing is rendered for a line that nobody reads."""

    class Untouchable:
        def __str__(self):
            raise AssertionError("rendered")

    get_logger("x").debug("hidden %s", Untouchable(), field=Untouchable())
    assert telemetry.lines == []


def test_structlogs_own_test_helper_sees_our_lines(telemetry):
    """A service's tests may use ``structlog.testing.capture_logs`` with any logger."""
    log = get_logger("x")
    log.info("before")
    with capture_logs() as captured:
        log.info("seen", a=1)
        structlog.get_logger("y").info("too")
    log.info("after")
    assert [entry["event"] for entry in captured] == ["seen", "too"]
    assert [entry["message"] for entry in telemetry.logs()] == ["before", "after"]


def test_a_line_too_long_keeps_what_identifies_it(telemetry):
    """However much is logged at once, a line has a bounded length."""
    get_logger("x").info("big", **{f"f{n}": "x" * 30_000 for n in range(20)})
    entry = decode(telemetry.lines[-1])
    assert len(telemetry.lines[-1]) < 10_000
    assert (entry["message"], entry["service"]) == ("big", "test")
    assert entry["cut"].startswith("20 fields were left out")


def test_a_fault_of_the_chain_itself_costs_only_the_fields(chain, lines):
    """Whatever goes wrong inside, a line comes out and the caller goes on."""

    class BrokenFields(dict):
        def items(self):
            raise RuntimeError("broken")

    chain.log("info", "x", "still here", BrokenFields(a=1))
    assert lines.decoded[0]["message"] == "still here"
    assert lines.decoded[0]["logging_failed"] == "RuntimeError"


def test_warnings_are_lines_too(telemetry):
    """What Python warns of does not stand between the JSON lines as plain text."""
    stdlib_logging.adopt()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(False)
        logging.captureWarnings(True)
        warnings.warn("old", DeprecationWarning, stacklevel=1)
        logging.captureWarnings(False)
    assert "DeprecationWarning: old" in telemetry.logs()[-1]["message"]


def test_the_stack_is_a_field(telemetry):
    """``stack_info`` of the standard library is kept."""
    logging.getLogger("x").warning("where", stack_info=True)
    assert "test_the_stack_is_a_field" in telemetry.logs()[0]["stack"]


@pytest.mark.parametrize("name", ["uvicorn", "uvicorn.error", "gunicorn.error", "hypercorn.error"])
def test_the_servers_own_lines_go_through_the_chain(telemetry, name):
    """Handlers that a server sets up at its start are replaced when the service starts."""
    server = logging.getLogger(name)
    server.addHandler(logging.StreamHandler())
    server.propagate = False
    stdlib_logging.adopt()
    server.warning("from the server")
    assert [entry["logger"] for entry in telemetry.logs()] == [name]


def test_the_servers_access_lines_are_replaced_by_ours(telemetry):
    """One line a request is enough; without handlers uvicorn does not even make its own."""
    access = logging.getLogger("uvicorn.access")
    access.addHandler(logging.StreamHandler())
    stdlib_logging.adopt()
    access.info("GET /")
    assert telemetry.lines == []
    assert not any(type(handler) is logging.StreamHandler for handler in access.handlers)


def test_an_exception_already_logged_is_not_logged_again_by_the_server(telemetry):
    """One failure, one line; from any other logger it is written."""
    exc = ValueError("x")
    mark_logged(exc)
    logging.getLogger("uvicorn.error").error("again", exc_info=exc)
    logging.getLogger("orders").error("ours", exc_info=exc)
    assert [entry["message"] for entry in telemetry.logs()] == ["ours"]


def test_other_handlers_stay_and_everything_is_put_back(tmp_path):
    """A service's own log file is not taken away; afterwards all is as it was."""
    root, own = logging.getLogger(), logging.FileHandler(tmp_path / "own.log")
    console = logging.StreamHandler()
    root.addHandler(own)
    root.addHandler(console)
    level = root.level
    try:
        stdlib_logging.adopt()
        assert own in root.handlers
        assert console not in root.handlers
        root.setLevel("DEBUG")
        stdlib_logging.release()
        assert console in root.handlers
        assert root.level == level
    finally:
        root.removeHandler(own)
        root.removeHandler(console)
        own.close()


def test_a_logger_made_before_init_is_whole_after_it():
    """Import-time loggers, also bound ones, know the service once there is one."""
    code = (
        "import glam_sdk\n"
        "log = glam_sdk.get_logger('early').bind(a=1)\n"
        "log.warning('before')\n"
        "glam_sdk.init('orders')\n"
        "log.info('after')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, timeout=60)
    before, after = map(decode, done.stdout.splitlines())
    assert (before["message"], before["service"], before["a"]) == ("before", "", 1)
    assert (after["message"], after["service"], after["a"]) == ("after", "orders", 1)


def test_the_console_is_for_people(telemetry):
    """In development a line is text, with the fields and without what repeats."""
    pipeline().console = True
    try:
        get_logger("x").warning("order.placed", order_id=7, note="\ud800")
    finally:
        pipeline().console = False
    line = telemetry.lines[-1].decode()
    assert "order.placed" in line
    assert "order_id" in line
    assert "environment" not in line
