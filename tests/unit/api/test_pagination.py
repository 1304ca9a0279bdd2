"""Pages of a list: arithmetic, links, dependency."""

from __future__ import annotations

from math import ceil
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
from fastapi import FastAPI, Request
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from glam_sdk.api import ApiResponse, Pagination, PaginationDep, paginated_response

_PAGES = st.integers(1, 50)
_LIMITS = st.integers(1, 1000)
_TOTALS = st.integers(0, 10_000)
_QUERY = st.lists(
    st.tuples(
        st.text(min_size=1).filter(lambda k: k not in ("page", "limit")), st.text(max_size=20)
    ),
    max_size=5,
).filter(
    lambda pairs: all(s.isprintable() and s.encode("utf-8", "ignore") for p in pairs for s in p)
)


def request_for(path="/orders", query="", root_path=""):
    scope = {
        "type": "http",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "root_path": root_path,
        "query_string": query.encode(),
        "headers": [],
        "server": ("test", 80),
    }
    return Request(scope)


@given(_PAGES, _LIMITS, _TOTALS)
def test_pagination_is_arithmetic(page, limit, total):
    """Contract 1: pages is ceil(total/limit), 0 when there is nothing; neighbours follow."""
    found = Pagination.of(page=page, limit=limit, total=total)
    assert found.pages == ceil(total / limit)
    assert found.has_next == (page < found.pages)
    assert found.has_previous == (page > 1 and found.pages > 0)


@pytest.mark.parametrize(
    "wrong", [{"page": 0}, {"limit": 0}, {"limit": 1001}, {"total": -1}], ids=str
)
def test_pagination_has_bounds(wrong):
    """Contract 1: page ≥ 1, limit 1..1000, total ≥ 0."""
    with pytest.raises((ValidationError, ZeroDivisionError)):
        Pagination.of(**{"page": 1, "limit": 10, "total": 5} | wrong)


@given(_PAGES, _LIMITS, _TOTALS, _QUERY)
def test_links_keep_the_query_and_set_page_and_limit(page, limit, total, kept):
    """Contract 1: the request's parameters are kept, URL-encoded; page and limit are set."""
    query = urlencode([("page", 7), *kept, ("limit", 3)])
    answer = paginated_response(
        [], request=request_for(query=query), page=page, limit=limit, total=total
    )
    links = answer.model_dump(mode="json", by_alias=True)["links"]
    pages = ceil(total / limit)
    wanted = {"self": page}
    if page < pages:
        wanted["next"] = page + 1
    if page > 1 and pages:
        wanted["previous"] = min(page - 1, pages)
    if pages:
        wanted |= {"first": 1, "last": pages}
    assert set(links) == set(wanted)
    for name, number in wanted.items():
        parts = urlsplit(links[name])
        assert parts.path == "/orders"
        pairs = parse_qsl(parts.query, keep_blank_values=True)
        assert pairs == [*kept, ("page", str(number)), ("limit", str(limit))]


@pytest.mark.parametrize(
    ("path", "root_path", "expected"),
    [
        ("/a b/ü?", "", "/a%20b/%C3%BC%3F"),
        ("/orders", "/api", "/api/orders"),
        ("/api/orders", "/api", "/api/orders"),
        ("/apiary", "/api", "/api/apiary"),
    ],
)
def test_links_lead_back_to_the_same_path(path, root_path, expected):
    """A link is a valid URL, with the prefix that a proxy has taken off."""
    answer = paginated_response(
        [1], request=request_for(path, root_path=root_path), page=1, limit=1, total=1
    )
    assert answer.links is not None
    assert urlsplit(answer.links.self_).path == expected


def test_a_list_answers_with_pagination_and_links(app, serve):
    """The whole round through FastAPI: dependency, helper, response model."""

    @app.get("/numbers")
    async def numbers(page: PaginationDep, request: Request) -> ApiResponse[list[int]]:
        found = list(range(100))[page.offset : page.offset + page.limit]
        return paginated_response(
            found, request=request, page=page.page, limit=page.limit, total=100
        )

    with serve(app) as client:
        body = client.get("/numbers?colour=red&page=2&limit=30").json()
    assert body["data"] == list(range(30, 60))
    assert body["pagination"] == {
        "page": 2,
        "limit": 30,
        "total": 100,
        "pages": 4,
        "has_next": True,
        "has_previous": True,
    }
    assert body["links"] == {
        "self": "/numbers?colour=red&page=2&limit=30",
        "next": "/numbers?colour=red&page=3&limit=30",
        "previous": "/numbers?colour=red&page=1&limit=30",
        "first": "/numbers?colour=red&page=1&limit=30",
        "last": "/numbers?colour=red&page=4&limit=30",
    }


def test_an_empty_list_has_no_first_and_last():
    """Contract 1: ``first`` and ``last`` are absent when there are no pages."""
    answer = paginated_response([], request=request_for(), page=1, limit=50, total=0)
    links = answer.model_dump(mode="json", by_alias=True)["links"]
    assert links == {"self": "/orders?page=1&limit=50"}


def test_the_dependency_has_defaults_and_bounds(serve):
    """``?page=1&limit=50`` by default; outside the bounds is a 422."""
    app = FastAPI()

    @app.get("/")
    async def page(page: PaginationDep) -> list[int]:
        return [page.page, page.limit, page.offset]

    with serve(app) as client:
        assert client.get("/").json() == [1, 50, 0]
        assert client.get("/?page=3&limit=20").json() == [3, 20, 40]
        for wrong in ("page=0", "limit=0", "limit=1001", "page=x"):
            assert client.get(f"/?{wrong}").status_code == 422
