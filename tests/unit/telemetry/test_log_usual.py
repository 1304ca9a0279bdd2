"""A usual line is byte for byte the one that goes the whole way; what is not usual goes it."""

from __future__ import annotations

import enum
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import context as otel
from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

from glam_sdk import context as ids
from glam_sdk.telemetry.log_chain import LogPipeline
from glam_sdk.telemetry.log_context import set_request_context, with_request_fields
from glam_sdk.telemetry.log_repeats import RepeatLimiter
from glam_sdk.telemetry.log_usual import MAX_MESSAGE, _seen_once, kind_of, kinds, usual_line
from glam_sdk.telemetry.logs import get_logger
from tests.unit.telemetry.conftest import Lines, decode

_SPANS = st.builds(
    lambda trace_id, span_id, flags: NonRecordingSpan(
        SpanContext(trace_id, span_id, is_remote=False, trace_flags=TraceFlags(flags))
    ),
    st.integers(0, 2**128 - 1),
    st.integers(0, 2**64 - 1),
    st.integers(0, 255),
)
_NAMES = st.sampled_from(
    [
        "order_id",
        "total",
        "naïve",
        "with space",
        '"',
        "password",
        "message",
        "request_id",
        "%s",
        "x",
    ]
)
_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.sampled_from(["https://u:p@h/", "://", "\ud800", "%d", "x" * 40_000, b"x", ["x"], {"a": 1}]),
)
_FIELDS = st.dictionaries(_NAMES, _VALUES, max_size=6)
_MESSAGES = st.text() | st.sampled_from(
    ["order.placed", "100 %", "x" * 300, "amqp://u:p@h", "\ud800.txt"]
)
_IDS = st.text() | st.sampled_from(["corr_1", "\udc80", '"'])


@st.composite
def _contexts(draw):
    context = Context()
    if draw(st.booleans()):
        context = ids.with_correlation_id(draw(_IDS), context)
    if draw(st.booleans()):
        context = ids.with_request_id(draw(_IDS), context)
    if draw(st.booleans()):
        context = set_span_in_context(draw(_SPANS), context)
    own = draw(_FIELDS)
    kind = draw(st.sampled_from(["none", "request", "task"]))
    if kind == "request":
        context = with_request_fields(draw(_SPANS), dict(context))
    if kind != "none":
        token = otel.attach(context)
        try:
            set_request_context(**own)
            context = otel.get_current()
        finally:
            otel.detach(token)
    return context


def _chain(lines: Lines) -> LogPipeline:
    return LogPipeline(service="100 % orders", environment='"prod"', write=lines.append)


@given(
    st.sampled_from(["debug", "info", "warning", "error"]),
    _MESSAGES,
    _FIELDS,
    _contexts(),
    st.floats(-1e9, 4e9),
)
def test_every_line_is_as_it_is_the_whole_way(level, message, fields, context, created):
    """Whatever is logged in whatever work, both ways write the same bytes."""
    lines = Lines()
    chain = _chain(lines)
    token = otel.attach(context)
    try:
        whole = chain.line(level, "a.b", message, fields, None, created or 1.0)
        for _ in range(2):  # what comes for the first time is not usual
            chain.log(level, "a.b", message, fields, created=created or 1.0)
    finally:
        otel.detach(token)
    assert lines == [whole] * 2
    decode(lines[0])


KIND = kind_of("info", "order.placed", "a.b", "orders", "prod")
BASE = ["timestamp", "level", "message", "logger", "service", "environment"]
USUAL = {"order_id": "0193a2", "naïve": "ä", "total": 12.5, "items": 3, "paid": True, "by": None}


@pytest.fixture(autouse=True)
def _names_were_seen(chain):
    """A name is looked at once, when it comes for the first time."""
    chain.log("info", "a.b", "seen", dict.fromkeys([*USUAL, "field", "user"], "x"))


class Name(str):
    __slots__ = ()


class Colour(enum.Enum):
    RED = "red"


class Odd(dict):
    pass


def _line(fields, context=None):
    return usual_line(KIND, fields, 1.5, Context() if context is None else context)


def test_plain_values_under_known_names_are_usual():
    """Else the short way would be there for nobody."""
    assert decode(_line(USUAL))["order_id"] == "0193a2"
    context = with_request_fields(NonRecordingSpan(SpanContext(1, 2, False)), {})
    token = otel.attach(Context(ids.with_ids("req_1", "corr_1", context)))
    set_request_context(user="u1")
    entry = decode(_line(USUAL, otel.get_current()))
    otel.detach(token)
    assert (entry["correlation_id"], entry["request_id"]) == ("corr_1", "req_1")
    assert (entry["trace_id"], entry["user"]) == ("0" * 31 + "1", "u1")
    assert list(decode(_line({}))) == BASE


