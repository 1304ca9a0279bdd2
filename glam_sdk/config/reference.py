"""Write the tables of the reference page from the classes that declare the settings.

``python -m glam_sdk.config.reference docs/reference/configuration.md`` brings the page up to date;
a test fails when it is not.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_origin

from pydantic import BaseModel, SecretStr

from glam_sdk.config.knobs import Knob, annotation_arms, knobs_of, section_of
from glam_sdk.config.settings import Settings

_MARKER: Final = "<!-- Below this line the page is written by glam_sdk.config.reference. -->"
_TYPES: Final[Mapping[object, str]] = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    Path: "path",
    SecretStr: "secret text",
}


def updated(page: str) -> str:
    """Return the page with its tables written anew, and what stands above them as it is."""
    above, marker, _ = page.partition(_MARKER)
    if not marker:
        raise ValueError(f"The page has no line that reads {_MARKER}")
    sections = [_section(name) for name in Settings.model_fields]
    return "\n".join([f"{above}{_MARKER}", "", *sections]).rstrip() + "\n"


def meanings(section: type[BaseModel]) -> dict[str, str]:
    """Return the docstring under each field of a settings class."""
    tree = ast.parse(inspect.getsource(section))
    declared = tree.body[0]
    body = declared.body if isinstance(declared, ast.ClassDef) else []
    found: dict[str, str] = {}
    for field, below in itertools.pairwise(body):
        if not isinstance(field, ast.AnnAssign) or not isinstance(field.target, ast.Name):
            continue
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            found[field.target.id] = " ".join(str(below.value.value).split())
    return found


def _section(name: str) -> str:
    section = section_of(Settings.model_fields[name])
    if section is None:
        raise TypeError(f"Settings.{name} is not a section.")
    texts = meanings(section)
    lines = [
        f"## `{name}`",
        "",
        inspect.getdoc(section) or "",
        "",
        "| Key | Variables | Type | Default | Meaning |",
        "|---|---|---|---|---|",
        *(_row(knob, texts[knob.path[-1]]) for knob in knobs_of(section, (name,))),
        "",
    ]
    return "\n".join(lines)


def _row(knob: Knob, meaning: str) -> str:
    names = [env.name for env in reversed(knob.variables("<PREFIX>", shared=True))]
    variables = "<br>".join(f"`{name}`" for name in names) or "none"
    shown = _type_name(knob.field.annotation, knob.field.metadata)
    return f"| `{knob.key}` | {variables} | {shown} | {_default(knob)} | {meaning} |"


def _type_name(annotation: Any, metadata: list[Any] | None = None) -> str:
    arms = [arm for arm in annotation_arms(annotation) if arm is not type(None)]
    arm = arms[0]
    origin, inner = get_origin(arm), get_args(arm)
    if origin is Literal:
        words = [f"`{word}`" for word in inner]
        return f"{', '.join(words[:-1])} or {words[-1]}"
    if origin is tuple:
        return f"list of {_type_name(inner[0])}"
    if origin is dict:
        return f"keys with {_type_name(inner[1])}"
    return _TYPES[arm] + _limits(metadata or [])


def _limits(metadata: list[Any]) -> str:
    phrases = {"ge": "{} or more", "gt": "more than {}", "le": "{} or less"}
    said = [
        phrase.format(getattr(limit, name))
        for limit in metadata
        for name, phrase in phrases.items()
        if getattr(limit, name, None) is not None
    ]
    return f", {', '.join(said)}" if said else ""


def _default(knob: Knob) -> str:
    if knob.field.is_required():
        return "none"
    value = knob.field.get_default(call_default_factory=True, validated_data={})
    if value is None or value in ((), {}, ""):
        return "not set"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return f"`{','.join(value)}`"
    return f"`{value}`"


if __name__ == "__main__":
    for name in sys.argv[1:]:
        file = Path(name)
        file.write_text(updated(file.read_text(encoding="utf-8")), encoding="utf-8")
