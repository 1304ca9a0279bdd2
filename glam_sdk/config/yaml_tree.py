"""Turn YAML text into values while noting the line of each key."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

import yaml

from glam_sdk.config.model import KeyPath, Source
from glam_sdk.config.problems import Problems

# What the YAML parser quotes may be a password that begins with `*` or `!`; its tokens are not.
_QUOTED_TEXT: Final = re.compile(r"'(?!<)[^']{2,}'")


def parse(
    text: str, file: str, sources: dict[KeyPath, Source], problems: Problems
) -> dict[str, Any]:
    """Return what a file says; empty where it cannot be read.

    Args:
        text: Content of the file.
        file: Its name, for sources and problems.
        sources: Where the line of each key is noted.
        problems: What is wrong is added here.
    """
    try:
        loader = yaml.SafeLoader(text)
        try:
            node = loader.get_single_node()
            if isinstance(node, yaml.MappingNode):
                return _Tree(loader, file, sources, problems).mapping(node, ())
            if node is not None and loader.construct_object(node, deep=True) is not None:
                problems.add(f"{file}: expected keys with values at the top level.")
        finally:
            loader.dispose()
    except (yaml.YAMLError, ValueError, RecursionError) as exc:
        problems.add(f"{file}{_place(exc)} is not valid YAML: {_reason(exc)}.")
    return {}


@dataclass(frozen=True, slots=True)
class _Tree:
    """Walk the nodes of one file."""

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


def _place(exc: Exception) -> str:
    mark = getattr(exc, "problem_mark", None)
    return f":{mark.line + 1}" if mark else ""


def _reason(exc: Exception) -> str:
    # Only the parser's own words: a marked error would print the line, and the secret on it.
    words = getattr(exc, "problem", None) or getattr(exc, "reason", None) or "it is not readable"
    return _QUOTED_TEXT.sub("a name", str(words))
