"""What telemetry says of a statement is worked out once per text."""

from __future__ import annotations

import gc

from glam_sdk.database.plans import Plan, planner
from glam_sdk.database.statements import MAX_TEXT


def kept() -> int:
    return sum(isinstance(each, Plan) for each in gc.get_objects())


def test_what_follows_the_part_that_is_looked_at_is_not_kept() -> None:
    """Long lists of values differ in every statement; their plans are one, and so is its text."""
    plan = planner({}, "sqlite")
    start = "SELECT a FROM things WHERE id IN ("
    first, second = (plan(start + f"{n}, " * MAX_TEXT + f"{n})") for n in (1, 1))
    longer = plan(start + "1, " * MAX_TEXT + "2, 3)")
    assert first is second is longer
    assert longer is not None
    assert longer.name == "SELECT things"
    assert str(longer.span_attributes["db.query.text"]).endswith("…")


def test_a_text_of_just_the_length_is_not_said_to_go_on() -> None:
    """The cut is marked only where there is one."""
    plan = planner({}, "sqlite")
    whole = "SELECT a FROM things".ljust(MAX_TEXT - 1) + "x"
    exact, cut = plan(whole), plan(whole + "y")
    assert exact is not None
    assert cut is not None
    assert not str(exact.span_attributes["db.query.text"]).endswith("…")
    assert str(cut.span_attributes["db.query.text"]).endswith("…")


def test_plans_are_kept_within_bounds() -> None:
    """Texts that never come again do not fill the memory; one that comes again is worked out."""
    plan = planner({}, "sqlite")
    before = kept()
    for number in range(3000):
        assert plan(f"SELECT a FROM things_{number}") is not None
    assert 0 < kept() - before <= 1024
    again = plan("SELECT a FROM things_0")
    assert again is plan("SELECT a FROM things_0")
    assert again is not None
    assert again.name == "SELECT things_0"
