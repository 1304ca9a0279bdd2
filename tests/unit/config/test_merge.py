"""Prove how nested mappings merge and flatten."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from glam_sdk.config import deep_merge, flatten_config
from glam_sdk.config.merge import expand_config

KEYS = st.text(st.characters(codec="ascii", exclude_characters="."), min_size=1, max_size=4)
LEAVES = st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.lists(st.integers())
TREES = st.dictionaries(
    KEYS, st.recursive(LEAVES, lambda inner: st.dictionaries(KEYS, inner, max_size=3)), max_size=4
)


def marked(tree: dict[str, Any], mark: str) -> dict[str, Any]:
    """Return the tree with every key marked, so that trees of other marks are disjoint."""
    return {f"{mark}{key}": value for key, value in tree.items()}


@given(TREES)
def test_an_empty_mapping_changes_nothing_on_either_side(tree: dict[str, Any]) -> None:
    """The empty mapping is the identity of deep_merge."""
    assert deep_merge(tree, {}) == tree == deep_merge({}, tree)


@given(TREES, TREES, TREES)
def test_disjoint_mappings_merge_in_any_grouping(
    a: dict[str, Any], b: dict[str, Any], c: dict[str, Any]
) -> None:
    """On disjoint keys deep_merge is associative, and loses nothing."""
    a, b, c = (
        {"shared": marked(a, "a")},
        {"shared": marked(b, "b")},
        {"shared": marked(c, "c")},
    )
    merged = deep_merge(deep_merge(a, b), c)
    assert merged == deep_merge(a, deep_merge(b, c))
    assert merged["shared"] == {**a["shared"], **b["shared"], **c["shared"]}


@given(TREES, TREES)
def test_the_override_wins_and_can_be_laid_over_again(
    base: dict[str, Any], override: dict[str, Any]
) -> None:
    """Merging the same override twice gives the same as once."""
    once = deep_merge(base, override)
    assert deep_merge(once, override) == once
    for key, value in override.items():
        if not isinstance(value, dict):
            assert once[key] == value


@given(TREES, TREES)
def test_merging_changes_neither_argument_and_shares_no_mapping(
    base: dict[str, Any], override: dict[str, Any]
) -> None:
    """The result can be changed without the inputs noticing."""
    before = copy.deepcopy((base, override))
    merged = deep_merge(base, override)
    spoil(merged)
    assert (base, override) == before


def spoil(tree: dict[str, Any]) -> None:
    for value in tree.values():
        if isinstance(value, dict):
            spoil(value)
    tree["spoilt"] = True


def test_lists_are_replaced_and_not_joined() -> None:
    """A list of a stronger source replaces the weaker one's."""
    assert deep_merge({"a": {"b": [1, 2], "c": 1}}, {"a": {"b": [3]}}) == {"a": {"b": [3], "c": 1}}


@given(TREES)
def test_flattening_can_be_undone(tree: dict[str, Any]) -> None:
    """flatten_config and expand_config are each other's opposites for keys without dots."""
    assert expand_config(flatten_config(tree)) == tree


def test_flattening_joins_names_with_the_separator_asked_for() -> None:
    """The separator is a dot unless another one is given."""
    tree = {"database": {"host": "db", "pool": {"size": 5}}, "name": "x"}
    assert flatten_config(tree) == {"database.host": "db", "database.pool.size": 5, "name": "x"}
    assert flatten_config(tree, sep="__")["database__pool__size"] == 5
