"""Prove that the reference page says what the classes say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from glam_sdk.config import Settings
from glam_sdk.config.knobs import knobs_of
from glam_sdk.config.reference import updated

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "configuration.md"


def test_the_page_is_up_to_date() -> None:
    """Run ``python -m glam_sdk.config.reference docs/reference/configuration.md``."""
    page = PAGE.read_text(encoding="utf-8")
    assert page == updated(page)


def test_every_setting_stands_on_the_page_with_a_meaning() -> None:
    """A setting without a docstring does not get by."""
    rows = re.findall(r"^\| `([a-z_.]+)` \|.*\| (.+\.) \|$", PAGE.read_text("utf-8"), re.MULTILINE)
    assert [key for key, _ in rows] == [knob.key for knob in knobs_of(Settings)]


def test_a_page_without_the_marker_is_refused() -> None:
    """Nothing is overwritten by mistake."""
    with pytest.raises(ValueError, match="no line that reads"):
        updated("# Another page\n")


def test_the_examples_on_the_page_run() -> None:
    """Every block of Python is executed as it stands."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, str(PAGE), "exec", dont_inherit=True), {"__name__": "example"})
