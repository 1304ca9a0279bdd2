"""The usual headers of a message are read as the client reads them."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import nats.aio.client
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client
from nats.aio.subscription import Subscription

from glam_sdk.messaging import header_lines, inline
from glam_sdk.messaging.header_lines import USUAL, HeaderBlock, parsed_lines
from glam_sdk.messaging.inline import Messages, quicken

NAMES = st.one_of(st.sampled_from(sorted(USUAL)), st.text(max_size=6))
VALUES = st.text(st.one_of(st.characters(), st.sampled_from(" \t\x0b\x1c\u00a0:\n")), max_size=12)
LINES = st.one_of(
    st.builds(
        "{}:{}{}".format, NAMES, st.sampled_from(["", " ", "\t"]), VALUES
    ).map(lambda line: line.encode("utf-8", "surrogatepass")),
    st.binary(max_size=12),
)  # fmt: skip


@given(st.lists(LINES, max_size=5).map(b"\r\n".join))
def test_any_block_is_read_as_the_client_reads_it(raw):
    """Names, values, blanks, what is no header, and what is no text."""
    assert parsed_lines(raw) == Client._parse_header_lines(raw)
    assert parsed_lines(raw + b"\r\n\r\n") == Client._parse_header_lines(raw + b"\r\n\r\n")


SENT = st.text(st.sampled_from("a-0 \t\x0b\x1c\r\n:é"), max_size=5)


@given(st.tuples(SENT, st.none() | SENT, SENT))
def test_a_block_in_our_order_is_read_as_the_client_reads_it(sent):
    """Whatever the values are: blanks around them, line ends in them, none at all."""
    parent, baggage, message_id = sent
    middle = "" if baggage is None else f"baggage: {baggage}\r\n"
    block = f"traceparent: {parent}\r\n{middle}Nats-Msg-Id: {message_id}\r\n\r\n".encode()
    assert parsed_lines(block) == Client._parse_header_lines(block)


def test_a_block_in_our_order_is_read_by_one_pattern(monkeypatch):
    """Whether or not it has baggage: to take it line by line costs twice as much."""
    monkeypatch.setattr(header_lines, "USUAL", ())
    monkeypatch.setattr(Client, "_parse_header_lines", None)
    block = b"traceparent: 1\r\nbaggage: a=b\r\nNats-Msg-Id: 2\r\n\r\n"
    expected = {"traceparent": "1", "baggage": "a=b", "Nats-Msg-Id": "2"}
    assert parsed_lines(block) == expected
    del expected["baggage"]
    assert parsed_lines(block.replace(b"baggage: a=b\r\n", b"")) == expected


def test_a_block_is_read_once_when_somebody_asks(monkeypatch):
    """It is what its lines are: most messages are handled without a look at them."""
    raw, read = b"x-a: 1\r\nx-b: 2\r\n\r\n", []
    monkeypatch.setattr(
        header_lines, "parsed_lines", lambda lines: read.append(lines) or parsed_lines(lines)
    )
    block = HeaderBlock()
    block.raw = raw
    assert not read
    assert block == {"x-a": "1", "x-b": "2"}
    assert (dict(block), len(block), block.get("x-c")) == ({"x-a": "1", "x-b": "2"}, 2, None)
    assert read == [raw]


def test_a_line_without_a_colon_is_no_header():
    """As the client has it, also where it is the name of one."""
    raw = b"baggage\r\ntraceparent: 1"
    assert parsed_lines(raw) == Client._parse_header_lines(raw) == {"traceparent": "1"}


@pytest.mark.parametrize("found", ["J\u00f6rg", ["Anna", "J\u00f6rg"]])
async def test_a_client_with_a_mail_parser_reads_them_itself(found, monkeypatch):
    """It reads encoded words then, and its newer versions return all values of a name."""
    monkeypatch.setattr(
        nats.aio.client, "parse_email", lambda _: SimpleNamespace(headers={"x-name": found})
    )
    client, got = Client(), []
    quicken(client)
    taken = Messages(lambda *given: got.append(given))
    client._subs[1] = Subscription(client, 1, future=taken)
    block = b"NATS/1.0\r\ntraceparent: 1\r\n\r\n"
    await client._ps.parse(b"HMSG a 1 %d %d\r\n%b\r\n" % (len(block), len(block), block))
    assert got == [("a", "", {"x-name": "J\u00f6rg"}, b"")]


@pytest.mark.parametrize("is_known", [True, False])
def test_a_client_of_another_version_reads_them_itself(is_known, monkeypatch):
    """Only where it is known to work is anything replaced."""
    monkeypatch.setattr(inline, "IS_INLINE", is_known)
    client = Client()
    quicken(client)
    assert (client._parse_header_lines is parsed_lines) is is_known


def test_another_version_need_not_have_what_is_not_promised():
    """Where the client's inner parts have moved, everything is imported all the same."""
    code = """
import importlib.metadata
installed = importlib.metadata.version
importlib.metadata.version = lambda name: "2.17.0" if name == "nats-py" else installed(name)
import nats.aio.transport, nats.protocol.parser
del nats.aio.transport.TcpTransport, nats.protocol.parser.AWAITING_CONTROL_LINE
import glam_sdk.messaging
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert not done.returncode, done.stderr
