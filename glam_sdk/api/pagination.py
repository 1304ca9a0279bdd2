"""Link the pages of a list by the URL the client asked with."""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qsl, quote, urlencode

from starlette.requests import Request

from glam_sdk.api.envelope import Links, Pagination

# What may stand in a path as it is (RFC 3986, section 3.3).
_PLAIN_IN_PATH: Final = "/:@!$&'()*+,;=~"


def page_links(request: Request, pagination: Pagination) -> Links:
    """Return links to this page and its neighbours, relative to the server's root."""
    kept = [
        (key, value)
        for key, value in parse_qsl(request.url.query, keep_blank_values=True)
        if key not in ("page", "limit")
    ]
    path = quote(_public_path(request), safe=_PLAIN_IN_PATH)

    def link(page: int) -> str:
        return f"{path}?{urlencode([*kept, ('page', page), ('limit', pagination.limit)])}"

    page, pages = pagination.page, pagination.pages
    return Links(
        self_=link(page),
        next=link(page + 1) if pagination.has_next else None,
        # From beyond the last page one goes back to the last page.
        previous=link(min(page - 1, pages)) if pagination.has_previous else None,
        first=link(1) if pages else None,
        last=link(pages) if pages else None,
    )


def _public_path(request: Request) -> str:
    """Return the path as the client knows it, with a prefix that a proxy has taken off."""
    path: str = request.scope["path"]
    root: str = request.scope.get("root_path", "").rstrip("/")
    is_below = path == root or path.startswith(f"{root}/")
    return path if is_below else root + path
