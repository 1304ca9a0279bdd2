"""Name the httpx request extensions: what a caller says of one request, and our own notes on it.

The first two are public: ``client.get(url, extensions={"url.template": "/orders/{order_id}"})``.
httpx copies a request's extensions to the request that follows a redirect.
"""

from __future__ import annotations

from typing import Final

URL_TEMPLATE: Final = "url.template"
"""Path with placeholders; becomes part of the span's name and a label of the duration metric."""

IDEMPOTENT: Final = "idempotent"
"""Whether sending twice does what sending once does; beats what the method says."""

SERVICE_NAME: Final = "glam.service_name"
"""The service the client was made for."""

SENT: Final = "glam.sent"
"""How often the request has been sent so far, redirects and authorization included."""

TIME_LEFT_S: Final = "glam.time_left_s"
"""Seconds after which an attempt is cut off; used up by that attempt."""

TRACED_OUTSIDE: Final = "glam.traced_outside"
"""Whether other instrumentation of the same client already has a span for the request."""
