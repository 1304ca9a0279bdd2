"""Say what is wrong with a configuration: all of it at once, with where each value came from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from glam_sdk._internal.redact import REDACTED
from glam_sdk.config.formats import FormatError
from glam_sdk.config.knobs import Knob
from glam_sdk.config.masking import quote
from glam_sdk.config.model import KeyPath, Source
from glam_sdk.errors import ConfigurationError

_FORMS: Final = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "text (in YAML, written in quotes)",
    "path_type": "a path",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "keys with values",
    "too_short": "{min_length} or more values",
    "literal_error": "{expected}",
    "enum": "{expected}",
    "greater_than": "more than {gt}",
    "greater_than_equal": "{ge} or more",
    "less_than": "less than {lt}",
    "less_than_equal": "{le} or less",
}
_SHOWN_KEYS: Final = 12


@dataclass(slots=True)
class Problems:
    """Collect what is wrong, one sentence per place."""

    sentences: list[str] = field(default_factory=list)
    paths: set[KeyPath] = field(default_factory=set)

    def add(self, sentence: str, *, path: KeyPath | None = None) -> None:
        """Add a sentence; of several about one setting the first stays."""
        if path is not None and path in self.paths:
            return
        if path is not None:
            self.paths.add(path)
        self.sentences.append(sentence)

    def bad_value(
        self,
        knob: Knob,
        value: object,
        source: Source | None,
        reason: str,
        *,
        key: KeyPath = (),
    ) -> None:
        """Report a value that cannot be used; the value is shown only if it is no secret.

        Args:
            knob: The setting.
            value: What was given, as it was written.
            source: Where it was given.
            reason: ``expected …``, or a sentence of the settings class.
            key: The key, where the value is one of a mapping's.
        """
        path = (*knob.path, *key)
        shown = quote(path[-1], value, secret=knob.is_secret)
        origin = f" from {source}" if source else ""
        self.add(f"{'.'.join(path)}: {shown}{origin}; {reason}.", path=path)

    def missing(self, knob: Knob, variable: str) -> None:
        """Report a setting that has no default and was not given."""
        if knob.path not in self.paths:
            self.add(
                f"{knob.key} is not set; set {variable}, or {knob.key} in a YAML file.",
                path=knob.path,
            )

    def unknown(self, name: str, what: str, known: Sequence[str]) -> None:
        """Report a name that means nothing, with the nearest one that does."""
        near = nearest(name, known)
        if near:
            hint = f"did you mean {near}?"
        else:
            some = ", ".join(known[:_SHOWN_KEYS])
            hint = f"known are {some}{', …' if len(known) > _SHOWN_KEYS else ''}."
        self.add(f"{name}: unknown {what}; {hint}")

    def error(self, service_name: str) -> ConfigurationError:
        """Return one error that lists everything."""
        count = len(self.sentences)
        noun = "problem" if count == 1 else "problems"
        listed = "\n".join(f"- {sentence}" for sentence in self.sentences)
        return ConfigurationError(
            f"The configuration of {service_name!r} has {count} {noun}:\n{listed}"
        )


def reason_of(error: Mapping[str, Any], hidden: str | None) -> str:
    """Return why pydantic refused a value, in the words of the person who wrote it.

    Args:
        error: One entry of ``ValidationError.errors()``.
        hidden: Text that must not appear, should a validator have quoted it.
    """
    context: Mapping[str, Any] = error.get("ctx") or {}
    cause = context.get("error")
    if isinstance(cause, FormatError):
        return f"expected {cause}"
    form = _FORMS.get(error["type"])
    if form is not None:
        return f"expected {form.format(**context)}"
    reason = str(cause) if cause else str(error["msg"])
    if hidden:
        reason = reason.replace(hidden, REDACTED)
    return reason.rstrip(".")


def nearest(name: str, known: Sequence[str]) -> str | None:
    """Return the known name most like this one, if any is like it at all."""
    import difflib  # only a slip of the pen needs it

    found = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return found[0] if found else None


def slip_of(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that this one is a slip of the pen away from.

    One letter for short names, two for others: ``databse`` is a slip of ``database``, while
    ``shop`` is just another name.
    """
    for word in known:
        limit = 1 if len(word) <= 4 else 2
        if abs(len(word) - len(name)) <= limit and _distance(name, word) <= limit:
            return word
    return None


def _distance(left: str, right: str) -> int:
    row = list(range(len(right) + 1))
    for i, a in enumerate(left, start=1):
        previous, row = row, [i]
        for j, b in enumerate(right, start=1):
            row.append(min(previous[j] + 1, row[-1] + 1, previous[j - 1] + (a != b)))
    return row[-1]
