"""Link the pages of a list by the URL the client asked with."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlencode

from starlette.requests import Request

from glam_sdk.api.envelope import Links, Pagination


def page_links(request: Request, pagination: Pagination) -> Links:
    """Return links to this page and its neighbours, relative to the server's root."""
    kept = [
        (key, value)
        for key, value in parse_qsl(request.url.query, keep_blank_values=True)
        if key not in ("page", "limit")
    ]
    path = request.url.path

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
