"""What a caller sends along is taken over by rules, bounded, and never breaks a request."""

from __future__ import annotations

import re
from typing import NamedTuple

import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import baggage
from opentelemetry.context import Context
from opentelemetry.trace import get_current_span

import glam_sdk
from glam_sdk.api import incoming
from glam_sdk.api.incoming import read_headers
from glam_sdk.config import HttpSettings
from glam_sdk.context import BAGGAGE_KEY, with_ids

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01".encode()

INTERNAL = HttpSettings()
EDGE = HttpSettings(trust_incoming="edge", baggage_allowed=("tenant",))

_NAMES = st.sampled_from(
    [b"traceparent", b"tracestate", b"baggage", b"x-request-id", b"x-correlation-id", b"host"]
)
_VALUES = st.binary(max_size=300) | st.sampled_from(
    [TRACEPARENT, b"a=1", b"v=1,w=2", b"correlation_id=c-1", b"%ff=%ff", b"a" * 9000]
)


class Origin(NamedTuple):
    links: tuple
    context: Context
    request_id: str
    correlation_id: str


def origin_of(headers, settings, current):
    """Name what is found, and make the context as a request gets it."""
    _, links, base, *found = incoming.origin_of(headers, settings, current)
    return Origin(links, Context(with_ids(*found, base)), *found)


@given(st.lists(st.tuples(_NAMES, _VALUES), max_size=12), st.sampled_from([INTERNAL, EDGE]))
def test_any_headers_give_valid_ids(headers, settings):
    """Whatever the bytes are, there are two valid ids and a context, and nothing is raised."""
    origin = origin_of(read_headers(headers), settings, Context())
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._:\-/+=@]{0,127}", origin.request_id)
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._:\-/+=@]{0,127}", origin.correlation_id)
    assert glam_sdk.correlation_id(origin.context) == origin.correlation_id
    assert glam_sdk.request_id(origin.context) == origin.request_id


_TOKENS = st.text("abcXYZ019!#$&'*-.^_`|~", min_size=1, max_size=12)
_PLAIN = st.text("abcXYZ019.-_~", max_size=12)


@given(st.dictionaries(_TOKENS, _PLAIN, max_size=8), st.booleans())
def test_well_formed_baggage_is_taken_over(members, spaced):
    """Every member that W3C Baggage allows arrives, with or without spaces and properties."""
    comma = " ,\t" if spaced else ","
    header = comma.join(f"{key}={value};prop" for key, value in members.items()).encode()
    origin = origin_of(read_headers([(b"baggage", header)]), INTERNAL, Context())
    assert set(members) <= set(baggage.get_all(origin.context))


def test_of_many_members_the_first_are_taken():
    """200 members cost no more than 64, which is what W3C Baggage asks to pass on."""
    header = ",".join(f"k{n}={n}" for n in range(200)).encode()
    origin = origin_of(read_headers([(b"baggage", header)]), INTERNAL, Context())
    found = baggage.get_all(origin.context)
    assert [key for key in found if key.startswith("k")] == [f"k{n}" for n in range(64)]


def test_of_many_short_members_the_first_are_taken():
    """It is their number that counts, also where they are read in few steps."""
    header = ",".join(f"{n}=" for n in range(100)).encode()
    base = incoming.origin_of({b"baggage": header}, INTERNAL, Context())[2]
    assert list(baggage.get_all(base)) == [str(n) for n in range(64)]


_PARENTS = st.sampled_from(
    [TRACEPARENT, TRACEPARENT[:-1] + b"0", TRACEPARENT[:-2] + b"ff", b"00-" + b"0" * 32 + b"-1-01"]
)
_MEMBERS = st.sampled_from(
    [
        b"tenant=acme",
        b"correlation_id=c-1",
        b"a=%20",
        b"a=1;p",
        b"a=1 , b=2",
        b"x",
        b"a=",
        b"\xe9=1",
    ]
)
_USUAL = st.fixed_dictionaries(
    {},
    optional={
        b"traceparent": _PARENTS,
        b"baggage": st.lists(_MEMBERS, max_size=4).map(b",".join) | _VALUES,
        b"tracestate": st.sampled_from([b"v=1", b"nonsense"]),
    },
)


@given(_USUAL, st.sampled_from([INTERNAL, EDGE]))
def test_usual_headers_say_what_the_propagators_read_in_them(headers, settings):
    """In a context that is not empty the propagators read them; in an empty one we do, mostly."""
    sender, links, base, *_ = incoming.origin_of(headers, settings, Context())
    their_sender, their_links, theirs, *_ = incoming.origin_of(
        headers, settings, Context({"here": "before"})
    )
    assert sender == their_sender
    assert [link.context for link in links] == [link.context for link in their_links]
    assert baggage.get_all(base) == baggage.get_all(theirs)


def test_what_a_caller_says_is_added_to_the_context_it_arrived_in():
    """What the server's own context has stays, such as another instrumentation's entries."""
    headers = {b"traceparent": TRACEPARENT, b"baggage": b"tenant=acme"}
    base = incoming.origin_of(headers, INTERNAL, Context({"here": "before"}))[2]
    assert (base["here"], baggage.get_all(base)) == ("before", {"tenant": "acme"})


def test_baggage_of_no_known_kind_is_none():
    """Where something else is in the place of baggage, the ids are a context's all the same."""
    odd = Context({BAGGAGE_KEY: ["correlation_id"]})
    assert glam_sdk.correlation_id(odd) is None
    assert glam_sdk.correlation_id(Context(with_ids("r-1", "c-1", odd))) == "c-1"


