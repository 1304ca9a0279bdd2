"""Tell where each setting came from, and show settings with their secrets masked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from glam_sdk.config.knobs import Knob, knobs_of
from glam_sdk.config.masking import mask_value
from glam_sdk.config.merge import flatten_config
from glam_sdk.config.model import DEFAULT, IN_CODE, KeyPath, ServiceConfig, Source


class Described(NamedTuple):
    """Show one setting to a person."""

    key: str
    value: str
    source: str


def provenance(settings: ServiceConfig) -> Mapping[str, Source]:
    """Return where the value of each setting came from, by its dotted key."""
    return {key: source for key, _, source in _rows(settings)}


def describe(settings: ServiceConfig) -> list[Described]:
    """Return every setting as key, value and source; secrets and URLs' credentials are masked.

    Keys of the YAML files that are the service's own come last.
    """
    rows = [Described(key, shown, str(source)) for key, shown, source in _rows(settings)]
    found = settings.loaded.sources if settings.loaded else {}
    by_key = {".".join(path): source for path, source in found.items()}
    for key, value in flatten_config(settings.extra).items():
        shown = mask_value(key.rpartition(".")[2], value)
        rows.append(Described(key, shown, str(by_key.get(key, IN_CODE))))
    return rows


def notes(settings: ServiceConfig) -> tuple[str, ...]:
    """Return sentences for the start-up log: what was written, but does not mean what it seems."""
    return settings.loaded.notes if settings.loaded else ()


def _rows(settings: ServiceConfig) -> list[tuple[str, str, Source]]:
    rows: list[tuple[str, str, Source]] = []
    for knob in knobs_of(type(settings)):
        value = _value(settings, knob.path)
        if knob.is_mapping and isinstance(value, Mapping) and value:
            for key, inner in value.items():
                shown = mask_value(str(key), inner, secret=knob.is_secret)
                rows.append((f"{knob.key}.{key}", shown, _source(settings, knob, str(key))))
        else:
            shown = mask_value(knob.path[-1], value, secret=knob.is_secret)
            rows.append((knob.key, shown, _source(settings, knob)))
    return rows


def _value(settings: ServiceConfig, path: KeyPath) -> Any:
    value: Any = settings
    for name in path:
        value = getattr(value, name, None)
    return value


def _source(settings: ServiceConfig, knob: Knob, *key: str) -> Source:
    if settings.loaded is None:
        return IN_CODE
    return settings.loaded.sources.get((*knob.path, *key), DEFAULT)
