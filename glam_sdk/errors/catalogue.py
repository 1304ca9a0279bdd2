"""Render the error codes as a Markdown page.

Run ``python -m glam_sdk.errors.catalogue glam_sdk.domains > docs/reference/errors.md``; a service
names its own packages in the same place.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import sys
from collections.abc import Iterator, Sequence
from typing import Final

from glam_sdk.errors.base import GlamBaseError, registered_errors
from glam_sdk.errors.declare import DetailField

_OURS: Final = "glam_sdk.errors"
_INTRODUCTION: Final = """\
# Error codes

Every error of glam_sdk has a stable code, an HTTP status, a message and details.
This page is written by `{command}`; change the classes, not the page.

Every class takes a message and the keywords `code`, `status`, `details` and `cause`.
It also takes the keywords its row names, and those of its base.
A keyword that is given lands in `details`; *as text* means that its `str()` does.
`name` → `key` means that the value of `name` lands under `key`.
`name` = `value` means that the value is there without being given.
Without a default message an error says its code in words.
"""
_COLUMNS: Final = ("code", "status", "class", "base", "default message", "keywords", "meaning")


def render_catalogue(packages: Sequence[str] = ()) -> str:
    """Return the page of all codes of glam_sdk and of the packages named.

    Args:
        packages: Importable packages whose modules declare errors, such as ``orders.errors``; all
            their modules are imported.
    """
    for package in packages:
        _import_all(package)
    command = " ".join(["python -m glam_sdk.errors.catalogue", *packages])
    parts = [_INTRODUCTION.format(command=command)]
    sections: dict[str, list[str]] = {}
    for cls in registered_errors():
        if any(f"{cls.__module__}.".startswith(f"{root}.") for root in (_OURS, *packages)):
            sections.setdefault(cls.__module__, []).append(_row(_cells(cls)))
    for module, rows in sorted(sections.items(), key=_section_order):
        summary = (inspect.getdoc(sys.modules[module]) or "").partition("\n")[0]
        table = [_row(_COLUMNS), _row(["---"] * len(_COLUMNS)), *rows]
        parts.append("\n".join([f"## {module}", "", summary, "", *table, ""]))
    return "\n".join(parts)


def _section_order(section: tuple[str, list[str]]) -> str:
    """Put our own modules first, as they were defined; the rest by name."""
    module = section[0]
    return "" if module.startswith(f"{_OURS}.") else module


def _import_all(package: str) -> None:
    root = importlib.import_module(package)
    for module in pkgutil.walk_packages(getattr(root, "__path__", ()), f"{package}."):
        importlib.import_module(module.name)


def _cells(cls: type[GlamBaseError]) -> list[str]:
    base = next(base for base in cls.__mro__[1:] if issubclass(base, Exception))
    return [
        f"`{cls.code}`",
        str(cls.status),
        cls.__name__,
        "Exception" if base.__name__.startswith("_") else base.__name__,
        cls.message,
        ", ".join(_keywords(cls)),
        inspect.cleandoc(cls.__doc__ or "").partition("\n")[0],
    ]


def _keywords(cls: type[GlamBaseError]) -> Iterator[str]:
    for name, field in vars(cls).items():
        if isinstance(field, DetailField):
            yield f"`{name}`" + "".join(_particulars(field))


def _particulars(field: DetailField) -> Iterator[str]:
    if field.into != (field.name,):
        yield " → " + " and ".join(f"`{key}`" for key in field.into)
    if field.is_required:
        yield " (required)"
    elif field.default is not None:
        yield f" = `{field.default}`"
    if field.as_text:
        yield " as text"


def _cell(text: str) -> str:
    return text.replace("|", "&#124;").replace("``", "`")


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(_cell(cell) for cell in cells)} |"


if __name__ == "__main__":
    sys.stdout.write(render_catalogue(sys.argv[1:]))
