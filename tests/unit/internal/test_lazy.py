"""A missing extra is named, wherever it is first needed."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("code", "extra"),
    [
        ("from glam_sdk.api import PaginationDep", "http"),
        ("from glam_sdk.client import http_client", "client"),
        ("service.use_database()", "db"),
        ("service.use_messaging()", "nats"),
    ],
)
def test_what_is_not_installed_is_named_with_its_extra(code: str, extra: str) -> None:
    """The message ends with the command that installs it."""
    hide = "import sys; sys.modules.update(dict.fromkeys(('fastapi','httpx','sqlalchemy','nats')))"
    start = "import glam_sdk; service = glam_sdk.init('bare')"
    done = subprocess.run(
        [sys.executable, "-c", f"{hide}; {start}; {code}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert f"pip install 'glam_sdk[{extra}]'" in done.stderr
