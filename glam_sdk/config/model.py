"""Give settings classes their shape: sections of keys, and the memory of where values came from.

Plain pydantic models, not pydantic-settings: its sources do not know the file, line or variable a
value came from, let a misspelt variable pass in silence, stop at the first value they cannot read,
read ``os.environ`` in every constructor, and can be told to log all values by an environment
variable. Services declare their settings the same way: only the base class differs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, PrivateAttr

from glam_sdk.config.masking import mask_fields

KeyPath = tuple[str, ...]
"""Names from the outermost section down to the setting, such as ``("database", "host")``."""


@dataclass(frozen=True, slots=True)
class Source:
    """Tell where a value came from, in the words a person would look for it with."""

    kind: Literal["default", "file", "dotenv", "environment", "argument", "code"]
    place: str = ""
    """File and line, or the call that the argument was given to."""
    variable: str = ""
    """Name of the variable, for ``.env`` and the environment."""

    def __str__(self) -> str:
        match self.kind:
            case "environment":
                return f"environment variable {self.variable}"
            case "dotenv":
                return f"{self.place} ({self.variable})"
            case "argument":
                return f"argument to {self.place}"
            case "file":
                return self.place
            case _:
                return self.kind


DEFAULT = Source("default")
IN_CODE = Source("code")


@dataclass(frozen=True, slots=True)
class Loaded:
    """Keep what loading found besides the values."""

    sources: Mapping[KeyPath, Source] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    otel_variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    """``OTEL_*`` variables that stand in ``.env`` only, for the SDK to be given."""


class Section(BaseModel):
    """Group settings under one name: frozen, and closed to keys it does not declare."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    def __repr_args__(self) -> Any:
        """Keep passwords out of what pydantic prints."""
        return mask_fields(super().__repr_args__())


class ServiceConfig(Section):
    """Declare the settings of one service, to be read with :func:`glam_sdk.config.load`.

    Fields are settings, or sections of them; ``CATALOG_SHOP__PAGE_SIZE`` is ``shop.page_size``.
    """

    _loaded: Loaded | None = PrivateAttr(default=None)

    @property
    def loaded(self) -> Loaded | None:
        """What loading found besides the values; None when the object was made in code."""
        return self._loaded

    @property
    def extra(self) -> Mapping[str, Any]:
        """Top-level keys of the YAML files that no settings class of the SDK or this one has."""
        return self._loaded.extra if self._loaded else {}

    def remembering(self, loaded: Loaded) -> Self:
        """Return these settings with the memory of how they were loaded."""
        self._loaded = loaded
        return self

    @classmethod
    def defaults_for(cls, service_name: str) -> Mapping[str, Any]:
        """Return defaults that depend on the service's name; nested, below every source."""
        del service_name
        return {}
