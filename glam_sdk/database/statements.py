"""Read a SQL text for telemetry: a short summary, and the text without its literals.

This is no SQL parser: it knows tokens and parentheses, works in linear time, and when in doubt it
says less.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

MAX_TEXT: Final = 4096
"""Characters of a statement that are looked at; the rest is cut off."""
_MAX_SUMMARY: Final = 255
_MAX_TARGETS: Final = 3

_TOKEN: Final = re.compile(
    r"""
      (?P<comment> --[^\n]* | /\*.*?(?:\*/|\Z) )
    | (?P<literal> [eE]'(?:[^'\\]|\\.|'')*(?:'|\Z)          # E'it\'s'
                 | (?:[uU]&|[bBxXnN])?'(?:[^']|'')*(?:'|\Z) # 'it''s', X'ff'
                 | \$(?P<tag>(?:[^\W\d]\w*)?)\$.*?(?:\$(?P=tag)\$|\Z) )
    | (?P<quoted>  "(?:[^"]|"")*(?:"|\Z) | `[^`]*(?:`|\Z) )
    | (?P<bind>    \$\d+ | %\(\w+\)s | %s | (?<!:):[^\W\d]\w* | \? )
    | (?P<word>    [^\W\d][\w$]* )
    | (?P<number>  0[xX][0-9a-fA-F_]+ | 0[bBoO][0-9_]+
                 | (?:\d[\d_]*\.?[\d_]*|\.\d[\d_]*)(?:[eE][+-]?\d[\d_]*)? )
    | (?P<space>   \s+ )
    | (?P<mark>    . )
    """,
    re.VERBOSE | re.DOTALL,
)
# A list of values has as many texts as lengths; shown in one form, its statements group together.
_VALUE: Final = r"(?:\?|\$\d+|%s|%\(\w+\)s|:\w+)(?:::[\w ]+(?:\([?, ]*\))?)?"
_IN_LIST: Final = re.compile(rf"\b(IN\s*\(\s*{_VALUE})(?:\s*,\s*{_VALUE})+\s*\)", re.IGNORECASE)
_ROW: Final = r"\((?:[^()]|\([^()]*\))*\)"
_ROWS: Final = re.compile(rf"\b(VALUES\s*{_ROW})(?:\s*,\s*{_ROW})+", re.IGNORECASE)

_VERBS: Final = frozenset({
    "ALTER", "ANALYZE", "CALL", "COPY", "CREATE", "DELETE", "DROP", "EXPLAIN", "INSERT", "LOCK",
    "MERGE", "PRAGMA", "REFRESH", "REINDEX", "REPLACE", "SELECT", "SET", "SHOW", "TRUNCATE",
    "UPDATE", "VACUUM", "VALUES",
})  # fmt: skip
_BEFORE_TARGET: Final = frozenset({"FROM", "JOIN", "INTO", "UPDATE", "TABLE", "MERGE"})
_BETWEEN: Final = frozenset({"ONLY", "IF", "NOT", "EXISTS", "LATERAL", "INTO"})
_NO_TARGET: Final = frozenset({"SELECT", "SET", "SKIP", "NOWAIT", "OF", "VALUES", "WHERE"})


@dataclass(frozen=True, slots=True)
class Statement:
    """Hold what telemetry says of one SQL text."""

    text: str
    """The text with every literal and comment taken out, and no longer than ``MAX_TEXT``."""
    operation: str
    """The verb in capitals, or an empty string."""
    collection: str | None
    """The table, when there is just one."""
    summary: str
    """Verb and tables, such as ``SELECT orders``; few different ones, so it names spans."""


def describe(sql: str) -> Statement:
    """Return the summary and the sanitised text of a statement; never raises.

    Args:
        sql: As it goes to the driver.
    """
    tokens = _tokens(sql[:MAX_TEXT])
    text = "".join(_shown(kind, value) for kind, value in tokens).strip()
    verb, targets = _structure([t for t in tokens if t[0] not in ("space", "comment")])
    summary = " ".join([verb, *targets[:_MAX_TARGETS]]).strip()[:_MAX_SUMMARY]
    text = _ROWS.sub(r"\1", _IN_LIST.sub(r"\1)", text))
    return Statement(
        text=text + ("…" if len(sql) > MAX_TEXT else ""),
        operation=verb,
        collection=targets[0] if len(targets) == 1 else None,
        summary=summary,
    )


def _tokens(sql: str) -> list[tuple[str, str]]:
    return [(m.lastgroup or "", m[0]) for m in _TOKEN.finditer(sql)]


def _shown(kind: str, value: str) -> str:
    if kind in ("literal", "number"):
        return "?"
    if kind in ("space", "comment"):
        return " "
    return value


def _structure(tokens: list[tuple[str, str]]) -> tuple[str, list[str]]:
    """Find the verb and the tables of the outermost query that names any."""
    depth = 0
    verb = ""
    found: list[tuple[int, str]] = []
    previous = ""
    for at, (kind, value) in enumerate(tokens):
        if value in ("(", ")"):
            depth += 1 if value == "(" else -1
            continue
        word = value.upper() if kind == "word" else ""
        if not verb and depth <= 0 and word in _VERBS:
            verb = word
        if word in _BEFORE_TARGET and not _is_other_use(word, previous):
            found.extend((depth, name) for name in _names(tokens, at + 1, word))
        previous = word
    outermost = min((level for level, _ in found), default=0)
    return verb, list(dict.fromkeys(name for level, name in found if level == outermost))


def _is_other_use(word: str, previous: str) -> bool:
    """Tell ``IS DISTINCT FROM``, ``FOR UPDATE`` and ``DO UPDATE`` from what names a table."""
    if word == "FROM":
        return previous == "DISTINCT"
    return word == "UPDATE" and previous in ("FOR", "DO", "KEY", "ON")


def _names(tokens: list[tuple[str, str]], at: int, word: str) -> list[str]:
    """Read one table name, or several with commas between after FROM."""
    names: list[str] = []
    while at < len(tokens):
        while at < len(tokens) and tokens[at][1].upper() in _BETWEEN:
            at += 1
        name, at = _name(tokens, at, word)
        if name is None:
            return names
        names.append(name)
        at = _skip_alias(tokens, at)
        if word != "FROM" or at >= len(tokens) or tokens[at][1] != ",":
            return names
        at += 1
    return names


def _name(tokens: list[tuple[str, str]], at: int, word: str) -> tuple[str | None, int]:
    parts: list[str] = []
    while at < len(tokens) and tokens[at][0] in ("word", "quoted"):
        kind, value = tokens[at]
        if not parts and kind == "word" and value.upper() in _NO_TARGET:
            return None, at
        parts.append(value if kind == "word" else value[1:-1])
        at += 1
        if at >= len(tokens) or tokens[at][1] != ".":
            break
        at += 1
    is_function = word in ("FROM", "JOIN") and at < len(tokens) and tokens[at][1] == "("
    return (None if is_function or not parts else ".".join(parts)), at


def _skip_alias(tokens: list[tuple[str, str]], at: int) -> int:
    if at < len(tokens) and tokens[at][1].upper() == "AS":
        at += 1
    if at < len(tokens) and tokens[at][0] in ("word", "quoted") and at + 1 < len(tokens):
        return at + 1 if tokens[at + 1][1] == "," else at
    return at
