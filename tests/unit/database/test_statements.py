from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glam_sdk.database.statements import MAX_TEXT, describe


@pytest.mark.parametrize(
    ("sql", "summary", "collection"),
    [
        ("SELECT orders.id FROM orders WHERE orders.id = ?", "SELECT orders", "orders"),
        ("select 1", "SELECT", None),
        ('SELECT * FROM public."Order" o, items', "SELECT public.Order items", None),
        ("SELECT a FROM t JOIN u ON t.i = u.i", "SELECT t u", None),
        ("SELECT count(*) FROM (SELECT id FROM orders) AS x", "SELECT orders", "orders"),
        ("SELECT a FROM t WHERE a IS DISTINCT FROM b", "SELECT t", "t"),
        ("SELECT a FROM t FOR UPDATE SKIP LOCKED", "SELECT t", "t"),
        ("SELECT extract(epoch FROM a) FROM t", "SELECT t", "t"),
        ("SELECT * FROM generate_series(1, 3)", "SELECT", None),
        ("WITH r AS (SELECT id FROM orders) SELECT * FROM r", "SELECT r", "r"),
        ("INSERT INTO orders (id) VALUES (?) RETURNING id", "INSERT orders", "orders"),
        ("INSERT INTO t (a) VALUES (1) ON CONFLICT DO UPDATE SET a = 2", "INSERT t", "t"),
        ("INSERT INTO t SELECT a FROM s", "INSERT t s", None),
        ("UPDATE orders SET a = 1", "UPDATE orders", "orders"),
        ("DELETE FROM ONLY orders", "DELETE orders", "orders"),
        ("CREATE TABLE IF NOT EXISTS orders (id INTEGER)", "CREATE orders", "orders"),
        ("-- hello\nDROP TABLE orders", "DROP orders", "orders"),
        ("", "", None),
        ("(((", "", None),
    ],
)
def test_a_statement_is_summed_up_by_verb_and_tables(
    sql: str, summary: str, collection: str | None
) -> None:
    """The summary has few different values and names what was touched."""
    found = describe(sql)
    assert (found.summary, found.collection) == (summary, collection)


@pytest.mark.parametrize(
    ("sql", "text"),
    [
        ("SELECT 1 WHERE b = 'it''s' AND c = -4.5e3", "SELECT ? WHERE b = ? AND c = -?"),
        (r"SELECT E'a\'b' , X'ff', 0x1F", "SELECT ? , ?, ?"),
        ("SELECT 1_000, 0b101, 0o17, 0x1F_FF, 1_0.5_1e1_0", "SELECT ?, ?, ?, ?, ?"),
        ("SELECT $tag$ it's $tag$, $$ x $$", "SELECT ?, ?"),
        ("SELECT a1 FROM t2 /* secret */ -- secret", "SELECT a1 FROM t2"),
        ("SELECT $1::INTEGER, :name, %(name)s, ?", "SELECT $1::INTEGER, :name, %(name)s, ?"),
        ("SELECT a IN ($1::INTEGER, $2::INTEGER)", "SELECT a IN ($1::INTEGER)"),
        ("INSERT INTO t (a, b) VALUES (?, ?), (?, ?)", "INSERT INTO t (a, b) VALUES (?, ?)"),
        ("SELECT 'cut off", "SELECT ?"),
        ("SELECT 1 /* cut off", "SELECT ?"),
    ],
)  # fmt: skip
def test_the_text_shows_no_literal_and_no_comment(sql: str, text: str) -> None:
    """What a user typed must not reach a span; names and parameters stay."""
    assert describe(sql).text == text


@given(st.text(), st.sampled_from(["'{}'", "E'{}'", "$x${}$x$", "/* {} */ 1", "N'{}'"]))
def test_what_stands_in_a_literal_never_shows(noise: str, form: str) -> None:
    """Whatever surrounds it, a secret in a well-formed literal stays out."""
    noise = "".join(c for c in noise if c not in "'\\$*/")
    sql = f"SELECT a FROM t WHERE b = {form.format(noise + 'hunter2' + noise)} AND c = 1"
    assert "hunter2" not in describe(sql).text


@given(st.text(alphabet="abFROM JOINSELECT(),.'\"$?:-/*0 \n\\;é", max_size=300))
def test_any_text_is_described_without_an_error(sql: str) -> None:
    """Telemetry never breaks the statement it looks at, and names stay short."""
    found = describe(sql)
    assert len(found.summary) <= 255
    assert len(found.text) <= len(sql)


def test_a_huge_statement_is_cut_before_it_is_read() -> None:
    """The work is bounded however many rows one INSERT has."""
    sql = "INSERT INTO t (a) VALUES " + ", ".join("(('x'), ?, f(1))" for _ in range(50_000))
    started = time.process_time()
    found = describe(sql)
    assert time.process_time() - started < 0.5
    assert found.summary == "INSERT t"
    assert found.text.endswith("…")
    assert len(found.text) <= MAX_TEXT + 1
