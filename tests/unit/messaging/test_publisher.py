"""What is sent together says the same as what is sent alone."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import Enum

from hypothesis import example, given
from hypothesis import strategies as st

from glam_sdk.events import MESSAGE_ID_HEADER, Envelope, encode
from glam_sdk.messaging.publisher import _together
from glam_sdk.messaging.write_buffer import lines_of

TRACE = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}


class Job(str, Enum):  # noqa: UP042 - formatted, a StrEnum is its value
    NIGHTLY = "job-7"


TEXTS = st.text(st.one_of(st.characters(), st.sampled_from(" \t\r\n:-x")), max_size=8)


KEYS = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from(" \t\r\n:-x"), max_size=8)
HEADERS = st.sampled_from(["traceparent", "baggage", "a b", MESSAGE_ID_HEADER])


@given(st.dictionaries(HEADERS, TEXTS), KEYS)
@example(TRACE, "e-1")
@example({}, "e-1")
@example(TRACE, " e-1")
@example(TRACE, Job.NIGHTLY)
@example({**TRACE, MESSAGE_ID_HEADER: "a propagator's"}, "e-1")
@example(TRACE, "e\r\n1")
def test_headers_of_messages_sent_together_are_written_as_each_ones_are(shared, key):
    """Their lines are made of what they share; what the client would change is left to it."""
    sale = Envelope("e-1", "evt.shop.sold", datetime.now(UTC), {"total": 1}, None, key)
    other = Envelope("e-2", "evt.shop.sold", datetime.now(UTC), {}, None, "k-2")
    first, second = _together([sale, other], shared)
    assert first.headers == {**shared, MESSAGE_ID_HEADER: key or "e-1"}
    assert (first.subject, first.body) == (sale.subject, encode(sale))
    for message in (first, second):
        written = b"" if MESSAGE_ID_HEADER in shared else lines_of(message.headers)
        assert message.lines == (written or b"")
