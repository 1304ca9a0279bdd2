"""Prove that an error keeps its state when it is pickled or copied."""

from __future__ import annotations

import copy
import pickle

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glam_sdk import errors
from glam_sdk.errors import DatabaseError, GlamBaseError, NotFoundError, detail, registered_errors


class SeatTakenError(errors.ConflictError):
    """A seat was sold to somebody else."""

    code = "TEST_SEAT_TAKEN"
    seat: str = detail(as_text=True)


class PickyError(Exception):
    """A foreign error that pickles, but can't be made again from its message alone."""

    def __init__(self, *, reason: str) -> None:
        super().__init__(f"because {reason}")


CLASSES = [cls for cls in registered_errors() if cls.__module__.startswith("glam_sdk.errors")]
TEXT = st.text(max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
ERRORS = st.builds(
    lambda cls, **kw: cls(**{name: value for name, value in kw.items() if value is not None}),
    st.sampled_from(CLASSES),
    message=st.none() | TEXT,
    code=st.none() | TEXT,
    status=st.none() | st.integers(400, 599),
    details=st.none() | st.dictionaries(TEXT, JSON, max_size=4),
)


def state(error: GlamBaseError) -> object:
    return (
        type(error),
        str(error),
        error.args,
        error.code,
        error.status,
        error.details,
        error.__suppress_context__,
        getattr(error, "__notes__", None),
    )


@given(error=ERRORS, protocol=st.integers(0, pickle.HIGHEST_PROTOCOL))
def test_any_error_survives_pickling_and_copying(error, protocol) -> None:
    """A round trip loses nothing of what an error says."""
    twins = [pickle.loads(pickle.dumps(error, protocol)), copy.copy(error), copy.deepcopy(error)]
    assert [state(twin) for twin in twins] == [state(error)] * 3


def test_a_required_keyword_does_not_stop_an_error_from_travelling() -> None:
    """Unpickling does not call the class with its message alone, as Exception's does."""
    error = SeatTakenError("Taken.", seat=12, code="OTHER")  # type: ignore[arg-type]
    error.add_note("seen twice")
    twin = pickle.loads(pickle.dumps(error))
    assert state(twin) == state(error)
    assert twin.seat == "12"


def test_the_cause_travels_through_a_chain_of_errors() -> None:
    """A worker's error arrives with what led to it."""
    root = KeyError("k")
    error = NotFoundError("Missing.", cause=DatabaseError("Lost.", table="orders", cause=root))
    twin = pickle.loads(pickle.dumps(error))
    assert isinstance(twin.cause, DatabaseError)
    assert twin.cause.table == "orders"
    assert repr(twin.cause.cause) == repr(root)
    assert twin.__suppress_context__ is True


@pytest.mark.parametrize(
    "cause",
    [
        type("LocalError", (Exception,), {})(),
        PickyError(reason="x"),
        OSError(lambda: None),
        httpx.HTTPStatusError(
            "x", request=httpx.Request("GET", "http://a"), response=httpx.Response(500)
        ),
    ],
    ids=lambda cause: type(cause).__name__,
)
def test_a_cause_that_can_not_travel_is_left_behind(cause) -> None:
    """The error itself arrives all the same."""
    error = GlamBaseError("Failed.", details={"a": 1}, cause=cause)
    twin = pickle.loads(pickle.dumps(error))
    assert (twin.to_dict(), twin.__cause__) == (error.to_dict(), None)
    assert copy.copy(error).__cause__ is copy.deepcopy(error).__cause__ is cause


def test_a_long_chain_of_causes_pickles_in_reasonable_size() -> None:
    """Each link is written once, not once per error above it."""
    error = GlamBaseError("0")
    for depth in range(1, 20):
        error = GlamBaseError(str(depth), cause=error)
    data = pickle.dumps(error)
    assert len(data) < 10_000
    depth, link = 0, pickle.loads(data)
    while link is not None:
        depth, link = depth + 1, link.__cause__
    assert depth == 20


def test_a_copy_has_details_of_its_own() -> None:
    """Changing a copy leaves the original as it was; a deep copy shares nothing inside either."""
    error = GlamBaseError("x", details={"list": [1]})
    shallow, deep = copy.copy(error), copy.deepcopy(error)
    shallow.details["new"] = 1
    deep.details["list"].append(2)  # type: ignore[attr-defined]
    assert error.details == {"list": [1]}


def test_details_that_hold_the_error_itself_are_no_endless_loop() -> None:
    """Cycles travel as they do in any other object."""
    error = GlamBaseError("x")
    error.details["self"] = error
    for twin in (copy.deepcopy(error), pickle.loads(pickle.dumps(error))):
        assert twin.details["self"] is twin
