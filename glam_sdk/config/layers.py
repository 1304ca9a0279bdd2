"""Bind what the sources say to the settings of a class, one layer per source."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel

from glam_sdk.config.formats import FormatError, Noted
from glam_sdk.config.knobs import SHARED_PREFIX, Env, Schema
from glam_sdk.config.merge import expand_config
from glam_sdk.config.model import KeyPath, Source
from glam_sdk.config.problems import Problems, nearest, slip_of
from glam_sdk.config.sources import Layer, Variable

# Aliases whose first word stands for a section, so that a misspelt one can be told from a
# variable of the service's own.
_ALIAS_STEMS: Final = ("DB_", "DATABASE_", "NATS_")


@dataclass(slots=True)
class Binder:
    """Turn trees of keys and sets of variables into layers that fit one settings class."""

    schema: Schema
    prefix: str
    problems: Problems
    notes: list[str]

    def tree(self, found: Layer, *, own_keys: bool) -> Layer:
        """Return a file's or caller's tree with every key checked and lists read from text.

        Args:
            found: The tree as it was read.
            own_keys: Whether top-level keys that nobody knows are the service's own.
        """
        fitting = Layer(sources=found.sources, texts=found.texts)
        fitting.data = self._section((), found, found.data, own_keys=own_keys)
        return fitting

    def arguments(self, overrides: Mapping[str, Any], source: Source) -> Layer:
        """Return overrides given in code; keys may be nested or dotted, sections may be models."""
        plain = {
            key: value.model_dump(exclude_unset=True) if isinstance(value, BaseModel) else value
            for key, value in overrides.items()
        }
        layer = Layer(data=expand_config(plain))
        _note_sources(layer, (), layer.data, source)
        return self.tree(layer, own_keys=False)

    def variables(self, found: Mapping[str, Variable], *, beats_code: bool) -> Layer:
        """Return what variables say; of several names of one setting the strongest counts.

        Args:
            found: The variables of ``.env``, or of the environment.
            beats_code: Whether to bind those that win over arguments, or all the others.
        """
        layer = Layer()
        for path, names in self.schema.variables(self.prefix).items():
            present = [e for e in names if e.name in found and e.beats_code is beats_code]
            if present:
                self._bind(layer, path, present[-1], found[present[-1].name])
        return layer

    def check_names(self, found: Iterable[Variable]) -> None:
        """Report variables that look like the SDK's but mean nothing."""
        known = self.schema.known_names(self.prefix)
        for variable in found:
            name = variable.name
            if name in known:
                continue
            if name.startswith(SHARED_PREFIX):
                self._unknown_variable(variable, known, SHARED_PREFIX)
            elif name.startswith(self.prefix) and self._claims_section(name):
                self._unknown_variable(variable, known, self.prefix)
            elif name.startswith(self.prefix):
                self._note_single_underscore(name, known)

    def _section(
        self, at: KeyPath, found: Layer, values: Mapping[str, Any], *, own_keys: bool
    ) -> dict[str, Any]:
        fitting: dict[str, Any] = {}
        for key, value in values.items():
            path = (*at, key)
            if path in self.schema.knobs:
                self._leaf(path, found, value, fitting)
            elif path in self.schema.sections:
                if isinstance(value, Mapping):
                    fitting[key] = self._section(path, found, value, own_keys=own_keys)
                elif value is not None:
                    where = found.sources.get(path)
                    keys = ", ".join(self.schema.children(path)[:8])
                    self.problems.add(f"{'.'.join(path)} at {where}; expected keys such as {keys}.")
            elif at:
                self._unknown_key(path, found.sources.get(path), self.schema.children(at))
            elif key in self.schema.top_level:
                continue  # a section of the SDK, in a file that serves several settings classes
            elif own_keys and self._is_own(key, value):
                fitting[key] = value
                self._note_resemblance(key, value, found)
            else:
                self._unknown_key(path, found.sources.get(path), sorted(self.schema.top_level))
        return fitting

    def _is_own(self, key: str, value: Any) -> bool:
        """Tell whether a top-level name is the service's own, not a misspelt section of ours."""
        if slip_of(key, self.schema.top_level) is not None:
            return False
        near = nearest(key, sorted(self.schema.top_level))
        inside = self.schema.children((near,)) if near else ()
        return not (isinstance(value, Mapping) and any(name in inside for name in value))

    def _note_resemblance(self, key: str, value: Any, found: Layer) -> None:
        if not isinstance(value, Mapping) or not value:
            return
        for section in sorted(self.schema.top_level):
            if set(value) <= set(self.schema.children((section,))):
                self.notes.append(
                    f"{key} at {found.sources.get((key,))} is no section of the SDK and is left to "
                    f"the service; {section} has settings of these names."
                )
                return

    def _leaf(self, path: KeyPath, found: Layer, value: Any, fitting: dict[str, Any]) -> None:
        knob = self.schema.knobs[path]
        try:
            fitting[path[-1]] = knob.read(value)
        except FormatError as exc:
            self.problems.bad_value(knob, value, found.sources.get(path), f"expected {exc}")

    def _bind(self, layer: Layer, path: KeyPath, env: Env, variable: Variable) -> None:
        knob = self.schema.knobs[path]
        try:
            value = env.decode(variable.text) if env.decode else knob.read(variable.text)
        except FormatError as exc:
            self.problems.bad_value(knob, variable.text, variable.source, f"expected {exc}")
            return
        if isinstance(value, Noted):
            self.notes.append(f"{variable.source}: {variable.text!r} {value.note}.")
            value = value.value
        layer.put(path, value, variable.source)
        layer.texts[path] = variable.text

    def _claims_section(self, name: str) -> bool:
        rest = name.removeprefix(self.prefix)
        if rest.startswith(_ALIAS_STEMS):
            return True
        section, nested, _ = rest.lower().partition("__")
        return bool(nested) and slip_of(section, self.schema.top_level) is not None

    def _unknown_variable(self, variable: Variable, known: set[str], prefix: str) -> None:
        same_prefix = sorted(name for name in known if name.startswith(prefix))
        dotenv = variable.source.kind == "dotenv"
        what = f"variable in {variable.source.place}" if dotenv else "environment variable"
        self.problems.unknown(variable.name, what, same_prefix)

    def _unknown_key(self, path: KeyPath, source: Source | None, siblings: list[str]) -> None:
        dotted = [".".join((*path[:-1], key)) for key in siblings]
        near = nearest(path[-1], siblings)
        if near:
            dotted = [".".join((*path[:-1], near))]
        place = f" from {source}" if source else ""
        self.problems.unknown(".".join(path), f"key{place}", dotted)

    def _note_single_underscore(self, name: str, known: set[str]) -> None:
        rest = name.removeprefix(self.prefix)
        section, found, field = rest.partition("_")
        meant = f"{self.prefix}{section}__{field}"
        if found and meant in known:
            self.notes.append(
                f"{name} is not read; a section is set off by two underscores: {meant}."
            )


def _note_sources(layer: Layer, at: KeyPath, values: Mapping[str, Any], source: Source) -> None:
    for key, value in values.items():
        layer.sources[(*at, key)] = source
        if isinstance(value, Mapping):
            _note_sources(layer, (*at, key), value, source)
