"""Load settings from every source, and report everything that is wrong at once."""

from __future__ import annotations

import re
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError

from glam_sdk.config.knobs import Schema, section_of
from glam_sdk.config.layers import Binder
from glam_sdk.config.masking import mask_value
from glam_sdk.config.merge import deep_merge
from glam_sdk.config.model import DEFAULT, KeyPath, Loaded, ServiceConfig, Source
from glam_sdk.config.problems import Problems, reason_of
from glam_sdk.config.settings import Settings
from glam_sdk.config.sources import Layer, Variable, read_dotenv, read_environment, read_yaml
from glam_sdk.errors import ConfigurationError

T = TypeVar("T", bound=ServiceConfig)

_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9._\-]*\Z")


@dataclass(frozen=True, slots=True)
class _Request:
    service_name: str
    prefix: str
    overrides: Mapping[str, Any]
    environ: Mapping[str, str] | None
    root: Path
    call: str


def load_settings(
    service_name: str,
    *,
    overrides: Mapping[str, Any] | None = None,
    env_prefix: str | None = None,
    environ: Mapping[str, str] | None = None,
    root: Path | None = None,
) -> Settings:
    """Load the SDK's settings: defaults, YAML files, ``.env``, environment, arguments.

    Args:
        service_name: Name of the service; it chooses the service's file and prefix.
        overrides: Values that win over the sources, nested or with dotted keys.
        env_prefix: Prefix of the service's variables; by default its name without ``-service``.
        environ: What to read in place of the environment of the process.
        root: Directory of ``config/`` and ``.env``; the current one by default.

    Raises:
        ConfigurationError: Something is wrong; the message lists everything that is.
    """
    prefix = _prefix(service_name, env_prefix)
    request = _Request(
        service_name, prefix, overrides or {}, environ, root or Path.cwd(), call="init()"
    )
    return _load(Settings, request)


def load(
    model: type[T],
    service_name: str,
    *,
    overrides: Mapping[str, Any] | None = None,
    env_prefix: str | None = None,
    environ: Mapping[str, str] | None = None,
    root: Path | None = None,
) -> T:
    """Load a service's own settings class from the same sources, with the same care.

    Args:
        model: What to load; a subclass of :class:`Settings` has the SDK's settings too.
        service_name: Name of the service; it chooses the service's file and prefix.
        overrides: Values that win over the sources, nested or with dotted keys.
        env_prefix: Prefix of the service's variables; by default its name without ``-service``.
        environ: What to read in place of the environment of the process.
        root: Directory of ``config/`` and ``.env``; the current one by default.

    Raises:
        ConfigurationError: Something is wrong; the message lists everything that is.
    """
    prefix = _prefix(service_name, env_prefix)
    request = _Request(
        service_name, prefix, overrides or {}, environ, root or Path.cwd(), call="load()"
    )
    return _load(model, request)


def default_prefix(service_name: str) -> str:
    """Return the prefix of a service's variables: ``CATALOG_`` for ``catalog-service``."""
    short = service_name.removesuffix("-service")
    return re.sub(r"[^A-Z0-9]", "_", short.upper()) + "_"


def _prefix(service_name: str, given: str | None) -> str:
    if not _NAME.match(service_name):
        raise ConfigurationError(
            f"{service_name!r} cannot be a service's name. A name begins with a letter and has "
            "only letters, digits, '-', '_' and '.'."
        )
    if given is None:
        return default_prefix(service_name)
    if not re.fullmatch(r"[A-Z][A-Z0-9_]*", given):
        raise ConfigurationError(
            f"{given!r} cannot be a prefix of variables. A prefix reads like ORDERS_."
        )
    return given if given.endswith("_") else f"{given}_"


def _load(model: type[T], request: _Request) -> T:
    binder = Binder(Schema.of(model, Settings), request.prefix, Problems(), notes=[])
    environment = read_environment(request.environ)
    dotenv = read_dotenv(request.root, environment, binder.problems)
    for name in dotenv.keys() & environment.keys():
        del dotenv[name]
    stack = _read(model, request, binder, dotenv, environment)
    binder.check_names([*dotenv.values(), *environment.values()])
    values = stack.merged()
    extra = {key: values.pop(key) for key in list(values) if key not in model.model_fields}
    settings = _validate(model, values, stack, binder)
    if settings is None or binder.problems.sentences:
        raise binder.problems.error(request.service_name)
    loaded = Loaded(
        sources={**stack.sources_below(extra), **stack.sources_of(binder.schema, values)},
        extra=extra,
        notes=tuple(binder.notes),
        otel_variables={n: v.text for n, v in dotenv.items() if n.startswith("OTEL_")},
    )
    return settings.remembering(loaded)


