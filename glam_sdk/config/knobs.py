"""Find every setting of a settings class, and the environment names it answers to."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, Final, Union, get_args, get_origin

from pydantic import BaseModel, SecretBytes, SecretStr
from pydantic.fields import FieldInfo

from glam_sdk.config import formats
from glam_sdk.config.model import KeyPath, ServiceConfig

SHARED_PREFIX: Final = "GLAM_"
_SERVICE: Final = "{prefix}"


@dataclass(frozen=True, slots=True)
class Env:
    """Give a setting one more environment name: ``Annotated[str, Env("{prefix}DB_HOST")]``."""

    name: str
    decode: Callable[[str], object] | None = None
    """Turns the text into a value, where the variable's notation is not the setting's own."""
    beats_code: bool = False
    """Whether the variable wins over arguments too, as OpenTelemetry has it for the resource."""


@dataclass(frozen=True, slots=True)
class CodeOnly:
    """Mark a setting that has no environment names, for only code can know it."""


@dataclass(frozen=True, slots=True)
class Knob:
    """Describe one setting: where it is, what it takes, what it is called outside."""

    path: KeyPath
    field: FieldInfo

    @property
    def key(self) -> str:
        """The path with dots, as people write it."""
        return ".".join(self.path)

    @property
    def is_secret(self) -> bool:
        """Whether the type says that the value must never be shown."""
        return _mentions_secret(self.field.annotation)

    @property
    def is_mapping(self) -> bool:
        """Whether the value has keys of its own."""
        return self._reader() is formats.pairs

    def variables(self, prefix: str, *, shared: bool) -> list[Env]:
        """Return the environment names of this setting, the weakest first.

        Args:
            prefix: The service's prefix, such as ``ORDERS_``.
            shared: Whether ``GLAM_`` names exist, which only the SDK's own settings have.
        """
        if any(isinstance(marker, CodeOnly) for marker in self.field.metadata):
            return []
        own = "__".join(part.upper() for part in self.path)
        aliases = [marker for marker in self.field.metadata if isinstance(marker, Env)]
        aliases.sort(key=lambda alias: alias.name.startswith(_SERVICE))
        names = [Env(SHARED_PREFIX + own)] if shared else []
        names += [Env(a.name.replace(_SERVICE, prefix), a.decode, a.beats_code) for a in aliases]
        return [*names, Env(prefix + own)]

    def read(self, value: object) -> object:
        """Return a list or mapping that was written as text in its own form; the rest as it is."""
        reader = self._reader()
        return reader(value) if reader and isinstance(value, str) else value

    def _reader(self) -> Callable[[str], object] | None:
        for arm in annotation_arms(self.field.annotation):
            origin = get_origin(arm) or arm
            if not isinstance(origin, type) or issubclass(origin, str | bytes):
                continue
            if issubclass(origin, Mapping):
                return formats.pairs
            if issubclass(origin, Sequence | set | frozenset):
                return formats.comma_list
        return None


@dataclass(frozen=True, slots=True)
class Schema:
    """Hold the settings of a class, and beside them the SDK's, which share files and variables."""

    knobs: Mapping[KeyPath, Knob]
    sections: frozenset[KeyPath]
    sdk_knobs: Mapping[KeyPath, Knob]

    @classmethod
    def of(cls, model: type[ServiceConfig], sdk: type[ServiceConfig]) -> Schema:
        """Describe ``model``, whose files and variables also serve ``sdk``."""
        knobs = {knob.path: knob for knob in knobs_of(model)}
        sections = {path[:depth] for path in knobs for depth in range(1, len(path))}
        return cls(knobs, frozenset(sections), {knob.path: knob for knob in knobs_of(sdk)})

    @property
    def top_level(self) -> set[str]:
        """The outermost names that this class or the SDK knows."""
        return {path[0] for path in (*self.knobs, *self.sdk_knobs)}

    def children(self, section: KeyPath) -> list[str]:
        """Return the names directly below a section."""
        depth = len(section)
        below = (path for path in self.knobs if path[:depth] == section and len(path) > depth)
        return list(dict.fromkeys(path[depth] for path in below))

    def variables(self, prefix: str) -> dict[KeyPath, list[Env]]:
        """Return the environment names of each setting of the class, the weakest first."""
        return {
            path: knob.variables(prefix, shared=path in self.sdk_knobs)
            for path, knob in self.knobs.items()
        }

    def known_names(self, prefix: str) -> set[str]:
        """Return every environment name that the class or the SDK reads."""
        names = {env.name for envs in self.variables(prefix).values() for env in envs}
        for knob in self.sdk_knobs.values():
            names.update(env.name for env in knob.variables(prefix, shared=True))
        return names


@lru_cache(maxsize=64)
def knobs_of(model: type[BaseModel], at: KeyPath = ()) -> tuple[Knob, ...]:
    """Return the settings of a class in the order they are declared, sections unfolded."""
    found: list[Knob] = []
    for name, field in model.model_fields.items():
        path = (*at, name)
        section = section_of(field)
        found += knobs_of(section, path) if section else [Knob(path, field)]
    return tuple(found)


def section_of(field: FieldInfo) -> type[BaseModel] | None:
    """Return the class of a field that is a section, optional or not."""
    for arm in annotation_arms(field.annotation):
        if isinstance(arm, type) and issubclass(arm, BaseModel):
            return arm
    return None


def _mentions_secret(annotation: Any) -> bool:
    if annotation is SecretStr or annotation is SecretBytes:
        return True
    return any(_mentions_secret(part) for part in get_args(annotation))


def annotation_arms(annotation: Any) -> list[Any]:
    """Return the types of a union, or the one type, without what annotates them."""
    if get_origin(annotation) is Annotated:
        return annotation_arms(get_args(annotation)[0])
    if get_origin(annotation) in {Union, types.UnionType}:
        return [arm for part in get_args(annotation) for arm in annotation_arms(part)]
    return [annotation]
