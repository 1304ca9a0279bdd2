"""Read the YAML files, ``.env`` and the environment: the only module that touches any of them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any, Final

from dotenv.parser import Binding, parse_stream
from dotenv.variables import parse_variables

from glam_sdk.config.model import KeyPath, ServiceConfig, Source
from glam_sdk.config.problems import Problems

_DOTENV: Final = ".env"


@dataclass(frozen=True, slots=True)
class Variable:
    """Hold one variable as it was found."""

    name: str
    text: str
    source: Source


@dataclass(slots=True)
class Layer:
    """Hold what one source says: nested values, and where each stands."""

    data: dict[str, Any] = field(default_factory=dict)
    sources: dict[KeyPath, Source] = field(default_factory=dict)
    texts: dict[KeyPath, str] = field(default_factory=dict)
    """What was written, where the value is something else by now."""

    def put(self, path: KeyPath, value: object, source: Source) -> None:
        """Set one value, and note its source and that of every key inside it."""
        at = self.data
        for part in path[:-1]:
            at = at.setdefault(part, {})
        at[path[-1]] = value
        self.sources[path] = source
        if isinstance(value, Mapping):
            for key in value:
                self.sources[(*path, key)] = source


def read_environment(environ: Mapping[str, str] | None) -> dict[str, Variable]:
    """Return the variables that are set to something; an empty one counts as not set.

    Args:
        environ: What to read in place of the environment of the process.
    """
    found = os.environ if environ is None else environ
    return {
        name: Variable(name, text, Source("environment", variable=name))
        for name, text in found.items()
        if text.strip()
    }


def read_dotenv(
    root: Path, environment: Mapping[str, Variable], problems: Problems
) -> dict[str, Variable]:
    """Return the variables of ``.env`` with their lines; ``${NAME}`` in a value is filled in."""
    text = _read_text(root / _DOTENV, _DOTENV, problems)
    found: dict[str, Variable] = {}
    values: dict[str, str | None] = {name: v.text for name, v in environment.items()}
    for binding in parse_stream(StringIO(text or "")):
        place = f"{_DOTENV}:{_line_of(binding)}"
        if binding.error:
            problems.add(f"{place} cannot be read; expected NAME=value.")
        if not binding.key or not binding.value:
            continue
        value = "".join(atom.resolve(values) for atom in parse_variables(binding.value))
        values[binding.key] = value
        if value.strip():
            source = Source("dotenv", place=place, variable=binding.key)
            found[binding.key] = Variable(binding.key, value, source)
    return found


def read_yaml(root: Path, relative: str, problems: Problems) -> Layer:
    """Return the content of a YAML file with the line of each key; nothing if there is no file."""
    layer = Layer()
    text = _read_text(root / relative, relative, problems)
    if text is None:
        return layer
    # A service without such a file never imports the parser: 1 MB, and milliseconds at start-up.
    from glam_sdk.config.yaml_tree import parse

    layer.data = parse(text, relative, layer.sources, problems)
    return layer


def otel_variable_names() -> list[str]:
    """Return the names of the ``OTEL_*`` variables that are set in this process."""
    return sorted(name for name in os.environ if name.startswith("OTEL_"))


def export_otel_variables(settings: ServiceConfig) -> None:
    """Put the ``OTEL_*`` variables that stand only in ``.env`` into the process's environment.

    The OpenTelemetry SDK reads many of its variables there by itself (headers, timeouts, batch
    sizes, the sampler); called before it is built, they count wherever they were written.
    """
    variables = settings.loaded.otel_variables if settings.loaded else {}
    for name, text in variables.items():
        if not os.environ.get(name, "").strip():
            os.environ[name] = text


def _read_text(path: Path, shown: str, problems: Problems) -> str | None:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return None
    except NotADirectoryError:
        return None
    except UnicodeDecodeError:
        problems.add(f"{shown} cannot be read: it is not UTF-8 text.")
    except OSError as exc:
        problems.add(f"{shown} cannot be read: {exc.strerror or type(exc).__name__}.")
    return None


def _line_of(binding: Binding) -> int:
    written = binding.original.string
    return binding.original.line + written[: len(written) - len(written.lstrip())].count("\n")