class Alias(str):
    """Compare equal to another text."""

    __slots__ = ()

    def __eq__(self, other):
        return other == "job"

    def __hash__(self):
        return hash("job")


def test_what_only_equals_a_known_message_is_told_as_it_is(telemetry):
    """However often the other one came before."""
    log = get_logger("orders")
    for message in ("job", "job", "job", Alias("other")):
        log.info(message)
    told = [line["message"] for line in telemetry.logs() if line["logger"] == "orders"]
    assert told == ["job", "job", "job", "other"]


@pytest.mark.parametrize(
    "value",
    [
        "https://u:p@h/",
        "x" * 40_000,
        Name("x"),
        Colour.RED,
        b"x",
        [1],
        {"password": "x"},
        math.nan,
        math.inf,
        2**53,
        -(2**70),
    ],
)
def test_what_may_have_to_change_is_not_usual(value):
    """What is hidden, cut or shown as text is for the whole way to decide."""
    assert _line({"field": value}) is None


@pytest.mark.parametrize("name", ["password", "message", "trace_id", "request_id", "never_seen"])
def test_only_names_that_were_found_harmless_are_usual(name):
    """A secret's name and one of ours never are."""
    assert _line({name: "x"}) is None


def test_fields_in_a_mapping_of_their_own_are_not_usual():
    """Its methods may do anything."""
    assert _line(Odd(field="x")) is None


def test_a_long_message_and_one_with_an_address_are_not_usual(chain, lines):
    """One may hold a password, the other would be remembered with all its text."""
    assert kind_of("info", "see amqp://u:p@h", "a.b", "orders", "prod") is None
    before = len(kinds)
    for _ in range(2):
        chain.log("info", "a.b", "x" * (MAX_MESSAGE + 1), {"field": 1})
    assert len(kinds) == before
    assert lines.decoded[-1]["message"] == "x" * (MAX_MESSAGE + 1)


def test_a_message_that_never_comes_again_is_not_remembered(chain):
    """As one with a number in it: to learn what others share with it would be for nothing."""
    kinds.clear()
    for number in range(2000):
        chain.log("info", "a.b", f"order {number} placed", {"field": number})
    assert not kinds
    assert len(_seen_once) <= 1024
    for _ in range(2):
        chain.log("info", "a.b", "order.placed", {"field": 1})
    assert [shared[1] for shared in kinds] == ["order.placed"]


def test_what_is_remembered_has_a_bound_and_makes_room(chain):
    """However many messages come twice, those of now are among them."""
    for number in range(1500):
        for _ in range(2):
            chain.log("info", "a.b", f"order {number} placed", {"field": number})
    assert len(kinds) <= 1024
    assert ("info", "order 1499 placed", "a.b", "orders", "staging") in kinds


def test_a_person_at_a_terminal_reads_no_json(chain, lines):
    """A line in its usual form is not for the console."""
    chain.console = True
    for _ in range(2):
        chain.log("info", "a.b", "order.placed", {"field": 1})
    assert not any(line.startswith(b"{") for line in lines[-2:])


def test_a_lone_surrogate_goes_the_whole_way(chain, lines):
    """The encoder refuses it; the line is written with its number."""
    for _ in range(2):
        chain.log("info", "a.b", "order.placed", {"field": "\ud800"})
    assert lines.decoded[-1]["field"] == "\\ud800"


def test_the_service_may_get_its_name_between_two_lines(chain, lines):
    """What is remembered of a kind of line does not outlive it."""
    for _ in range(2):
        chain.log("info", "a.b", "order.placed", {"field": 1})
    chain.service, chain.environment = "billing", "prod"
    for _ in range(2):
        chain.log("info", "a.b", "order.placed", {"field": 1})
    shown = [(entry["service"], entry["environment"]) for entry in lines.decoded[-4:]]
    assert shown == [("orders", "staging")] * 2 + [("billing", "prod")] * 2


def test_errors_held_back_are_told_before_the_next_usual_line(chain, lines):
    """Their window is over: the short way must not pass them by."""
    now = [0.0]
    chain.repeats = RepeatLimiter(1, 10.0, clock=lambda: now[0])
    for _ in range(3):
        chain.log("error", "a.b", "failed", {"field": 1})
    for _ in range(2):
        chain.log("info", "a.b", "passed", {"field": 1})
    now[0] = 11.0
    chain.log("info", "a.b", "passed", {"field": 1})
    told = [(entry["message"], entry.get("repeated")) for entry in lines.decoded[-3:]]
    assert told == [("passed", None), ("failed", 2), ("passed", None)]
