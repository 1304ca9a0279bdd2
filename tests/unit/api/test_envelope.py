"""The JSON of every answer: contract, nulls left out, problem details."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from glam_sdk.api import (
    ApiResponse,
    ErrorDetail,
    create_response,
    error_response,
    success_response,
)
from glam_sdk.api.problem import wants_problem


class Item(BaseModel):
    name: str
    colour: str | None = None


def test_a_success_has_data_and_meta_and_nothing_else(app, serve):
    """Contract 1: ``{"data", "meta"}``; nulls of the envelope are left out, those of data stay."""

    @app.get("/item")
    async def item() -> ApiResponse[Item]:
        return success_response(Item(name="mirror"))

    with serve(app) as client:
        answer = client.get("/item", headers={"X-Request-ID": "r-1", "X-Correlation-ID": "c-1"})
    body = answer.json()
    assert body["data"] == {"name": "mirror", "colour": None}
    assert list(body) == ["data", "meta"]
    meta = body["meta"]
    assert meta["request_id"] == "r-1"
    assert meta["correlation_id"] == "c-1"
    assert meta["trace_id"] == answer.headers["x-trace-id"]
    written = datetime.fromisoformat(meta["timestamp"])
    assert written.utcoffset() == UTC.utcoffset(None)
    assert abs((datetime.now(UTC) - written).total_seconds()) < 60


def test_outside_a_request_the_meta_has_no_ids():
    """``correlation_id`` and ``trace_id`` may be absent; ``request_id`` is always there."""
    body = json.loads(success_response(1).model_dump_json(by_alias=True))
    assert set(body["meta"]) == {"request_id", "timestamp"}


def test_create_response_takes_data_or_an_error():
    """The old helper makes both kinds of envelope."""
    error = ErrorDetail(code="NOPE", message="No.")
    assert set(create_response({"a": 1}).model_dump(mode="json")) == {"data", "meta"}
    refused = create_response(error=error).model_dump(mode="json")
    assert refused["error"] == {"code": "NOPE", "message": "No."}
    assert set(refused) == {"error", "meta"}


class Unprintable:
    def __str__(self):
        raise RuntimeError("no text")


@dataclass
class Point:
    x: int


@pytest.mark.parametrize(
    ("details", "expected"),
    [
        ({"price": Decimal("9.50")}, {"price": "9.50"}),
        ({"id": UUID(int=1)}, {"id": "00000000-0000-0000-0000-000000000001"}),
        ({"at": datetime(2026, 1, 2, tzinfo=UTC)}, {"at": "2026-01-02T00:00:00Z"}),
        ({"point": Point(1)}, {"point": {"x": 1}}),
        ({"item": Item(name="a")}, {"item": {"name": "a", "colour": None}}),
        ({"error": ValueError("bad")}, {"error": "bad"}),
        ({1: "one"}, {"1": "one"}),
        ({"raw": b"\xff"}, {"raw": "\\xff"}),
        ({"text": "\ud800"}, {"text": "\\ud800"}),
        ({"who": Unprintable()}, {"who": "<Unprintable: RuntimeError while logging it>"}),
    ],
)
def test_details_that_are_no_json_are_written_as_text(details, expected):
    """An error answer never fails on what somebody put into ``details``."""
    response = error_response(status=400, code="BAD", message="Bad.", details=details)
    assert json.loads(response.body)["error"]["details"] == expected


def test_details_that_contain_themselves_are_cut():
    """A cycle in ``details`` ends somewhere."""
    details = {"name": "loop"}
    details["self"] = details
    body = json.loads(error_response(status=400, code="BAD", message="Bad.", details=details).body)
    assert body["error"]["details"]["name"] == "loop"


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.dates(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), _JSON), st.text())
def test_every_error_answer_is_json(details, message):
    """Whatever message and details are, the body is JSON with code and message."""
    response = error_response(status=400, code="BAD", message=message, details=details)
    error = json.loads(response.body)["error"]
    assert error["code"] == "BAD"
    assert isinstance(error["message"], str)


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("application/problem+json", True),
        ("application/json, application/problem+json", True),
        ("text/html, application/problem+json;q=0.5", True),
        ("application/json, application/problem+json;q=0.9", False),
        ("application/problem+json;q=0", False),
        ("application/problem+json;q=nonsense", False),
        ("application/json", False),
        ("*/*", False),
        ("", False),
        ("application/problem+json" + "," * 2000, False),
    ],
)
def test_problem_details_are_for_those_who_ask(accept, wanted):
    """Only a client that names the media type, and prefers no other JSON, gets problem details."""
    assert wants_problem(accept) is wanted


@given(st.text(max_size=200))
def test_any_accept_header_is_understood_somehow(text):
    """Parsing ``Accept`` never raises."""
    assert wants_problem(f"application/problem+json;{text}") in (True, False)


def test_problem_details_say_the_same_as_the_envelope(app, serve):
    """RFC 9457 with the same code, message, trace id and details (issue 3)."""
    with serve(app) as client:
        plain = client.get("/nowhere")
        asked = client.get("/nowhere", headers={"Accept": "application/problem+json"})
    assert plain.headers["content-type"] == "application/json"
    assert asked.headers["content-type"] == "application/problem+json"
    assert asked.status_code == plain.status_code == 404
    body = asked.json()
    assert body["code"] == plain.json()["error"]["code"] == "HTTP_404"
    assert body["detail"] == plain.json()["error"]["message"] == "Not Found"
    assert body["trace_id"] == asked.headers["x-trace-id"]
    assert (body["type"], body["title"], body["status"]) == ("about:blank", "Not Found", 404)


def test_problem_details_have_the_details(app, serve):
    """What an envelope has in ``error.details`` is a member of its own."""

    @app.get("/n")
    async def number(n: int) -> int:
        return n

    with serve(app) as client:
        body = client.get("/n?n=x", headers={"Accept": "application/problem+json"}).json()
    assert body["details"]["validation_errors"][0]["field"] == "query.n"
