"""Rules of which messages continue their senders' traces."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from opentelemetry import propagate
from opentelemetry.propagators.composite import CompositePropagator

from glam_sdk.events import Envelope
from glam_sdk.messaging import header_lines, origin
from glam_sdk.messaging.header_lines import HeaderBlock, parsed_lines
from glam_sdk.messaging.origin import Freshness, origin_of

NOON = datetime(2026, 1, 15, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


class Clock(datetime):
    """Tell the time that a test has set."""

    moment = NOON

    @classmethod
    def now(cls, tz=None):
        return cls.moment


@pytest.fixture
def let_pass(monkeypatch):
    """Set the clocks to noon, and let time pass."""
    Clock.moment = NOON
    monkeypatch.setattr(origin, "datetime", Clock)

    def elapsed():
        return (Clock.moment - NOON).total_seconds()

    monkeypatch.setattr(origin, "monotonic", elapsed)

    def step(duration):
        Clock.moment += duration

    return step


def test_the_limit_moves_on_with_time(let_pass):
    """It is worked out anew every second for an hour, and so is as exact."""
    fresh = Freshness(HOUR)
    assert fresh.includes(NOON - HOUR)
    assert not fresh.includes(NOON - HOUR - timedelta(microseconds=1))
    let_pass(timedelta(seconds=1))
    assert not fresh.includes(NOON - HOUR)
    assert fresh.includes(NOON + timedelta(seconds=1) - HOUR)


def test_no_age_is_too_old_where_none_is_allowed(let_pass):
    """It is worked out each time then."""
    fresh = Freshness(timedelta(0))
    assert fresh.includes(NOON)
    let_pass(timedelta(microseconds=1))
    assert not fresh.includes(NOON)


@pytest.mark.usefixtures("let_pass")
def test_an_age_beyond_all_time_includes_everything():
    """As who wants one trace for all says it."""
    assert Freshness(timedelta.max).includes(datetime.min.replace(tzinfo=UTC))


PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
USUAL = f"traceparent: {PARENT}\r\nbaggage: correlation_id=c-1\r\nNats-Msg-Id: e-1\r\n\r\n"
ALONE = USUAL.replace("baggage: correlation_id=c-1\r\n", "")
"""As of a sender that was not working for anybody, such as a job."""
PARENTS = st.one_of(
    st.sampled_from([PARENT, PARENT.upper(), PARENT.replace("b7ad6b7169203331", "0" * 16)]),
    st.builds(
        "00-{}-{}-{}".format, *(st.text("09af", min_size=n, max_size=n) for n in (32, 16, 2))
    ),
)
IDS = st.text("aZ0-._:/@+=% \xe9", max_size=6) | st.just("c-1")
BLOCKS = st.builds(
    "traceparent: {}\r\n{}{}Nats-Msg-Id: {}\r\n{}\r\n".format,
    PARENTS,
    st.sampled_from(["", "baggage: x=1\r\n"])
    | st.builds("baggage: correlation_id={}{}\r\n".format, IDS, st.sampled_from(["", ",x=1"])),
    st.sampled_from(["", "", "x-replay-of: 1\r\n", "x-replay-for: billing\r\n"]),
    IDS,
    st.sampled_from(["", "", "x-replay-of: 1\r\n", "tracestate: a=b\r\n", "baggage: x=1\r\n"]),
)  # fmt: skip


def block_of(raw):
    """Return headers as a message has them that was read quickly."""
    block = HeaderBlock()
    block.raw = raw
    return block


def found_for(headers, known, age, *, is_read=True):
    """Return the origin of an event of that correlation id and age."""
    sent_at = datetime.now(UTC) - age
    envelope = Envelope("e-1", "evt.orders.placed", sent_at, {}, known) if is_read else None
    message = SimpleNamespace(headers=headers, stored_at=sent_at)
    carried, sender, links, replay_for = origin_of(message, envelope, Freshness(HOUR))
    return carried, sender, [link.context for link in links], replay_for


@given(
    st.one_of(st.sampled_from([USUAL, ALONE]), BLOCKS),
    st.sampled_from(["c-1", "c-1", "c-2", "a+=", "", None]) | IDS,
    st.sampled_from([timedelta(0), timedelta(0), HOUR * 2]),
)
@example(USUAL, "c-2", timedelta(0))
@example(ALONE, None, timedelta(0))
@example(ALONE, "", timedelta(0))
@example(ALONE, "_a", timedelta(0))
@example(ALONE, "a" * 129, timedelta(0))
@example(ALONE, "a+=", timedelta(0))
@example(USUAL + "x", "c-1", timedelta(0))
@example(USUAL.replace("c-1", "c" * 129), "c-1", timedelta(0))
@example(USUAL.replace("b7ad6b7169203331", "0" * 16), "c-1", timedelta(0))
@example(USUAL.replace("0af7651916cd43dd8448eb211c80319c", "0" * 32), "c-1", timedelta(0))
def test_a_block_of_headers_says_what_the_headers_say(block, known, age):
    """Whatever they are: what is taken from the block unread is what reading them finds."""
    raw = block.encode()
    assert found_for(block_of(raw), known, age) == found_for(parsed_lines(raw), known, age)


@pytest.mark.parametrize("more", ["x-replay-for: billing\r\n", "x-replay-of: 1\r\n", "a: b\r\n"])
@pytest.mark.parametrize("id_", ["c-1", "a+b", "_a", "a" * 128, "a" * 129])
@pytest.mark.parametrize("flags", ["01", "03", "04", "0a"])
@pytest.mark.parametrize("is_read", [True, False])
def test_a_nearly_usual_block_is_read(more, id_, flags, is_read):
    """What differs in one place says what it says, also where the message cannot be read."""
    block = USUAL.replace("-01\r", f"-{flags}\r").replace("c-1", id_)
    for raw in (block.encode(), block.replace("\r\n\r\n", f"\r\n{more}\r\n").encode()):
        expected = found_for(parsed_lines(raw), None, timedelta(0), is_read=is_read)
        assert found_for(block_of(raw), None, timedelta(0), is_read=is_read) == expected


@pytest.mark.parametrize("id_", ["b7ad6b7169203331", "0af7651916cd43dd8448eb211c80319c"])
def test_an_id_of_zeros_is_no_senders(id_):
    """Neither in the block nor read (W3C Trace Context, section 3.2.2)."""
    block = USUAL.replace(id_, "0" * len(id_)).encode()
    for headers in (block_of(block), parsed_lines(block)):
        _, sender, links, _ = found_for(headers, "c-1", timedelta(0))
        assert (sender, links) == (None, [])


@pytest.mark.parametrize("block", [USUAL, ALONE])
def test_the_usual_headers_are_not_read_for_their_trace(monkeypatch, block):
    """What a message belongs to is found in the block itself; nobody asks for the rest."""
    expected = found_for(parsed_lines(block.encode()), "c-1", timedelta(0))
    monkeypatch.setattr(header_lines, "parsed_lines", None)
    assert found_for(block_of(block.encode()), "c-1", timedelta(0)) == expected
    assert expected[1].is_remote


def test_where_other_propagators_are_set_up_they_read_the_block():
    """It may have a header of theirs, and those of the standard mean nothing then."""
    usual = propagate.get_global_textmap()
    try:
        propagate.set_global_textmap(CompositePropagator([]))
        _, sender, links, _ = found_for(block_of(USUAL.encode()), "c-1", timedelta(0))
    finally:
        propagate.set_global_textmap(usual)
    assert (sender, links) == (None, [])
