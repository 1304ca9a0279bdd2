"""Give the tests of the configuration a root to write files in and a way to load from it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from glam_sdk.config import Settings, load_settings
from glam_sdk.errors import ConfigurationError


class Root:
    """Stand for the directory a service is started in."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, relative: str, text: str) -> None:
        file = self.path / relative
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")

    def load(
        self,
        environ: Mapping[str, str] | None = None,
        overrides: Mapping[str, Any] | None = None,
        service: str = "orders",
    ) -> Settings:
        return load_settings(service, overrides=overrides, environ=environ or {}, root=self.path)

    def refused(
        self, environ: Mapping[str, str] | None = None, overrides: Mapping[str, Any] | None = None
    ) -> str:
        """Return the message of the error that loading ends in."""
        with pytest.raises(ConfigurationError) as caught:
            self.load(environ, overrides)
        return caught.value.message


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return Root(tmp_path)
