"""Prove that the page of error codes says what the classes say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from glam_sdk.errors import GlamBaseError, detail, registered_errors
from glam_sdk.errors.catalogue import render_catalogue

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "errors.md"


class ShelfFullError(GlamBaseError):
    """A shelf | has no room.

    Not shown.
    """

    code = "TEST_SHELF_FULL"
    status = 409
    message = "Shelf {shelf_id} is full."
    shelf_id: str = detail(into=("shelf", "resource_id"), as_text=True)
    room: int = 0


def test_the_page_is_up_to_date() -> None:
    """Run ``python -m glam_sdk.errors.catalogue glam_sdk.domains > docs/reference/errors.md``."""
    assert PAGE.read_text(encoding="utf-8") == render_catalogue(["glam_sdk.domains"])


def test_the_command_writes_the_page_in_a_fresh_process() -> None:
    """The order of imports, and what else was imported, do not show on the page."""
    done = subprocess.run(
        [sys.executable, "-X", "utf8", "-m", "glam_sdk.errors.catalogue", "glam_sdk.domains"],
        capture_output=True,
        check=True,
    )
    assert done.stdout.decode() == PAGE.read_text(encoding="utf-8")


def test_every_code_of_the_package_is_on_the_page() -> None:
    """A new error class is documented by existing."""
    page = render_catalogue(["glam_sdk.domains"])
    ours = [
        cls
        for cls in registered_errors()
        if cls.__module__.startswith(("glam_sdk.errors", "glam_sdk.domains"))
    ]
    assert len(ours) == 19 + 27
    assert all(f"| `{cls.code}` | {cls.status} | {cls.__name__} |" in page for cls in ours)


def test_a_service_renders_its_own_errors_after_ours() -> None:
    """Only the modules that were named are shown, with every particular of a keyword."""
    page = render_catalogue([__name__])
    row = page.splitlines()[-1]
    assert row == (
        "| `TEST_SHELF_FULL` | 409 | ShelfFullError | GlamBaseError | Shelf {shelf_id} is full. | "
        "`shelf_id` → `shelf` and `resource_id` (required) as text, `room` = `0` | "
        "A shelf &#124; has no room. |"
    )
    assert "SYNC_NOT_FOUND" not in page
