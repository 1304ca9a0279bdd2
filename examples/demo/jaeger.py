"""Find the Jaeger behind the collector that the demo sends to."""

from __future__ import annotations

import json
import os
import time
import urllib.request
from typing import Final
from urllib.parse import urlsplit

_PORT: Final = 16686
_WAIT_S: Final = 10.0


def jaeger_url(collector: str) -> str | None:
    """Return the address of Jaeger's pages; None where none answers.

    ``JAEGER_URL`` names it; otherwise it is looked for on the collector's host at its usual port.

    Args:
        collector: ``OTEL_EXPORTER_OTLP_ENDPOINT``.
    """
    host = urlsplit(collector).hostname or "127.0.0.1"
    url = os.environ.get("JAEGER_URL", "").rstrip("/") or f"http://{host}:{_PORT}"
    return url if "data" in _ask(f"{url}/api/services") else None


def link_to(url: str, trace_id: str) -> str:
    """Return the page of a trace, and say so if Jaeger does not have it after some seconds."""
    deadline = time.monotonic() + _WAIT_S
    while not _ask(f"{url}/api/traces/{trace_id}").get("data"):
        if time.monotonic() > deadline:
            return f"{url}/trace/{trace_id} (Jaeger does not have it yet)"
        time.sleep(0.2)
    return f"{url}/trace/{trace_id}"


def _ask(url: str) -> dict[str, object]:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 - the user's own Jaeger
            found = json.load(answer)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