def test_several_baggage_headers_are_one_list():
    """RFC 9110: the values of one name belong together."""
    headers = [(b"baggage", b"a=1"), (b"baggage", b"nonsense, b=2")]
    found = baggage.get_all(origin_of(read_headers(headers), INTERNAL, Context()).context)
    assert (found["a"], found["b"]) == ("1", "2")


@pytest.mark.parametrize(
    "headers",
    [
        [(b"traceparent", TRACEPARENT), (b"traceparent", TRACEPARENT)],
        [(b"traceparent", TRACEPARENT + b"-x," + TRACEPARENT)],
        [(b"traceparent", b"00-" + b"0" * 32 + b"-" + PARENT.encode() + b"-01")],
        [(b"traceparent", b"ff" + TRACEPARENT[2:])],
        [(b"traceparent", b"\xff\xfe")],
        [(b"traceparent", TRACEPARENT + b"a" * 10_000)],
        [(b"traceparent", b"")],
    ],
)
def test_a_malformed_parent_is_no_parent(headers):
    """W3C Trace Context: what is invalid or there twice begins a new trace."""
    origin = origin_of(read_headers(headers), INTERNAL, Context())
    assert not get_current_span(origin.context).get_span_context().is_valid


@pytest.mark.parametrize(
    ("tracestate", "kept"),
    [
        (b"vendor=1,other@x=2", {"vendor": "1", "other@x": "2"}),
        (b"nonsense", {}),
        (b"a=1,,b=2", {"a": "1", "b": "2"}),
        (b",".join(b"k%d=1" % n for n in range(33)), {}),
        (b"a=" + b"x" * 600, {}),
    ],
)
def test_a_tracestate_is_taken_whole_or_not_at_all(tracestate, kept):
    """One malformed member discards the header, never the parent."""
    headers = [(b"traceparent", TRACEPARENT), (b"tracestate", tracestate)]
    span = get_current_span(origin_of(read_headers(headers), INTERNAL, Context()).context)
    assert f"{span.get_span_context().trace_id:032x}" == TRACE
    assert dict(span.get_span_context().trace_state) == kept


def test_at_the_edge_the_callers_trace_is_only_linked():
    """``trust_incoming="edge"``: no parent, no sampling decision, only allowed baggage."""
    headers = [(b"traceparent", TRACEPARENT), (b"baggage", b"tenant=acme,admin=1,correlation_id=c")]
    origin = origin_of(read_headers(headers), EDGE, Context())
    assert not get_current_span(origin.context).get_span_context().is_valid
    (link,) = origin.links
    assert f"{link.context.trace_id:032x}" == TRACE
    assert set(baggage.get_all(origin.context)) == {"tenant", "correlation_id"}
    assert origin.correlation_id.startswith("corr_")


def test_at_the_edge_an_unsampled_caller_is_recorded(telemetry_with, serve):
    """The caller's flag decides nothing; its trace is reached by the link."""
    unsampled = f"00-{TRACE}-{PARENT}-00"
    with telemetry_with(trust_incoming="edge") as telemetry:
        app = telemetry.service.install(FastAPI())
        with serve(app) as client:
            answer = client.get("/", headers={"traceparent": unsampled, "X-Correlation-ID": "c-1"})
        (span,) = telemetry.spans
        assert span.parent is None
        assert f"{span.links[0].context.trace_id:032x}" == TRACE
        assert answer.headers["x-trace-id"] != TRACE
        assert answer.headers["x-correlation-id"] == "c-1"


def test_inside_an_unsampled_caller_is_not_recorded(app, serve, telemetry):
    """``internal`` follows the caller's decision; ids, metrics and log stay whole."""
    with serve(app) as client:
        answer = client.get("/", headers={"traceparent": f"00-{TRACE}-{PARENT}-00"})
    assert telemetry.spans == ()
    assert answer.headers["x-trace-id"] == TRACE
    (line,) = telemetry.logs("http.request")
    assert line["trace_id"] == TRACE
    assert line["trace_flags"] == "00"
    assert "http_server_request_duration_seconds_count{" in telemetry.scrape()


async def test_hostile_headers_cost_one_line_and_never_an_error(app, asgi, telemetry):
    """100 KB values, CR/LF/NUL, invalid UTF-8, 200 members, several parents: one access line."""
    hostile = [
        (b"x-request-id", b"a" * 100_000),
        (b"x-correlation-id", b"x\r\nSet-Cookie: a=b"),
        (b"user-agent", b"\x00\xff\xfe\r\n{}\xed\xa0\x80"),
        (b"host", b"evil\r\n\x00\xff:999999"),
        (b"traceparent", TRACEPARENT),
        (b"traceparent", TRACEPARENT),
        (b"tracestate", b"=,=,=" * 200),
        (b"baggage", b",".join(b"k%d=%%ff%d" % (n, n) for n in range(200))),
        (b"baggage", b"\xff=\xff,;;;,=,a b=c,\x00=1"),
        (b"accept", b"application/problem+json;q=\xff" * 100),
        (b"x-forwarded-for", b"1" * 100_000),
    ]
    sent, raised = await asgi(app, headers=hostile, path="/\x00\n\ud800", method="G\nET")
    assert raised is None
    assert sent[0]["status"] == 404
    for name, value in sent[0]["headers"]:
        assert not re.search(rb"[\r\n\x00]", name + value)
    assert len(telemetry.lines) == 1
    assert b"\n" not in telemetry.lines[0]
    assert telemetry.logs()[0]["message"] == "http.request"
    assert len(telemetry.lines[0]) < 4096
