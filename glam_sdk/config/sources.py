"""Read the YAML files, ``.env`` and the environment: the only module that touches any of them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any, Final

import yaml
from dotenv.parser import Binding, parse_stream
from dotenv.variables import parse_variables

from glam_sdk.config.model import KeyPath, ServiceConfig, Source
from glam_sdk.config.problems import Problems

_DOTENV: Final = ".env"
# What the YAML parser quotes may be a password that begins with `*` or `!`; its tokens are not.
_QUOTED_TEXT: Final = re.compile(r"'(?!<)[^']{2,}'")


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
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if isinstance(node, yaml.MappingNode):
            layer.data = _YamlTree(loader, relative, layer.sources, problems).mapping(node, ())
        elif node is not None and loader.construct_object(node, deep=True) is not None:
            problems.add(f"{relative}: expected keys with values at the top level.")
    except (yaml.YAMLError, ValueError, RecursionError) as exc:
        problems.add(f"{relative}{_yaml_place(exc)} is not valid YAML: {_yaml_reason(exc)}.")
    finally:
        loader.dispose()
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


@dataclass(frozen=True, slots=True)
class _YamlTree:
    """Turn YAML nodes into values while noting the line of each key."""

    loader: yaml.SafeLoader
    file: str
    sources: dict[KeyPath, Source]
    problems: Problems

    def mapping(self, node: yaml.MappingNode, at: KeyPath) -> dict[str, Any]:
        self._report_repeats(node)
        self.loader.flatten_mapping(node)
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            # The text as written: `on`, `5` and `2026-01-01` are names here, not YAML values.
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else "?"
            path = (*at, key)
            self.sources[path] = self._source(key_node)
            if isinstance(value_node, yaml.MappingNode):
                values[key] = self.mapping(value_node, path)
            else:
                values[key] = self._leaf(value_node)
        return values

    def _leaf(self, node: yaml.Node) -> Any:
        try:
            return self.loader.construct_object(node, deep=True)
        except ValueError:  # such as a date that no calendar has
            self.problems.add(f"{self._source(node)}: the value cannot be read; put it in quotes.")
            return None

    def _report_repeats(self, node: yaml.MappingNode) -> None:
        seen: dict[str, Source] = {}
        for key_node, _ in node.value:
            if isinstance(key_node, yaml.ScalarNode) and key_node.value != "<<":
                source = self._source(key_node)
                if key_node.value in seen:
                    self.problems.add(
                        f"{source}: {key_node.value} stands twice, first at {seen[key_node.value]}."
                    )
                seen[key_node.value] = source

    def _source(self, node: yaml.Node) -> Source:
        return Source("file", place=f"{self.file}:{node.start_mark.line + 1}")


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


def _yaml_place(exc: Exception) -> str:
    mark = getattr(exc, "problem_mark", None)
    return f":{mark.line + 1}" if mark else ""


def _yaml_reason(exc: Exception) -> str:
    # Only the parser's own words: a marked error would print the line, and the secret on it.
    words = getattr(exc, "problem", None) or getattr(exc, "reason", None) or "it is not readable"
    return _QUOTED_TEXT.sub("a name", str(words))