def _read(
    model: type[ServiceConfig],
    request: _Request,
    binder: Binder,
    dotenv: Mapping[str, Variable],
    environment: Mapping[str, Variable],
) -> _Stack:
    """Bring the sources into their order, the weakest first."""
    files = ("config/shared.yml", f"config/services/{request.service_name}.yml")
    read = [read_yaml(request.root, file, binder.problems) for file in files]
    # The service's name is known in code alone, and stands last so that nothing replaces it.
    arguments = {k: v for k, v in request.overrides.items() if k != "service.name"}
    arguments["service.name"] = request.service_name
    return _Stack(
        (
            Layer(data=dict(model.defaults_for(request.service_name))),
            *(binder.tree(layer, own_keys=True) for layer in read),
            binder.variables(dotenv, beats_code=False),
            binder.variables(environment, beats_code=False),
            binder.arguments(arguments, Source("argument", place=request.call)),
            binder.variables(dotenv, beats_code=True),
            binder.variables(environment, beats_code=True),
        )
    )


@dataclass(frozen=True, slots=True)
class _Stack:
    """Hold the layers, the weakest first."""

    layers: tuple[Layer, ...]

    def merged(self) -> dict[str, Any]:
        return reduce(deep_merge, (layer.data for layer in self.layers), {})

    def find(self, path: KeyPath) -> Layer | None:
        """Return the strongest layer that says something about exactly this path."""
        return next((layer for layer in reversed(self.layers) if path in layer.sources), None)

    def source(self, path: KeyPath) -> Source | None:
        """Return where a value stands, or else the list or mapping that it is in."""
        for depth in range(len(path), 0, -1):
            if layer := self.find(path[:depth]):
                return layer.sources[path[:depth]]
        return None

    def sources_below(self, names: Container[str]) -> dict[KeyPath, Source]:
        """Return the sources of everything under some top-level names."""
        return {
            path: source
            for layer in self.layers
            for path, source in layer.sources.items()
            if path[0] in names
        }

    def sources_of(self, schema: Schema, values: Mapping[str, Any]) -> dict[KeyPath, Source]:
        found: dict[KeyPath, Source] = {}
        for path, knob in schema.knobs.items():
            layer = self.find(path)
            found[path] = layer.sources[path] if layer else DEFAULT
            value = _dig(values, path, None)
            if knob.is_mapping and isinstance(value, Mapping):
                found.update({(*path, k): self.source((*path, k)) or DEFAULT for k in value})
        return found


def _validate(model: type[T], values: dict[str, Any], stack: _Stack, binder: Binder) -> T | None:
    _open_required_sections(model, values)
    try:
        return model.model_validate(values)
    except ValidationError as exc:
        for error in exc.errors(include_url=False):
            _report(error, values, stack, binder)
    return None


def _report(
    error: Mapping[str, Any], values: Mapping[str, Any], stack: _Stack, binder: Binder
) -> None:
    schema, problems = binder.schema, binder.problems
    location: tuple[str | int, ...] = error["loc"]
    names = tuple(str(part) for part in location)
    path = next((names[:n] for n in range(len(names), 0, -1) if names[:n] in schema.knobs), None)
    if path is None:
        source = stack.source(names)
        at = f" at {source}" if source else ""
        problems.add(f"{'.'.join(names) or 'settings'}{at}: {reason_of(error, None)}.", path=names)
        return
    knob = schema.knobs[path]
    if error["type"] == "missing" and names == path:
        problems.missing(knob, schema.variables(binder.prefix)[path][-1].name)
        return
    layer = stack.find(path)
    key = names[len(path) :][:1] if knob.is_mapping else ()
    # As it was written, not as it was when a validator refused it.
    value = _dig(values, location, error["input"])
    if layer and not key:
        value = layer.texts.get(path, value)
    shown = mask_value(names[-1], value, secret=knob.is_secret)
    hidden = value if isinstance(value, str) and shown != value else None
    problems.bad_value(knob, value, stack.source(names), reason_of(error, hidden), key=key)


def _dig(values: Any, path: Sequence[str | int], otherwise: Any) -> Any:
    for part in path:
        try:
            values = values[part]
        except (LookupError, TypeError):
            return otherwise
    return values


def _open_required_sections(model: type[BaseModel], values: dict[str, Any]) -> None:
    """Add sections that must be there, so that what is missing in them is named one by one."""
    for name, field in model.model_fields.items():
        section = section_of(field)
        if section and (field.is_required() or name in values):
            inner = values.setdefault(name, {})
            if isinstance(inner, dict):
                _open_required_sections(section, inner)
